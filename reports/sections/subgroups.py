"""The facts of the subgroups: each cell's figures, its gap to all other images, and which gaps are more than chance."""

from __future__ import annotations

import math

from dermfuse.reports.runfolder import SPLITS, RunFolder
from dermfuse.reports.wording import SPLIT_NAMES, SPLIT_PLACES, defined, interval, number, upper_first

AREAS = {"malignant_auc": "AUC of malignant against benign", "auc": "AUC", "macro_auc": "macro AUC"}


def subgroup_facts(run: RunFolder) -> dict:
    """Return what the section shows.

    Returns
    -------
    dict
        ``area`` (in words), ``smallest_cell``, ``fewest_of_class``, ``how``, ``left_out`` and ``splits``, each with
        ``title``, ``sentence``, ``columns`` and the ``scale`` that the cells' areas are drawn on.
    """
    told = run.subgroups
    area = AREAS[told["area"]]
    if told["area"] == "auc" and run.positive is not None:
        area = f"{area} of {run.positive}"
    return {
        "area": area,
        "malignant": told["malignant"] if told["area"] == "malignant_auc" else [],
        "groups": run.data["groups"] or "images",
        "smallest_cell": told["smallest_cell"],
        "fewest_of_class": told["fewest_of_class"],
        "how": told["how"],
        "left_out": told["left_out"],
        "splits": [_split(split, told[split], area) for split in SPLITS],
    }


def _split(split: str, columns: list[dict], area: str) -> dict:
    shown = [(column["column"], cell) for column in columns for cell in column["cells"] if not cell["withheld"]]
    areas = [cell["metrics"]["area"] for _, cell in shown]
    ends = [value for entry in areas for value in (entry["value"], entry["low"]) if defined(value)]
    return {
        "split": split,
        "title": SPLIT_NAMES[split],
        "columns": columns,
        "rounded": any(column["rounded"] for column in columns),
        "sentence": _sentence(upper_first(SPLIT_PLACES[split]), shown, area),
        # An axis from zero would hide the intervals; its ends are printed.
        "scale": (max(math.floor(10 * min(ends, default=0.0)) / 10, 0.0), 1.0),
    }


def _sentence(where: str, shown: list[tuple[str, dict]], area: str) -> str:
    """Name the largest gap that is told apart from chance, or say that none is."""
    compared = [(column, cell) for column, cell in shown if defined(cell["gaps"]["area"]["value"])]
    found = [(column, cell) for column, cell in compared if cell["gaps"]["area"]["told_apart"]]
    if not compared:
        return f"{where}, no cell has images enough to compare its {area} with that of the others. {_accuracy(shown)}"
    if not found:
        return (
            f"{where}, none of the {len(compared)} gaps in {area} is told apart from chance; "
            f"that is no proof that there is none. {_accuracy(shown)}"
        )
    column, cell = max(found, key=lambda pair: abs(pair[1]["gaps"]["area"]["value"]))
    gap = cell["gaps"]["area"]
    side = "below" if gap["value"] < 0 else "above"
    return (
        f"{where}, {len(found)} of {len(compared)} gaps in {area} are told apart from chance; the largest is that of "
        f"{column} {cell['value']}: {number(cell['metrics']['area']['value'])}, {number(abs(gap['value']))} {side} all "
        f"other images (gap {interval(gap)}). {_accuracy(shown)}"
    )


def _accuracy(shown: list[tuple[str, dict]]) -> str:
    gaps = [cell["gaps"]["accuracy"] for _, cell in shown if defined(cell["gaps"]["accuracy"]["value"])]
    told = sum(gap["told_apart"] for gap in gaps)
    return f"In accuracy, which also follows how common the classes are in a cell, {told} of {len(gaps)} are."
