"""Class imbalance while learning: SMOTE, or sample weights that make all classes count the same."""

from __future__ import annotations

from dataclasses import replace

from imblearn.over_sampling import SMOTE
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, _fit_context, clone
from sklearn.utils import assert_all_finite, get_tags
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

SMOTE_NEIGHBORS = 5


def smote(neighbors: int, seed: int) -> SMOTE:
    """SMOTE that raises every class to the most frequent one's count (Chawla et al., JAIR 16, 2002)."""
    return SMOTE(k_neighbors=neighbors, random_state=seed)


def smote_neighbors(smallest_class: int) -> int:
    """Neighbours that the smallest training class allows, five at most."""
    return max(1, min(SMOTE_NEIGHBORS, smallest_class - 1))


class ClassWeighted(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Any classifier, fitted with sample weights that make all classes count the same.

    What it can learn from (sparse or missing values, say) is what its classifier can.

    Parameters
    ----------
    estimator : classifier
        Its ``fit`` takes ``sample_weight``, and it has ``predict_proba``.

    Attributes
    ----------
    estimator_ : classifier
        Fitted.
    classes_ : ndarray, shape (classes,)
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Where X has names.
    """

    _parameter_constraints = {"estimator": [HasMethods(["fit", "predict_proba"])]}

    def __init__(self, estimator):
        self.estimator = estimator

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y):
        """Fit with weights ``n / (classes * count of the class)``."""
        # X is the classifier's to check.
        X, y = validate_data(self, X, y, skip_check_array=True)
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        self.estimator_ = clone(self.estimator).fit(X, y, sample_weight=compute_sample_weight("balanced", y))
        self.classes_ = self.estimator_.classes_
        return self

    def predict_proba(self, X):
        """Probabilities (n, classes) as of balanced classes."""
        check_is_fitted(self, "estimator_")
        return self.estimator_.predict_proba(X)

    def predict(self, X):
        """The most probable class of each row."""
        most_probable = self.predict_proba(X).argmax(axis=1)
        return self.classes_[most_probable]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.classifier_tags = replace(inner.classifier_tags, multi_label=False)
        return tags
