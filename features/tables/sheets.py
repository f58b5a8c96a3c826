"""A table file as people keep it, as cells of text: encodings, delimiters, workbooks."""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path

import pandas as pd

from dermfuse.cache.errors import UserError
from dermfuse.features.files.endings import begins_like_image
from dermfuse.features.tables.workbooks import OLE, ZIP, rows_of_workbook

DELIMITERS = ",;\t|"
FALLBACK = "cp1252"  # what Excel calls ANSI in Europe and America
HEAD_LINES, HEAD_CHARACTERS = 30, 1 << 20
MOST_EMPTY = 64  # trailing delimiters that a row may have beyond its header
UNSEEN = " \ufeff\u200b\xa0\t"
_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# What is no table, by its first bytes.
_OTHER = {b"\x1f\x8b": "compressed by gzip", b"BZh": "compressed by bzip2", b"PAR1": "a Parquet file", b"%PDF": "a PDF"}


@dataclass(frozen=True)
class Sheet:
    """What a table file holds.

    Attributes
    ----------
    cells : DataFrame of str
        The columns by their stripped names; rows and unnamed columns without any cell are left out.
    delimiter : str
        Empty for a workbook.
    told : list of str
        How it was read, where a person should know.
    """

    cells: pd.DataFrame
    delimiter: str = ","
    told: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Head:
    """How the lines of a text table begin: its encoding and delimiter, and how many stand above the header."""

    encoding: str
    delimiter: str
    above: int
    told: tuple[str, ...]


def read_sheet(path: Path) -> Sheet:
    """A table's cells as text.

    Read are text in UTF-8, UTF-16 and Windows-1252, with comma, semicolon, tab or bar between the cells, Excel's line
    ``sep=;``, lines above the header and trailing delimiters; and workbooks of one sheet.

    Raises
    ------
    UserError
        It cannot be read as such a table.
    """
    path = Path(path)
    first = _first_bytes(path)
    if first.startswith((ZIP, OLE)):
        return _of_workbook(path)
    encoding = _encoding(path, first)
    try:
        return _of_text(path, _head(path, encoding))
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise UserError(f"cannot read the table {path}: {error}. Expected UTF-8 text.") from None
    try:
        sheet = _of_text(path, _head(path, FALLBACK))
    except UnicodeDecodeError:
        raise UserError(
            f"cannot read the table {path}: it is neither UTF-8 nor UTF-16 nor Windows-1252. Expected UTF-8 text with "
            "a header line: save it as such."
        ) from None
    columns = [pd.Series(list(sheet.cells)), *(sheet.cells[name] for name in sheet.cells)]
    example = next(filter(None, map(_beyond_ascii, columns)), "")
    sheet.told.insert(0, f"{path.name} is no UTF-8 and is read as Windows-1252 (first: {example!r})")
    return sheet


def header_of(path: Path) -> list[str]:
    """A table's column names; none for a file that is no table.

    Raises
    ------
    UserError
        It cannot be opened.
    """
    first, facts = _first_bytes(path), path.stat()
    if begins_like_image(first):
        return []
    return list(_header_of(path, first, facts.st_mtime_ns, facts.st_size))


@lru_cache(maxsize=64)  # a folder's tables are asked several times, and a workbook is unpacked each time
def _header_of(path: Path, first: bytes, mtime: int, size: int) -> list[str]:
    with suppress(UserError, csv.Error, UnicodeDecodeError):  # some other file without an ending, say
        if first.startswith((ZIP, OLE)):
            return _below_title(list(islice(rows_of_workbook(path), HEAD_LINES)))[0]
        encoding = _encoding(path, first)
        with suppress(UnicodeDecodeError):
            return _header_in(path, encoding)
        return _header_in(path, FALLBACK if encoding == "utf-8" else encoding, "replace")
    return []


def _header_in(path: Path, encoding: str, errors: str = "strict") -> list[str]:
    head = _head(path, encoding, errors)
    with _text(path, encoding, errors) as file:
        return _header(file, head)


