"""Metadata of new images: what is unlike training's is read as training would, counted and told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermfuse.pipelines.prediction.outside import Outside, ranges_of

TRAINED = ranges_of(
    pd.DataFrame({"age": [*np.arange(20.0, 81), None], "diameter": [*np.linspace(3, 30, 61), None], "score": 1.0})
) | {"depth": ranges_of(pd.DataFrame({"depth": np.arange(-50.0, 51)}))["depth"], "empty": None}
KNOWN = {"sex": {"male", "female", "missing"}, "site": {"lower back", "face"}, "grade": {"1", "2"}}


def read(**columns) -> tuple[pd.DataFrame, list[str]]:
    """The columns as they are read, and what is told of them."""
    outside = Outside(TRAINED, KNOWN)
    index = pd.Index([f"i{n}" for n in range(len(next(iter(columns.values()))))], dtype=object)
    kinds = {name: object if name in KNOWN else float for name in columns}
    fields = pd.DataFrame({name: pd.Series(cells, index, dtype=kinds[name]) for name, cells in columns.items()})
    return outside.read(fields), outside.lines()


def test_the_range_of_a_column_is_that_of_its_known_values():
    assert TRAINED["age"]["min"] == 20 and TRAINED["age"]["max"] == 80 and TRAINED["age"]["median"] == 50
    assert ranges_of(pd.DataFrame({"x": [np.nan]}))["x"] is None


@pytest.mark.parametrize("value", [-1, -9, 150, 999, 1961, 600])
def test_an_age_that_no_person_has_is_imputed_and_told(value):
    fields, lines = read(age=[50, value, value])
    assert fields.age.isna().tolist() == [False, True, True]
    assert lines == [f"age: 2 predictions have {value}, which stands for missing or for no person; read as missing"]


@pytest.mark.parametrize("value", [-1, -9, -999, 999, 9999])
def test_a_code_that_training_had_nothing_like_is_imputed_even_in_a_single_row(value):
    fields, lines = read(diameter=[value])
    assert fields.diameter.isna().all()
    assert lines == [f"diameter: 1 prediction has {value}, which stands for missing or for no person; read as missing"]


@pytest.mark.parametrize("value", [-1, -9, 99])
def test_what_looks_like_a_code_and_lies_where_training_was_is_a_value(value):
    fields, lines = read(depth=[value])
    assert fields.depth.tolist() == [value] and lines == []


def test_a_code_far_below_a_column_with_negative_numbers_is_imputed():
    assert read(depth=[-999])[0].depth.isna().all()


def test_a_value_far_outside_training_is_used_counted_and_told():
    fields, lines = read(diameter=[10, 300, 1e6])
    assert fields.diameter.tolist() == [10, 300, 1e6]
    (line,) = lines
    assert line.startswith(
        "diameter: 2 predictions have 300, 1000000, far outside training (3 to 30); used as it stands"
    )


@pytest.mark.parametrize("ages", [[0, 5], [99, 104], [19.5, 81]])
def test_a_little_outside_training_nothing_is_told(ages):
    fields, lines = read(age=ages)
    assert fields.age.tolist() == ages and lines == []


def test_a_column_in_another_unit_is_told():
    (line,) = read(diameter=[0.3, 0.8, 1.2, 1.5, 2.0, 2.5])[1]
    assert "6 of 6 values lie below what 98 % of training had" in line
    assert "about 12 times smaller; is it another unit?" in line


def test_a_few_values_do_not_tell_a_unit():
    assert read(diameter=[0.3, 0.8])[1] == []


def test_missing_values_and_columns_without_a_range_are_left_alone():
    fields, lines = read(age=[None, None], empty=[5, None])
    assert fields.age.isna().all() and fields["empty"].tolist()[0] == 5
    assert lines == []


def test_a_run_that_kept_no_ranges_still_knows_ages():
    outside = Outside({}, {})
    fields = outside.read(pd.DataFrame({"age": [50.0, 999.0], "diameter": [10.0, -999.0]}, index=["a", "b"]))
    assert fields.age.isna().tolist() == [False, True] and fields.diameter.tolist() == [10, -999]


def test_another_spelling_of_a_category_is_that_category_and_told():
    fields, lines = read(sex=["Male", "male ", "M", "f", None], site=["Lower_Back", "face", "FACE", "face", "face"])
    assert fields.sex.tolist() == ["male", "male", "male", "female", None]
    assert fields.site.tolist() == ["lower back", "face", "face", "face", "face"]
    assert "sex = 'M' is read as 'male' in 1 predictions" in lines
    assert "site = 'Lower_Back' is read as 'lower back' in 1 predictions" in lines
    assert len(lines) == 6


def test_numbers_that_are_categories_are_known_by_their_value():
    assert read(grade=["1.0", "02", "3"])[0].grade.tolist() == ["1", "2", None]


def test_a_new_category_is_told_and_read_as_missing():
    fields, lines = read(site=["mars", "mars", "face"], sex=["male", "x", "x"])
    assert fields.site.tolist() == [None, None, "face"]
    assert fields.sex.tolist() == ["male", None, None]
    assert lines == [
        "site = 'mars' never occurred in training; read as missing in 2 predictions",
        "sex = 'x' never occurred in training; read as missing in 2 predictions",
    ]


def test_an_image_that_is_named_twice_is_read_twice():
    outside = Outside(TRAINED, KNOWN)
    fields = pd.DataFrame({"age": [999.0, 999.0, 50.0]}, index=["a", "a", "b"])
    assert outside.read(fields).age.isna().tolist() == [True, True, False]


@pytest.mark.parametrize("value", [1e39, -1e308, 1e36, 1e16])
@pytest.mark.parametrize("column", ["diameter", "score", "empty"])
def test_a_number_that_no_model_can_be_given_is_imputed_and_told(column, value):
    if column == "empty" and abs(value) < 1e35:
        pytest.skip("a column that training knew nothing of has no range")
    fields, lines = read(**{column: [value, 1.0, 1.0]})
    assert fields[column].isna().tolist() == [True, False, False]
    assert lines == [
        f"{column}: 1 prediction has {value:.7g}, which stands for missing or for no person; read as missing"
    ]
