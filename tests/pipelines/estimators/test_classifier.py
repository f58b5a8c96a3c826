"""The classifier is the model of ``fit``, keeps scikit-learn's contract, and refuses what it cannot learn from."""

from __future__ import annotations

import ast
import inspect
import re

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from dermfuse.pipelines.estimators.classifier import FusionClassifier
from dermfuse.pipelines.estimators.mistakes import InputError
from dermfuse.pipelines.estimators.roles import MOST_FIELDS
from tests.pipelines.tables import evidence_of, problem

FOLDS = 3
QUICK = {"folds": FOLDS, "balance": "none", "n_jobs": 1}
GIVEN = problem(folds=FOLDS)
X, Y, GROUPS = GIVEN.table.X, GIVEN.table.labels, GIVEN.table.groups


# Two folds, since the checks' own data have few rows; every one of them holds.
@parametrize_with_checks(
    [
        FusionClassifier("logreg", folds=2, balance="none", n_jobs=1),
        FusionClassifier(LogisticRegression(), folds=2, balance="weights", calibration="temperature", n_jobs=1),
    ]
)
def test_the_contract_of_scikit_learn_holds(estimator, check):
    check(estimator)


@pytest.mark.parametrize("model", ["logreg", "rf"])
def test_it_is_the_very_model_of_fit(model):
    expected = evidence_of(GIVEN, model)
    train = GIVEN.train
    found = FusionClassifier(model, folds=FOLDS, n_jobs=1).fit(X[train], Y[train], groups=GROUPS[train])
    assert np.array_equal(found.fold_, GIVEN.fold[train])
    assert np.array_equal(found.out_of_fold_proba_, expected.probabilities[train])
    assert np.array_equal(found.predict_proba(X[~train]), expected.probabilities[~train])
    assert list(found.classes_) == sorted(set(Y))


def test_columns_are_told_apart_by_name_and_type():
    frame = pd.DataFrame(
        {
            "net:0000": [0.5],
            "other:net:0000": [1],
            "age": [40],
            "thickness": pd.array([None], dtype="Float64"),
            "smoker": [True],
            "site": pd.Categorical(["back"]),
        }
    )
    frame = pd.concat([frame] * 24, ignore_index=True)
    frame["net:0000"] = np.arange(24.0)
    found = FusionClassifier("logreg", **QUICK).fit(frame, np.arange(24) % 2)
    assert found.columns_.images == {"net": ["net:0000"], "other:net": ["other:net:0000"]}
    assert found.columns_.numeric == ["age", "thickness"]
    assert found.columns_.categorical == ["smoker", "site"]
    assert np.isfinite(found.predict_proba(frame)).all()


@pytest.fixture(scope="module")
def fitted() -> FusionClassifier:
    return FusionClassifier("logreg", **QUICK).fit(X, Y, groups=GROUPS)


@pytest.mark.parametrize("fields", [["age"], ["sex", "site"], ["age", "sex", "site"]], ids="+".join)
def test_missing_metadata_is_answered_and_images_decide(fitted, fields):
    p = fitted.predict_proba(X.assign(**dict.fromkeys(fields, np.nan)))
    assert np.isfinite(p).all() and p.sum(axis=1) == pytest.approx(1)
    assert (fitted.classes_[p.argmax(axis=1)] == Y).mean() > 0.6


def test_a_category_that_training_did_not_have_is_read_as_missing(fitted):
    rows = X[:5].assign(site="the moon")
    assert np.array_equal(fitted.predict_proba(rows), fitted.predict_proba(X[:5].assign(site=np.nan)))


def test_rows_may_come_with_any_index_and_as_any_frame(fitted):
    shuffled = X[:7].set_axis([f"image{i}" for i in range(7)])
    assert np.array_equal(fitted.predict_proba(shuffled), fitted.predict_proba(X[:7]))

    class Foreign:
        def to_pandas(self):
            return X[:7]

    assert np.array_equal(fitted.predict_proba(Foreign()), fitted.predict_proba(X[:7]))


def test_columns_in_another_order_are_refused(fitted):
    with pytest.raises(ValueError, match="same order"):
        fitted.predict(X[X.columns[::-1]])


