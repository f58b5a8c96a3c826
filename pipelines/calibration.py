"""Probabilities that mean what they say: a calibrator learned on out-of-fold probabilities."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin

# Forests answer exactly 0 where no tree votes for a class; a logarithm needs a little more.
SMOOTHING = 1e-4
PENALTY = 1e-3


class BiasCorrectedTemperature(BaseEstimator):
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

    def fit(self, probabilities: np.ndarray, truth: np.ndarray) -> BiasCorrectedTemperature:
        """Learn slope and biases by maximum likelihood.

        Parameters
        ----------
        probabilities : ndarray, shape (n, classes)
            Of rows that the classifier had not learned from.
        truth : ndarray of int, shape (n,)
            Column of the true class.
        """
        logs = _logs(probabilities)
        n, classes = logs.shape
        hit = np.zeros((n, classes))
        hit[np.arange(n), truth] = 1.0

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            slope, bias = np.exp(parameters[0]), parameters[1:]
            log_p = log_softmax(slope * logs + bias, axis=1)
            residual = (np.exp(log_p) - hit) / n
            gradient = np.concatenate([[slope * (residual * logs).sum()], residual.sum(axis=0)])
            return -(hit * log_p).sum() / n + PENALTY * (bias @ bias) / n, gradient + _pad(2 * PENALTY * bias / n)

        found = minimize(loss, np.zeros(classes + 1), jac=True, method="L-BFGS-B")
        self.slope_, self.bias_ = float(np.exp(found.x[0])), found.x[1:] - found.x[1:].mean()
        return self

    def transform(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, shape (n, classes), rows sum to one."""
        return np.exp(log_softmax(self.slope_ * _logs(probabilities) + self.bias_, axis=1))


class CalibratedPipeline(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A fitted pipeline and the calibrator of its probabilities: the model that a run keeps.

    Parameters
    ----------
    pipeline : fitted classifier
        ``predict_proba`` over the integers 0 .. classes - 1.
    calibrator : BiasCorrectedTemperature
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


def cross_fitted(probabilities: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Out-of-fold probabilities, each fold calibrated by a calibrator that learned on the other folds.

    Parameters
    ----------
    probabilities : ndarray, shape (n, classes)
    truth, fold : ndarray of int, shape (n,)
    """
    out = np.empty_like(probabilities, dtype=np.float64)
    for number in np.unique(fold):
        held = fold == number
        out[held] = BiasCorrectedTemperature().fit(probabilities[~held], truth[~held]).transform(probabilities[held])
    return out


def balanced_decisions(probabilities: np.ndarray, prevalence: np.ndarray) -> np.ndarray:
    """Columns that would be most probable if all classes were equally frequent, shape (n,).

    The decision rule of highest expected balanced accuracy: Saerens, Latinne and Decaestecker, "Adjusting the outputs
    of a classifier to new a priori probabilities", Neural Computation 14 (2002).
    """
    return (probabilities / prevalence).argmax(axis=1)


def _logs(probabilities: np.ndarray) -> np.ndarray:
    smoothed = np.asarray(probabilities, dtype=np.float64) + SMOOTHING
    return np.log(smoothed / smoothed.sum(axis=1, keepdims=True))


def _pad(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], values])
