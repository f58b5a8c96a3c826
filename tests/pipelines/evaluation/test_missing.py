"""A prediction with metadata missing is as good as that of a model that never had it, and its worth is told."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.pipelines.evaluation.answers import fusions_of
from dermfuse.pipelines.evaluation.missing import Thresholds, missing_fields, patterns
from dermfuse.pipelines.model.fieldwise import NONE, PARTLY, WHOLE
from dermfuse.pipelines.model.fusion import LateFusion
from dermfuse.pipelines.model.zoo import MODELS
from dermfuse.pipelines.statistics.metrics import macro_auc, point_values
from tests.pipelines.tables import evidence_of, problem

FOLDS = 3
FIELDS = ("age", "sex", "site")
CLASSES = [f"class{k}" for k in range(4)]


@cache
def given():
    return problem(groups=240, signal=0.7, folds=FOLDS)


@cache
def evidence(model="logreg"):
    return evidence_of(given(), model, balance="none")


@cache
def without(field):
    """What a model finds that never had a field, or any of them."""
    table = problem(groups=240, signal=0.7, folds=FOLDS).table
    columns = table.columns
    keep = [] if field is None else [name for name in columns.metadata if name != field]
    reduced = type(columns)(
        columns.images, [c for c in columns.numeric if c in keep], [c for c in columns.categorical if c in keep]
    )
    X = table.X[[*sum(columns.images.values(), []), *keep]]
    return evidence_of(
        type(given())(type(table)(**{**vars(table), "X": X, "columns": reduced}), given().truth, given().fold),
        balance="none",
    )


def test_patterns_begin_with_none_and_end_with_all():
    assert patterns(["age"]) == [(), ("age",)]
    assert len(patterns(list(FIELDS))) == 8 and patterns(list(FIELDS))[-1] == FIELDS
    many = [f"f{i}" for i in range(21)]
    assert patterns(many) == [(), *((name,) for name in many), tuple(many)]
    assert patterns([]) == [()]


@pytest.mark.parametrize("model", MODELS)
def test_without_any_field_the_answer_is_that_of_the_model_without_metadata(model):
    rows = given().train
    found = evidence(model).answers.scored(FIELDS).calibrated
    if model == "logreg":
        assert np.allclose(found, without(None).probabilities)
    # A field that is missing in training goes with a class by chance; without it, that must not show.
    assert macro_auc(given().truth[rows], found[rows]) > 0.6


@pytest.mark.parametrize("field", FIELDS)
def test_without_one_field_the_answer_is_about_as_good_as_that_of_a_model_that_never_had_it(field):
    for rows in (given().train, ~given().train):
        truth = given().truth[rows]
        ours = point_values(truth, evidence().answers.scored((field,)).calibrated[rows])
        never = point_values(truth, without(field).probabilities[rows])
        assert ours["macro_auc"] >= never["macro_auc"] - 0.03
        assert ours["log_loss"] <= never["log_loss"] + 0.05


def test_rows_with_every_field_are_answered_by_the_whole_model():
    whole = given().table.X[list(FIELDS)].notna().all(axis=1).to_numpy()
    assert np.array_equal(evidence().probabilities[whole], evidence().answers.whole.calibrated[whole])
    assert not np.allclose(evidence().probabilities[~whole], evidence().answers.whole.calibrated[~whole])


def test_the_kept_model_answers_locked_rows_as_the_evidence_says():
    test = ~given().train
    X = given().table.X[test]
    for pattern in patterns(list(FIELDS)):
        blanked = X.assign(**dict.fromkeys(pattern, np.nan))
        assert np.allclose(evidence().model.predict_proba(blanked), evidence().answers.scored(pattern).calibrated[test])


def test_the_part_that_answers_is_named():
    X = (
        given()
        .table.X[:3]
        .assign(age=[50.0, np.nan, np.nan], sex=["female", "male", np.nan], site=["leg", "leg", np.nan])
    )
    assert evidence().model.answered_by(X).tolist() == [WHOLE, PARTLY, NONE]


def test_a_fold_s_fusion_does_not_depend_on_the_fold_s_labels():
    table, metadata = given(), given().table.X[list(FIELDS)]
    other = np.where(table.fold == 1, (table.truth + 1) % 4, table.truth)
    raw = evidence().answers.without.raw
    ours, theirs = (
        fusions_of(table.fold, raw, metadata, y, LateFusion(["age"], ["sex", "site"])) for y in (table.truth, other)
    )
    assert np.array_equal(ours[1].weights_["age"], theirs[1].weights_["age"])
    assert not np.array_equal(ours[0].weights_["age"], theirs[0].weights_["age"])


def test_of_a_single_field_there_are_two_patterns_and_no_fusion():
    table = given().table
    columns = type(table.columns)(table.columns.images, ["age"], [])
    X = table.X[[*sum(columns.images.values(), []), "age"]]
    found = evidence_of(
        type(given())(type(table)(**{**vars(table), "X": X, "columns": columns}), given().truth, given().fold)
    )
    assert found.model.fusion is None
    assert set(found.model.answered_by(X)) == {WHOLE, NONE}


def test_metadata_alone_answers_with_class_frequencies_where_nothing_is_known():
    table = problem(widths={}, groups=240, folds=FOLDS)
    found = evidence_of(table, balance="none")
    rows = table.train
    nothing = found.answers.scored(FIELDS).calibrated[~rows]
    shares = np.bincount(table.truth[rows]) / rows.sum()
    assert nothing == pytest.approx(np.tile(shares, (len(nothing), 1)), abs=0.02)
    one = found.answers.scored(("sex",)).calibrated[rows]
    assert macro_auc(table.truth[rows], one) > 0.6


class TestWhatIsWritten:
    @pytest.fixture(scope="class")
    @classmethod
    def content(cls):
        rows = given()
        return missing_fields(evidence().answers, rows.truth, rows.table.groups, CLASSES, 0)

    def test_every_pattern_is_scored_on_both_splits(self, content):
        assert content["fields"] == list(FIELDS)
        assert [tuple(entry["missing"]) for entry in content["patterns"]] == patterns(list(FIELDS))
        for entry in content["patterns"]:
            for split in ("out_of_fold", "test"):
                assert {"accuracy", "balanced_accuracy", "macro_auc", "ece", "coverage"} <= set(entry[split])
        json.dumps(content, allow_nan=False)

    def test_sets_hold_for_every_pattern(self, content):
        for entry in content["patterns"]:
            found = entry["out_of_fold"]["coverage"]
            assert found["low"] <= 0.9 <= found["high"] or found["value"] >= 0.9, entry["missing"]

    def test_the_metrics_of_the_first_pattern_are_the_run_s_own(self, content):
        rows = given().train
        own = point_values(given().truth[rows], evidence().probabilities[rows])
        assert content["patterns"][0]["out_of_fold"]["accuracy"]["value"] == pytest.approx(own["accuracy"])


class TestThresholds:
    def entry(self, names, *values):
        return {"missing": names, "thresholds": dict(zip(("nv", "mel"), values, strict=True))}

    def thresholds(self, classes, *entries):
        return Thresholds({"schema": 1, "fields": ["age", "sex"], "patterns": list(entries)}, classes)

    def test_each_pattern_has_its_own_in_the_order_of_the_classes(self):
        found = self.thresholds(["mel", "nv"], self.entry([], 0.5, 0.1), self.entry(["age"], 0.4, 0.2))
        assert found.of([]).tolist() == [0.1, 0.5]
        assert found.of(["age"]).tolist() == [0.2, 0.4]

    def test_a_pattern_that_was_not_measured_takes_the_least(self):
        found = self.thresholds(["nv", "mel"], self.entry([], 0.5, 0.1), self.entry(["age"], 0.4, 0.2))
        assert found.of(["sex"]).tolist() == [0.4, 0.1]

    def test_a_run_without_sets_has_none(self):
        assert self.thresholds(["nv", "mel"], {"missing": [], "thresholds": None}).of([]) is None

    @pytest.mark.parametrize("entries", [[{}], [{"missing": [], "thresholds": {"nv": 0.5}}], [1], [{"missing": 1}]])
    def test_a_damaged_file_is_refused(self, entries):
        with pytest.raises(UserError, match="lacks the threshold of a class"):
            self.thresholds(["nv", "mel"], *entries)
