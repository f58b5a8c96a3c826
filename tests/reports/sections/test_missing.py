"""The section on missing fields shows every pattern on both splits, and what is missed most."""

from __future__ import annotations

import json

import pytest

from dermfuse.cache.errors import UserError
from dermfuse.reports.pages.facts import facts
from dermfuse.reports.pages.run_page import render
from dermfuse.reports.runfolder import read_run
from tests.reports.html import Page
from tests.reports.runs import VARIANTS, write


def told(tmp_path, variant="multiclass", **change):
    run = write(tmp_path, VARIANTS[variant])
    path = run / "missing_fields.json"
    content = json.loads(path.read_text()) | change
    path.write_text(json.dumps(content))
    return run, content


def test_every_pattern_is_a_row_of_both_splits(tmp_path):
    run, content = told(tmp_path)
    shown = facts(read_run(run))["missing"]
    assert [row["name"] for row in shown["splits"][0]["rows"]] == [
        "none taken away",
        "age",
        "sex",
        "localization",
        "all: age, sex and localization",
    ]
    for split, key in zip(shown["splits"], ("out_of_fold", "test"), strict=True):
        for row, entry in zip(split["rows"], content["patterns"], strict=True):
            assert row["cells"] == [entry[key][name] for name in shown["columns"]]


def test_the_field_that_is_missed_most_is_named(tmp_path):
    run, content = told(tmp_path)
    content["patterns"][3]["out_of_fold"]["macro_auc"]["value"] -= 0.05
    told(tmp_path / "again", patterns=content["patterns"])
    page = Page(render(read_run(tmp_path / "again" / "run"))).text
    assert "images alone answer" in page and "localization is missed most (0.060)" in page


def test_two_classes_are_told_by_their_auc(tmp_path):
    assert facts(read_run(told(tmp_path, "binary")[0]))["missing"]["columns"][2] == "auc"


def test_without_images_class_frequencies_are_what_is_left(tmp_path):
    text = Page(render(read_run(told(tmp_path, "no-images")[0]))).text
    assert "class frequencies alone answer" in text and "no sets" in text


def test_a_run_without_metadata_says_that_nothing_can_be_missing(tmp_path):
    assert "nothing can be missing" in Page(render(read_run(told(tmp_path, "no-metadata")[0]))).text


def test_a_damaged_file_is_refused_by_name(tmp_path):
    run, _ = told(tmp_path)
    (run / "missing_fields.json").write_text("{}")
    with pytest.raises(UserError, match=r"missing_fields\.json"):
        read_run(run)
