"""Calibration finds and undoes what was done to probabilities, and never learns from the rows that it changes."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from dermfuse.pipelines.model.calibration import (
    BiasCorrectedTemperature,
    CalibratedPipeline,
    Dirichlet,
    Isotonic,
    Temperature,
    balanced_decisions,
    calibrator_named,
    cross_fitted,
    name_of,
)
from dermfuse.pipelines.model.choices import CALIBRATORS
from dermfuse.pipelines.runs import run_folder
from tests.pipelines.tables import evidence_of, problem

every_calibrator = pytest.mark.parametrize("name", CALIBRATORS)


def drawn(n: int, classes: int, seed: int, base: tuple[float, ...] | None = None):
    """True probabilities of n rows, and a class drawn from each."""
    rng = np.random.default_rng(seed)
    p = softmax(rng.normal(size=(n, classes)) + np.log(base or np.full(classes, 1.0)), axis=1)
    truth = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return p, truth


def distorted(p: np.ndarray, slope: float, bias) -> np.ndarray:
    """Probabilities whose calibration is ``slope * log(p) + bias``."""
    return softmax((np.log(p) - np.asarray(bias)) / slope, axis=1)


# Slopes below about a half sharpen probabilities to less than the smoothing of 1e-4, which then shows.
@pytest.mark.parametrize("slope", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("bias", [(0.0, 0.0, 0.0), (0.8, -0.5, -0.3)])
def test_a_known_slope_and_bias_are_recovered(slope, bias):
    p, truth = drawn(20_000, 3, seed=0)
    found = BiasCorrectedTemperature().fit(distorted(p, slope, bias), truth)
    assert found.slope_ == pytest.approx(slope, rel=0.05)
    assert found.bias_ == pytest.approx(bias, abs=0.06)


def test_two_classes_are_calibrated_too():
    p, truth = drawn(20_000, 2, seed=1)
    found = BiasCorrectedTemperature().fit(distorted(p, 2.0, (0.5, -0.5)), truth)
    assert (found.slope_, *found.bias_) == pytest.approx((2.0, 0.5, -0.5), abs=0.1)


def test_well_calibrated_probabilities_hardly_change():
    p, truth = drawn(20_000, 3, seed=2)
    assert np.abs(BiasCorrectedTemperature().fit(p, truth).transform(p) - p).max() < 0.02


@pytest.mark.parametrize("slope", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_log_loss_out_of_sample_is_not_worse_and_better_where_probabilities_were_distorted(slope, seed):
    p, truth = drawn(4000, 4, seed)
    seen = distorted(p, slope, (0.5, 0.0, -0.5, 0.0))
    learn = np.arange(len(p)) < 2000
    calibrated = BiasCorrectedTemperature().fit(seen[learn], truth[learn]).transform(seen[~learn])
    assert log_loss(truth[~learn], calibrated) < log_loss(truth[~learn], seen[~learn])
    assert log_loss(truth[~learn], calibrated) < log_loss(truth[~learn], p[~learn]) + 0.015


def test_log_loss_of_calibrated_probabilities_is_not_spoilt():
    p, truth = drawn(4000, 4, seed=7)
    learn = np.arange(len(p)) < 2000
    calibrated = BiasCorrectedTemperature().fit(p[learn], truth[learn]).transform(p[~learn])
    assert log_loss(truth[~learn], calibrated) < log_loss(truth[~learn], p[~learn]) + 0.005


def test_the_shift_of_class_frequencies_that_balancing_brings_is_undone():
    base = (0.80, 0.15, 0.05)
    p, truth = drawn(20_000, 3, seed=0, base=base)
    prevalence = np.bincount(truth) / len(truth)
    as_of_balanced = p / prevalence
    as_of_balanced /= as_of_balanced.sum(axis=1, keepdims=True)
    assert np.abs(as_of_balanced.mean(axis=0) - prevalence).max() > 0.2
    calibrated = BiasCorrectedTemperature().fit(as_of_balanced, truth).transform(as_of_balanced)
    assert calibrated.mean(axis=0) == pytest.approx(prevalence, abs=0.005)
    assert np.abs(calibrated - p).mean() < 0.01


def test_rows_keep_their_order_between_any_two_classes():
    p, truth = drawn(500, 3, seed=0)
    calibrated = BiasCorrectedTemperature().fit(distorted(p, 3.0, (1.0, 0.0, -1.0)), truth).transform(p)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        before, after = p[:, i] / p[:, j], calibrated[:, i] / calibrated[:, j]
        # Smoothing is what may exchange neighbours.
        assert np.corrcoef(before.argsort().argsort(), after.argsort().argsort())[0, 1] > 0.9999


def test_without_bias_the_most_probable_class_stays_the_same():
    p, truth = drawn(3000, 4, seed=0)
    calibrator = BiasCorrectedTemperature().fit(distorted(p, 2.0, np.zeros(4)), truth)
    calibrator.bias_ = np.zeros(4)
    assert np.array_equal(calibrator.transform(p).argmax(axis=1), p.argmax(axis=1))


class Fixed:
    """A fitted classifier that answers with the table it is given."""

    classes_ = np.array([0, 1, 2])

    def predict_proba(self, X):
        return np.asarray(X)


def test_a_calibrated_pipeline_decides_for_its_most_probable_class():
    p, truth = drawn(2000, 3, seed=0)
    seen = distorted(p, 2.0, (1.0, 0.0, -1.0))
    calibrator = BiasCorrectedTemperature().fit(seen, truth)
    model = CalibratedPipeline(Fixed(), calibrator)
    assert np.array_equal(model.predict(seen), model.predict_proba(seen).argmax(axis=1))
    assert np.array_equal(model.predict_proba(seen), calibrator.transform(seen))
    assert (model.predict(seen) != seen.argmax(axis=1)).any(), "the biases should have moved some decisions"


def test_a_folds_own_labels_do_not_touch_its_calibrated_probabilities():
    p, truth = drawn(600, 3, seed=0)
    fold = np.arange(600) % 3
    before = cross_fitted(p, truth, fold)
    flipped = np.where(fold == 1, (truth + 1) % 3, truth)
    after = cross_fitted(p, flipped, fold)
    assert np.array_equal(after[fold == 1], before[fold == 1])
    assert np.abs(after[fold != 1] - before[fold != 1]).max() > 0.01, "the other folds should learn from them"


def test_a_folds_own_probabilities_do_not_touch_its_calibrator():
    p, truth = drawn(600, 3, seed=0)
    fold = np.arange(600) % 3
    before = cross_fitted(p, truth, fold)
    moved = p.copy()
    half = (fold == 1) & (np.arange(600) < 300)
    moved[half] = p[half][:, ::-1]
    rest = (fold == 1) & ~half
    assert np.array_equal(cross_fitted(moved, truth, fold)[rest], before[rest])


def test_cross_fitting_keeps_the_order_of_rows():
    p, truth = drawn(900, 3, seed=3)
    order = np.random.default_rng(0).permutation(900)
    fold = np.arange(900) % 3
    before = cross_fitted(p, truth, fold)
    assert cross_fitted(p[order], truth[order], fold[order]) == pytest.approx(before[order], abs=1e-5)


def test_probabilities_of_exactly_zero_and_one_are_fine():
    truth = np.tile([0, 1, 2], 40)
    votes = np.eye(3)[truth]
    votes[:20] = np.eye(3)[(truth[:20] + 1) % 3]
    calibrated = BiasCorrectedTemperature().fit(votes, truth).transform(votes)
    assert np.isfinite(calibrated).all() and (calibrated > 0).all()
    assert calibrated.sum(axis=1) == pytest.approx(1)
    # Right in 100 of 120 rows: a vote should be believed about that much.
    assert calibrated.max(axis=1).mean() == pytest.approx(100 / 120, abs=0.02)


def test_a_class_that_no_row_has_stays_finite_and_improbable():
    p, truth = drawn(500, 3, seed=0)
    calibrated = BiasCorrectedTemperature().fit(p, truth % 2).transform(p)
    assert np.isfinite(calibrated).all()
    assert calibrated[:, 2].max() < 0.05


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_sum_to_one_in_double_precision(dtype):
    p, truth = drawn(300, 5, seed=0)
    calibrated = BiasCorrectedTemperature().fit(p.astype(dtype), truth).transform(p.astype(dtype))
    assert calibrated.dtype == np.float64 and calibrated.shape == (300, 5)
    assert calibrated.sum(axis=1) == pytest.approx(1, abs=1e-12)


def test_calibration_is_by_maximum_likelihood():
    p, truth = drawn(2000, 3, seed=0)
    seen = distorted(p, 2.0, (0.3, 0.0, -0.3))
    found = BiasCorrectedTemperature().fit(seen, truth)

    def loss(slope, bias) -> float:
        return -log_softmax(slope * np.log(seen) + bias, axis=1)[np.arange(len(truth)), truth].mean()

    best = loss(found.slope_, found.bias_)
    for slope, step in ((0.03, 0), (-0.03, 0), (0, 0.03), (0, -0.03)):
        assert loss(found.slope_ + slope, found.bias_ + np.array([step, 0, -step])) > best


def test_balanced_decisions_weigh_probabilities_by_prevalence():
    p = np.array([[0.9, 0.1], [0.7, 0.3], [0.5, 0.5]])
    assert balanced_decisions(p, np.array([0.8, 0.2])).tolist() == [0, 1, 1]
    assert balanced_decisions(p, np.array([0.5, 0.5])).tolist() == [0, 0, 0]


@every_calibrator
@pytest.mark.parametrize("classes", [2, 4])
def test_every_calibrator_gives_probabilities(name, classes):
    p, truth = drawn(600, classes, seed=0)
    seen = distorted(p, 2.0, np.linspace(1, -1, classes))
    found = calibrator_named(name).fit(seen, truth).transform(seen)
    assert found.shape == (600, classes) and found.dtype == np.float64
    assert np.isfinite(found).all() and (found >= 0).all()
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-12)


@every_calibrator
def test_every_calibrator_makes_no_rows_of_no_rows_and_refuses_what_is_no_probability(name):
    p, truth = drawn(200, 3, seed=0)
    fitted = calibrator_named(name).fit(p, truth)
    assert fitted.transform(p[:0]).shape == (0, 3)
    for odd in (np.nan, np.inf, -0.1):
        with pytest.raises(ValueError, match="NaN|infinity|Negative values"):
            fitted.transform(np.where(p == p[0, 0], odd, p))
    with pytest.raises(ValueError, match="X has 2 features, but .* is expecting 3"):
        fitted.transform(p[:, :2])


@every_calibrator
def test_every_calibrator_bears_votes_of_zero_and_one_and_a_class_without_rows(name):
    truth = np.tile([0, 1], 60)
    votes = np.eye(3)[truth]
    votes[:20] = np.eye(3)[2]
    found = calibrator_named(name).fit(votes, truth).transform(votes)
    assert np.isfinite(found).all() and found.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("name", [name for name in CALIBRATORS if name not in ("none", "temperature")])
def test_log_loss_out_of_sample_falls_where_slope_and_biases_were_distorted(name):
    p, truth = drawn(8000, 4, seed=0)
    seen = distorted(p, 2.0, (1.0, 0.0, -0.5, -0.5))
    learn = np.arange(len(p)) < 4000
    calibrated = calibrator_named(name).fit(seen[learn], truth[learn]).transform(seen[~learn])
    best, before = log_loss(truth[~learn], p[~learn]), log_loss(truth[~learn], seen[~learn])
    assert log_loss(truth[~learn], calibrated) < best + 0.25 * (before - best)


@every_calibrator
def test_every_calibrator_is_kept_in_a_run_and_comes_back(name, tmp_path):
    given = problem(folds=2)
    model = evidence_of(given, calibration=name).model
    run_folder.save_model(tmp_path, model)
    again = run_folder.load_model(tmp_path)
    assert type(again.calibrator) is type(model.calibrator) is type(calibrator_named(name))
    assert np.array_equal(again.predict_proba(given.table.X), model.predict_proba(given.table.X))


@every_calibrator
def test_every_calibrator_crosses_processes(name):
    p, truth = drawn(400, 3, seed=0)
    fitted = calibrator_named(name).fit(p, truth)
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).transform(p), fitted.transform(p))


@every_calibrator
def test_what_a_calibrator_learned_can_be_written_down(name):
    p, truth = drawn(400, 3, seed=0)
    fitted = calibrator_named(name).fit(p, truth)
    assert json.loads(json.dumps(fitted.parameters())) == fitted.parameters()
    assert name_of(fitted) == name


@every_calibrator
def test_cross_fitting_is_honest_with_every_calibrator(name):
    p, truth = drawn(600, 3, seed=0)
    fold = np.arange(600) % 3
    before = cross_fitted(p, truth, fold, name)
    after = cross_fitted(p, np.where(fold == 1, (truth + 1) % 3, truth), fold, name)
    assert np.array_equal(after[fold == 1], before[fold == 1])
    assert np.array_equal(after, before) == (name == "none")


def test_a_temperature_is_recovered_and_leaves_the_order_of_classes():
    p, truth = drawn(20_000, 3, seed=0)
    seen = distorted(p, 2.0, np.zeros(3))
    found = Temperature().fit(seen, truth)
    assert found.slope_ == pytest.approx(2.0, rel=0.05)
    assert np.array_equal(found.transform(seen).argmax(axis=1), seen.argmax(axis=1))


def test_isotonic_rises_with_the_probability_of_two_classes():
    p, truth = drawn(3000, 2, seed=0)
    found = Isotonic().fit(p, truth).transform(p)
    assert (np.diff(found[np.argsort(p[:, 1]), 1]) >= -1e-12).all()


def test_isotonic_follows_a_shape_that_a_slope_cannot():
    rng = np.random.default_rng(0)
    second = rng.random(20_000)
    truth = (rng.random(20_000) < np.where(second < 0.5, 0.1, 0.8)).astype(int)
    found = Isotonic().fit(np.column_stack([1 - second, second]), truth)
    low, high = found.transform(np.array([[0.75, 0.25], [0.25, 0.75]]))[:, 1]
    assert (low, high) == pytest.approx((0.1, 0.8), abs=0.04)


def test_dirichlet_undoes_a_mixture_of_classes_that_slope_and_biases_cannot():
    p, truth = drawn(20_000, 3, seed=0)
    mixing = np.array([[1.0, 0.6, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    seen = softmax(np.log(p) @ mixing.T, axis=1)
    best = log_loss(truth, p)
    by_dirichlet, by_bias = (
        log_loss(truth, kind().fit(seen, truth).transform(seen)) for kind in (Dirichlet, BiasCorrectedTemperature)
    )
    assert by_dirichlet < best + 0.005
    assert by_dirichlet < by_bias - 0.01