def test_an_array_is_numeric_metadata():
    found = FusionClassifier("logreg", **QUICK).fit(X[["age", "alpha:0000"]].to_numpy(), Y, groups=GROUPS)
    assert (found.columns_.images, found.columns_.numeric) == ({}, ["x0", "x1"])
    assert np.isfinite(found.predict_proba([[np.nan, np.nan]])).all()


def test_a_frame_whose_columns_are_numbers_is_taken(fitted):
    frame = pd.DataFrame(X[["alpha:0000", "alpha:0001"]].to_numpy())
    assert FusionClassifier("logreg", **QUICK).fit(frame, Y).columns_.numeric == ["0", "1"]


def test_groups_decide_the_folds():
    found = FusionClassifier("logreg", **QUICK).fit(X, Y, groups=GROUPS)
    assert all(len(set(found.fold_[name == GROUPS])) == 1 for name in set(GROUPS))
    alone = FusionClassifier("logreg", **QUICK).fit(X, Y)
    assert any(len(set(alone.fold_[name == GROUPS])) > 1 for name in set(GROUPS))


def test_labels_and_groups_may_be_numbers():
    codes = np.unique(Y, return_inverse=True)[1] * 10
    found = FusionClassifier("logreg", **QUICK).fit(X, codes, groups=np.unique(GROUPS, return_inverse=True)[1])
    assert set(found.predict(X)) <= {0, 10, 20, 30} and found.score(X, codes) > 0.6


@pytest.mark.parametrize("model", [LogisticRegression(), HistGradientBoostingClassifier(max_iter=5)], ids=type)
def test_any_classifier_takes_the_place_of_the_zoos(model):
    found = FusionClassifier(model, **QUICK, random_state=7).fit(X, Y, groups=GROUPS)
    assert found.score(X, Y) > 0.6
    inside = found.model_.whole.pipeline["model"]
    assert type(inside) is type(model) and inside is not model and model.random_state is None
    assert inside.random_state == 7


@pytest.mark.parametrize("model", ["logreg", LogisticRegression()], ids=["zoo", "own"])
def test_settings_may_be_searched_inside_each_training_part(model):
    found = FusionClassifier(model, **QUICK, tune=2).fit(X, Y, groups=GROUPS)
    assert found.score(X, Y) > 0.6


def test_it_works_where_scikit_learn_clones_it_without_routing():
    model, cv = FusionClassifier("logreg", **QUICK), StratifiedGroupKFold(2)
    assert clone(model).get_params() == model.get_params()
    scores = cross_val_score(model, X, Y, groups=GROUPS, cv=cv, params={"groups": GROUPS})
    named = make_pipeline(FunctionTransformer(), model)
    assert scores.min() > 0.6
    assert np.array_equal(
        scores, cross_val_score(named, X, Y, groups=GROUPS, cv=cv, params={"fusionclassifier__groups": GROUPS})
    )


