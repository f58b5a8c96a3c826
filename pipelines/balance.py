"""Class imbalance while learning: SMOTE, or sample weights that make all classes count the same."""

from __future__ import annotations

from imblearn.over_sampling import SMOTE
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted

BALANCES = ("smote", "weights", "none")
SMOTE_NEIGHBORS = 5


def smote(neighbors: int, seed: int) -> SMOTE:
    """SMOTE that raises every class to the most frequent one's count (Chawla et al., JAIR 16, 2002)."""
    return SMOTE(k_neighbors=neighbors, random_state=seed)


def smote_neighbors(smallest_class: int) -> int:
    """Neighbours that the smallest training class allows, five at most."""
    return max(1, min(SMOTE_NEIGHBORS, smallest_class - 1))


class ClassWeighted(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Any classifier, fitted with sample weights that make all classes count the same.

    Parameters
    ----------
    estimator : classifier
        Its ``fit`` takes ``sample_weight``.
    """

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y):
        """Fit with weights ``n / (classes * count of the class)``."""
        self.estimator_ = clone(self.estimator).fit(X, y, sample_weight=compute_sample_weight("balanced", y))
        self.classes_ = self.estimator_.classes_
        return self

    def predict_proba(self, X):
        """Probabilities (n, classes) as of balanced classes."""
        check_is_fitted(self, "estimator_")
        return self.estimator_.predict_proba(X)

    def predict(self, X):
        """The most probable class of each row."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]
