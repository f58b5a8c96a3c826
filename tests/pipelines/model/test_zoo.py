"""Checks that every model of the zoo passes under every balance, with two classes and with four."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from dermfuse.cache.errors import UserError
from dermfuse.pipelines.evaluation.out_of_fold import Evidence, build_pipeline
from dermfuse.pipelines.model.calibration import CalibratedPipeline
from dermfuse.pipelines.model.choices import BALANCES
from dermfuse.pipelines.model.zoo import MODELS, model_named
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.runs.run_folder import load_model, save_model
from dermfuse.pipelines.statistics.metrics import macro_auc
from tests.pipelines.tables import Problem, evidence_of, problem


@dataclass(frozen=True)
class Case:
    """One model under one balance, fitted."""

    given: Problem
    evidence: Evidence
    classes: int

    @property
    def model(self) -> CalibratedPipeline:
        """The calibrated model of all training rows."""
        return self.evidence.model


@cache
def fitted(model: str, balance: str, classes: int) -> Case:
    given = problem(classes=classes, groups=24 * classes if classes == 2 else 72, folds=2)
    return Case(given, evidence_of(given, model, balance), classes)


@pytest.fixture(params=[2, 4], ids=["2 classes", "4 classes"])
def classes(request) -> int:
    return request.param


@pytest.fixture(params=BALANCES)
def balance(request) -> str:
    return request.param


@pytest.fixture(params=list(MODELS))
def name(request) -> str:
    return request.param


@pytest.fixture
def case(name, balance, classes) -> Case:
    return fitted(name, balance, classes)


def test_probabilities_are_one_column_a_class_in_order_and_sum_to_one(case):
    p = case.model.predict_proba(case.given.table.X)
    assert p.shape == (len(case.given.truth), case.classes)
    assert np.isfinite(p).all() and (p >= 0).all() and p.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert case.model.classes_.tolist() == list(range(case.classes))


def test_signal_is_found_out_of_fold_and_in_the_test_split(case):
    train = case.given.train
    for rows in (train, ~train):
        assert macro_auc(case.given.truth[rows], case.evidence.probabilities[rows]) > 0.85


def test_test_rows_are_scored_by_the_model_that_is_kept(case):
    test = ~case.given.train
    again = case.model.predict_proba(case.given.table.X[test])
    assert case.evidence.probabilities[test] == pytest.approx(again, abs=1e-6)


def test_a_row_is_scored_alike_alone_and_among_others(case):
    X = case.given.table.X
    assert case.model.predict_proba(X.iloc[3:4])[0] == pytest.approx(case.model.predict_proba(X)[3], abs=1e-5)


def test_a_saved_model_gives_identical_probabilities(case, tmp_path):
    save_model(tmp_path, case.model)
    loaded = load_model(tmp_path)
    X = case.given.table.X
    assert np.array_equal(loaded.predict_proba(X), case.model.predict_proba(X))
    assert np.array_equal(loaded.predict(X), case.model.predict(X))


def test_missing_metadata_and_new_categories_are_scored(case):
    X = case.given.table.X.copy()
    X["age"], X["sex"], X["site"] = np.float32("nan"), pd.Series([np.nan] * len(X), dtype=object), "mars"
    p = case.model.predict_proba(X)
    assert np.isfinite(p).all() and p.sum(axis=1) == pytest.approx(1, abs=1e-6)
    test = ~case.given.train
    assert macro_auc(case.given.truth[test], p[test]) > 0.75, "the images still tell"


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_same_seed_gives_the_same_model(name, balance):
    case = fitted(name, balance, 4)
    options = FitOptions(name, balance=balance, folds=2, jobs=1, seed=0)
    train, X = case.given.train, case.given.table.X
    made = build_pipeline(case.given.table.columns, options, 5 if balance == "smote" else None, int(train.sum()))
    first, second = (clone(made).fit(X[train], case.given.truth[train]).predict_proba(X) for _ in range(2))
    assert np.array_equal(first, second)


def test_the_global_random_state_has_no_say(name):
    case = fitted(name, "smote", 4)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    again = evidence_of(case.given, name, "smote")
    assert again.probabilities == pytest.approx(case.evidence.probabilities, abs=1e-9)
    assert np.array_equal(np.random.get_state()[1], before), "the global random state was touched"


@pytest.mark.parametrize("name", ["rf", "xgb", "mlp"])
def test_another_seed_gives_another_model(name):
    case = fitted(name, "none", 4)
    other = evidence_of(case.given, name, "none", seed=1)
    assert not np.allclose(other.uncalibrated, case.evidence.uncalibrated)


# A support vector machine's margins do not follow the frequency of classes, so there is nothing to raise.
@pytest.mark.parametrize("balance", ["smote", "weights"])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "svm"])
def test_balancing_raises_the_rare_class_before_calibration(name, balance):
    given = rare_class()
    plain, balanced = evidence_of_rare_class(name, "none"), evidence_of_rare_class(name, balance)
    assert balanced.uncalibrated[given.train, 1].mean() > plain.uncalibrated[given.train, 1].mean() + 0.03


def test_calibrated_probabilities_are_at_the_prevalence_whatever_the_balance(name, balance):
    given = rare_class()
    p = evidence_of_rare_class(name, balance).probabilities
    for rows in (given.train, ~given.train):
        assert p[rows, 1].mean() == pytest.approx(given.truth[given.train].mean(), abs=0.05)


@cache
def rare_class() -> Problem:
    """Two classes, one row in six of the second, that can hardly be told apart."""
    given = problem(classes=2, groups=240, signal=0.3, folds=2)
    groups = given.table.groups
    number = np.char.replace(groups.astype(str), "lesion", "").astype(int)
    keep = (given.truth == 0) | (number % 10 == 1)
    table = given.table
    parts = {k: getattr(table, k)[keep] for k in ("labels", "groups", "ids", "content")}
    kept = type(table)(X=table.X[keep].reset_index(drop=True), columns=table.columns, **parts)
    return Problem(kept, given.truth[keep], given.fold[keep])


@cache
def evidence_of_rare_class(model: str, balance: str) -> Evidence:
    return evidence_of(rare_class(), model, balance)


@pytest.mark.parametrize("widths", [{"alpha": 6}, {}], ids=["one block", "no images"])
def test_every_model_takes_images_or_metadata_alone(name, widths):
    given = problem(widths=widths, metadata=not widths, folds=2)
    evidence = evidence_of(given, name)
    assert macro_auc(given.truth[given.train], evidence.probabilities[given.train]) > 0.6


def test_metadata_without_a_word_on_the_class_still_gives_a_model(name):
    given = problem(widths={}, signal=0.0, folds=2, seed=4)
    p = evidence_of(given, name).probabilities
    assert np.isfinite(p).all() and p.sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_wide_blocks_are_compressed_to_what_the_training_rows_allow():
    given = problem(widths={"wide": 300}, groups=30, classes=2, folds=2)
    evidence = evidence_of(given, "logreg")
    pca = evidence.model.whole.pipeline["preprocess"].named_transformers_["wide"]["pca"]
    smallest = min((given.train & (given.fold != k)).sum() for k in range(2))
    assert len(pca.components_) == smallest - 1 < MODELS["logreg"].components


def test_an_unknown_model_is_a_usage_error_that_names_the_known_ones():
    with pytest.raises(UserError, match="unknown model 'cnn'. Known: rf, xgb, mlp, logreg, svm") as caught:
        model_named("cnn")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"balance": "over"}, "--balance is 'over', but expected smote, weights or none"),
        ({"select_k": 0}, "--select-k is 0, but expected a whole number from 1"),
        ({"seed": -1}, "--seed is -1, but expected a whole number from 0 to 4294967295"),
        ({"seed": 2**32}, "--seed is 4294967296, but"),
        ({"use_images": False, "use_metadata": False}, "leave no features"),
        ({"use_images": False, "features": ["cae"]}, "contradict"),
        ({"model": "cnn"}, "--model is 'cnn', but expected rf, xgb, mlp, logreg or svm"),
    ],
)
def test_impossible_choices_are_usage_errors(choice, message):
    with pytest.raises(UserError, match=message) as caught:
        FitOptions(**{"model": "rf", **choice}).check()
    assert caught.value.exit_code == 2


def test_possible_choices_pass():
    FitOptions("rf", features=["cae"], balance="none", select_k=3).check()
