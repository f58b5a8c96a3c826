"""The sections on prediction sets and subgroups say what their files hold."""

from __future__ import annotations

import json

import pytest

from dermfuse.cache.errors import UserError
from dermfuse.reports.pages.facts import facts
from dermfuse.reports.runfolder import read_run
from tests.reports.html import text_of
from tests.reports.runs import VARIANTS, write


@pytest.fixture
def run(tmp_path):
    return write(tmp_path, VARIANTS["multiclass"])


def change(run, name, **new):
    path = run / name
    path.write_text(json.dumps(json.loads(path.read_text()) | new))


def content_of(run, name) -> dict:
    return json.loads((run / name).read_text())


@pytest.mark.parametrize("name", ["prediction_sets.json", "subgroups.json"])
def test_a_damaged_file_is_refused_by_name(run, name):
    (run / name).write_text("{}")
    with pytest.raises(UserError, match=name):
        read_run(run)


class TestSets:
    def test_the_sentence_gives_coverage_interval_and_size(self, run):
        told = content_of(run, "prediction_sets.json")["test"]
        covered = told["coverage"]
        expected = (
            f"On the locked test split, {100 * covered['value']:.1f} % of the sets hold the true class "
            f"({covered['low']:.3f} to {covered['high']:.3f})"
        )
        assert expected in text_of(run)
        assert f"a set holds {told['mean_size']:.2f} classes on average" in text_of(run)

    @pytest.mark.parametrize(
        ("interval", "word"),
        [((0.85, 0.95), "as stated"), ((0.5, 0.89), "less than stated"), ((0.91, 1.0), "more than stated")],
    )
    def test_the_stated_coverage_is_judged_by_the_interval(self, run, interval, word):
        told = content_of(run, "prediction_sets.json")
        told["test"]["coverage"] = {"value": sum(interval) / 2, "low": interval[0], "high": interval[1]}
        change(run, "prediction_sets.json", **told)
        assert word + ";" in facts(read_run(run))["prediction_sets"]["sentences"][1]

    def test_a_class_without_threshold_is_named_with_its_reason(self, run):
        text = text_of(run)
        assert "always in" in text
        assert "vasc has no threshold: 4 groups outside a fold; 10 are needed." in text

    def test_no_sets_at_all_say_why(self, tmp_path):
        text = text_of(write(tmp_path, VARIANTS["no-images"]))
        assert "There are no prediction sets: no class has 10 groups outside each fold." in text
        assert "No sets were made at 90 % coverage" in text

    def test_an_absent_class_is_a_dash(self, run):
        told = content_of(run, "prediction_sets.json")
        nothing = {"value": None, "low": None, "high": None}
        told["test"]["per_class"][0] |= {"images": 0, "groups": 0, "coverage": nothing, "mean_size": None}
        change(run, "prediction_sets.json", **told)
        assert facts(read_run(run))["prediction_sets"]["rows"][1]["cells"][1]["coverage"]["value"] is None
        assert text_of(run)

    def test_sizes_end_with_the_largest_that_occurs(self, run):
        told = content_of(run, "prediction_sets.json")
        for split in ("out_of_fold", "test"):
            told[split]["sizes"] = [0.1, 0.6, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0]
        change(run, "prediction_sets.json", **told)
        assert [row["size"] for row in facts(read_run(run))["prediction_sets"]["sizes"]] == [0, 1, 2]


class TestSubgroups:
    def test_the_largest_gap_told_apart_is_named(self, run):
        sentence = facts(read_run(run))["subgroups"]["splits"][0]["sentence"]
        assert "2 of 4 gaps in AUC of malignant against benign are told apart from chance" in sentence
        assert "largest is that of sex female: 0.800, 0.110 below all other images (gap −0.150 to −0.070)" in sentence

    def test_no_gap_told_apart_is_said_and_not_taken_for_equality(self, run):
        told = content_of(run, "subgroups.json")
        for column in told["test"]:
            for cell in column["cells"]:
                for gap in cell["gaps"].values():
                    gap["told_apart"] = False
        change(run, "subgroups.json", **told)
        sentence = facts(read_run(run))["subgroups"]["splits"][1]["sentence"]
        assert "none of the 4 gaps in AUC of malignant against benign is told apart from chance" in sentence
        assert "no proof that there is none" in sentence
        assert "0 of 5" in sentence

    def test_withheld_cells_show_no_number_and_their_neighbours_a_rounded_one(self, run):
        text = text_of(run)
        assert "missing < 20 – – – – – –" in text
        assert "female about 100" in text
        assert "under 30 100" in text

    def test_gaps_told_apart_bear_a_mark_that_is_explained(self, run):
        text = text_of(run)
        assert "−0.110 †" in text
        assert "† told apart from chance" in text

    def test_the_limits_name_the_columns(self, run):
        limits = " ".join(facts(read_run(run))["method"]["limits"])
        assert "broken down by sex and age" in limits
        assert "not broken down" not in limits

    def test_columns_that_were_left_out_are_named(self, run):
        assert "Not divided by camera: more than 50 different values." in text_of(run)

    def test_a_table_without_such_columns_says_so(self, run):
        change(run, "subgroups.json", out_of_fold=[], test=[])
        assert "The table has no column to divide the images by." in text_of(run)
        assert "Results are not broken down by subgroup" in text_of(run)
