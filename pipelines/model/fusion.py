"""Late fusion: the probabilities of a model of images, corrected by whichever metadata fields are known."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from dermfuse.pipelines.model.calibration import least, log_probabilities, one_hot

COPIES = 4  # of every row, each with other fields blanked
PENALTY = 1.0
INTERCEPT_PENALTY = 1e-3
REACH = 3.0  # standard deviations beyond which a number says no more


class LateFusion(ClassifierMixin, BaseEstimator):
    """Softmax of ``slope * log(p) + bias + sum over known fields of W_field e(field)``.

    ``p`` are the probabilities of a model that sees no metadata, ``e`` encodes one field: a number as its standard
    score and its square, a category as one column a value; both are centred, so that a field which is missing, or has
    a value that never occurred, adds nothing. It learns from copies of every row with fields blanked at random, half
    of them one field, half any number (the "modality dropout" of Neverova, Wolf, Taylor and Nebout, "ModDrop", TPAMI
    38, 2016). So every pattern of missing fields is one it has learned from, and that a field is missing says
    nothing: a clinic leaves fields empty for other reasons than a published table does.

    Parameters
    ----------
    numeric, categorical : list of str
        The metadata fields.
    seed : int
        Draws the fields that are blanked.

    Attributes
    ----------
    classes_ : ndarray of int, shape (classes,)
    slope_ : float
    bias_ : ndarray, shape (classes,)
    weights_ : dict of str to ndarray, shape (columns of the field, classes)
    centres_ : dict of str to ndarray
        Of a number its mean and standard deviation, of a category the share of each value.
    values_ : dict of str to list of str
        The values of each category, in the order of its columns.
    """

    _parameter_constraints = {
        "numeric": [list],
        "categorical": [list],
        "seed": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(self, numeric: list[str], categorical: list[str], seed: int = 0):
        self.numeric = numeric
        self.categorical = categorical
        self.seed = seed

    @property
    def fields(self) -> list[str]:
        """All metadata fields, numbers first."""
        return [*self.numeric, *self.categorical]

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, probabilities: np.ndarray, metadata: pd.DataFrame, truth: np.ndarray) -> LateFusion:
        """Learn by penalised maximum likelihood.

        Parameters
        ----------
        probabilities : ndarray, shape (n, classes)
            Of rows that the model of images had not learned from; they need not be calibrated.
        metadata : DataFrame, n rows
            The fields; what is missing is NaN or None.
        truth : ndarray of int, shape (n,)
            Column of the true class.
        """
        self.classes_ = np.arange(probabilities.shape[1])
        self._describe(metadata)
        encoded = self._encode(metadata)
        kept = np.concatenate([self._kept(len(truth), copy) for copy in range(COPIES)])
        widths = [encoded[name].shape[1] for name in self.fields]
        X = np.tile(np.concatenate([encoded[name] for name in self.fields], axis=1), (COPIES, 1))
        X *= np.repeat(kept, widths, axis=1)
        self.slope_, self.bias_, weights = _fitted(
            np.tile(log_probabilities(probabilities), (COPIES, 1)), X, np.tile(truth, COPIES)
        )
        self.weights_ = dict(zip(self.fields, np.split(weights, np.cumsum(widths)[:-1]), strict=True))
        return self

    def predict_proba(self, probabilities: np.ndarray, metadata: pd.DataFrame) -> np.ndarray:
        """Calibrated probabilities, shape (n, classes); fields that are missing change nothing."""
        check_is_fitted(self)
        encoded = self._encode(metadata)
        scores = self.slope_ * log_probabilities(probabilities) + self.bias_
        return np.exp(log_softmax(sum((encoded[name] @ self.weights_[name] for name in self.fields), scores), axis=1))

    def _describe(self, metadata: pd.DataFrame) -> None:
        self.centres_, self.values_ = {}, {}
        for name in self.numeric:
            known = metadata[name].dropna().to_numpy(float)
            spread = known.std() if len(known) else 0.0
            self.centres_[name] = np.array([known.mean() if len(known) else 0.0, spread if spread > 0 else 1.0])
        for name in self.categorical:
            shares = metadata[name].value_counts(normalize=True).sort_index()
            self.values_[name], self.centres_[name] = list(shares.index), shares.to_numpy(float)

    def _encode(self, metadata: pd.DataFrame) -> dict[str, np.ndarray]:
        """Each field's columns, (n, columns) float64; rows of zeros where it says nothing."""
        out = {}
        for name in self.numeric:
            mean, spread = self.centres_[name]
            score = np.clip((metadata[name].to_numpy(float) - mean) / spread, -REACH, REACH)
            out[name] = np.nan_to_num(np.column_stack([score, score**2 - 1]))
        for name in self.categorical:
            cells = metadata[name].to_numpy(object)
            hit = np.column_stack([cells == value for value in self.values_[name]] or [np.zeros((len(cells), 0))])
            out[name] = (hit - self.centres_[name]) * hit.any(axis=1, keepdims=True)
        return out

    def _kept(self, n: int, copy: int) -> np.ndarray:
        """Which fields a copy of the rows keeps, (n, fields) float64."""
        rng = np.random.default_rng([self.seed, copy])
        many = len(self.fields)
        dropped = np.where(rng.random(n) < 0.5, 1, rng.integers(0, many + 1, n))
        order = rng.random((n, many)).argsort(axis=1).argsort(axis=1)
        return (order >= dropped[:, None]).astype(np.float64)


def _fitted(logs_p: np.ndarray, X: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Slope, bias (classes,) and weights (columns, classes) of the largest penalised likelihood."""
    n, k = logs_p.shape
    hit, rows = one_hot(truth, k), n / COPIES

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, bias, weights = np.exp(parameters[0]), parameters[1 : k + 1], parameters[k + 1 :].reshape(-1, k)
        log_p = log_softmax(slope * logs_p + bias + X @ weights, axis=1)
        residual = (np.exp(log_p) - hit) / n
        penalty = (PENALTY * (weights**2).sum() + INTERCEPT_PENALTY * (bias @ bias)) / rows
        by_slope = slope * (residual * logs_p).sum()
        by_bias = residual.sum(axis=0) + 2 * INTERCEPT_PENALTY / rows * bias
        by_weights = X.T @ residual + 2 * PENALTY / rows * weights
        return -(hit * log_p).sum() / n + penalty, np.concatenate([[by_slope], by_bias, by_weights.ravel()])

    found = least(loss, np.zeros(1 + k + X.shape[1] * k))
    return float(np.exp(found[0])), found[1 : k + 1], found[k + 1 :].reshape(-1, k)
