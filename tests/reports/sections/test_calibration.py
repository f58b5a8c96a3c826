"""What the page says of calibration: the error before and after, the method used, the class frequencies."""

from __future__ import annotations

import json

import pytest

from dermfuse.reports.pages.facts import facts
from dermfuse.reports.runfolder import read_run
from tests.reports.html import text_of
from tests.reports.runs import VARIANTS, edit, write


@pytest.fixture
def run(tmp_path):
    return write(tmp_path, VARIANTS["multiclass"])


def test_one_sentence_tells_the_error_before_and_after_at_which_auc(run):
    def spoil(metrics):
        metrics["calibration"]["methods"]["out_of_fold"]["none"].update(ece=0.2553, macro_auc=0.9068)
        metrics["calibration"]["methods"]["out_of_fold"]["bias_corrected"].update(ece=0.0112, macro_auc=0.9122)

    edit(run / "metrics.json", spoil)
    sentence = facts(read_run(run))["calibration"]["sentence"]
    assert sentence.startswith(
        "Out of fold, the expected calibration error is 0.255 before and 0.011 after, "
        "at macro AUC 0.907 before and 0.912 after; on the locked test split, "
    )


def test_every_method_is_shown_and_the_used_one_marked(run):
    told = facts(read_run(run))["calibration"]["methods"]
    assert [row["mark"] for row in told] == [None, None, "used", None, None]
    edit(run / "metrics.json", lambda metrics: metrics["calibration"].update(used="isotonic"))
    told = facts(read_run(run))["calibration"]
    assert [row["title"].split(":")[0] for row in told["methods"] if row["mark"]] == ["isotonic"]
    text = text_of(run)
    assert "isotonic: one rising step function a class used" in text
    assert "Isotonic regression (one rising step function a class" in text
    assert "Bias-corrected temperature scaling" not in text


def test_a_run_without_calibration_says_so(run):
    edit(run / "metrics.json", lambda metrics: metrics["calibration"].update(used="none"))
    assert "the probabilities are those that the classifier gives" in text_of(run)


def test_mean_probabilities_stand_beside_the_share_of_each_class(run):
    metrics = json.loads((run / "metrics.json").read_text())
    row = facts(read_run(run))["calibration"]["means"][5]
    told = [metrics["calibration"]["means"][split][5] for split in ("out_of_fold", "test")]
    assert row == {"title": "nv", "cells": [part[key] for part in told for key in ("prevalence", "before", "after")]}


def test_two_classes_are_about_the_positive_one(tmp_path):
    run = write(tmp_path, VARIANTS["binary"])
    assert facts(read_run(run))["calibration"]["positive"] == "malignant"
    text = text_of(run)
    assert "ECE of malignant" in text
    assert "images with a similar probability of malignant, how many are malignant" in text
