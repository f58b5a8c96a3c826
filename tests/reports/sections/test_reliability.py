"""What the page says of calibration, of malignant against benign, and of decisions; and of runs without them."""

from __future__ import annotations

import json

import pytest

from dermfuse.reports.pages.facts import facts
from dermfuse.reports.pages.run_page import render
from dermfuse.reports.runfolder import read_run
from tests.reports.html import Page
from tests.reports.runs import VARIANTS, write


@pytest.fixture
def run(tmp_path):
    return write(tmp_path, VARIANTS["multiclass"])


def edit(run, change) -> None:
    path = run / "metrics.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def text_of(run) -> str:
    return Page(render(read_run(run))).text


def test_one_sentence_tells_the_error_before_and_after_at_which_auc(run):
    def spoil(metrics):
        metrics["calibration"]["methods"]["out_of_fold"]["none"].update(ece=0.2553, macro_auc=0.9068)
        metrics["calibration"]["methods"]["out_of_fold"]["bias_corrected"].update(ece=0.0112, macro_auc=0.9122)

    edit(run, spoil)
    sentence = facts(read_run(run))["calibration"]["sentence"]
    assert sentence.startswith(
        "Out of fold, the expected calibration error is 0.255 before and 0.011 after, "
        "at macro AUC 0.907 before and 0.912 after; on the locked test split, "
    )


def test_every_method_is_shown_and_the_used_one_marked(run):
    told = facts(read_run(run))["calibration"]["methods"]
    assert [row["used"] for row in told] == [False, False, True, False, False]
    edit(run, lambda metrics: metrics["calibration"].update(used="isotonic"))
    told = facts(read_run(run))["calibration"]
    assert [row["title"].split(":")[0] for row in told["methods"] if row["used"]] == ["isotonic"]
    text = text_of(run)
    assert "isotonic: one rising step function a class used" in text
    assert "Isotonic regression (one rising step function a class" in text
    assert "Bias-corrected temperature scaling" not in text


def test_a_run_without_calibration_says_so(run):
    edit(run, lambda metrics: metrics["calibration"].update(used="none"))
    assert "the probabilities are those that the classifier gives" in text_of(run)


def test_mean_probabilities_stand_beside_the_share_of_each_class(run):
    metrics = json.loads((run / "metrics.json").read_text())
    row = facts(read_run(run))["calibration"]["means"][5]
    told = [metrics["calibration"]["means"][split][5] for split in ("out_of_fold", "test")]
    assert row == {"class": "nv", "cells": [part[key] for part in told for key in ("prevalence", "before", "after")]}


def test_two_classes_are_about_the_positive_one(tmp_path):
    run = write(tmp_path, VARIANTS["binary"])
    assert facts(read_run(run))["calibration"]["positive"] == "malignant"
    text = text_of(run)
    assert "ECE of malignant" in text
    assert "images with a similar probability of malignant, how many are malignant" in text


def test_guessing_is_the_baseline_of_two_classes(tmp_path):
    run = read_run(write(tmp_path, VARIANTS["binary"]))
    prevalence = run.metrics["per_class"]["test"][1]["prevalence"]
    baseline = {row["metric"]: row["cells"][1]["baseline"] for row in facts(run)["metrics"]["rows"]}
    assert (baseline["average_precision"], baseline["partial_auc"]) == (prevalence, 0.02)
    assert baseline["ece"] is None


def test_malignant_against_benign_names_its_classes_and_thresholds(run):
    told = facts(read_run(run))["metrics"]["malignant"]
    assert told["classes"] == ["akiec", "bcc", "mel"]
    assert [point["threshold"] for point in told["points"]][0] == 0.5
    assert "The probabilities of akiec, bcc and mel added up" in text_of(run)


def test_the_sentence_names_the_thresholds_where_deciding_by_the_model_surely_gains(run):
    def shape(metrics):
        curve = metrics["decision_curve"]["out_of_fold"]
        curve["gain_low"] = [0.01 if 4 <= place <= 39 or place == 60 else -0.01 for place in range(99)]
        curve["net_benefit"][9], curve["treat_all"][9] = 0.1234, 0.0456
        metrics["decision_curve"]["test"]["gain_low"] = [0.0] * 99

    edit(run, shape)
    out_of_fold, test = facts(read_run(run))["decision"]["sentences"]
    assert out_of_fold == (
        "Out of fold, deciding by the probability of akiec, bcc or mel gains over both treating all and treating none "
        "at thresholds from 5 % to 40 %; at a threshold of 10 % the net benefit of the model is 0.123, that of "
        "treating all 0.046."
    )
    assert test.startswith("At no threshold does the model surely gain over treating all or none on the locked test")


def test_curves_are_drawn_as_far_as_something_may_be_gained(run):
    def shape(metrics):
        for split in ("out_of_fold", "test"):
            metrics["decision_curve"][split]["high"] = [0.1] * 45 + [0.0] * 54

    edit(run, shape)
    assert [split["last"] for split in facts(read_run(run))["decision"]["splits"]] == [0.45, 0.45]
    edit(
        run,
        lambda metrics: [metrics["decision_curve"][split].update(high=[0.0] * 99) for split in ("out_of_fold", "test")],
    )
    assert facts(read_run(run))["decision"]["splits"][0]["last"] == 0.2
    assert "Decision curve" in text_of(run)


def test_many_classes_without_a_malignant_one_have_no_curve(tmp_path):
    text = text_of(write(tmp_path, VARIANTS["unexplained"]))
    assert "No decision curve: " in text
    assert "Malignant against benign" not in text


def test_a_run_of_an_older_version_still_renders(run):
    def age(metrics):
        for name in ("calibration", "malignant", "decision_curve"):
            del metrics[name]
        for split in ("out_of_fold", "test"):
            for point in metrics["operating_points"][split].values():
                point.update({name: entry["value"] for name, entry in point.items()})
            del metrics[split]["ece"]

    edit(run, age)
    text = text_of(run)
    assert "This run holds no comparison of calibrations" in text
    assert "No decision curve: " in text
    assert "Bias-corrected temperature scaling" in text
