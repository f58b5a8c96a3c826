"""Scores are of the right rows and settings, reproducible, and like chance where labels are shuffled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from dermfuse.features.console import Console
from dermfuse.pipelines.evaluation.out_of_fold import anova_rows, cross_validate
from dermfuse.pipelines.evaluation.scoring import score
from dermfuse.pipelines.model.calibration import cross_fitted
from dermfuse.pipelines.model.zoo import MODELS
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.runs.environment import Stopwatch
from dermfuse.pipelines.statistics import metrics
from tests.pipelines.blindness import with_other_labels, with_other_values
from tests.pipelines.tables import Problem, evidence_of, problem, split

FOLDS = 3


@pytest.mark.parametrize("model", ["logreg", "xgb"])
def test_values_of_some_held_out_rows_do_not_change_the_scores_of_others(model):
    given = problem(folds=FOLDS)
    before = evidence_of(given, model)
    for number in (*range(FOLDS), -1):
        held = given.fold == number
        half = held & (np.arange(len(held)) % 2 == 0)
        after = evidence_of(with_other_values(given, half), model)
        rest = held & ~half
        assert after.uncalibrated[rest] == pytest.approx(before.uncalibrated[rest], abs=1e-12)


def test_test_rows_change_no_out_of_fold_probability_and_no_calibrator():
    given = problem(folds=FOLDS)
    before = evidence_of(given)
    after = evidence_of(with_other_labels(with_other_values(given, ~given.train), ~given.train))
    assert np.array_equal(before.probabilities[given.train], after.probabilities[given.train])
    assert before.model.calibrator.slope_ == after.model.calibrator.slope_
    assert np.array_equal(before.model.calibrator.bias_, after.model.calibrator.bias_)


def test_out_of_fold_probabilities_are_calibrated_on_other_folds():
    given = problem(folds=FOLDS)
    evidence = evidence_of(given)
    rows = given.train
    for part in (evidence.answers.whole, evidence.answers.without):
        again = cross_fitted(part.raw[rows], given.truth[rows], given.fold[rows])
        assert np.array_equal(part.calibrated[rows], again)


def with_labels_shuffled_over_groups(given: Problem, seed: int) -> Problem:
    """Every group gets the class of another one, rows of one group still share theirs, and splits are made anew."""
    names, first = np.unique(given.table.groups, return_index=True)
    shuffled = np.random.default_rng(seed).permutation(given.truth[first])
    truth = shuffled[np.searchsorted(names, given.table.groups)]
    labels = np.array([f"class{k}" for k in truth])
    return Problem(replace(given.table, labels=labels), truth, split(labels, given.table.groups, seed, FOLDS))


def alike_within_groups() -> Problem:
    """Rows of one group are nearly copies of each other: what a split by rows would give away."""
    return problem(classes=3, groups=150, widths={"alpha": 80}, metadata=False, spread=0.05, folds=FOLDS)


def macro_auc(given: Problem, model: str) -> dict:
    evidence = evidence_of(given, model)
    rows = given.train
    found = metrics.summarise(given.truth[rows], evidence.probabilities[rows], given.table.groups[rows], seed=0)
    return found["macro_auc"]


@pytest.mark.slow
@pytest.mark.parametrize("model", list(MODELS))
def test_shuffled_labels_score_like_chance(model):
    repeats = 20  # the mean of fewer may lie far from 0.5 by chance
    found = [macro_auc(with_labels_shuffled_over_groups(alike_within_groups(), s), model) for s in range(repeats)]
    assert np.mean([auc["value"] for auc in found]) == pytest.approx(0.5, abs=0.02)
    held = sum(auc["low"] <= 0.5 <= auc["high"] for auc in found)
    assert held >= 0.75 * repeats, f"0.5 was in {held} of {repeats} intervals"


@pytest.mark.parametrize("model", ["logreg", "rf"])
def test_shuffled_labels_would_score_far_above_chance_with_groups_torn_apart(model):
    """The power of the test above: the same data with a leak that was planted."""
    given = with_labels_shuffled_over_groups(alike_within_groups(), seed=0)
    by_row = np.random.default_rng(0).integers(0, FOLDS, len(given.fold))
    torn = replace(given, fold=np.where(given.train, by_row, -1))
    assert macro_auc(torn, model)["low"] > 0.55


def test_evidence_is_reproduced_by_its_seed():
    given = problem(folds=FOLDS)
    first, second = evidence_of(given, "rf"), evidence_of(given, "rf")
    assert np.array_equal(first.probabilities, second.probabilities)


def test_every_row_is_scored_and_classes_add_up():
    evidence = evidence_of(problem(folds=FOLDS))
    for p in (evidence.probabilities, evidence.uncalibrated):
        assert np.isfinite(p).all() and p.sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_anova_tells_the_final_fits_scores_and_the_share_of_folds_that_kept_a_column():
    fits = [
        [("age", 9.0, 0.01, True), ("sex_female", 0.1, 0.8, False)],
        [("age", 2.0, 0.20, False), ("site_rare", 8.0, 0.01, True)],
        [("age", 5.0, 0.03, True), ("sex_female", 0.2, 0.7, False), ("site_new", 4.0, 0.04, True)],
    ]
    rows = {row["feature"]: row for row in anova_rows(fits)}
    assert list(rows) == ["age", "sex_female", "site_new"]
    assert (rows["age"]["value"], rows["age"]["p_value"], rows["age"]["selected"]) == (5.0, 0.03, 0.5)
    assert rows["sex_female"]["selected"] == 0 and rows["site_new"]["selected"] == 0
    assert {row["kind"] for row in rows.values()} == {"anova"}


@pytest.fixture(scope="module")
def scored() -> tuple[Problem, object, dict]:
    given = problem(folds=FOLDS)
    evidence = evidence_of(given, balance="none")
    return given, evidence, score(given.table, given.truth, evidence, seed=0)


def test_scores_are_of_the_right_rows(scored):
    given, evidence, found = scored
    for part, rows in (("out_of_fold", given.train), ("test", ~given.train)):
        expected = metrics.point_values(given.truth[rows], evidence.probabilities[rows])
        assert {name: m["value"] for name, m in found[part].items()} == pytest.approx(expected)
        assert found["uncalibrated"][part] == metrics.point_values(given.truth[rows], evidence.uncalibrated[rows])
        assert np.sum(found["confusion"][part]) == rows.sum()
        assert sum(row["n"] for row in found["per_class"][part]) == rows.sum()
        assert [row["class"] for row in found["per_class"][part]] == ["class0", "class1", "class2", "class3"]


def test_folds_are_scored_one_by_one(scored):
    given, evidence, found = scored
    assert [row["fold"] for row in found["folds"]] == list(range(FOLDS))
    rows = given.fold == 1
    hits = evidence.probabilities[rows].argmax(axis=1) == given.truth[rows]
    assert found["folds"][1]["accuracy"] == pytest.approx(hits.mean())


def test_the_majority_classes_accuracy_is_that_of_trainings_most_frequent_class(scored):
    given, _, found = scored
    majority = np.bincount(given.truth[given.train]).argmax()
    assert found["majority"]["test"] == pytest.approx((given.truth[~given.train] == majority).mean())


def notices_of(model: str) -> list[str]:
    given, progress = problem(folds=FOLDS), Console(quiet=True).progress
    options = FitOptions(model, balance="none", folds=FOLDS, jobs=1)
    return cross_validate(given.table, given.truth, [given.fold], options, None, progress, Stopwatch()).noticed


def test_a_model_that_did_not_converge_is_told_once(monkeypatch):
    stopped = replace(MODELS["logreg"], build=lambda seed, jobs: LogisticRegression(C=100, max_iter=2))
    monkeypatch.setitem(MODELS, "logreg", stopped)
    assert notices_of("logreg") == ["logreg stopped before it had converged in at least one fit"]


@pytest.mark.parametrize("model", ["logreg", "mlp"])
def test_a_model_that_converged_or_is_meant_to_stop_early_is_not_told(model):
    assert notices_of(model) == []


def test_time_is_taken_of_the_fits():
    given, watch = problem(folds=FOLDS), Stopwatch()
    options = FitOptions("logreg", balance="none", folds=FOLDS, jobs=1)
    cross_validate(given.table, given.truth, [given.fold], options, None, Console(quiet=True).progress, watch)
    assert set(watch.seconds) == {"cross-validation and final model"}


def test_the_order_of_columns_does_not_decide():
    given = problem(folds=FOLDS)
    backwards = given.with_x(given.table.X[given.table.X.columns[::-1]])
    first, second = evidence_of(given), evidence_of(backwards)
    assert second.probabilities == pytest.approx(first.probabilities, abs=1e-9)
