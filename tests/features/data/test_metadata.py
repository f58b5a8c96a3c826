"""Metadata as training reads it: spellings of a category are one, codes are missing, and all of it is told."""

from __future__ import annotations

import pytest

from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.tables.columns import Layout, layout_from_flags
from tests.features.folders import COLUMNS, refusal, write_plain


def fields(folder, cells, column="sex", kind="categorical", flags=None):
    lines = [f"file\tkind\t{column}", *(f"i{n:03}\t{'nv' if n % 2 else 'mel'}\t{cell}" for n, cell in enumerate(cells))]
    write_plain(folder, "\n".join(lines) + "\n", table="table.tsv")
    return load_dataset(folder, Layout(image="file", label="kind", **{kind: (column,)}))


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (["male", "male", "Male", "MALE ", "female"], ["male"] * 4 + ["female"]),
        (["back", "lower  back", "lower back", "lower_back", "Lower-Back"], ["back"] + ["Lower-Back"] * 4),
        (["1", "1", "1.0", "01", "2"], ["1"] * 4 + ["2"]),
        (["True", "TRUE", "True", "False"], ["True", "True", "True", "False"]),
        (["male", "female", "M", "f", "unknown"], ["male", "female", "male", "female", None]),
        (["not specified", "male", "-", "female", "N/A"], [None, "male", None, "female", None]),
        (["m", "M", "f", "f"], ["M", "M", "f", "f"]),
    ],
)
def test_categories_that_differ_only_in_spelling_are_one(cells, read, tmp_path):
    assert fields(tmp_path, cells).rows.sex.tolist() == read


def test_what_is_joined_is_told_with_counts(tmp_path):
    dataset = fields(tmp_path, ["male", "male", "Male", "female", "F"])
    assert (
        "column 'sex': 'male' (2 rows) and 'Male' (1) differ only in spelling and are read as one category 'male'"
        in dataset.noticed
    )
    assert "column 'sex': 'F' (1 row) is read as 'female'" in dataset.noticed


def test_letters_are_read_as_words_in_a_column_of_sexes_only(tmp_path):
    cells = ["male", "female", "M", "F"]
    assert fields(tmp_path, cells, "site").rows.site.tolist() == cells


@pytest.mark.parametrize(
    ("cells", "missing"),
    [
        (["male", "female", "-9", "999"], 2),
        (["male", "female", "-1", "99"], 2),
        (["1", "2", "-9"], 1),
        (["1", "2", "99"], 0),
        (["-1", "0", "1"], 0),
        (["998", "999", "1000"], 0),
    ],
)
def test_codes_among_categories_are_missing_and_told(cells, missing, tmp_path):
    dataset = fields(tmp_path, cells, "site")
    assert dataset.rows.site.isna().sum() == missing
    assert any("a usual code for missing" in line for line in dataset.noticed) == bool(missing)


def test_a_column_of_measurements_that_is_read_as_categories_is_told(tmp_path):
    dataset = fields(tmp_path, [f"{n / 4:g}" for n in range(40)], "thickness")
    told = "column 'thickness': 40 different numbers are read as categories"
    assert any(line.startswith(told) and "thickness=number" in line for line in dataset.noticed)


def test_codes_in_numbers_are_missing_and_told_once_also_where_results_are_broken_down(tmp_path):
    table = "file,kind,age,sex\n" + "".join(f"i{n},{'nv' if n % 2 else 'mel'},{n},male\n" for n in range(20, 60))
    write_plain(tmp_path, table + "x,nv,-9,female\ny,nv,999,female\n")
    dataset = load_dataset(tmp_path, COLUMNS)
    assert dataset.rows.age.isna().sum() == dataset.context.age.isna().sum() == 2
    told = [line for line in dataset.noticed if "'age'" in line]
    assert told == ["column 'age': 1 cell holds -9 and 1 holds 999, which no person has; read as missing"]


def test_a_column_of_birth_years_is_told_and_not_used(tmp_path):
    table = "file,kind,age,sex\n" + "".join(
        f"i{n},{'nv' if n % 2 else 'mel'},{n},m{n % 2}\n" for n in range(1940, 1990)
    )
    write_plain(tmp_path, table)
    dataset = load_dataset(tmp_path, COLUMNS)
    assert dataset.metadata_fields == ["sex"]
    assert any("look like years of birth" in line for line in dataset.noticed)


def test_the_refusal_of_what_is_no_number_names_its_form(tmp_path):
    write_plain(tmp_path, "file,kind,age\na,nv,45\nb,mel,85+\n")
    message = str(refusal(tmp_path, layout_from_flags(image="file", label="kind", metadata="age")))
    assert (
        "column 'age' should hold finite numbers, but 1 of 2 rows do not (first: '85+', a bound, not a number)"
        in message
    )


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("folder", "start"), [("ham10000", "c0bccd6bb34ccafa"), ("siim_isic_2020", "84ad6ab1f757cb07")]
)
def test_published_tables_are_read_as_they_were(shared, folder, start):
    dataset = load_dataset(shared / folder)
    assert dataset.fingerprint().startswith(start)
    assert not any("read as" in line for line in dataset.noticed)


def test_a_column_of_numbers_too_large_for_any_model_is_refused(tmp_path):
    write_plain(tmp_path, "file,kind,dose\n" + "".join(f"i{n},{'ab'[n % 2]},{n + 1}e37\n" for n in range(20)))
    message = str(refusal(tmp_path, layout_from_flags(None, "file", "kind", None, "dose=number")))
    assert "column 'dose' holds numbers up to 2e+38, but expected none beyond 1e+35" in message
