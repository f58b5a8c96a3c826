"""Images that were set aside: the list a person reads, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from dermfuse.cache.atomic import atomic_write
from dermfuse.cache.upkeep import locked

FILE = "quarantine.csv"
# OWASP, "CSV Injection"; the apostrophe because it is what quotes the others.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")


@dataclass(frozen=True)
class SetAside:
    """One file that could not be used.

    Attributes
    ----------
    path : str
        The file, absolute.
    reason : str
        Why it was set aside.
    bytes : int
        Its size; -1 when it cannot be read at all.
    content : str
        SHA-256 of its bytes; empty when it cannot be read.
    """

    path: str
    reason: str
    bytes: int
    content: str


def read_quarantine(root: Path) -> list[SetAside]:
    """What earlier extractions into this cache set aside."""
    path = root / FILE
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.reader(file))[1:]
    # What a spreadsheet's own way of saving spoiled is found again by the next extraction.
    whole = (r for r in rows if len(r) == 4 and r[2].removeprefix("-").isdecimal())
    return [SetAside(_unsafe(r[0]), _unsafe(r[1]), int(r[2]), r[3]) for r in whole]


def update_quarantine(
    root: Path,
    looked_at: Iterable[str | Path],
    found: list[SetAside],
    on_wait: Callable[[str], None] | None = None,
) -> Path:
    """Replace what is known of the files `looked_at` by `found`; return the list's path.

    `on_wait` is given a line of text where another process writes it.
    """
    if not found and not (root / FILE).exists():
        return root / FILE
    with locked(root, on_wait):  # another extraction may change the list of other files
        return _replace_list(root, looked_at, found)


def _replace_list(root: Path, looked_at: Iterable[str | Path], found: list[SetAside]) -> Path:
    known = {row.path: row for row in read_quarantine(root)}
    for path in looked_at if known else ():
        known.pop(str(Path(path).absolute()), None)
    kept = known.values()
    rows = sorted([*kept, *found], key=lambda row: row.path)
    text = io.StringIO()
    # With every cell in quotes, a name with ";" stays one cell where a spreadsheet separates by ";".
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow([f.name for f in fields(SetAside)])
    for row in rows:
        writer.writerow([spreadsheet_safe(cell) if isinstance(cell, str) else cell for cell in astuple(row)])
    path = root / FILE
    atomic_write(path, text.getvalue().encode("utf-8", "surrogateescape"))
    return path


def spreadsheet_safe(cell: str) -> str:
    """Quote a cell that a spreadsheet would run as a formula."""
    return "'" + cell if cell.startswith(FORMULA_STARTS) else cell


def _unsafe(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" else cell
