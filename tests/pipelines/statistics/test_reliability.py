"""Calibrators are compared on honest probabilities, and diagrams show what was said beside what came."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss

from dermfuse.pipelines.model.calibration import calibrator_named, cross_fitted
from dermfuse.pipelines.model.choices import CALIBRATORS
from dermfuse.pipelines.statistics.metrics import point_values
from dermfuse.pipelines.statistics.reliability import calibration, reliability
from tests.pipelines.model.test_calibration import distorted, drawn


def case(classes: int = 3, n: int = 3000, seed: int = 0):
    """Distorted probabilities, their folds, a locked test part, and what the default calibrator makes of them."""
    p, truth = drawn(n, classes, seed)
    raw = distorted(p, 2.5, np.linspace(1, -1, classes))
    fold = np.arange(n) % 6 - 1
    train = fold >= 0
    calibrated = np.empty_like(raw)
    calibrated[train] = cross_fitted(raw[train], truth[train], fold[train])
    calibrated[~train] = calibrator_named("bias_corrected").fit(raw[train], truth[train]).transform(raw[~train])
    return truth, raw, calibrated, fold


def test_every_method_is_scored_out_of_fold_and_on_the_test_split():
    truth, raw, calibrated, fold = case()
    found = calibration(truth, raw, calibrated, fold)
    assert found["used"] == "bias_corrected"
    for part, rows in (("out_of_fold", fold >= 0), ("test", fold < 0)):
        assert list(found["methods"][part]) == list(CALIBRATORS)
        for name, p in (("none", raw), ("bias_corrected", calibrated)):
            expected = point_values(truth[rows], p[rows])
            assert found["methods"][part][name] == {k: expected[k] for k in ("ece", "log_loss", "brier", "macro_auc")}


def test_methods_of_the_test_split_learn_from_all_out_of_fold_rows():
    truth, raw, calibrated, fold = case()
    train = fold >= 0
    found = calibration(truth, raw, calibrated, fold)
    p = calibrator_named("isotonic").fit(raw[train], truth[train]).transform(raw[~train])
    assert found["methods"]["test"]["isotonic"]["log_loss"] == pytest.approx(log_loss(truth[~train], p))


def test_labels_of_the_test_split_touch_nothing_out_of_fold():
    truth, raw, calibrated, fold = case()
    other = np.where(fold < 0, (truth + 1) % 3, truth)
    before, after = (calibration(y, raw, calibrated, fold) for y in (truth, other))
    for name in ("methods", "reliability", "means"):
        assert before[name]["out_of_fold"] == after[name]["out_of_fold"]
        assert before[name]["test"] != after[name]["test"]


def test_the_calibration_error_falls_at_the_same_auc():
    truth, raw, calibrated, fold = case(n=12_000)
    found = calibration(truth, raw, calibrated, fold)["methods"]
    # Of the test split's fewer rows a perfect calibrator, too, would have some error.
    assert found["out_of_fold"]["bias_corrected"]["ece"] < 0.5 * found["out_of_fold"]["none"]["ece"]
    for part in found.values():
        assert part["bias_corrected"]["ece"] < part["none"]["ece"]
        assert part["bias_corrected"]["macro_auc"] > part["none"]["macro_auc"] - 0.005


def test_mean_probabilities_come_back_to_the_share_of_each_class():
    truth, raw, calibrated, fold = case()
    rows = calibration(truth, raw, calibrated, fold)["means"]["out_of_fold"]
    for k, row in enumerate(rows):
        assert row["prevalence"] == pytest.approx((truth[fold >= 0] == k).mean())
        assert row["after"] == pytest.approx(row["prevalence"], abs=0.005)
    assert max(abs(row["before"] - row["prevalence"]) for row in rows) > 0.05


@pytest.mark.parametrize("classes", [2, 3])
def test_the_bins_of_a_diagram_give_its_calibration_error(classes):
    truth, raw, _, _ = case(classes)
    rows = reliability(truth, raw)
    assert sum(row["n"] for row in rows) == len(truth) and len(rows) == 15
    assert max(row["n"] for row in rows) <= min(row["n"] for row in rows) + 1
    error = sum(row["n"] * abs(row["said"] - row["right"]) for row in rows) / len(truth)
    assert error == pytest.approx(point_values(truth, raw)["ece_positive" if classes == 2 else "ece"])
    assert [row["said"] for row in rows] == sorted(row["said"] for row in rows)


def test_equal_probabilities_share_a_bin():
    truth = np.tile([0, 1, 1, 1], 50)
    rows = reliability(truth, np.tile([[0.3, 0.7]], (200, 1)))
    assert rows == [{"n": 200, "said": pytest.approx(0.7), "right": 0.75}]


def test_the_positive_class_of_two_may_be_the_first():
    truth, raw, _, _ = case(2)
    assert reliability(truth, raw, positive=0) == reliability(1 - truth, raw[:, ::-1])
