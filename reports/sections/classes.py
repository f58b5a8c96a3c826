"""The facts by class: each class against the rest, and the confusion matrix."""

from __future__ import annotations

from dermfuse.reports.drawing.theme import class_style
from dermfuse.reports.runfolder import SPLITS, RunFolder
from dermfuse.reports.sections.data import counted
from dermfuse.reports.wording import SPLIT_NAMES


def class_facts(run: RunFolder) -> list[dict]:
    """Return one entry a split: the table by class and the confusion matrix."""
    return [
        {
            "split": split,
            "title": SPLIT_NAMES[split],
            "rows": [
                {**entry, **class_style(run.classes.index(entry["class"]))} for entry in run.metrics["per_class"][split]
            ],
            "confusion": _confusion(run.classes, run.metrics["confusion"][split]),
        }
        for split in SPLITS
    ]


def _confusion(classes: list[str], matrix: list[list[int]]) -> list[dict]:
    return [
        {"class": name, "n": sum(row), "cells": [{**counted(n, sum(row)), "hit": i == j} for j, n in enumerate(row)]}
        for i, (name, row) in enumerate(zip(classes, matrix, strict=True))
    ]
