"""What the page says of malignant against benign, and of guessing where there are two classes."""

from __future__ import annotations

import pytest

from dermfuse.reports.pages.facts import facts
from dermfuse.reports.runfolder import read_run
from tests.reports.html import text_of
from tests.reports.runs import VARIANTS, write


@pytest.fixture
def run(tmp_path):
    return write(tmp_path, VARIANTS["multiclass"])


def test_guessing_is_the_baseline_of_two_classes(tmp_path):
    run = read_run(write(tmp_path, VARIANTS["binary"]))
    prevalence = run.metrics["per_class"]["test"][1]["prevalence"]
    baseline = {row["metric"]: row["cells"][1]["baseline"] for row in facts(run)["metrics"]["rows"]}
    assert (baseline["average_precision"], baseline["partial_auc"]) == (prevalence, 0.02)
    assert baseline["ece"] is None


def test_malignant_against_benign_names_its_classes_and_thresholds(run):
    told = facts(read_run(run))["metrics"]["malignant"]
    assert told["classes"] == ["akiec", "bcc", "mel"]
    assert told["points"][0]["cells"][0] == 0.5
    assert "The probabilities of akiec, bcc and mel added up" in text_of(run)
