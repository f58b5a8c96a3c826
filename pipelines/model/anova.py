"""The choice of encoded metadata columns by the F-test of an analysis of variance."""

from __future__ import annotations

import numpy as np
from scipy.special import fdtrc
from sklearn.feature_selection import GenericUnivariateSelect
from sklearn.utils.validation import check_X_y


def anova_f(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F and p of each column against the classes, one way; Fisher, "Statistical Methods for Research Workers" (1925).

    As scikit-learn's ``f_classif``, which warns of every column that a rare category leaves constant.

    Parameters
    ----------
    X : ndarray, shape (n, d)
    y : ndarray, shape (n,)

    Returns
    -------
    F, p : ndarray of float64, shape (d,)
        NaN for a column that never varies; F is infinite and p zero for one that varies between classes alone.

    Raises
    ------
    TypeError, ValueError
        X is sparse, or not finite, or there is no y.
    """
    X, y = check_X_y(X, y, dtype=np.float64)
    groups = [X[y == label] for label in np.unique(y)]
    freedom = len(groups) - 1, len(X) - len(groups)
    means = [group.mean(axis=0) for group in groups]
    between = sum(len(g) * (mean - X.mean(axis=0)) ** 2 for g, mean in zip(groups, means, strict=True))
    within = sum(((g - mean) ** 2).sum(axis=0) for g, mean in zip(groups, means, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        f = (between / freedom[0]) / (within / freedom[1])
        f[X.min(axis=0) == X.max(axis=0)] = np.nan
        return f, fdtrc(*freedom, f)


class AnovaSelection(GenericUnivariateSelect):
    """The F-test's choice of columns, and the one of highest F where none passes: no model can learn from nothing."""

    def __init__(self, score_func=anova_f, *, mode="fpr", param=0.05):
        super().__init__(score_func, mode=mode, param=param)

    def _check_params(self, X, y):
        """Of a number of columns, all are kept where there are fewer, which is not worth a warning."""

    def _get_support_mask(self):
        mask = super()._get_support_mask()
        if not mask.any():
            # F is NaN for a column that never varies.
            mask[np.argmax(np.nan_to_num(self.scores_, nan=-1.0))] = True
        return mask

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags
