"""The facts of the curves: ROC and precision over recall of the most frequent classes, on both splits."""

from __future__ import annotations

from dermfuse.reports.drawing.curves import precision_recall_curve, roc_curve
from dermfuse.reports.drawing.theme import class_style
from dermfuse.reports.runfolder import SPLITS, RunFolder
from dermfuse.reports.wording import SPLIT_NAMES

MOST_CLASSES_DRAWN = 12


def curve_facts(run: RunFolder) -> dict:
    """Return ``splits``, each with the curves of its ``classes``; ``left_out`` names the rarer classes."""
    frequent = sorted(run.metrics["per_class"]["out_of_fold"], key=lambda entry: -entry["n"])
    drawn = {entry["class"] for entry in frequent[:MOST_CLASSES_DRAWN]}
    return {
        "splits": [
            {
                "split": split,
                "title": SPLIT_NAMES[split],
                "images": len(run.rows(split)),
                "classes": [
                    _class_curves(run, split, entry)
                    for entry in run.metrics["per_class"][split]
                    if entry["class"] in drawn
                ],
            }
            for split in SPLITS
        ],
        "left_out": [name for name in run.classes if name not in drawn],
        "positive": run.positive,
    }


def _class_curves(run: RunFolder, split: str, entry: dict) -> dict:
    rows = run.rows(split)
    truth = (rows["truth"] == entry["class"]).to_numpy()
    score = rows[f"p_{entry['class']}"].to_numpy()
    return {
        **entry,
        **class_style(run.classes.index(entry["class"])),
        "roc": roc_curve(truth, score),
        "precision_recall": precision_recall_curve(truth, score),
    }
