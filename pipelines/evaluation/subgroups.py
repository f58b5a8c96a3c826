"""How well a model does for groups of people, sites and sources, and which differences are more than chance.

Each cell, such as women or the face, is measured by itself and against all other rows of its split. Cells of few
groups are withheld, as their figures would speak of persons and say little of the model.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from dermfuse.pipelines.runs.schema import SCHEMA
from dermfuse.pipelines.statistics.bootstrap import LEVEL, RESAMPLES
from dermfuse.pipelines.statistics.contrasts import FEWEST_OF_CLASS, Contrast, ScoredRows, contrasts

FILE = "subgroups.json"
SMALLEST_CELL = 20
DECIMALS = 3
MOST_CELLS = 12
MOST_VALUES = 50
MISSING, OTHERS = "missing", "others"
AGES = (30, 50, 70)
HOW = (
    "a gap is the cell less all other rows of its split, with a 95 % interval from the standard error over "
    f"{RESAMPLES:,} bootstrap resamples of whole groups, the same for both sides, and never less than what chance "
    "makes of as many groups; it is told apart from chance where its p value stays below 0.05 after Holm's correction "
    "over all gaps of the split (Holm, Scandinavian Journal of Statistics 6, 1979)"
)


def by_subgroup(
    context: pd.DataFrame,
    truth: np.ndarray,
    probabilities: np.ndarray,
    groups: np.ndarray,
    fold: np.ndarray,
    classes: list[str],
    malignant: list[str],
    seed: int,
) -> dict:
    """Accuracy, balanced accuracy and AUC of every cell, and its gap to all other rows, for each split.

    A cell of fewer than ``SMALLEST_CELL`` groups is withheld. As totals are told elsewhere, the counts of the other
    cells of its column are then rounded to multiples of that number and their figures to three decimals, so that
    subtraction does not give it away (rounding to a base: Hundepool et al., "Statistical Disclosure Control", 2012).

    Parameters
    ----------
    context : DataFrame, n rows
        The columns to divide by, in the order of the rows. Numeric ones are cut into bands: those named age at 30, 50
        and 70 years, which bands are then the same in every dataset; others into thirds of the training rows. Of
        others the 12 most frequent values are told, the rest together. A missing value is a cell of its own.
    truth : ndarray of int, shape (n,)
        Column of the true class.
    probabilities : ndarray, shape (n, classes)
        Calibrated; out of fold where `fold` is not negative.
    groups : ndarray, shape (n,)
        Rows of one group are resampled together.
    fold : ndarray of int, shape (n,)
        -1 in the locked test split.
    classes : list of str
        Names of the columns of `probabilities`.
    malignant : list of str
        Classes whose summed probability the AUC ranks; when empty, it is the mean of each class against the rest.
    seed : int

    Returns
    -------
    dict
        The content of ``subgroups.json``. ``out_of_fold`` and ``test`` list columns, each with ``rounded`` and
        ``cells``: ``value``, ``withheld``, ``images``, ``groups``, ``metrics`` (``accuracy``, ``balanced_accuracy`` and
        ``area``, each with value, low, high) and ``gaps`` (the same with ``p_value``, corrected by Holm, and
        ``told_apart``); for what is compared see
        :func:`dermfuse.pipelines.statistics.contrasts.contrasts`. ``area`` says which AUC it is: ``malignant_auc``,
        ``auc`` or ``macro_auc``. ``left_out``: columns that were not divided by, and why.
    """
    train = fold >= 0
    named, left_out = {}, []
    for column in context:
        cells, reason = _cells(context[column].reset_index(drop=True), str(column), train)
        if reason is None:
            named[str(column)] = cells
        else:
            left_out.append({"column": str(column), "reason": reason})
    area, scores, positive = _targets(truth, probabilities, classes, malignant)
    rows = ScoredRows(truth, probabilities.argmax(axis=1), scores, positive, groups)
    out = {
        "schema": SCHEMA,
        "smallest_cell": SMALLEST_CELL,
        "fewest_of_class": FEWEST_OF_CLASS,
        "area": area,
        "malignant": [name for name in classes if name in malignant],
        "how": HOW,
        "left_out": left_out,
    }
    for split, chosen in (("out_of_fold", train), ("test", ~train)):
        parts = {name: cells[chosen].reset_index(drop=True) for name, cells in named.items()}
        out[split] = _split(rows.take(chosen), parts, len(classes), seed)
    return out


def _cells(values: pd.Series, name: str, train: np.ndarray) -> tuple[pd.Series, str | None]:
    """The cell of each row, an ordered categorical; or why the column has none."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        cells = _bands(values.astype(float), name, train)
    else:
        told = values.astype(object).where(values.notna(), "").astype(str).str.strip()
        often = told[train & (told != "")].value_counts()
        if told[told != ""].nunique() > MOST_VALUES:
            return told, f"more than {MOST_VALUES} different values"
        kept = list(often.sort_index().sort_values(ascending=False, kind="stable").index[:MOST_CELLS])
        kept = [value for value in kept if value not in (MISSING, OTHERS)]
        told = told.where(told.isin([*kept, ""]), OTHERS).replace("", MISSING)
        cells = pd.Series(pd.Categorical(told, [*kept, OTHERS, MISSING], ordered=True))
    cells = cells.cat.remove_unused_categories()
    return cells, None if len(cells.cat.categories) > 1 else "one value for all images"


