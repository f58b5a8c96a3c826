"""The facts of calibration, of malignant against benign, and of the decision curve."""

from __future__ import annotations

from dermfuse.reports import wording
from dermfuse.reports.runfolder import SPLITS, RunFolder
from dermfuse.reports.wording import SPLIT_NAMES, listed, number, percent

CALIBRATORS = {
    "none": "none: as the classifier gives them",
    "temperature": "temperature: one slope",
    "bias_corrected": "bias-corrected temperature: one slope, one bias a class",
    "isotonic": "isotonic: one rising step function a class",
    "dirichlet": "Dirichlet: one weight for every pair of classes",
}
_READINGS = ("auc", "average_precision", "sensitivity_at_95_specificity", "partial_auc", "ece")
_POINTS = {
    "accuracy_optimal": "at least as likely malignant as not",
    "balanced": "more likely malignant than a training image",
}
_SHARES = ("sensitivity", "specificity", "precision")
_MEANS = ("prevalence", "before", "after")
_PLACES = {"out_of_fold": "out of fold", "test": "on the locked test split"}
EXAMPLE = 0.10
LEAST_AXIS = 0.2


def calibration_facts(run: RunFolder) -> dict | None:
    """Return the comparison of calibrators, the reliability diagrams and the mean probabilities.

    Returns
    -------
    dict or None
        None for a run that an older version wrote.
    """
    told = run.metrics.get("calibration")
    if told is None:
        return None
    names = list(told["methods"]["out_of_fold"]["none"])
    return {
        "sentence": _sentence(told),
        "columns": names,
        "methods": [
            {
                "title": CALIBRATORS.get(name, name),
                "used": name == told["used"],
                "cells": [told["methods"][split][name][metric] for split in SPLITS for metric in names],
            }
            for name in told["methods"]["out_of_fold"]
        ],
        "positive": run.positive,
        "diagrams": [{"split": s, "title": SPLIT_NAMES[s], **told["reliability"][s]} for s in SPLITS],
        "means": [
            {"class": name, "cells": [told["means"][s][k][key] for s in SPLITS for key in _MEANS]}
            for k, name in enumerate(run.classes)
        ],
    }


def _sentence(told: dict) -> str:
    parts = []
    for split in SPLITS:
        before, after = (told["methods"][split][name] for name in ("none", told["used"]))
        parts.append(
            f"{_PLACES[split]}, the expected calibration error is {number(before['ece'])} before and "
            f"{number(after['ece'])} after, at macro AUC {number(before['macro_auc'])} before and "
            f"{number(after['macro_auc'])} after"
        )
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def malignant_facts(run: RunFolder) -> dict | None:
    """Return malignant against benign; None where the dataset names no malignant class, or has two classes."""
    told = run.metrics.get("malignant")
    if told is None:
        return None
    return {
        "classes": told["classes"],
        "rows": [
            {
                "metric": name,
                "lower_is_better": name in wording.LOWER_IS_BETTER,
                "cells": [told[split][name] for split in SPLITS],
            }
            for name in _READINGS
        ],
        "prevalence": [told[split]["prevalence"] for split in SPLITS],
        "points": [
            {
                "title": title,
                "threshold": told["out_of_fold"]["operating_points"][rule]["threshold"],
                "cells": [told[split]["operating_points"][rule][share] for split in SPLITS for share in _SHARES],
            }
            for rule, title in _POINTS.items()
        ],
    }


def decision_facts(run: RunFolder) -> dict | None:
    """Return the decision curves; None where the run has none."""
    told = run.metrics.get("decision_curve")
    if told is None:
        return None
    return {
        "classes": told["classes"],
        "sentences": [_worth(told[split], _PLACES[split], listed(told["classes"], "or")) for split in SPLITS],
        "splits": [{"split": s, "title": SPLIT_NAMES[s], "last": _axis(told), **told[s]} for s in SPLITS],
    }


def _axis(told: dict) -> float:
    """Return the largest threshold worth drawing: the last at which the model may still gain something."""
    gaining = [
        threshold
        for split in SPLITS
        for threshold, high in zip(told[split]["threshold"], told[split]["high"], strict=True)
        if high > 0.001
    ]
    return max(gaining, default=LEAST_AXIS) if gaining and max(gaining) > LEAST_AXIS else LEAST_AXIS


def _worth(curve: dict, place: str, classes: str) -> str:
    """Say in one sentence where the model gains, and how much at one threshold."""
    at = min(range(len(curve["threshold"])), key=lambda k: abs(curve["threshold"][k] - EXAMPLE))
    words = (
        f"at a threshold of {percent(curve['threshold'][at], 0)} the net benefit of the model is "
        f"{number(curve['net_benefit'][at])}, that of treating all {number(curve['treat_all'][at])}"
    )
    run = _longest([low > 0 for low in curve["gain_low"]])
    if run is None:
        return f"At no threshold does the model surely gain over treating all or none {place}; {words}."
    low, high = (percent(curve["threshold"][k], 0) for k in run)
    return (
        f"{place[0].upper()}{place[1:]}, deciding by the probability of {classes} gains over both treating all and "
        f"treating none at thresholds from {low} to {high}; {words}."
    )


def _longest(flags: list[bool]) -> tuple[int, int] | None:
    """Return the first and last place of the longest run of true flags."""
    best, start = None, None
    for place, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = place
        elif not flag and start is not None:
            if best is None or place - start > best[1] - best[0] + 1:
                best = (start, place - 1)
            start = None
    return best
