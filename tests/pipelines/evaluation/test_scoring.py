"""What ``metrics.json`` holds, for two classes, for many, and with malignant ones named."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dermfuse.pipelines.evaluation.out_of_fold import Evidence, Repeat
from dermfuse.pipelines.evaluation.scoring import score
from dermfuse.pipelines.model.calibration import calibrator_named, cross_fitted
from dermfuse.pipelines.statistics.metrics import point_values, summarise
from tests.pipelines.model.test_calibration import distorted, drawn

PARTS = ("out_of_fold", "test")
ALWAYS = {
    *("schema", "intervals", "out_of_fold", "test", "majority", "per_class", "confusion", "operating_points"),
    *("uncalibrated", "folds", "calibration"),
}


def case(names: tuple[str, ...], used: str = "bias_corrected", n: int = 600):
    """A table and the evidence of a run over it, as far as scores look at them; names are sorted."""
    p, truth = drawn(n, len(names), seed=0)
    raw = distorted(p, 2.0, np.linspace(1, -1, len(names)))
    fold = np.arange(n) // 2 % 6 - 1
    train = fold >= 0
    calibrated = np.empty_like(raw)
    calibrated[train] = cross_fitted(raw[train], truth[train], fold[train], used)
    calibrator = calibrator_named(used).fit(raw[train], truth[train])
    calibrated[~train] = calibrator.transform(raw[~train])
    table = SimpleNamespace(labels=np.array(names)[truth], groups=np.arange(n) // 2)
    model = SimpleNamespace(calibrator=calibrator)
    return table, truth, Evidence(fold, calibrated, raw, model, answers=None, anova=[])


def rows_of(evidence, part: str) -> np.ndarray:
    return evidence.fold < 0 if part == "test" else evidence.fold >= 0


def test_without_malignant_classes_there_is_neither_a_second_reading_nor_a_decision_curve():
    found = score(*case(("bkl", "mel", "nv")), seed=0)
    assert set(found) == ALWAYS
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("malignant", [("scc",), ("bkl", "mel", "nv")], ids=["none of them", "all of them"])
def test_malignant_against_benign_needs_both_sides(malignant):
    assert set(score(*case(("bkl", "mel", "nv")), seed=0, malignant=malignant)) == ALWAYS


def test_malignant_classes_are_read_as_their_sum():
    table, truth, evidence = case(("bcc", "bkl", "mel", "nv"))
    found = score(table, truth, evidence, seed=0, malignant=("mel", "bcc", "scc"))
    assert set(found) == ALWAYS | {"malignant", "decision_curve"}
    assert found["malignant"]["classes"] == found["decision_curve"]["classes"] == ["bcc", "mel"]
    for part in PARTS:
        rows = rows_of(evidence, part)
        hit, risk = np.isin(table.labels[rows], ["bcc", "mel"]), evidence.probabilities[rows][:, [0, 2]].sum(axis=1)
        assert found["malignant"][part]["auc"]["value"] == pytest.approx(roc_auc_score(hit, risk))
        assert found["decision_curve"][part]["prevalence"] == pytest.approx(hit.mean())
    # Both parts are judged at the prevalence of the training rows.
    points = [found["malignant"][part]["operating_points"]["balanced"]["threshold"] for part in PARTS]
    train = np.isin(table.labels[evidence.fold >= 0], ["bcc", "mel"]).mean()
    assert points == pytest.approx([train, train])


@pytest.mark.parametrize(("malignant", "positive"), [((), 1), (("nevus",), 1), (("melanoma",), 0)])
def test_of_two_classes_the_malignant_one_is_positive_else_the_second(malignant, positive):
    table, truth, evidence = case(("melanoma", "nevus"))
    found = score(table, truth, evidence, seed=0, malignant=malignant)
    assert set(found) == ALWAYS | {"positive", "decision_curve"}
    assert found["positive"] == ("melanoma", "nevus")[positive]
    assert found["decision_curve"]["classes"] == [found["positive"]]
    for part in PARTS:
        rows = rows_of(evidence, part)
        expected = summarise(truth[rows], evidence.probabilities[rows], table.groups[rows], seed=0, positive=positive)
        assert found[part] == expected
        assert found["uncalibrated"][part] == point_values(truth[rows], evidence.uncalibrated[rows], positive)


@pytest.mark.parametrize("used", ["none", "isotonic", "dirichlet"])
def test_the_calibrator_of_the_run_is_named_and_its_scores_are_the_runs(used):
    table, truth, evidence = case(("bkl", "mel", "nv"), used)
    found = score(table, truth, evidence, seed=0)
    assert found["calibration"]["used"] == used
    for part in PARTS:
        told = found["calibration"]["methods"][part]
        assert told[used]["log_loss"] == pytest.approx(found[part]["log_loss"]["value"])
        assert told["none"]["log_loss"] == pytest.approx(found["uncalibrated"][part]["log_loss"])


def test_operating_points_have_intervals_and_the_first_is_the_summarys():
    found = score(*case(("bkl", "mel", "nv")), seed=0)
    for part in PARTS:
        for metric, entry in found["operating_points"][part]["accuracy_optimal"].items():
            assert entry == found[part][metric]
        assert set(found["operating_points"][part]) == {"accuracy_optimal", "balanced"}


def test_repeats_are_averaged_with_an_interval_of_their_own():
    table, truth, evidence = case(("bkl", "mel", "nv"))
    other = evidence.probabilities[:, ::-1]
    repeated = replace(evidence, repeats=[Repeat(evidence.fold, other, other)])
    found = score(table, truth, repeated, seed=0)["repeated"]
    rows = evidence.fold >= 0
    each = [point_values(truth[rows], p[rows]) for p in (evidence.probabilities, other)]
    assert found["repeats"] == 2 and found["each"] == each
    for name, entry in found["mean"].items():
        assert entry["value"] == pytest.approx((each[0][name] + each[1][name]) / 2), name
        assert entry["low"] <= entry["value"] <= entry["high"]
    assert "repeated" not in score(table, truth, evidence, seed=0)


def test_folds_of_two_classes_are_scored_by_auc_and_average_precision():
    found = score(*case(("benign", "melanoma")), seed=0, malignant=["melanoma"])
    assert {"fold", "auc", "average_precision"} <= set(found["folds"][0])
