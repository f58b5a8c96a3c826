"""What a run's model says of its own rows, with any metadata fields taken away: out of fold, and on the locked test."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from dermfuse.pipelines.model.fieldwise import NONE, PARTLY, WHOLE, known_fields, parts_of
from dermfuse.pipelines.model.fusion import LateFusion
from dermfuse.pipelines.statistics.bootstrap import one_thread


@dataclass(frozen=True)
class Scores:
    """Probabilities from one pipeline, those of a row by a fit that had not seen it.

    Attributes
    ----------
    raw, calibrated : ndarray, shape (n, classes)
        Before and after calibration; NaN in rows that no fit has scored.
    """

    raw: np.ndarray
    calibrated: np.ndarray


@dataclass(frozen=True)
class Answers:
    """The three parts of :class:`dermfuse.pipelines.model.fieldwise.FieldwiseModel` in one division into folds.

    Attributes
    ----------
    fold : ndarray of int, shape (n,)
        -1 in the locked test split.
    metadata : DataFrame, n rows
        The metadata fields; missing as NaN.
    whole : Scores
        Of the pipeline that is given all fields.
    without : Scores or None
        Of the one that is given none; None where the run has no metadata.
    fusions : dict of int to LateFusion
        For each fold the one that learned on the others, for -1 the one that learned on all; empty for one field.
    """

    fold: np.ndarray
    metadata: pd.DataFrame
    whole: Scores
    without: Scores | None = None
    fusions: dict[int, LateFusion] = field(default_factory=dict)

    def scored(self, missing: tuple[str, ...] = ()) -> Scores:
        """Every row's probabilities if the fields `missing` were missing, beside those that are."""
        metadata = self.metadata.assign(**dict.fromkeys(missing, np.nan))
        part = parts_of(known_fields(metadata, metadata.columns))
        if (part == WHOLE).all():
            return self.whole
        none = part == NONE
        raw = np.where((part == WHOLE)[:, None], self.whole.raw, self.without.raw)
        calibrated = np.where(none[:, None], self.without.calibrated, self.whole.calibrated)
        partly = (part == PARTLY) & np.isfinite(raw).all(axis=1)
        for number in np.unique(self.fold[partly]):
            rows = partly & (self.fold == number)
            calibrated[rows] = self.fusions[number].predict_proba(raw[rows], metadata[rows])
        return Scores(raw, calibrated)


def fusions_of(
    fold: np.ndarray, raw: np.ndarray, metadata: pd.DataFrame, truth: np.ndarray, fields: LateFusion
) -> dict[int, LateFusion]:
    """A late fusion for each fold, learned on the other folds, and under -1 one learned on all of them.

    Parameters
    ----------
    fold : ndarray of int, shape (n,)
        -1 in the locked test split, from which nothing learns.
    raw : ndarray, shape (n, classes)
        Out-of-fold probabilities of the pipeline without metadata, not calibrated, so that no calibrator has seen a
        label of the fold.
    metadata : DataFrame, n rows
    truth : ndarray of int, shape (n,)
    fields : LateFusion
        Unfitted.
    """
    from sklearn.base import clone

    found = {}
    with one_thread():
        for number in {-1, *fold.tolist()}:
            learned = (fold >= 0) & (fold != number)
            found[number] = clone(fields).fit(raw[learned], metadata[learned], truth[learned])
    return found
