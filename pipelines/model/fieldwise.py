"""A run's model: every row is answered by the part that was made for the metadata fields that it has."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin

WHOLE, PARTLY, NONE = "all fields", "known fields", "no fields"


class FieldwiseModel(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Three parts, so that a prediction with missing metadata is as good as a model that never had it.

    Parameters
    ----------
    whole : CalibratedPipeline
        Images and all metadata; answers rows with every field.
    without : CalibratedPipeline or None
        The same classifier without metadata, or the class frequencies where there are no images; answers rows with no
        field. None where the run has no metadata.
    fusion : LateFusion or None
        Corrects the uncalibrated probabilities of `without` by the known fields; answers rows with some fields. None
        where there is but one field, or none.
    fields : list of str
        The metadata fields.
    """

    def __init__(self, whole, without=None, fusion=None, fields=()):
        self.whole = whole
        self.without = without
        self.fusion = fusion
        self.fields = fields

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def classes_(self) -> np.ndarray:
        """The integers that stand for the classes."""
        return self.whole.classes_

    @property
    def calibrator(self):
        """Of the part that answers rows with every field."""
        return self.whole.calibrator

    def answered_by(self, X: pd.DataFrame) -> np.ndarray:
        """Which part answers each row, (n,) str: ``all fields``, ``known fields`` or ``no fields``."""
        return parts_of(known_fields(X, self.fields))

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Calibrated probabilities, shape (n, classes), float64."""
        part = self.answered_by(X)
        out = np.empty((len(X), len(self.classes_)))
        whole, partly, none = (part == name for name in (WHOLE, PARTLY, NONE))
        if whole.any():
            out[whole] = self.whole.predict_proba(X[whole])
        if not whole.all():
            raw = self.without.pipeline.predict_proba(X[~whole])
            if none.any():
                out[none] = self.without.calibrator.transform(raw[none[~whole]])
            if partly.any():
                out[partly] = self.fusion.predict_proba(raw[partly[~whole]], X.loc[partly, list(self.fields)])
        return out

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """The most probable class of each row."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def known_fields(X: pd.DataFrame, fields) -> np.ndarray:
    """Which metadata fields each row has, bool (n, fields)."""
    return X[list(fields)].notna().to_numpy()


def parts_of(known: np.ndarray) -> np.ndarray:
    """The part of the model that answers a row with these fields, (n,) str."""
    return np.select([known.all(axis=1), known.any(axis=1)], [WHOLE, PARTLY], NONE)
