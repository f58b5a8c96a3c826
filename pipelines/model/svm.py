"""A support vector machine with probabilities, from one fit: pairwise margins, coupled over the classes."""

from __future__ import annotations

from copy import copy

import numpy as np
from scipy.special import expit
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted

TINY = 1e-9


class PairwiseSVC(SVC):
    """scikit-learn's SVC, whose ``predict_proba`` couples its one-against-one margins.

    Each margin m becomes the probability 1 / (1 + exp(-m)) of the pair's first class, and pairs are coupled in
    closed form: Price, Knerr, Personnaz and Dreyfus, "Pairwise neural network classifiers with probabilistic
    outputs", NIPS 1994. Slope and offsets are left to the calibrator that learns from out-of-fold probabilities; the
    internal cross-validation by which libsvm finds them costs five more fits and knows no groups.
    """

    def predict_proba(self, X) -> np.ndarray:
        """Probabilities, shape (n, classes), float64; rows sum to one, whatever `decision_function_shape` is."""
        check_is_fitted(self)
        margins = copy(self).set_params(decision_function_shape="ovo").decision_function(X)
        classes = len(self.classes_)
        if classes == 2:
            second = expit(margins)
            return np.column_stack([1 - second, second])
        inverse = np.full((len(margins), classes), 2.0 - classes)
        pairs = ((i, j) for i in range(classes) for j in range(i + 1, classes))
        for column, (i, j) in enumerate(pairs):
            first = np.clip(expit(margins[:, column]), TINY, 1 - TINY)
            inverse[:, i] += 1 / first
            inverse[:, j] += 1 / (1 - first)
        coupled = 1 / inverse
        return coupled / coupled.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X) -> np.ndarray:
        """Logarithms of the probabilities, shape (n, classes), float64."""
        return np.log(self.predict_proba(X))