def _bands(values: pd.Series, name: str, train: np.ndarray) -> pd.Series:
    """Bands of a numeric column, in ascending order, then the missing ones."""
    known = values[train & np.isfinite(values)]
    if re.match(r"age($|_)", name.lower()):
        edges = [float(edge) for edge in AGES]
        labels = ["under 30", "30 to 49", "50 to 69", "70 and over"]
    else:
        thirds = known.quantile([1 / 3, 2 / 3]) if len(known) else []
        edges = sorted({float(f"{edge:.3g}") for edge in thirds})
        between = [f"{low:g} to below {high:g}" for low, high in zip(edges, edges[1:], strict=False)]
        labels = [f"below {edges[0]:g}", *between, f"{edges[-1]:g} and above"] if edges else ["all"]
    place = np.where(np.isfinite(values), np.digitize(values, edges), len(labels))
    return pd.Series(pd.Categorical.from_codes(place, [*labels, MISSING], ordered=True))


def _targets(truth, probabilities, classes: list[str], malignant: list[str]) -> tuple[str, np.ndarray, np.ndarray]:
    """What the AUC is called, and the scores and positives (n, m) that it ranks."""
    columns = np.array([name in malignant for name in classes])
    if columns.any() and not columns.all():
        score = probabilities[:, columns].sum(axis=1)
        return "malignant_auc", score[:, None], columns[truth][:, None]
    hit = np.arange(len(classes)) == truth[:, None]
    if len(classes) == 2:
        return "auc", probabilities[:, 1:], hit[:, 1:]
    return "macro_auc", probabilities, hit


def _split(rows: ScoredRows, named: dict[str, pd.Series], classes: int, seed: int) -> list[dict]:
    """Every column's cells in one split, then what is measured of those that are shown."""
    out, shown, parts = [], [], []
    for column, cells in named.items():
        inside = {str(value): (cells == value).to_numpy() for value in cells.cat.categories}
        sizes = {value: len(np.unique(rows.groups[part])) for value, part in inside.items() if part.any()}
        rounded = min(sizes.values(), default=0) < SMALLEST_CELL
        told = [_cell(value, n, int(inside[value].sum()), rounded) for value, n in sizes.items()]
        out.append({"column": column, "rounded": rounded, "cells": told})
        for cell in told:
            if not cell["withheld"]:
                shown.append((cell, rounded))
                parts.append(inside[cell["value"]])
    if parts:
        found = contrasts(rows, parts, classes, seed)
        alone = [len(np.unique(rows.groups[~part])) < SMALLEST_CELL for part in parts]
        for (cell, rounded), contrast, hidden in zip(shown, found, alone, strict=True):
            _fill(cell, contrast, rounded, hidden)
    _holm([gap for cell, _ in shown for gap in cell["gaps"].values() if gap["p_value"] is not None])
    return out


def _cell(value: str, groups: int, images: int, rounded: bool) -> dict:
    """A cell without its figures; small ones say nothing but that they are there."""
    if groups < SMALLEST_CELL:
        return {"value": value, "withheld": True, "images": None, "groups": None, "metrics": {}, "gaps": {}}
    if rounded:
        images, groups = (max(SMALLEST_CELL, SMALLEST_CELL * round(n / SMALLEST_CELL)) for n in (images, groups))
    return {"value": value, "withheld": False, "images": images, "groups": groups, "metrics": {}, "gaps": {}}


def _fill(cell: dict, contrast: Contrast, rounded: bool, hidden: bool) -> None:
    """Put the figures into a cell; a gap to a rest of few groups would give that rest's figures away."""
    cell["metrics"] = {name: _rounded(entry) if rounded else entry for name, entry in contrast.metrics.items()}
    for name, gap in contrast.gaps.items():
        told = dict.fromkeys(gap) if hidden else {**gap}
        p = told.pop("p_value")
        cell["gaps"][name] = {**(_rounded(told) if rounded else told), "p_value": p, "told_apart": False}


def _rounded(entry: dict) -> dict:
    return {name: None if value is None else round(value, DECIMALS) for name, value in entry.items()}


def _holm(gaps: list[dict]) -> None:
    from statsmodels.stats.multitest import multipletests

    if gaps:
        told_apart, corrected, *_ = multipletests([gap["p_value"] for gap in gaps], alpha=1 - LEVEL, method="holm")
        for gap, p, told in zip(gaps, corrected, told_apart, strict=True):
            gap |= {"p_value": float(p), "told_apart": bool(told)}
