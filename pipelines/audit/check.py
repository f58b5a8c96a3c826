"""One finding of the audit: what was looked at, what was found, and how bad that is."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from features.quarantine import spreadsheet_safe

SCHEMA = 1
SEVERITIES = ("error", "warning", "note")
PASSED, FOUND, NOT_APPLICABLE = "passed", "found", "not applicable"
ROW_COLUMNS = ("id", "group", "what")


@dataclass(frozen=True)
class Check:
    """One check of the audit.

    Attributes
    ----------
    code : str
        Short and stable, ``GROUP_SPLIT``.
    title : str
        The fact that should hold.
    severity : str
        ``error``: the numbers of a run are wrong; ``warning``: look before you trust them; ``note``: good to know.
    state : str
        ``passed``, ``found`` or ``not applicable``.
    detail : str
        One sentence: what was found, or why the check does not apply. It names no image, group or path.
    count : int
        How many rows, columns or pairs; the sentence says which.
    rows : DataFrame or None
        Offending rows: ``id``, ``group``, and in words ``what``.
    """

    code: str
    title: str
    severity: str
    state: str
    detail: str = ""
    count: int = 0
    rows: pd.DataFrame | None = None

    @property
    def alarming(self) -> bool:
        """Whether it found what is an error or a warning."""
        return self.state == FOUND and self.severity != "note"

    def as_json(self) -> dict:
        """The check as ``audit.json`` keeps it, without its rows."""
        return {name: getattr(self, name) for name in ("code", "title", "severity", "state", "count", "detail")}


@dataclass(frozen=True)
class Pairs:
    """Pictures of the most alike pairs across groups.

    Attributes
    ----------
    left, right : ndarray of uint8, shape (n, height, width, 3)
    agreement : ndarray of float, shape (n,)
        Of their pixels, 1 for the same picture.
    """

    left: np.ndarray
    right: np.ndarray
    agreement: np.ndarray


@dataclass(frozen=True)
class Audit:
    """Every check, in reading order, and the pictures that go with them."""

    checks: list[Check]
    pairs: Pairs | None = None
    scope: dict = field(default_factory=dict)

    def __getitem__(self, code: str) -> Check:
        """The check of this code."""
        return next(check for check in self.checks if check.code == code)

    def found(self, severity: str) -> list[Check]:
        """Checks of one severity that found something."""
        return [check for check in self.checks if check.state == FOUND and check.severity == severity]

    @property
    def alarms(self) -> list[Check]:
        """Checks that found an error or a warning."""
        return [check for check in self.checks if check.alarming]

    def as_json(self) -> dict:
        """The content of ``audit.json``; it holds no ids."""
        counts = {f"{severity}s": len(self.found(severity)) for severity in SEVERITIES}
        return {"schema": SCHEMA, **self.scope, **counts, "checks": [check.as_json() for check in self.checks]}

    def rows_csv(self) -> bytes:
        """The content of ``audit_rows.csv``: every offending row, safe to open in a spreadsheet."""
        text = io.StringIO()
        # With every cell in quotes, a name with ";" stays one cell where a spreadsheet separates by ";".
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        writer.writerow(["check", "severity", *ROW_COLUMNS])
        for check in self.checks:
            if check.state == FOUND and check.rows is not None:
                for row in check.rows[list(ROW_COLUMNS)].itertuples(index=False):
                    writer.writerow([check.code, check.severity, *(spreadsheet_safe(str(cell)) for cell in row)])
        return text.getvalue().encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Question:
    """What a check asks: its code, the fact that should hold, and how bad it is where it does not."""

    code: str
    title: str
    severity: str

    def passed(self, detail: str = "") -> Check:
        """Nothing was found."""
        return Check(self.code, self.title, self.severity, PASSED, detail)

    def not_applicable(self, why: str) -> Check:
        """It cannot be asked of this dataset."""
        return Check(self.code, self.title, self.severity, NOT_APPLICABLE, why)

    def found(self, count: int, detail: str, rows: pd.DataFrame | None = None, severity: str | None = None) -> Check:
        """Something was found; `severity` where it is not the usual one."""
        return Check(self.code, self.title, severity or self.severity, FOUND, detail, int(count), rows)


def offending(ids, groups, what) -> pd.DataFrame:
    """Offending rows as a check keeps them; `what` is one text, or one a row."""
    return pd.DataFrame({"id": np.asarray(ids, object), "group": np.asarray(groups, object), "what": what})


def plural(n: int, word: str) -> str:
    """A count with its noun, which takes a regular plural."""
    return f"{n:,} {word if n == 1 else word + 's'}"
