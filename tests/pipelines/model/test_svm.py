"""Pairwise margins become probabilities that sum to one, rank as the margins do, and invert their own coupling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.svm import SVC

from dermfuse.pipelines.model.svm import PairwiseSVC


def blobs(classes: int, n: int = 150, apart: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(n) % classes
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)) + apart * rng.normal(size=(classes, 3))[y], y


def made(**parameters) -> PairwiseSVC:
    return PairwiseSVC(C=3.0, decision_function_shape="ovo", **parameters)


class FixedMargins(PairwiseSVC):
    """Answers with the margins that it is given as X."""

    def decision_function(self, X):
        return X


def coupled(margins: np.ndarray, classes: int) -> np.ndarray:
    model = FixedMargins()
    model.classes_ = np.arange(classes)
    return model.predict_proba(margins)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_probabilities_have_a_column_a_class_and_rows_that_sum_to_one(classes):
    X, y = blobs(classes)
    p = made().fit(X, y).predict_proba(X)
    assert p.shape == (len(X), classes) and p.dtype == np.float64
    assert (p >= 0).all() and p.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_most_probable_class_is_nearly_always_the_one_with_most_votes(classes):
    X, y = blobs(classes)
    model = made().fit(X, y)
    agree = model.classes_[model.predict_proba(X).argmax(axis=1)] == model.predict(X)
    assert agree.mean() > 0.95


def test_two_classes_are_ranked_as_by_their_margin():
    X, y = blobs(2)
    model = made().fit(X, y)
    margin = model.decision_function(X)
    assert np.array_equal(model.predict_proba(X)[:, 1].argsort(), expit(margin).argsort())
    assert np.array_equal(model.predict(X), (margin > 0).astype(int))


@pytest.mark.parametrize("classes", [3, 4, 7])
def test_margins_that_agree_with_each_other_give_back_the_probabilities_they_came_from(classes):
    p = softmax(2 * np.random.default_rng(0).normal(size=(50, classes)), axis=1)
    pairs = [(i, j) for i in range(classes) for j in range(i + 1, classes)]
    margins = np.column_stack([np.log(p[:, i] / p[:, j]) for i, j in pairs])
    assert coupled(margins, classes) == pytest.approx(p, abs=1e-6)


def test_a_margin_for_the_first_class_of_a_pair_raises_the_first_class():
    base = coupled(np.zeros((1, 3)), 3)[0]
    assert base == pytest.approx(1 / 3)
    for column, (first, second) in enumerate([(0, 1), (0, 2), (1, 2)]):
        margins = np.zeros((1, 3))
        margins[0, column] = 2.0
        p = coupled(margins, 3)[0]
        assert p[first] > base[first] and p[second] < base[second]


@pytest.mark.parametrize("size", [50.0, 1e4])
def test_extreme_margins_stay_finite(size):
    margins = size * np.array([[1, 1, 1], [1, 1, -1], [-1, 1, -1], [1, -1, 1], [-1, -1, -1]], dtype=float)
    p = coupled(margins, 3)
    assert np.isfinite(p).all() and p.sum(axis=1) == pytest.approx(1)
    assert p[0].argmax() == 0 and p[-1].argmax() == 2
    two = coupled(size * np.array([1.0, -1.0]), 2)
    assert np.isfinite(two).all() and two.argmax(axis=1).tolist() == [1, 0]


def test_decisions_and_margins_are_those_of_scikit_learn():
    X, y = blobs(4)
    ours, theirs = made().fit(X, y), SVC(C=3.0, decision_function_shape="ovo").fit(X, y)
    assert np.array_equal(ours.predict(X), theirs.predict(X))
    assert np.array_equal(ours.decision_function(X), theirs.decision_function(X))


def test_weights_and_cloning_work_as_in_scikit_learn():
    X, y = blobs(3)
    weighted = clone(made()).fit(X, y, sample_weight=np.where(y == 0, 100.0, 1.0))
    assert weighted.predict_proba(X)[:, 0].mean() > made().fit(X, y).predict_proba(X)[:, 0].mean()
