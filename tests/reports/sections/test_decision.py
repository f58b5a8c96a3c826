"""What the page says of deciding by the model: where it gains, and how far its curve is drawn."""

from __future__ import annotations

import pytest

from dermfuse.reports.pages.facts import facts
from dermfuse.reports.runfolder import read_run
from tests.reports.html import text_of
from tests.reports.runs import VARIANTS, edit, write


@pytest.fixture
def run(tmp_path):
    return write(tmp_path, VARIANTS["multiclass"])


def test_the_sentence_names_the_thresholds_where_deciding_by_the_model_surely_gains(run):
    def shape(metrics):
        curve = metrics["decision_curve"]["out_of_fold"]
        curve["gain_low"] = [0.01 if 4 <= place <= 39 or place == 60 else -0.01 for place in range(99)]
        curve["net_benefit"][9], curve["treat_all"][9] = 0.1234, 0.0456
        metrics["decision_curve"]["test"]["gain_low"] = [0.0] * 99

    edit(run / "metrics.json", shape)
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

    edit(run / "metrics.json", shape)
    assert [split["last"] for split in facts(read_run(run))["decision"]["splits"]] == [0.45, 0.45]
    edit(
        run / "metrics.json",
        lambda metrics: [metrics["decision_curve"][split].update(high=[0.0] * 99) for split in ("out_of_fold", "test")],
    )
    assert facts(read_run(run))["decision"]["splits"][0]["last"] == 0.2
    assert "Decision curve" in text_of(run)


def test_many_classes_without_a_malignant_one_have_no_curve(tmp_path):
    text = text_of(write(tmp_path, VARIANTS["unexplained"]))
    assert "No decision curve: " in text
    assert "Malignant against benign" not in text
