"""Probabilities that mean what they say: calibrators learned on out-of-fold probabilities, without a refit."""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, OneToOneFeatureMixin, TransformerMixin
from sklearn.isotonic import IsotonicRegression
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data
from threadpoolctl import threadpool_limits

from dermfuse.pipelines.model.choices import CALIBRATION, CALIBRATORS

# Forests answer exactly 0 where no tree votes for a class; a logarithm needs a little more.
SMOOTHING = 1e-4
PENALTY = 1e-3
OFF_DIAGONAL_PENALTY = 1e-2
INTERCEPT_PENALTY = 1e-3


class Calibrator(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """What calibrators share: X is checked here, a subclass learns (`_learn`) and changes probabilities (`_changed`).

    To scikit-learn a calibrator is a transformer, whose X are scores: a column a class, none negative. Rows need not
    sum to one, since scores of a row are divided by their sum.

    Attributes
    ----------
    n_features_in_ : int
        Classes.
    feature_names_in_ : ndarray of str, shape (classes,)
        Where X has names.
    """

    def fit(self, X, y):
        """Learn from rows that the classifier had not learned from.

        Parameters
        ----------
        X : array of float, shape (n, classes)
            Their probabilities, of two classes at least.
        y : array of int, shape (n,)
            Column of the true class.

        Raises
        ------
        ValueError
            X is not finite or negative, or y holds what is no column of X.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_features=2)
        check_non_negative(X, f"{type(self).__name__}.fit")
        strange = y[~np.isin(y, np.arange(X.shape[1]))]
        if len(strange):
            raise ValueError(f"y holds {strange[0]}; expected the number of one of X's {X.shape[1]} columns, from 0")
        self._learn(X, y.astype(np.intp))
        return self

    def transform(self, X) -> np.ndarray:
        """Calibrated probabilities, shape (n, classes), float64; rows sum to one. No rows become no rows.

        Raises
        ------
        ValueError
            X is not finite or negative, or has another number of columns.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False, ensure_min_samples=0)
        if len(X):
            check_non_negative(X, f"{type(self).__name__}.transform")
        return self._changed(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.target_tags.required = True
        return tags


class Uncalibrated(Calibrator):
    """The probabilities as the classifier gives them."""

    def fit(self, X, y=None):
        """Learn nothing; only the number of classes is noted."""
        check_non_negative(validate_data(self, X, dtype=np.float64, ensure_min_features=2), "Uncalibrated.fit")
        return self

    def _changed(self, p: np.ndarray) -> np.ndarray:
        return p

    def parameters(self) -> dict:
        """What was learned, as plain numbers: nothing."""
        return {}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required, tags.requires_fit = False, False
        return tags


class Temperature(Calibrator):
    """Softmax of ``slope * log(p)``: one slope for over- or underconfidence; the most probable class stays.

    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017.

    Attributes
    ----------
    slope_ : float
        Above 1 sharpens, below 1 softens; the inverse of the temperature.
    """

    def _learn(self, p: np.ndarray, truth: np.ndarray) -> None:
        logs = log_probabilities(p)
        n = len(logs)
        hit = one_hot(truth, logs.shape[1])

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            slope = np.exp(parameters[0])
            log_p = log_softmax(slope * logs, axis=1)
            return -(hit * log_p).sum() / n, np.array([slope * ((np.exp(log_p) - hit) * logs).sum() / n])

        self.slope_ = float(np.exp(least(loss, np.zeros(1))[0]))

    def _changed(self, p: np.ndarray) -> np.ndarray:
        return np.exp(log_softmax(self.slope_ * log_probabilities(p), axis=1))

    def parameters(self) -> dict:
        """What was learned, as plain numbers: ``slope``."""
        return {"slope": self.slope_}


class BiasCorrectedTemperature(Calibrator):
    """Softmax of ``slope * log(p) + bias``: one slope for over- or underconfidence, one bias a class.

    The biases also undo the shift of class frequencies that SMOTE or class weights bring. Alexandari, Kundaje and
    Shrikumar, "Maximum likelihood with bias-corrected calibration is hard-to-beat at label shift adaptation",
    ICML 2020.

    Attributes
    ----------
    slope_ : float
        Above 1 sharpens, below 1 softens.
    bias_ : ndarray, shape (classes,)
    """

    def _learn(self, p: np.ndarray, truth: np.ndarray) -> None:
        logs = log_probabilities(p)
        n, classes = logs.shape
        hit = one_hot(truth, classes)

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            slope, bias = np.exp(parameters[0]), parameters[1:]
            log_p = log_softmax(slope * logs + bias, axis=1)
            residual = (np.exp(log_p) - hit) / n
            gradient = np.concatenate([[slope * (residual * logs).sum()], residual.sum(axis=0)])
            return -(hit * log_p).sum() / n + PENALTY * (bias @ bias) / n, gradient + _pad(2 * PENALTY * bias / n)

        found = least(loss, np.zeros(classes + 1))
        self.slope_, self.bias_ = float(np.exp(found[0])), found[1:] - found[1:].mean()

    def _changed(self, p: np.ndarray) -> np.ndarray:
        return np.exp(log_softmax(self.slope_ * log_probabilities(p) + self.bias_, axis=1))

    def parameters(self) -> dict:
        """What was learned, as plain numbers: ``slope`` and ``bias``."""
        return {"slope": self.slope_, "bias": self.bias_.tolist()}


class Isotonic(Calibrator):
    """One rising step function a class, against the rest, then each row divided by its sum.

    Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002.
    It follows any shape, asks for many rows of every class, and ties rows that it cannot tell apart.

    Attributes
    ----------
    knots_ : list of (ndarray, ndarray)
        For each class the classifier's probability and what became of it; between knots straight lines.
    """

    def _learn(self, p: np.ndarray, truth: np.ndarray) -> None:
        self.knots_ = []
        for k in range(p.shape[1]):
            found = IsotonicRegression(y_min=0, y_max=1).fit(p[:, k], truth == k)
            self.knots_.append((found.X_thresholds_, found.y_thresholds_))

    def _changed(self, p: np.ndarray) -> np.ndarray:
        # What a step function calls impossible keeps 1e-4 before division.
        raised = [np.interp(p[:, k], *self.knots_[k]) for k in range(p.shape[1])]
        return np.exp(log_probabilities(np.column_stack(raised)))

    def parameters(self) -> dict:
        """What was learned, as plain numbers: ``knots``, how many each class has."""
        return {"knots": [len(x) for x, _ in self.knots_]}


class Dirichlet(Calibrator):
    """Softmax of ``W log(p) + b``: a multinomial regression on log probabilities, which may mix the classes.

    Kull et al., "Beyond temperature scaling: obtaining well-calibrated multiclass probabilities with Dirichlet
    calibration", NeurIPS 2019, with its off-diagonal and intercept regularisation (ODIR), of strengths that are fixed
    here: the mean squared weight off the diagonal counts 1e-2, the mean squared intercept 1e-3.

    Attributes
    ----------
    weights_ : ndarray, shape (classes, classes)
    bias_ : ndarray, shape (classes,)
    """

    def _learn(self, p: np.ndarray, truth: np.ndarray) -> None:
        logs = log_probabilities(p)
        n, k = logs.shape
        hit = one_hot(truth, k)
        off = (1 - np.eye(k)) * OFF_DIAGONAL_PENALTY / max(k * (k - 1), 1)

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            weights, bias = parameters[: k * k].reshape(k, k), parameters[k * k :]
            log_p = log_softmax(logs @ weights.T + bias, axis=1)
            residual = (np.exp(log_p) - hit) / n
            penalty = (off * weights**2).sum() + INTERCEPT_PENALTY / k * (bias @ bias)
            by_weights = residual.T @ logs + 2 * off * weights
            by_bias = residual.sum(axis=0) + 2 * INTERCEPT_PENALTY / k * bias
            return -(hit * log_p).sum() / n + penalty, np.concatenate([by_weights.ravel(), by_bias])

        start = np.concatenate([np.eye(k).ravel(), np.zeros(k)])
        found = least(loss, start)
        self.weights_, self.bias_ = found[: k * k].reshape(k, k), found[k * k :]

    def _changed(self, p: np.ndarray) -> np.ndarray:
        return np.exp(log_softmax(log_probabilities(p) @ self.weights_.T + self.bias_, axis=1))

    def parameters(self) -> dict:
        """What was learned, as plain numbers: ``weights`` and ``bias``."""
        return {"weights": self.weights_.tolist(), "bias": self.bias_.tolist()}


def calibrator_named(name: str):
    """An unfitted calibrator, by its name in `dermfuse.pipelines.model.choices.CALIBRATORS`."""
    return resolve_name(CALIBRATORS[name])()


def name_of(calibrator) -> str:
    """The name that :func:`calibrator_named` knows a calibrator by."""
    return next(name for name, kind in CALIBRATORS.items() if type(calibrator) is resolve_name(kind))


class CalibratedPipeline(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A fitted pipeline and the calibrator of its probabilities: the model that a run keeps.

    Parameters
    ----------
    pipeline : fitted classifier
        ``predict_proba`` over the integers 0 .. classes - 1.
    calibrator : one of `dermfuse.pipelines.model.choices.CALIBRATORS`
        Fitted.
    """

    def __init__(self, pipeline, calibrator):
        self.pipeline = pipeline
        self.calibrator = calibrator

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def classes_(self) -> np.ndarray:
        """The integers that stand for the classes."""
        return self.pipeline.classes_

    def predict_proba(self, X) -> np.ndarray:
        """Calibrated probabilities, shape (n, classes), float64."""
        return self.calibrator.transform(self.pipeline.predict_proba(X))

    def predict(self, X) -> np.ndarray:
        """The most probable class of each row."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def cross_fitted(probabilities: np.ndarray, truth: np.ndarray, fold: np.ndarray, name: str = CALIBRATION) -> np.ndarray:
    """Out-of-fold probabilities, each fold calibrated by a calibrator that learned on the other folds.

    Folds hold whole groups, so no calibrator sees a row of a group that it changes.

    Parameters
    ----------
    probabilities : ndarray, shape (n, classes)
    truth, fold : ndarray of int, shape (n,)
    name : str
        Of the calibrator.
    """
    out = np.empty_like(probabilities, dtype=np.float64)
    for number in np.unique(fold):
        held = fold == number
        out[held] = calibrator_named(name).fit(probabilities[~held], truth[~held]).transform(probabilities[held])
    return out


def balanced_decisions(probabilities: np.ndarray, prevalence: np.ndarray) -> np.ndarray:
    """Columns that would be most probable if all classes were equally frequent, shape (n,).

    The decision rule of highest expected balanced accuracy: Saerens, Latinne and Decaestecker, "Adjusting the outputs
    of a classifier to new a priori probabilities", Neural Computation 14 (2002).
    """
    return (probabilities / prevalence).argmax(axis=1)


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities (n, classes), kept finite where one is 0."""
    smoothed = np.asarray(probabilities, dtype=np.float64) + SMOOTHING
    return np.log(smoothed / smoothed.sum(axis=1, keepdims=True))


def least(loss: Callable, start: np.ndarray) -> np.ndarray:
    """Where a smooth function, which gives its gradient too, is least."""
    # Matrices are small: threads that wait for one another on a busy machine cost ten times the work.
    with threadpool_limits(1, user_api="blas"):
        return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x


def one_hot(truth: np.ndarray, classes: int) -> np.ndarray:
    """1 in the column of each row's true class, else 0, shape (n, classes)."""
    hit = np.zeros((len(truth), classes))
    hit[np.arange(len(truth)), truth] = 1.0
    return hit


def _pad(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], values])
