"""The scores of a run: everything that ``metrics.json`` holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dermfuse.pipelines.evaluation.out_of_fold import Evidence
from dermfuse.pipelines.model.calibration import name_of
from dermfuse.pipelines.model.table import Table
from dermfuse.pipelines.runs.schema import SCHEMA
from dermfuse.pipelines.statistics import bootstrap, metrics
from dermfuse.pipelines.statistics.decisions import decision_curve
from dermfuse.pipelines.statistics.reliability import calibration

FOLD_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")
BINARY_FOLD_METRICS = ("auc", "average_precision", "accuracy", "balanced_accuracy")


@dataclass(frozen=True)
class _Part:
    """Predictions of one part of the rows, out of fold or locked test."""

    truth: np.ndarray
    probabilities: np.ndarray
    uncalibrated: np.ndarray
    groups: np.ndarray


def score(
    table: Table, truth: np.ndarray, evidence: Evidence, seed: int, malignant: Sequence[str] = (), positive: str = ""
) -> dict:
    """The content of ``metrics.json``.

    Parameters
    ----------
    table : Table
    truth : ndarray of int, shape (n,)
        Column of the true class, of the sorted labels of `table`.
    evidence : Evidence
    seed : int
        Of the bootstrap.
    malignant : sequence of str
        The malignant classes. Of more than two classes they give the second reading ``malignant``.
    positive : str
        Of two classes, the positive one; else the malignant one, else the second.
    """
    names = [str(name) for name in np.unique(table.labels)]
    train = evidence.fold >= 0
    prevalence = np.bincount(truth[train], minlength=len(names)) / train.sum()
    columns = np.flatnonzero(np.isin(names, list(malignant)))
    positive = _positive(names, columns, positive)
    out: dict = {"schema": SCHEMA, "intervals": bootstrap.HOW}
    parts = {"out_of_fold": _part(table, truth, evidence, train), "test": _part(table, truth, evidence, ~train)}
    for key, part in parts.items():
        out[key], others = _scores_of(part, names, prevalence, positive, seed)
        for name, content in others.items():
            out.setdefault(name, {})[key] = content
    out["folds"] = _folds(truth, evidence, positive)
    if evidence.repeats:
        out["repeated"] = _repeated(table, truth, evidence, positive, seed)
    used = name_of(evidence.model.calibrator)
    raw, calibrated = evidence.uncalibrated, evidence.probabilities
    out["calibration"] = calibration(truth, raw, calibrated, evidence.fold, used, positive)
    if len(names) == 2:
        out["positive"] = names[positive]
        out["decision_curve"] = _decision_curves(parts, np.array([positive]), names, seed)
    elif 0 < len(columns) < len(names):
        out["malignant"] = _malignant(parts, columns, names, prevalence, seed)
        out["decision_curve"] = _decision_curves(parts, columns, names, seed)
    return out


def _positive(names: list[str], columns: np.ndarray, named: str) -> int:
    """The positive one of two classes; 1, which nothing reads, where there are more."""
    if len(names) == 2 and named in names:
        return names.index(named)
    return int(columns[0]) if len(columns) == 1 and len(names) == 2 else 1


def _part(table: Table, truth: np.ndarray, evidence: Evidence, rows: np.ndarray) -> _Part:
    return _Part(truth[rows], evidence.probabilities[rows], evidence.uncalibrated[rows], table.groups[rows])


def _scores_of(part: _Part, names: list[str], prevalence: np.ndarray, positive: int, seed: int) -> tuple[dict, dict]:
    """The overall metrics, and everything else by its name in ``metrics.json``."""
    y, p = part.truth, part.probabilities
    overall, by_class = metrics.evaluate(y, p, part.groups, seed, positive)
    return overall, {
        "majority": float((y == prevalence.argmax()).mean()),
        "per_class": [{"class": name, **row} for name, row in zip(names, by_class, strict=True)],
        "confusion": metrics.confusion(y, p.argmax(axis=1), len(names)).tolist(),
        "operating_points": metrics.operating_points(y, p, prevalence, part.groups, seed),
        "uncalibrated": metrics.point_values(y, part.uncalibrated, positive),
    }


def _folds(truth: np.ndarray, evidence: Evidence, positive: int) -> list[dict]:
    out = []
    wanted = BINARY_FOLD_METRICS if evidence.probabilities.shape[1] == 2 else FOLD_METRICS
    for number in range(evidence.fold.max() + 1):
        rows = evidence.fold == number
        values = metrics.point_values(truth[rows], evidence.probabilities[rows], positive)
        out.append({"fold": number, **{name: values[name] for name in wanted}})
    return out


def _repeated(table: Table, truth: np.ndarray, evidence: Evidence, positive: int, seed: int) -> dict:
    """Out-of-fold metrics of every division into folds, and their means with intervals."""
    train = evidence.fold >= 0
    found = [evidence.probabilities[train], *(repeat.probabilities[train] for repeat in evidence.repeats)]
    return {
        "repeats": len(found),
        "mean": metrics.summarise_repeats(truth[train], found, table.groups[train], seed, positive),
        "each": [metrics.point_values(truth[train], probabilities, positive) for probabilities in found],
    }


def _malignant(parts: dict[str, _Part], columns: np.ndarray, names: list[str], prevalence, seed: int) -> dict:
    out: dict = {"classes": [names[k] for k in columns]}
    for key, part in parts.items():
        out[key] = metrics.malignant(part.truth, part.probabilities, columns, prevalence, part.groups, seed)
    return out


def _decision_curves(parts: dict[str, _Part], columns: np.ndarray, names: list[str], seed: int) -> dict:
    out: dict = {"classes": [names[k] for k in columns]}
    for key, part in parts.items():
        hit, p = metrics.as_binary(part.truth, part.probabilities, columns)
        out[key] = decision_curve(hit == 1, p[:, 1], part.groups, seed)
    return out
