"""The facts of the metrics: both splits, decision rules, malignant against benign, repeats and folds."""

from __future__ import annotations

from dermfuse.reports.runfolder import SPLITS, RunFolder
from dermfuse.reports.sections.baselines import baselines
from dermfuse.reports.sections.method import openings_words
from dermfuse.reports.wording import defined, lower_is_better, metric_name

OPERATING_POINTS = {
    "accuracy_optimal": "the most probable class",
    "balanced": "the class that would be most probable if all were equally frequent",
}
_OF_POINTS = ("accuracy", "balanced_accuracy", "macro_f1")
MALIGNANT_POINTS = {
    "accuracy_optimal": "at least as likely malignant as not",
    "balanced": "more likely malignant than a training image",
}
_OF_MALIGNANT_POINTS = ("sensitivity", "specificity", "precision")
_OF_MALIGNANT = ("auc", "average_precision", "sensitivity_at_95_specificity", "partial_auc", "ece")


def metric_facts(run: RunFolder) -> dict:
    """Return ``rows`` (one a metric), ``points``, ``malignant``, ``repeated``, ``folds``, ``intervals``, ``opened``."""
    return {
        "rows": [_row(run, name) for name in run.metrics["out_of_fold"]],
        "folds": _folds(run),
        "points": _operating_points(run),
        "malignant": _malignant(run),
        "repeated": _repeated(run),
        "intervals": run.metrics["intervals"],
        "opened": openings_words(run) if len(run.data["openings"]) > 1 else None,
    }


def _row(run: RunFolder, metric: str) -> dict:
    cells = [{"entry": run.metrics[split][metric], "baseline": baselines(run, split).get(metric)} for split in SPLITS]
    title = metric_name(metric, run.positive)
    return {"metric": metric, "title": title, "note": lower_is_better(metric), "cells": cells}


def _operating_points(run: RunFolder) -> list[dict]:
    """Return the two decision rules, each with its values out of fold and on the locked test split."""
    points = run.metrics["operating_points"]
    return [
        {"title": title, "cells": [points[split][rule][name] for split in SPLITS for name in _OF_POINTS]}
        for rule, title in OPERATING_POINTS.items()
    ]


def _malignant(run: RunFolder) -> dict | None:
    """Return malignant against benign; None where the dataset names no malignant class, or has two classes."""
    told = run.metrics.get("malignant")
    if told is None:
        return None
    points = {split: told[split]["operating_points"] for split in SPLITS}
    return {
        "classes": told["classes"],
        "rows": [_malignant_row(told, name) for name in _OF_MALIGNANT],
        "prevalence": [told[split]["prevalence"] for split in SPLITS],
        "points": [
            {
                "title": title,
                "cells": [
                    points["out_of_fold"][rule]["threshold"],
                    *(points[split][rule][name] for split in SPLITS for name in _OF_MALIGNANT_POINTS),
                ],
            }
            for rule, title in MALIGNANT_POINTS.items()
        ],
    }


def _malignant_row(told: dict, metric: str) -> dict:
    cells = [told[split][metric] for split in SPLITS]
    return {"title": metric_name(metric), "note": lower_is_better(metric), "cells": cells}


def _repeated(run: RunFolder) -> dict | None:
    """Return what further divisions into folds gave, a row a metric; None where there was one."""
    told = run.metrics.get("repeated")
    if told is None:
        return None
    rows = []
    for metric, entry in told["mean"].items():
        seen = [each[metric] for each in told["each"] if defined(each[metric])]
        cells = [entry, min(seen, default=None), max(seen, default=None)]
        rows.append({"title": metric_name(metric, run.positive), "cells": cells})
    return {"repeats": told["repeats"], "rows": rows}


def _folds(run: RunFolder) -> list[dict]:
    rows = []
    for metric in (name for name in run.metrics["folds"][0] if name != "fold"):
        values = [fold[metric] for fold in run.metrics["folds"]]
        seen = [value for value in values if defined(value)]
        if seen:
            title = metric_name(metric, run.positive)
            rows.append({"title": title, "values": values, "mean": sum(seen) / len(seen)})
    return rows