def test_routing_hands_groups_to_the_splitter_and_to_it(monkeypatch):
    seen, before = [], FusionClassifier.fit

    def fit(self, X, y, groups=None):
        seen.append(groups)
        return before(self, X, y, groups)

    monkeypatch.setattr(FusionClassifier, "fit", fit)
    with sklearn.config_context(enable_metadata_routing=True):
        model = FusionClassifier("logreg", **QUICK)
        cross_val_score(model, X, Y, cv=StratifiedGroupKFold(2), params={"groups": GROUPS})
        search = GridSearchCV(model, {"calibration": ["none", "temperature"]}, cv=StratifiedGroupKFold(2))
        search.fit(X, Y, groups=GROUPS)
        make_pipeline(FunctionTransformer(), model).fit(X, Y, groups=GROUPS)
    assert len(seen) == 2 + 5 + 1 and all(groups is not None for groups in seen)
    assert search.best_score_ > 0.6


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"model": "forest"}, r"model.*'forest'.*rf, xgb"),
        ({"model": LinearSVC()}, r"Expected rf, xgb, mlp, logreg, svm, or a classifier with predict_proba"),
        ({"model": LogisticRegression}, r"or a classifier with predict_proba"),
        ({"model": KNeighborsClassifier(), "balance": "weights"}, r"KNeighborsClassifier takes no sample_weight"),
        ({"balance": "undersample"}, r"balance.*'undersample'"),
        ({"calibration": "platt"}, r"calibration.*'platt'"),
        ({"folds": 1}, r"folds is 1\b"),
        ({"folds": 2.5}, r"folds is 2\.5"),
        ({"select_k": 0}, r"select_k\b.* 0\b"),
        ({"tune": -1}, r"tune\b.* -1\b"),
        ({"random_state": -1}, r"random_state\b.* -1\b"),
        ({"folds": 200}, r"Give fewer folds"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_impossible_parameters_are_a_value_error_without_flags(parameters, told):
    with pytest.raises(ValueError, match=told) as refused:
        FusionClassifier(**{"model": "logreg", **QUICK, **parameters}).fit(X, Y)
    assert isinstance(refused.value, InputError) and "--" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"path": "a.jpg"}, "Turn images into columns first: make_pipeline(ImageEmbedder(), FusionClassifier())"),
        ({"alpha:0000": np.nan}, "the image block 'alpha' has NaN or infinity in"),
        ({"alpha:0000": "text"}, "the image block 'alpha' holds no numbers"),
        ({"age": np.inf}, "column 'age' holds infinity"),
        ({"seen": pd.Timestamp("2026-01-01")}, "column 'seen' holds dates"),
        ({f"f{i}": 0.0 for i in range(MOST_FIELDS)}, f"expected {MOST_FIELDS} at most"),
    ],
    ids=["path", "nan", "text", "infinity", "dates", "many"],
)
def test_columns_that_cannot_be_learned_from_are_refused(change, told):
    frame = pd.concat([X.drop(columns=[c for c in change if c in X]), pd.DataFrame(change, X.index)], axis=1)
    with pytest.raises(InputError, match=re.escape(told)):
        FusionClassifier("logreg", **QUICK).fit(frame, Y)


@pytest.mark.parametrize(
    ("labels", "groups", "told"),
    [
        (np.where(Y == "class0", None, Y), None, "y is missing in"),
        (Y, np.where(np.isin(GROUPS, GROUPS[:1]), None, GROUPS), "of them missing. Expected one for each"),
        (Y, GROUPS[:-1], "Expected one for each"),
        (Y, np.zeros(len(Y)), "1 groups are left to learn from, too few for 3 folds"),
        (np.full(len(Y), "nv"), GROUPS, "y has 1 class, 'nv'"),
    ],
    ids=["label", "group", "short", "one group", "one class"],
)
def test_labels_and_groups_that_make_no_folds_are_refused(labels, groups, told):
    with pytest.raises(InputError, match=re.escape(told)):
        FusionClassifier("logreg", **QUICK).fit(X, labels, groups=groups)


def test_a_repeated_column_is_refused():
    with pytest.raises(InputError, match="'age' more than once"):
        FusionClassifier("logreg", **QUICK).fit(pd.concat([X, X[["age"]]], axis=1), Y)


def test_what_was_substituted_is_a_warning():
    few = np.concatenate([np.flatnonzero(Y == "class0")[:5], np.flatnonzero(Y != "class0")])
    with pytest.warns(UserWarning, match="SMOTE uses 2 neighbours in place of 5"):
        FusionClassifier("logreg", folds=FOLDS, n_jobs=1).fit(X.iloc[few], Y[few])


def test_none_draws_another_seed_and_a_generator_its_next():
    def found(state):
        return FusionClassifier("logreg", **{**QUICK, "random_state": state}).options().seed

    assert len({found(None) for _ in range(5)}) > 1
    assert found(np.random.RandomState(1)) == found(np.random.RandomState(1))
    assert found(np.int64(3)) == 3


def test_documented_defaults_are_those_of_the_signature():
    documented = dict(re.findall(r"^(\w+) : .*default=(\S+)$", inspect.getdoc(FusionClassifier), re.M))
    defaults = {name: p.default for name, p in inspect.signature(FusionClassifier).parameters.items()}
    assert {name: ast.literal_eval(text) for name, text in documented.items()} == defaults
