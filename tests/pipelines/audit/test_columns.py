"""Columns: what gives the label away is flagged, honest clinical columns are not, however much they tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dermfuse.features.data.dataset import load_dataset
from dermfuse.pipelines.audit.columns import check_columns, columns_of
from dermfuse.pipelines.audit.given import AuditInput
from dermfuse.pipelines.audit.whole import labels_of
from dermfuse.pipelines.evaluation import splits
from tests.pipelines.audit.planting import known_leak_used


def checked(given: AuditInput) -> dict:
    return {check.code: check for check in check_columns(given, labels_of(given))}


def with_column(given: AuditInput, name: str, cells) -> AuditInput:
    unused = given.dataset.unused.assign(**{name: pd.Series(cells, given.dataset.unused.index, dtype=object)})
    return replace(given, dataset=replace(given.dataset, unused=unused))


def test_a_known_leak_is_a_warning_while_it_is_kept_out_and_an_error_as_a_feature(clean):
    used = known_leak_used(clean)
    assert checked(used)["LEAK_COLUMN"].severity == "error"
    assert checked(replace(used, used=("age",)))["LEAK_COLUMN"].severity == "warning"


def test_names_of_groups_tell_nothing_since_other_groups_are_asked(clean):
    given = with_column(clean, "patient", [f"P{group}" for group in clean.groups])
    assert checked(given)["COLUMN_VALUES"].state == "passed"


def test_text_that_holds_numbers_is_read_as_numbers_and_gaps_as_gaps(clean):
    cells = ["unknown" if i % 3 == 0 else str(i / 7) for i in range(len(clean.ids))]
    column = columns_of(with_column(clean, "size", cells))["size"]
    assert column.dtype == float
    assert np.isnan(column[::3]).all()
    assert not np.isnan(np.delete(column, np.s_[::3])).any()


def test_without_folds_only_the_names_are_looked_at(clean):
    given = replace(clean, fold=None)
    assert [checked(given)[code].state for code in ("LEAK_COLUMN", "COLUMN_VALUES", "COLUMN_MISSING")] == [
        "passed",
        "not applicable",
        "not applicable",
    ]


def test_labels_of_the_locked_test_split_are_not_looked_at(clean):
    labels = np.where(clean.fold < 0, clean.labels, "the same in training")
    assert checked(with_column(clean, "peek", labels))["COLUMN_VALUES"].state == "passed"


def given_of_table(folder) -> AuditInput:
    dataset = load_dataset(folder).whole
    labels, groups = dataset.rows["label"].to_numpy(str), dataset.rows["group"].to_numpy(str)
    fold = np.full(len(labels), -1)
    train = ~splits.locked_test(labels, groups, 0)
    fold[train] = splits.folds_of(labels[train], groups[train], 0)
    return AuditInput(dataset, dataset, fold, used=tuple(dataset.metadata_fields))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("folder", "leaks"), [("ham10000", ["dx_type"]), ("siim_isic_2020", ["diagnosis", "benign_malignant"])]
)
def test_real_leak_columns_are_flagged_by_name_and_by_value_and_clinical_columns_are_not(shared, folder, leaks):
    given = given_of_table(shared / folder)
    found = checked(given)
    for code in ("LEAK_COLUMN", "COLUMN_VALUES"):
        assert (found[code].state, found[code].severity, found[code].count) == ("found", "warning", len(leaks))
        assert all(repr(name) in found[code].detail for name in leaks)
        assert not [name for name in given.used if repr(name) in found[code].detail]
    assert not [name for name in given.used if repr(name) in found["COLUMN_MISSING"].detail.partition("label:")[2]]
