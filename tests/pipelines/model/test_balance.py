"""Balancing makes classes count the same, with rows that lie among those of their own class."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from dermfuse.pipelines.model.balance import ClassWeighted, smote, smote_neighbors


def imbalanced(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    y = np.repeat([0, 1, 2], [60, 20, 7])
    return np.random.default_rng(seed).normal(size=(len(y), 2)) + 4 * y[:, None], y


def test_smote_raises_every_class_to_the_most_frequent_ones_count():
    _, y = smote(5, seed=0).fit_resample(*imbalanced())
    assert np.bincount(y).tolist() == [60, 60, 60]


def test_smote_keeps_all_true_rows_first():
    X, y = imbalanced()
    more, labels = smote(5, seed=0).fit_resample(X, y)
    assert np.array_equal(more[: len(X)], X) and np.array_equal(labels[: len(y)], y)


def test_smotes_rows_lie_between_two_rows_of_their_own_class():
    X, y = imbalanced()
    more, labels = smote(3, seed=0).fit_resample(X, y)
    for made, label in zip(more[len(X) :], labels[len(X) :], strict=True):
        own = X[y == label]
        start, end = own[:, None], own[None, :]
        length = np.linalg.norm(end - start, axis=2)
        through = np.linalg.norm(made - start, axis=2) + np.linalg.norm(made - end, axis=2)
        assert (through - length).min() < 1e-6


def test_smote_is_reproduced_by_its_seed():
    X, y = imbalanced()
    first, second, other = (smote(5, seed).fit_resample(X, y)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, second) and not np.array_equal(first, other)


def test_smote_keeps_float32():
    X, y = imbalanced()
    assert smote(5, seed=0).fit_resample(X.astype(np.float32), y)[0].dtype == np.float32


@pytest.mark.parametrize(("smallest", "neighbors"), [(2, 1), (4, 3), (6, 5), (500, 5)])
def test_smote_takes_five_neighbours_or_as_many_as_the_smallest_class_allows(smallest, neighbors):
    assert smote_neighbors(smallest) == neighbors
    y = np.repeat([0, 1], [smallest + 5, smallest])
    X = np.random.default_rng(0).normal(size=(len(y), 2))
    assert np.bincount(smote(neighbors, 0).fit_resample(X, y)[1]).tolist() == [smallest + 5] * 2


def test_class_weights_do_what_scikit_learns_balanced_class_weight_does():
    X, y = imbalanced()
    ours = ClassWeighted(LogisticRegression()).fit(X, y).predict_proba(X)
    theirs = LogisticRegression(class_weight="balanced").fit(X, y).predict_proba(X)
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_class_weights_make_a_class_count_as_much_as_if_its_rows_were_repeated():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [60, 20])
    X = rng.normal(size=(80, 3)) + y[:, None]
    weighted = ClassWeighted(LogisticRegression(tol=1e-8, max_iter=1000)).fit(X, y)
    again = np.concatenate([np.arange(80), np.flatnonzero(y == 1), np.flatnonzero(y == 1)])
    # The weights sum to 80, the repeated rows to 120: the penalty has to follow.
    repeated = LogisticRegression(C=80 / 120, tol=1e-8, max_iter=1000).fit(X[again], y[again])
    assert weighted.estimator_.coef_ == pytest.approx(repeated.coef_, abs=1e-3)


def test_class_weighted_decides_for_the_most_probable_class():
    X, y = imbalanced()
    y = np.array(["a", "b", "c"])[y]
    model = ClassWeighted(LogisticRegression()).fit(X, y)
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert np.array_equal(model.predict(X), model.classes_[model.predict_proba(X).argmax(axis=1)])


def test_class_weighted_does_not_fit_the_classifier_it_was_given():
    given = LogisticRegression()
    ClassWeighted(given).fit(*imbalanced())
    assert not hasattr(given, "coef_")


def test_class_weighted_clones_with_its_classifiers_parameters():
    assert clone(ClassWeighted(LogisticRegression(C=7.0))).estimator.C == 7.0


def test_class_weighted_refuses_to_predict_unfitted():
    with pytest.raises(NotFittedError):
        ClassWeighted(LogisticRegression()).predict_proba(imbalanced()[0])