def why_no_table(path: Path) -> str | None:
    """The reason for which a file that is named like a table cannot be read; None for one that can, or that is none."""
    try:
        first = _first_bytes(path)
        if first.startswith((ZIP, OLE)):
            next(rows_of_workbook(path), None)
        elif not begins_like_image(first):
            _encoding(path, first)
    except UserError as error:
        return str(error)
    header = header_of(path)
    if len(header) == 1 and any(between in header[0] for between in DELIMITERS):
        return f"each line of the table {path} is one cell in quotes. Save it without quotes around whole lines."
    return None


def _first_bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4096)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from None


def _encoding(path: Path, first: bytes) -> str:
    """By the mark at the beginning, else by where the zero bytes of UTF-16 lie, else UTF-8."""
    for mark, name in _MARKS.items():
        if first.startswith(mark):
            return name
    what = next((what for sign, what in _OTHER.items() if first.startswith(sign)), None)
    if what:
        raise UserError(f"cannot read the table {path}: it is {what}. Expected text with a header line, or a workbook.")
    pairs = len(first) // 2
    if pairs > 4 and first[1::2].count(0) > 0.4 * pairs > 10 * first[0::2].count(0):
        return "utf-16-le"
    if pairs > 4 and first[0::2].count(0) > 0.4 * pairs > 10 * first[1::2].count(0):
        return "utf-16-be"
    return "utf-8"


@contextmanager
def _text(path: Path, encoding: str, errors: str = "strict") -> Iterator[io.TextIOBase]:
    try:
        # Line ends as they are, so that those inside of quotes stay.
        with open(path, encoding=encoding, errors=errors, newline="") as file:
            yield file
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from None


def _head(path: Path, encoding: str, errors: str = "strict") -> _Head:
    with _text(path, encoding, errors) as file:
        lines = [line for _ in range(HEAD_LINES) if (line := file.readline(HEAD_CHARACTERS))]
    above, told, named = 0, [], None
    if lines and (named := _SEP.fullmatch(lines[0])):
        above = 1
    delimiter = named[1] if named else _delimiter(lines)
    rows = [next(csv.reader([line], delimiter=delimiter), []) for line in lines[above:]]
    title = max(0, len(rows) - len(_below_title(rows)))
    passed = [line.strip() for line in lines[above : above + title] if line.strip(f"\r\n{UNSEEN}{delimiter}")]
    if passed:
        what = "lines above the header, passed over"
        told.append(f"{what} in {path.name}: {len(passed)} (first: {passed[0][:60]!r})")
    return _Head(encoding, delimiter, above + title, tuple(told))


def _delimiter(lines: list[str]) -> str:
    """What stands equally often in the most lines, outside of quotes."""
    plain = [line for line in _QUOTED.sub("", "".join(lines)).splitlines() if line.strip()]

    def score(delimiter: str) -> tuple[int, int]:
        often = Counter(n for line in plain if (n := line.count(delimiter)))
        return max(((lines, n) for n, lines in often.items()), default=(0, 0))

    return max(DELIMITERS, key=score)


def _below_title(rows: list[list[str]]) -> list[list[str]]:
    """Rows from the header on: without empty ones, comments and titles of one cell above it."""
    widths = Counter(len(row) for row in rows if len(row) > 1)
    usual = max(widths, key=widths.get) if widths else 1
    for i, row in enumerate(rows):
        filled = sum(bool(cell.strip(UNSEEN)) for cell in row)
        comment = bool(row) and row[0].startswith("#") and len(row) != usual
        if filled and not comment and (filled > 1 or usual == 1):
            return [[cell.strip(UNSEEN) for cell in row], *rows[i + 1 :]]
    return rows[-1:] if rows else [[]]


def _header(file: io.TextIOBase, head: _Head) -> list[str]:
    """The column names; `file` then stands at the first row."""
    for _ in range(head.above):
        file.readline()
    return [cell.strip().strip(UNSEEN) for cell in next(csv.reader(file, delimiter=head.delimiter), [])]


