"""Which table and which layout a folder has: flags, dataset.toml, presets, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermfuse.cache.errors import FAILED, USAGE
from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.tables.columns import Layout, layout_from_flags
from tests.features.folders import COLUMNS, NAMES, refusal, write_plain
from tests.features.pictures import table_rows, write_ham, write_pictures


def test_flags_name_the_columns_of_any_table(tmp_path):
    write_plain(
        tmp_path, "file;kind;patient;Age;site;extra\na.jpg;x;p1;40;arm;z\nb.jpg;y;p1;;leg;z\n", ["a.jpg", "b.jpg"]
    )
    flags = layout_from_flags(image="file", label="kind", group="patient")
    dataset = load_dataset(tmp_path, flags)
    assert dataset.name == tmp_path.name
    assert dataset.layout.preset == "generic"
    assert dataset.rows.group.tolist() == ["p1", "p1"]
    assert (dataset.layout.numeric, dataset.layout.categorical) == (("Age",), ("site",))


def test_flags_name_metadata_and_their_kind(tmp_path):
    write_plain(tmp_path, "file,kind,age,grade,site\na,x,40,2,arm\nb,y,50,3,leg\n")
    flags = layout_from_flags(image="file", label="kind", metadata="grade=number, site")
    dataset = load_dataset(tmp_path, flags)
    assert (dataset.layout.numeric, dataset.layout.categorical) == (("grade",), ("site",))
    assert dataset.rows.grade.tolist() == [2.0, 3.0]


def test_the_label_is_not_taken_for_metadata_by_its_name(tmp_path):
    write_plain(tmp_path, "file,sex,age\na,male,40\nb,female,50\n")
    dataset = load_dataset(tmp_path, layout_from_flags(image="file", label="sex"))
    assert dataset.classes == ["female", "male"]
    assert dataset.metadata_fields == ["age"]


def test_a_dataset_toml_describes_any_table(tmp_path):
    write_pictures(tmp_path / "shots", ["a.jpg", "b.jpg"])
    write_pictures(tmp_path / "masks", ["a.png", "b.png"])
    write_plain(tmp_path, "a,b\n1,2\n", table="another.csv")
    write_plain(tmp_path, "file,kind,patient,thick\na,x,p1,1.5\nb,y,p2,2\n", table="list.csv")
    (tmp_path / "dataset.toml").write_text(
        'name = "clinic"\ntable = "list.csv"\nimages = ["shots"]\nsynthetic = false\n'
        '[columns]\nimage = "file"\nlabel = "kind"\ngroup = "patient"\ngroup_word = "patients"\n'
        '[metadata]\nnumeric = ["thick"]\n'
    )
    dataset = load_dataset(tmp_path)
    assert (dataset.name, dataset.layout.group_word) == ("clinic", "patients")
    assert {Path(path).parent.name for path in dataset.rows.path} == {"shots"}
    assert dataset.rows.thick.tolist() == [1.5, 2.0]


@pytest.mark.parametrize("place", ["relative", "absolute"])
def test_image_folders_may_lie_outside_the_dataset(place, tmp_path):
    write_pictures(tmp_path / "pictures", ["a.jpg"])
    folder = tmp_path / "tables"
    folder.mkdir()
    write_plain(folder, "file,kind\na,x\nb,y\n")
    images = "../pictures" if place == "relative" else (tmp_path / "pictures").as_posix()
    (folder / "dataset.toml").write_text(f'image = "file"\nlabel = "kind"\nimages = ["{images}"]\n')
    dataset = load_dataset(folder)
    assert dataset.rows.id.tolist() == ["a"]
    assert Path(dataset.rows.path[0]).samefile(tmp_path / "pictures" / "a.jpg")


def test_flags_go_before_a_dataset_toml_and_leave_the_rest_to_it(tmp_path):
    write_plain(tmp_path, "file,kind,other,patient,age,site\na,x,u,p1,40,arm\nb,y,v,p1,50,leg\n")
    (tmp_path / "dataset.toml").write_text(
        'image = "file"\nlabel = "kind"\ngroup = "patient"\nnumeric = ["age"]\ncategorical = ["site"]\n'
    )
    assert load_dataset(tmp_path, layout_from_flags(label="other")).classes == ["u", "v"]
    assert load_dataset(tmp_path, layout_from_flags(group="file")).rows.group.tolist() == ["a", "b"]
    assert load_dataset(tmp_path, layout_from_flags(group="file")).classes == ["x", "y"]
    assert load_dataset(tmp_path, layout_from_flags(metadata="age")).metadata_fields == ["age"]


def test_flags_go_before_a_preset_and_leave_the_rest_to_it(ham):
    assert load_dataset(ham, layout_from_flags(metadata="age")).metadata_fields == ["age"]
    assert load_dataset(ham, layout_from_flags(group="image_id")).rows.group.tolist() == NAMES
    by_site = load_dataset(ham, layout_from_flags(label="localization", metadata="age"))
    assert by_site.classes == ["back", "face"]
    assert by_site.layout.group == "lesion_id"


def test_a_table_is_chosen_by_name_among_several(ham):
    rows = [[*row[:2], "df", *row[3:]] for row in table_rows(NAMES)]
    write_ham(ham, NAMES, table="second.csv", rows=rows)
    assert load_dataset(ham, layout_from_flags(table="second.csv")).classes == ["df"]
    assert load_dataset(ham).classes == ["bkl", "mel", "nv"]


def test_the_table_with_the_named_columns_is_chosen_among_several(tmp_path):
    write_plain(tmp_path, "a,b\n1,2\n", table="aaa.csv")
    write_plain(tmp_path, "file,kind\na,nv\n", table="zzz.csv")
    assert load_dataset(tmp_path, COLUMNS).rows.id.tolist() == ["a"]


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    for folder in (tmp_path / "absent", Path(write_plain(tmp_path, "x\n") / "table.csv")):
        error = refusal(folder)
        assert f"no such folder: {folder}" in str(error)
        assert "demo" in str(error)
        assert error.exit_code == FAILED


def test_a_folder_without_a_table_is_refused(tmp_path):
    write_pictures(tmp_path, ["a.jpg"])
    message = str(refusal(tmp_path))
    assert "tables seen: none" in message
    assert "HAM10000 (columns dx, image_id, lesion_id)" in message
    assert "no table in" in str(refusal(tmp_path, COLUMNS))


def test_a_table_of_unknown_columns_is_refused_with_the_ways_out(tmp_path):
    message = str(refusal(write_plain(tmp_path, "file,kind\na,nv\n")))
    assert "tables seen: table.csv" in message
    for way in ("--image-column", "--label-column", "dataset.toml", "demo"):
        assert way in message


def test_a_label_column_without_an_image_column_is_a_wrong_use(tmp_path):
    error = refusal(write_plain(tmp_path, "file,kind\na,nv\n"), Layout(label="kind"))
    assert "--image-column" in str(error)
    assert error.exit_code == USAGE


def test_two_tables_with_the_named_columns_are_a_wrong_use(tmp_path):
    for table in ("one.csv", "two.csv"):
        write_plain(tmp_path, "file,kind\na,nv\n", table=table)
    error = refusal(tmp_path, COLUMNS)
    assert "one.csv, two.csv. Name one with --table." in str(error)
    assert error.exit_code == USAGE


def test_no_named_columns_in_any_of_several_tables_is_refused(tmp_path):
    for table in ("one.csv", "two.csv"):
        write_plain(tmp_path, "a,b\n1,2\n", table=table)
    assert "no table in" in str(refusal(tmp_path, COLUMNS))


# tables that lie elsewhere, or beside others


def test_of_several_tables_of_one_layout_the_one_of_the_images_is_read(ham):
    rows = [[row[0], f"X_{i}", *row[2:]] for i, row in enumerate(table_rows(NAMES))]
    write_ham(ham, NAMES, table="A_train_metadata.csv", rows=rows)
    dataset = load_dataset(ham)
    assert dataset.rows.id.tolist() == NAMES
    assert any("HAM10000_metadata.csv is read and not A_train_metadata.csv" in line for line in dataset.noticed)


@pytest.mark.parametrize("below", ["archive", "archive/HAM", "a b/c"])
def test_a_table_in_a_folder_below_is_read_and_told(below, tmp_path):
    write_ham(tmp_path / below, NAMES)
    write_pictures(tmp_path / "more", ["ISIC_9999999.jpg"])
    dataset = load_dataset(tmp_path)
    assert dataset.rows.id.tolist() == NAMES
    assert f"the table is read from {below}/HAM10000_metadata.csv" in dataset.noticed
    assert dict(dataset.counts)["image files without a row, left out"] == 1


def test_images_beside_the_folder_of_the_table_are_found(tmp_path):
    write_ham(tmp_path, NAMES)
    (tmp_path / "tables").mkdir()
    (tmp_path / "HAM10000_metadata.csv").rename(tmp_path / "tables" / "metadata.csv")
    assert load_dataset(tmp_path).has_images


def test_a_dataset_toml_in_a_folder_below_is_read_with_its_folders(tmp_path):
    deep = tmp_path / "deep"
    deep.mkdir()
    write_plain(deep, "file,kind\na,nv\n")
    (deep / "dataset.toml").write_text('image = "file"\nlabel = "kind"\nimages = ["shots"]\n', "utf-8-sig")
    write_pictures(deep / "shots", ["a.jpg"])
    assert load_dataset(tmp_path).has_images


def test_tables_in_several_folders_below_are_refused_by_their_names(tmp_path):
    for part in ("one", "two"):
        write_ham(tmp_path / part, NAMES)
    message = str(refusal(tmp_path))
    assert "one in each of 2 folders below it (one, two)" in message and f"--data {tmp_path / 'one'}" in message


def test_a_table_in_the_folder_goes_before_one_below(ham, tmp_path):
    write_ham(ham / "old", ["ISIC_9999999"])
    assert load_dataset(ham).rows.id.tolist() == NAMES


def test_what_may_hold_a_table_and_is_not_read_is_named(tmp_path):
    (tmp_path / "HAM10000_metadata.csv.gz").write_bytes(b"\x1f\x8b")
    assert "Not read as they are: HAM10000_metadata.csv.gz; unpack them." in str(refusal(tmp_path))


def test_columns_of_another_encoding_are_known_by_their_names(tmp_path):
    write_plain(tmp_path, "a,b\n1,2\n", table="a.csv")
    (tmp_path / "b.csv").write_bytes("Datei;Läsion\na;nv\n".encode("cp1252"))
    assert load_dataset(tmp_path, Layout(image="Datei", label="Läsion")).classes == ["nv"]
