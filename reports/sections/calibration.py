"""The facts of calibration: methods compared, reliability diagrams, and mean probabilities beside the shares."""

from __future__ import annotations

from dermfuse.reports.runfolder import SPLITS, RunFolder
from dermfuse.reports.wording import SPLIT_NAMES, SPLIT_PLACES, metric_name, number, upper_first

CALIBRATORS = {
    "none": "none: as the classifier gives them",
    "temperature": "temperature: one slope",
    "bias_corrected": "bias-corrected temperature: one slope, one bias a class",
    "isotonic": "isotonic: one rising step function a class",
    "dirichlet": "Dirichlet: one weight for every pair of classes",
}
_MEANS = ("prevalence", "before", "after")


def calibration_facts(run: RunFolder) -> dict:
    """Return the comparison of calibrators, the reliability diagrams and the mean probabilities."""
    told = run.metrics["calibration"]
    names = list(told["methods"]["out_of_fold"]["none"])
    return {
        "sentence": _sentence(told),
        "columns": [_column(name, run.positive) for name in names],
        "methods": [
            {
                "title": CALIBRATORS.get(name, name),
                "mark": "used" if name == told["used"] else None,
                "cells": [told["methods"][split][name][metric] for split in SPLITS for metric in names],
            }
            for name in told["methods"]["out_of_fold"]
        ],
        "positive": run.positive,
        "diagrams": [{"split": s, "title": SPLIT_NAMES[s], **told["reliability"][s]} for s in SPLITS],
        "means": [
            {"title": name, "cells": [told["means"][s][k][key] for s in SPLITS for key in _MEANS]}
            for k, name in enumerate(run.classes)
        ],
    }


def _column(metric: str, positive: str | None) -> str:
    return {"ece": "ECE", "ece_positive": f"ECE of {positive}"}.get(metric) or metric_name(metric)


def _sentence(told: dict) -> str:
    parts = []
    for split in SPLITS:
        before, after = (told["methods"][split][name] for name in ("none", told["used"]))
        parts.append(
            f"{SPLIT_PLACES[split]}, the expected calibration error is {number(before['ece'])} before and "
            f"{number(after['ece'])} after, at macro AUC {number(before['macro_auc'])} before and "
            f"{number(after['macro_auc'])} after"
        )
    return f"{upper_first('; '.join(parts))}."
