"""The scores of a run: everything that ``metrics.json`` holds."""

from __future__ import annotations

import numpy as np

from pipelines import metrics, run
from pipelines.evidence import Evidence
from pipelines.table import Table


def score(table: Table, truth: np.ndarray, evidence: Evidence, seed: int) -> dict:
    """The content of ``metrics.json``."""
    train = evidence.fold >= 0
    classes = evidence.probabilities.shape[1]
    prevalence = np.bincount(truth[train], minlength=classes) / train.sum()
    majority = int(prevalence.argmax())
    out = {"schema": run.SCHEMA, "intervals": metrics.HOW}
    parts = {"out_of_fold": train, "test": ~train}
    for part, rows in parts.items():
        p, y, groups = evidence.probabilities[rows], truth[rows], table.groups[rows]
        out[part] = metrics.summarise(y, p, groups, seed)
        out.setdefault("majority", {})[part] = float((y == majority).mean())
        names = np.unique(table.labels)
        by_class = metrics.per_class(y, p, groups, seed)
        out.setdefault("per_class", {})[part] = [
            {"class": str(n), **row} for n, row in zip(names, by_class, strict=True)
        ]
        out.setdefault("confusion", {})[part] = metrics.confusion(y, p.argmax(axis=1), classes).tolist()
        out.setdefault("operating_points", {})[part] = metrics.operating_points(y, p, prevalence)
        out.setdefault("uncalibrated", {})[part] = metrics.point_values(y, evidence.uncalibrated[rows])
    out["folds"] = []
    for number in range(evidence.fold.max() + 1):
        rows = evidence.fold == number
        values = metrics.point_values(truth[rows], evidence.probabilities[rows])
        kept = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")
        out["folds"].append({"fold": number, **{k: values[k] for k in kept}})
    return out
