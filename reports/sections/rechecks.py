"""What the page checks again while it is made: leakage between splits, and metrics against predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dermfuse.pipelines.audit.check import NOT_APPLICABLE, PASSED
from dermfuse.reports.drawing.curves import area_under_roc, roc_curve
from dermfuse.reports.runfolder import SPLITS, RunFolder
from dermfuse.reports.wording import defined

_ROUNDING = 5e-4


@dataclass(frozen=True)
class Recheck:
    """One thing that was looked at again.

    Attributes
    ----------
    title : str
        The fact that should hold, as it is told where it does.
    failures : int or None
        How often it does not; None where the check does not apply.
    one, many : str
        What is told of one failure and of several, behind their number.
    topic : str
        What could not be looked for, where the check does not apply.
    """

    title: str
    failures: int | None
    one: str
    many: str
    topic: str = ""

    @property
    def state(self) -> str:
        """``passed``, ``failed`` or ``not applicable``."""
        if self.failures is None:
            return NOT_APPLICABLE
        return "failed" if self.failures else PASSED

    @property
    def sentence(self) -> str:
        """What was found, once."""
        if self.failures is None:
            return f"{self.topic}."
        if not self.failures:
            return f"{self.title}."
        return f"{self.failures:,} {self.one if self.failures == 1 else self.many}."


def recheck(run: RunFolder) -> list[Recheck]:
    """Check the splits for leakage and the metrics against the predictions."""
    splits, training = run.splits, run.splits[run.splits["split"] == "train"]
    grouped = run.config["dataset"]["group_column"] is not None
    with_files = splits["content"].ne("").any()
    no_groups, no_files = "Groups: the table names none", "Image files: the run used none"
    both = "both the training rows and the locked test split"
    return [
        Recheck(
            f"No group stands in {both}",
            _shared(splits, "group", "split") if grouped else None,
            f"group stands in {both}, so the test numbers are too good",
            f"groups stand in {both}, so the test numbers are too good",
            f"{no_groups} that could stand in {both}",
        ),
        Recheck(
            "No group stands in two folds",
            _shared(training, "group", "fold") if grouped else None,
            "group stands in several folds, so the out-of-fold numbers are too good",
            "groups stand in several folds, so the out-of-fold numbers are too good",
            f"{no_groups} that could stand in two folds",
        ),
        Recheck(
            f"No image file stands, byte for byte, in {both}",
            _shared(splits, "content", "split") if with_files else None,
            f"image file stands in {both}, so the test numbers are too good",
            f"image files stand in {both}, so the test numbers are too good",
            f"{no_files} that could stand in {both}",
        ),
        Recheck(
            "No image file stands, byte for byte, in two folds",
            _shared(training, "content", "fold") if with_files else None,
            "image file stands in several folds, so the out-of-fold numbers are too good",
            "image files stand in several folds, so the out-of-fold numbers are too good",
            f"{no_files} that could stand in two folds",
        ),
        Recheck(
            "Every image of the splits has one prediction, with the same label, split and fold",
            _unmatched(run),
            "image has no prediction, several, or one with another label, split or fold",
            "images have no prediction, several, or one with another label, split or fold",
        ),
        Recheck(
            "The confusion matrices and accuracies agree with the predictions",
            sum(_confusion_differs(run, split) for split in SPLITS),
            "confusion matrix or its accuracy disagrees with the predictions, so they are not from one fit",
            "confusion matrices or their accuracies disagree with the predictions, so they are not from one fit",
        ),
        Recheck(
            "The AUC of every class agrees with the predictions",
            sum(_auc_differs(run, split) for split in SPLITS),
            "AUC disagrees with the predictions, so the tables and the curves are not from one fit",
            "AUCs disagree with the predictions, so the tables and the curves are not from one fit",
        ),
    ]


def _shared(table: pd.DataFrame, unit: str, side: str) -> int:
    """Count the values of `unit` that occur with more than one value of `side`."""
    sides = table.dropna(subset=[unit]).groupby(unit, observed=True)[side].nunique()
    return int((sides > 1).sum())


def _unmatched(run: RunFolder) -> int:
    left = run.splits.assign(id=run.splits["id"].astype(str))[["id", "label", "split", "fold"]]
    right = run.predictions.assign(id=run.predictions["id"].astype(str))[["id", "truth", "split", "fold"]]
    both = left.merge(right, on="id", how="outer", suffixes=("", "_told"))
    wrong = (both["label"].astype(str) != both["truth"].astype(str)) | both["id"].duplicated()
    wrong |= (both["split"] != both["split_told"]) | (both["fold"] != both["fold_told"])
    return int(wrong.sum())


def confusion(run: RunFolder, split: str) -> np.ndarray:
    """Count truth (rows) against decision (columns) in the predictions of `split`."""
    rows = run.rows(split)
    codes = {name: index for index, name in enumerate(run.classes)}
    matrix = np.zeros((len(codes), len(codes)), dtype=int)
    np.add.at(matrix, (rows["truth"].map(codes).to_numpy(int), rows["decision"].map(codes).to_numpy(int)), 1)
    return matrix


def _confusion_differs(run: RunFolder, split: str) -> bool:
    matrix = confusion(run, split)
    if not np.array_equal(matrix, np.array(run.metrics["confusion"][split])):
        return True
    told = run.metrics[split]["accuracy"]["value"]
    return matrix.sum() > 0 and abs(np.trace(matrix) / matrix.sum() - told) > _ROUNDING


def _auc_differs(run: RunFolder, split: str) -> int:
    rows = run.rows(split)
    differs = 0
    for entry in run.metrics["per_class"][split]:
        curve = roc_curve(rows["truth"] == entry["class"], rows[f"p_{entry['class']}"])
        told = entry["auc"]["value"]
        if curve is not None and defined(told):
            differs += abs(area_under_roc(curve) - told) > _ROUNDING
    return differs
