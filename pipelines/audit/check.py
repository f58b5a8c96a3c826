"""One finding of the audit: what was looked at, what was found, and how bad that is."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from dermfuse.features.images.quarantine import spreadsheet_safe
from dermfuse.pipelines.runs.schema import SCHEMA

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
        The fact that should hold, as it is told where it does.
    severity : str
        ``error``: the numbers of a run are wrong; ``warning``: look before you trust them; ``note``: good to know.
    state : str
        ``passed``, ``found`` or ``not applicable``.
    detail : str
        Where something was found, the sentence that says what; else what was looked at, or why it was not, as a part
        of a sentence. It names no image, group or path.
    count : int
        How many rows, columns or pairs; the sentence says which.
    rows : DataFrame or None
        Offending rows: ``id``, ``group``, and in words ``what``.
    topic : str
        What was to be looked for, as it is told where it was not.
    test_labels : bool
        Whether labels of the locked test split were looked at, too.
    """

    code: str
    title: str
    severity: str
    state: str
    detail: str = ""
    count: int = 0
    rows: pd.DataFrame | None = None
    topic: str = ""
    test_labels: bool = False

    @property
    def sentence(self) -> str:
        """What the check says, once, whatever became of it."""
        return sentence_of(self.state, self.title, self.detail, self.topic)

    @property
    def alarming(self) -> bool:
        """Whether it found what is an error or a warning."""
        return self.state == FOUND and self.severity != "note"

    def as_json(self) -> dict:
        """The check as ``audit.json`` keeps it, without its rows."""
        names = ("code", "title", "topic", "severity", "state", "count", "detail", "sentence")
        return {**{name: getattr(self, name) for name in names}, "looks_at_test_labels": self.test_labels}


def sentence_of(state: str, title: str, detail: str, topic: str = "") -> str:
    """What a check says: the fact where it holds, what was found where it does not, or that it was not asked.

    Examples
    --------
    >>> sentence_of("passed", "Every group has one label", "40 groups")
    'Every group has one label: 40 groups.'
    >>> sentence_of("found", "Every group has one label", "2 groups carry two labels.")
    '2 groups carry two labels.'
    >>> sentence_of("not applicable", "Every group has one label", "there are no groups", "Labels of one group")
    'Labels of one group: not asked (there are no groups).'
    """
    if state == FOUND:
        return detail
    if state == NOT_APPLICABLE:
        return f"{topic or title}: not asked ({detail.rstrip('.')})."
    return f"{title}: {detail.rstrip('.')}." if detail else f"{title}."


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
    """What a check asks.

    Attributes
    ----------
    code : str
    title : str
        The fact that should hold, without a full stop.
    severity : str
        How bad it is where it does not.
    topic : str
        What is looked for, as a title; `title` where it is not given.
    test_labels : bool
        Whether it looks at labels of the locked test split, too.
    """

    code: str
    title: str
    severity: str
    topic: str = ""
    test_labels: bool = False

    def passed(self, detail: str = "") -> Check:
        """The fact holds; `detail` says what was looked at, as a part of a sentence."""
        return self._check(PASSED, detail)

    def not_applicable(self, why: str) -> Check:
        """It cannot be asked of this dataset."""
        return Check(self.code, self.title, self.severity, NOT_APPLICABLE, why, topic=self.topic)

    def found(self, count: int, detail: str, rows: pd.DataFrame | None = None, severity: str | None = None) -> Check:
        """Something was found, which the sentence `detail` says; `severity` where it is not the usual one."""
        return self._check(FOUND, detail, int(count), rows, severity)

    def _check(self, state: str, detail: str, count: int = 0, rows=None, severity: str | None = None) -> Check:
        severity = severity or self.severity
        return Check(self.code, self.title, severity, state, detail, count, rows, self.topic, self.test_labels)


def offending(ids, groups, what) -> pd.DataFrame:
    """Offending rows as a check keeps them; `what` is one text, or one a row."""
    return pd.DataFrame({"id": np.asarray(ids, object), "group": np.asarray(groups, object), "what": what})


def plural(n: int, word: str) -> str:
    """A count with its noun, which takes a regular plural."""
    return f"{n:,} {word if n == 1 else word + 's'}"


def doing(n: int, word: str, verb: str) -> str:
    """A count with its noun and verb.

    Examples
    --------
    >>> doing(1, "file", "stand"), doing(2, "file", "stand")
    ('1 file stands', '2 files stand')
    """
    return f"{plural(n, word)} {verb + 's' if n == 1 else verb}"
