"""Columns of the table that give the label away: known by name, by their values, or by where they are empty."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dermfuse.features.tables.read import is_missing
from dermfuse.pipelines.audit.check import Check, Question
from dermfuse.pipelines.audit.giveaway import Labels, Told, told_by
from dermfuse.pipelines.audit.given import AuditInput
from dermfuse.pipelines.audit.memo import Findings

NUMERIC_SHARE = 0.9  # of the cells that are not empty, for text to be read as numbers

KNOWN = Question(
    "LEAK_COLUMN",
    "No column of the table is known to be made from the diagnosis",
    "warning",
    "Columns known to be made from the diagnosis",
)
VALUES = Question(
    "COLUMN_VALUES", "No single column gives the label away", "warning", "Columns that give the label away"
)
MISSING = Question(
    "COLUMN_MISSING", "The gaps of no column give the label away", "warning", "Gaps of columns that give the label away"
)


def check_columns(given: AuditInput, labels: Labels | None, findings: Findings | None = None) -> list[Check]:
    """All checks of columns; what the columns tell is taken from `findings` where it is known."""
    found = [_known(given)]
    if labels is None:
        why = "there are no folds: the classes are too small"
        return [*found, VALUES.not_applicable(why), MISSING.not_applicable(why)]
    columns = columns_of(given)
    if not columns:
        why = "the table has no columns beside names, label and group"
        return [*found, VALUES.not_applicable(why), MISSING.not_applicable(why)]
    inputs = {**labels.inputs(), "seed": given.seed, "names": list(columns)}
    inputs |= {f"column {place}": values for place, values in enumerate(columns.values())}
    part = (findings or Findings()).part("columns", inputs, lambda: _told(columns, labels, given.seed))
    told, empty = ({name: Told.from_part(one) for name, one in part[what].items()} for what in ("values", "gaps"))
    return [
        *found,
        _by_told(VALUES, told, given, "Columns that give the label away", "the most is told by"),
        _by_told(MISSING, empty, given, "Columns whose gaps give the label away", "the most is told by the gaps of"),
    ]


def _told(columns: dict[str, np.ndarray], labels: Labels, seed: int) -> dict:
    """What each column tells by its values and, where it has gaps, by these."""
    asked = {"values": columns, "gaps": _emptiness(columns)}
    return {
        what: {name: told_by(values[labels.rows], labels, seed) for name, values in found.items()}
        for what, found in asked.items()
    }


def columns_of(given: AuditInput) -> dict[str, np.ndarray]:
    """Every column but names, label and group: float with NaN where it holds numbers, else objects with None."""
    dataset = given.dataset
    columns = {name: dataset.rows[name] for name in dataset.metadata_fields}
    columns |= {name: column for name, column in dataset.unused.items() if name not in columns}
    return {name: _values(column) for name, column in columns.items()}


def _values(column: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.to_numpy(float)
    text = column.astype("string").str.strip()
    text = text.mask(is_missing(text.fillna("")))
    numbers = pd.to_numeric(text, errors="coerce").astype("float64")
    few = text.nunique() <= 2  # 0 and 1 are categories
    if not few and text.notna().any() and numbers.notna().sum() >= NUMERIC_SHARE * text.notna().sum():
        return numbers.where(np.isfinite(numbers)).to_numpy(float)
    return text.astype(object).where(text.notna(), None).to_numpy(object)


def _emptiness(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """For each column with gaps, whether it is empty, as two categories."""
    gaps = {name: pd.isna(values) for name, values in columns.items()}
    return {name: np.where(gap, "empty", "filled").astype(object) for name, gap in gaps.items() if gap.sum() > 0}


def _known(given: AuditInput) -> Check:
    leaks = list(given.dataset.layout.leaks)
    if not leaks:
        return KNOWN.passed()
    used = [name for name in leaks if name in given.used]
    if used:
        known = f"Known only after the diagnosis, and {_features(used)}: {_named(used)}."
        return KNOWN.found(len(used), known, None, "error")
    return KNOWN.found(len(leaks), f"Known only after the diagnosis, and kept out of the features: {_named(leaks)}.")


def _by_told(question: Question, told: dict[str, Told], given: AuditInput, opening: str, most: str) -> Check:
    leaks = {name: found for name, found in told.items() if found.gives_away}
    if not leaks:
        best = max(told, key=lambda name: told[name].macro_auc, default=None)
        return question.passed(f"{most} {best!r}, with {told[best].words()}" if best else "no column has gaps")
    used = [name for name in leaks if name in given.used]
    listed = "; ".join(f"{name!r} ({found.words()})" for name, found in leaks.items())
    ending = f"Of them {_features(used)}: {_named(used)}." if used else "None of them is a feature."
    severity = "error" if used else None
    return question.found(len(leaks), f"{opening}: {listed}. {ending}", None, severity)


def _features(names: list[str]) -> str:
    return "a feature" if len(names) == 1 else "features"


def _named(names: list[str]) -> str:
    return ", ".join(map(repr, names))
