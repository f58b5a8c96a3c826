"""What becomes of a table's columns: features, subgroups, what is unused, class names and the dataset's own split."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.tables.columns import layout_from_flags
from tests.features.folders import COLUMNS, NAMES, refusal, write_plain
from tests.features.pictures import HEADER, table_rows, write_ham

# columns that tell nothing


def test_metadata_that_is_the_same_in_all_rows_is_told_and_not_used(tmp_path):
    write_plain(tmp_path, "file,kind,age,sex,site\na,nv,50,male,\nb,mel,50,female,\nc,nv,50.0,male,unknown\n")
    dataset = load_dataset(tmp_path, COLUMNS)
    assert dataset.metadata_fields == ["sex"]
    assert list(dataset.rows) == ["id", "path", "label", "group", "sex"]
    assert "column 'age' has the same value in all rows; it can tell nothing and is not used" in dataset.noticed
    assert "column 'site' is empty in all rows; it can tell nothing and is not used" in dataset.noticed


def test_a_value_that_is_the_same_wherever_it_is_known_is_kept(tmp_path):
    # That it is missing may tell something.
    write_plain(tmp_path, "file,kind,age,sex\na,nv,50,male\nb,mel,,\n")
    assert load_dataset(tmp_path, COLUMNS).metadata_fields == ["age", "sex"]


def test_metadata_that_differs_only_in_rows_that_are_left_out_is_not_used(tmp_path):
    write_plain(tmp_path, "file,kind,sex\na,nv,male\nb,mel,male\nc,,female\nd,nv,female\n", ["a.jpg", "b.jpg"])
    assert load_dataset(tmp_path, COLUMNS).metadata_fields == []


# beside the features


def described(folder: Path, toml: str, table: str, images: list[str] = ()) -> Path:
    (folder / "dataset.toml").write_text('image = "file"\nlabel = "kind"\n' + toml)
    return write_plain(folder, table, images)


def test_subgroups_are_kept_apart_from_the_features(tmp_path):
    table = "file,kind,age,sex,camera\nb,nv,40,male,X\na,mel,,unknown,\nc,nv,50,female,Y\n"
    toml = '[metadata]\nnumeric = ["age"]\nsubgroups = ["sex", "age", "camera"]\n'
    dataset = load_dataset(described(tmp_path, toml, table))
    assert dataset.metadata_fields == ["age"]
    assert list(dataset.rows) == ["id", "path", "label", "group", "age"]
    assert list(dataset.context) == ["sex", "age", "camera"]
    assert dataset.context.sex.tolist() == [None, "male", "female"]
    assert dataset.context.camera.tolist() == [None, "X", "Y"]
    assert dataset.context.age.fillna(-1).tolist() == [-1.0, 40.0, 50.0]


def test_the_source_clinic_of_ham10000_is_a_subgroup_and_no_feature(ham):
    rows = [[*row, ("rosendahl", "vidir_modern")[i % 2]] for i, row in enumerate(table_rows(NAMES))]
    dataset = load_dataset(write_ham(ham, NAMES, header=f"{HEADER},dataset", rows=rows))
    assert dataset.context.dataset.tolist() == [row[-1] for row in rows]
    assert list(dataset.context) == ["sex", "age", "localization", "dataset"]
    assert "dataset" not in dataset.rows


def test_a_subgroup_by_the_label_itself_is_left_out(ham):
    dataset = load_dataset(ham, layout_from_flags(label="localization", metadata="age"))
    assert list(dataset.context) == ["sex", "age"]


def test_columns_without_a_role_are_kept_as_they_stand(tmp_path):
    table = "file,kind,age,dx_type,note\nb,nv,40, histo ,unknown\na,mel,50,,7.0\n"
    dataset = load_dataset(described(tmp_path, 'numeric = ["age"]\n', table))
    assert list(dataset.unused) == ["dx_type", "note"]
    assert dataset.unused.dx_type.tolist() == [None, " histo "]
    assert dataset.unused.note.tolist() == ["7.0", "unknown"]


def test_what_is_beside_the_features_stays_aligned_to_the_rows(tmp_path):
    table = "file,kind,camera,note,part\n" + "".join(
        f"{i},nv,c{i},n{i},{'test' if i in 'be' else ''}\n" for i in "edcba"
    )
    toml = 'subgroups = ["camera"]\nsplit = "part"\n'
    dataset = load_dataset(described(tmp_path, toml, table, ["a.jpg", "b.jpg", "d.jpg", "e.jpg"]))
    for part in (
        dataset,
        dataset.keep([False, True, True, True]),
        dataset.keep([3, 0]),
        dataset.keep(slice(1, None, 2)),
    ):
        ids = part.rows.id.tolist()
        assert part.context.camera.tolist() == [f"c{i}" for i in ids]
        assert part.unused.note.tolist() == [f"n{i}" for i in ids]
        assert part.own_test.tolist() == [i in "be" for i in ids]
        assert part.rows.index.tolist() == part.context.index.tolist() == part.unused.index.tolist()


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('subgroups = ["clinic"]\n', "table.csv has no column 'clinic'. Mend 'subgroups'"),
        ('split = "fold"\n', "table.csv has no column 'fold'. Mend 'split'"),
        ('split = "part"\ncategorical = ["part"]\n', "'part' is the dataset's own split"),
        ('malignant = ["mel", "bcc"]\n', "'malignant' names 'bcc', but the classes are mel, nv"),
        ('second_table = "more.csv"\n', "more.csv. Mend 'second_table'"),
    ],
)
def test_a_dataset_toml_that_names_what_is_not_there_is_refused(toml, message, tmp_path):
    assert message in str(refusal(described(tmp_path, toml, "file,kind,part\na,nv,x\nb,mel,y\n")))


# class names, and several columns or tables


def test_label_cells_are_given_the_names_that_stand_for_them(tmp_path):
    toml = 'malignant = ["cancer"]\nlabel_names = {1 = "cancer", 2 = "cancer"}\n'
    dataset = load_dataset(described(tmp_path, toml, "file,kind\na,0\nb, 1 \nc,2\nd,10\n"))
    assert dataset.rows.label.tolist() == ["0", "cancer", "cancer", "10"]
    assert dataset.layout.malignant == ("cancer",)


def test_a_dataset_toml_may_name_one_column_per_class_and_a_second_table(tmp_path):
    (tmp_path / "dataset.toml").write_text(
        'image = "file"\none_hot = ["mel", "nv"]\nsecond_table = "more.csv"\ngroup = "patient"\nnumeric = ["age"]\n'
    )
    write_plain(tmp_path, "file,mel,nv\nb,1,0\na,0,1\n")
    write_plain(tmp_path, "patient,file,age\np1,a,40\np2,b,50\n", table="more.csv")
    rows = load_dataset(tmp_path).rows
    assert rows.label.tolist() == ["nv", "mel"]
    assert rows.group.tolist() == ["p1", "p2"]
    assert rows.age.tolist() == [40, 50]


@pytest.mark.parametrize("numeric", ["mel", "nv"])
def test_a_class_column_is_refused_as_metadata(numeric, tmp_path):
    (tmp_path / "dataset.toml").write_text(f'image = "file"\none_hot = ["mel", "nv"]\nnumeric = ["{numeric}"]\n')
    assert f"'{numeric}' gives the label away" in str(refusal(write_plain(tmp_path, "file,mel,nv\na,0,1\nb,1,0\n")))


# the dataset's own split


@pytest.mark.parametrize("cell", ["test", " Test ", "holdout", "hold-out", "HOLDOUT"])
@pytest.mark.parametrize("other", ["train", "validation", "", "0"])
def test_the_own_split_is_read_from_its_column(cell, other, tmp_path):
    table = f"file,kind,part\nb,nv,{cell}\na,mel,{other}\nc,nv,{other}\n"
    dataset = load_dataset(described(tmp_path, 'split = "part"\n', table))
    assert dataset.own_test.tolist() == [False, True, False]
    assert list(dataset.unused) == []
    assert any("the locked test split is the dataset's own (column 'part'): 1 of 3 rows" in n for n in dataset.noticed)


def test_without_a_split_column_there_is_no_own_split(ham):
    assert load_dataset(ham).own_test is None


@pytest.mark.parametrize(("cell", "side"), [("test", "test"), ("train", "training")])
def test_an_own_split_with_one_side_is_refused(cell, side, tmp_path):
    table = f"file,kind,part\na,nv,{cell}\nb,mel,{cell}\n"
    message = str(refusal(described(tmp_path, 'split = "part"\n', table)))
    assert f"the split column 'part' puts every row into {side}" in message


def test_the_fingerprint_tells_another_own_split(tmp_path):
    table = "file,kind,part\na,nv,{}\nb,mel,{}\n"
    one = load_dataset(described(tmp_path, 'split = "part"\n', table.format("test", ""))).fingerprint()
    two = load_dataset(described(tmp_path, 'split = "part"\n', table.format("", "test"))).fingerprint()
    none = load_dataset(described(tmp_path, "", table.format("test", ""))).fingerprint()
    assert len({one, two, none}) == 3


# names that look the same


@pytest.mark.parametrize("other", ["caf\u00e9 ", "caf\u00e9\x01", "cafe\u0301", "caf\u200b\u00e9", "caf\u00ad\u00e9"])
def test_metadata_columns_that_a_person_cannot_tell_apart_are_refused(other, tmp_path):
    columns = layout_from_flags(None, "file", "kind", None, f"caf\u00e9=number,{other}=number")
    write_plain(tmp_path, f"file,kind,caf\u00e9,{other}\na,nv,1,3\nb,mel,2,4\n")
    message = str(refusal(tmp_path, columns))
    assert "look the same" in message or "more than one column" in message or "Choose one" in message
    assert message.isascii() or "more than one" in message or "Choose one" in message


def test_columns_that_differ_in_case_are_two(tmp_path):
    write_plain(tmp_path, "file,kind,width,Width\na,nv,1,3\nb,mel,2,4\n")
    columns = layout_from_flags(None, "file", "kind", None, "width=number,Width=number")
    assert load_dataset(tmp_path, columns).metadata_fields == ["width", "Width"]


@pytest.mark.parametrize(
    "there", ["cafe\u0301", "caf\u00e9\u200b", "ca\u00adf\u00e9", "caf\u00e9\x01", "\ufeffcaf\u00e9"]
)
def test_a_column_is_found_whatever_of_its_name_cannot_be_seen(there, tmp_path):
    write_plain(tmp_path, f"file,kind,{there}\na,nv,1\nb,mel,2\n")
    columns = layout_from_flags(None, "file", "kind", None, "caf\u00e9=number")
    assert load_dataset(tmp_path, columns).rows["caf\u00e9"].tolist() == [1.0, 2.0]


def test_a_table_of_many_columns_is_told_in_few_words(tmp_path):
    names = [f"column{i}" for i in range(10_000)]
    write_plain(tmp_path, f"{','.join(names)}\n{','.join('x' * 10_000)}\n")
    message = str(refusal(tmp_path, layout_from_flags("table.csv", "file", "kind")))
    assert " more" in message and len(message) < 1_000
