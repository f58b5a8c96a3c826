"""Numbers that no person has: what is read as missing, what is told and kept, and what is left in peace."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermfuse.features.tables.plausible import form_of, settled

AGES = [float(age) for age in range(0, 86)] * 2
MILLIMETRES = np.random.default_rng(0).gamma(3, 3, 200).round(1).clip(1).tolist()


def of(name: str, values) -> tuple[list[float], str]:
    """The values that became missing, and what was told."""
    values = pd.Series(values, dtype=float)
    after, told = settled(values, name)
    gone = values[values.notna() & after.isna()]
    assert after.dropna().equals(values[after.notna()])
    return sorted(gone), " | ".join(told)


# ages


@pytest.mark.parametrize("value", [-1, -9, -99, -999, -3, 150, 121, 999, 9999, 1e6, 1961, -0.5])
@pytest.mark.parametrize("name", ["age", "Age", "age_approx", "patient_age", "ageAtDiagnosis", "Age (years)"])
def test_an_age_that_no_person_has_is_missing_and_told(value, name):
    gone, told = of(name, [*AGES, value, value])
    assert gone == [value, value]
    assert told == f"column {name!r}: 2 cells hold {value:.7g}, which no person has; read as missing"


@pytest.mark.parametrize("values", [[0.0, 45.0], AGES, [*AGES, 90, 99, 99, 104, 120], [0, 0.5, 1.5, *AGES], [60, None]])
def test_ages_that_a_person_may_have_are_left_in_peace(values):
    assert of("age", values) == ([], "")


def test_few_cells_are_judged_by_what_a_person_can_have():
    assert of("age", [45, -9])[0] == [-9]
    assert of("age", [-9] * 30 + [40, 50, 60])[0] == [-9] * 30
    assert "2 cells hold -9, 1 holds 150 and 1 holds 999" in of("age", [*AGES, -9, -9, 150, 999])[1]


def test_many_ages_of_99_far_from_all_others_are_told_and_kept():
    gone, told = of("age", [*AGES, *[99] * 8])
    assert gone == [] and "8 cells hold 99, and none of the others more than 85" in told


@pytest.mark.parametrize(
    ("ages", "looks"),
    [
        (np.array(AGES) * 12, "look like months"),
        (np.array(AGES) * 365, "look like days"),
        (2020 - np.array(AGES), "look like years of birth"),
        ((np.array(AGES) - 42) / 25, "look scaled"),
        (np.array(AGES) / 85, "look scaled"),
    ],
)
def test_a_column_of_ages_in_other_units_is_not_used_at_all(ages, looks):
    gone, told = of("age", [*ages, -9])
    assert len(gone) == len(ages) + 1
    assert looks in told and "no ages in years; the column is read as missing: write ages in years" in told


@pytest.mark.parametrize("name", ["age_months", "age in months"])
def test_a_column_that_names_its_unit_is_read_in_it(name):
    assert of(name, np.array(AGES) * 12) == ([], "")
    assert of(name, [*np.array(AGES) * 12, -9, 9999])[0] == [-9, 9999]


@pytest.mark.parametrize("name", ["stage", "image_age_group", "age_group", "dosage", "percentage", "age_zscore"])
def test_a_column_of_no_ages_is_not_judged_by_ages(name):
    assert of(name, np.linspace(-2, 200, 50)) == ([], "")


def test_a_skin_type_is_one_of_fitzpatricks():
    assert of("fitspatrick", [1, 2, 3, 4, 5, 6, 0, 9])[0] == [9]


# other numbers


@pytest.mark.parametrize("code", [-1, -9, -99, -999, -9999, 999, 9999, 99999, 888, 8888, 998, 999.9, -88, -2147483648])
def test_a_usual_code_far_from_all_others_is_missing_and_told(code):
    gone, told = of("diameter_1", [*MILLIMETRES, code, code])
    assert gone == [code, code]
    assert f"2 cells hold {code:.7g}, a usual code for missing, and all others lie between 1 and" in told


def test_several_codes_are_found_at_once():
    assert of("diameter_1", [*MILLIMETRES, -999, -9, 999, 9999])[0] == [-999, -9, 999, 9999]


@pytest.mark.parametrize(
    "values",
    [
        list(range(-5, 6)) * 4,
        [-1, 0, 1] * 20,
        list(range(-200, 30)),
        list(range(-9, 10)),
        list(range(1001)),
        [*range(900, 1000), 999],
        [*range(0, 100)],
        [85, 90, 95, 99, 99, 80, 70, 75, 60, 88, 77],
        [0, 1] * 30,
        [-1, 1] * 30,
        np.random.default_rng(0).normal(size=5000),
        np.exp(np.random.default_rng(0).normal(size=5000)),
        [5, 999],
    ],
    ids=["score", "trend", "depth", "around zero", "thousand", "near 999", "to 99", "99s", "bits", "signs", "normal"]
    + ["log-normal", "two cells"],
)
def test_true_values_are_left_in_peace_though_some_look_like_codes(values):
    assert of("measure", values) == ([], "")


def test_a_code_among_negative_numbers_has_to_lie_far_from_all():
    assert of("measure", [*range(-20, 30), -999])[0] == [-999]
    assert of("measure", [*range(-20, 30), -99])[0] == [-99]
    assert of("measure", [*range(-95, 30), -99]) == ([], "")


def test_one_below_zero_that_may_be_true_is_kept_and_told():
    gone, told = of("pain", [*range(11)] * 3 + [-1] * 4)
    assert gone == []
    assert "4 cells hold -1, and no other is below zero; used as it stands" in told


def test_a_lone_number_that_is_no_code_is_kept_and_told():
    gone, told = of("diameter_1", [*MILLIMETRES, 1e6])
    assert gone == []
    assert "1 cell holds 1000000, far from all others" in told


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("45 years", "a number with a unit"),
        ("45y", "a number with a unit"),
        ("7.5 mm", "a number with a unit"),
        ("45 years old", "a number with a unit"),
        ("30%", "a number with a unit"),
        ("> 85", "a bound, not a number"),
        (">=90", "a bound, not a number"),
        ("over 80", "a bound, not a number"),
        ("~50", "a bound, not a number"),
        ("85+", "a bound, not a number"),
        ("60-70", "a range, not a number"),
        ("60 to 70 years", "a range, not a number"),
        ("60\u201370", "a range, not a number"),
        ("1961-05-17", "a date"),
        ("17.05.1961", "a date"),
        ("-inf", "infinite"),
        ("old", None),
        ("adult", None),
    ],
)
def test_a_cell_that_is_no_number_is_named_for_what_it_is(text, form):
    assert form_of(text) == form


# what no model can be given


@pytest.mark.parametrize("value", [1e39, -1e39, 1e308, -1e308, 1e30, 1e16])
def test_a_number_absurdly_far_from_all_others_is_missing_and_told(value):
    gone, told = of("diameter", [*MILLIMETRES, value])
    assert gone == [value] and "times as far from the median as half of the numbers; read as missing" in told


@pytest.mark.parametrize("value", [1e9, -1e9, 1e-320, -0.0])
def test_a_number_that_models_can_be_given_is_kept(value):
    assert of("diameter", [*MILLIMETRES, value])[0] == []


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_a_column_of_large_or_small_numbers_is_judged_by_its_own_size(scale):
    values = np.random.default_rng(0).normal(size=60) * scale
    assert of("signal", values)[0] == []
    assert of("signal", [7.0 * scale])[0] == [] and of("signal", [])[0] == []