def _of_text(path: Path, head: _Head) -> Sheet:
    try:
        with _text(path, head.encoding) as file:
            names = _header(file, head)
            if not any(names):
                reason = "No columns to parse from file. Expected UTF-8 text with a header line."
                raise UserError(f"cannot read the table {path}: {reason}")
            cells = _parsed(file, head.delimiter, len(names))
    except pd.errors.ParserWarning:
        cells = _with_trailing(path, head, "its rows have more cells than its header")
    except pd.errors.ParserError as error:
        reason = " ".join(str(error).split())
        wider = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", reason)
        if not wider:
            raise UserError(
                f"cannot read the table {path}: {reason}. Expected UTF-8 text with a header line."
            ) from None
        reason = f"Expected {wider[1]} fields in line {int(wider[2]) + head.above + 1}, saw {wider[3]}"
        cells = _with_trailing(path, head, reason)
    except csv.Error as error:
        raise UserError(f"cannot read the table {path}: {error}. Expected UTF-8 text with a header line.") from None
    return Sheet(_named(path, names, cells), head.delimiter, list(head.told))


def _parsed(file: io.TextIOBase, delimiter: str, columns: int) -> pd.DataFrame:
    with warnings.catch_warnings():
        # Without index_col=False, a row with a cell too many would move every cell one column on.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        # Everything is read as text: an id such as 007 keeps its zeros, and missing is decided in one place.
        options = {"dtype": "string", "keep_default_na": False, "index_col": False}
        try:
            return pd.read_csv(file, sep=delimiter, header=None, names=range(columns), **options).fillna("")
        except pd.errors.EmptyDataError:
            return pd.DataFrame({i: pd.Series(dtype="string") for i in range(columns)})


def _with_trailing(path: Path, head: _Head, reason: str) -> pd.DataFrame:
    """The cells below a header where rows go on with empty cells; anything in these is an error."""
    try:
        with _text(path, head.encoding) as file:
            names = _header(file, head)
            cells = _parsed(file, head.delimiter, len(names) + MOST_EMPTY)
    except (pd.errors.ParserError, pd.errors.ParserWarning):
        cells = None
    if cells is None or cells.iloc[:, len(names) :].apply(lambda column: column.str.strip().ne("").any()).any():
        raise UserError(
            f"cannot read the table {path}: {reason}. Expected as many cells in a row as in the header; a cell that "
            f"holds {head.delimiter!r} stands in quotes."
        )
    return cells.iloc[:, : len(names)]


def _of_workbook(path: Path) -> Sheet:
    rows = [row for row in rows_of_workbook(path) if any(cell.strip() for cell in row)]
    table = _below_title(rows[:HEAD_LINES])
    above = min(len(rows), HEAD_LINES) - len(table)
    names, rows = table[0], rows[above + 1 :]
    columns = dict(enumerate(zip(*rows, strict=False))) if rows else {i: () for i in range(len(names))}
    cells = pd.DataFrame({i: pd.Series(list(column), dtype="string") for i, column in columns.items()})
    told = [f"lines above the header, passed over in {path.name}: {above}"] if above else []
    return Sheet(_named(path, names, cells), "", told)


def _named(path: Path, names: list[str], cells: pd.DataFrame) -> pd.DataFrame:
    """The cells under their names, without rows and unnamed columns in which nothing stands."""
    unnamed = [i for i, name in enumerate(names) if not name]
    empty = [i for i in unnamed if not cells[i].str.strip().ne("").any()]
    names = [name or f"Unnamed: {i}" for i, name in enumerate(names)]
    cells = cells.drop(columns=empty).rename(columns=dict(enumerate(names)))
    twice = cells.columns[cells.columns.duplicated()]
    if len(twice):
        raise UserError(f"the table {path} has more than one column {twice[0]!r}. Expected each name once.")
    doubtful = cells.iloc[:, 0].str.strip().eq("") if len(cells.columns) else pd.Series(dtype=bool)
    if doubtful.any():
        nothing = cells[doubtful].apply(lambda column: column.str.strip().eq("")).all(axis=1)
        cells = cells.drop(index=nothing.index[nothing]).reset_index(drop=True)
    return cells


def _beyond_ascii(column: pd.Series) -> str | None:
    found = column[column.str.contains(r"[^\x00-\x7f]", regex=True)]
    return found.iloc[0] if len(found) else None
