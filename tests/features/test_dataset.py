"""Datasets as people have them: what is read, what is counted, and what is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import FAILED, USAGE, UserError
from features.dataset import find_images, image_id, load_dataset, normalise_metadata, read_table, table_with
from features.layouts import Layout, layout_from_flags
from tests.features.pictures import HEADER, table_rows, write_ham, write_pictures

NAMES = [f"ISIC_{n:07}" for n in range(24306, 24314)]
COLUMNS = Layout(image="file", label="kind")


@pytest.fixture
def ham(tmp_path):
    """A small folder as HAM10000 is published."""
    return write_ham(tmp_path / "ham", NAMES)


def write_plain(folder: Path, text: str, images: list[str] = (), table: str = "table.csv") -> Path:
    write_pictures(folder, list(images))
    (folder / table).write_text(text)
    return folder


def refusal(folder: Path, flags: Layout | None = None) -> UserError:
    """The error of loading a folder, which is one line that ends in what to do."""
    with pytest.raises(UserError) as caught:
        load_dataset(folder, flags)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith((".", ")"))
    return caught.value


# HAM10000 as it is published


@pytest.mark.parametrize(
    ("table", "delimiter"),
    [
        ("HAM10000_metadata.csv", ","),
        ("HAM10000_metadata.tab", "\t"),
        ("HAM10000_metadata", "\t"),
        ("HAM10000_metadata", ","),
        ("HAM10000_metadata.csv", ";"),
        ("metadata.TSV", "\t"),
    ],
)
@pytest.mark.parametrize("with_origin", [False, True], ids=["without dataset column", "with dataset column"])
def test_ham10000_is_known_by_its_columns_in_every_published_form(table, delimiter, with_origin, tmp_path):
    header, rows = HEADER, table_rows(NAMES)
    if with_origin:
        header, rows = f"{HEADER},dataset", [[*row, "vidir_modern"] for row in rows]
    dataset = load_dataset(write_ham(tmp_path, NAMES, table, delimiter, header, rows))
    assert (dataset.name, dataset.layout.preset) == ("HAM10000", "ham10000")
    assert dataset.rows.id.tolist() == NAMES
    assert dataset.rows.group.tolist() == [row[0] for row in rows]
    assert dataset.rows.label.tolist() == [row[2] for row in rows]
    assert dataset.rows.age.tolist() == [float(row[4]) for row in rows]
    assert dataset.metadata_fields == ["age", "sex", "localization"]
    assert dataset.has_images


def test_images_are_found_in_both_parts(ham):
    paths = load_dataset(ham).rows.path
    assert {path.parent.name for path in paths} == {"HAM10000_images_part_1", "HAM10000_images_part_2"}
    assert [path.stem for path in paths] == NAMES


def test_other_tables_beside_the_metadata_are_passed_over(ham):
    pixels = ",".join(f"pixel{n:04}" for n in range(784))
    (ham / "hmnist_28_28_L.csv").write_text(f"{pixels},label\n" + ",".join(["0"] * 785) + "\n")
    (ham / "HAM10000_other.csv").write_text("a,b\n1,2\n")
    (ham / "LICENSE").write_text("CC BY-NC 4.0\n")
    (ham / "A_blob").write_bytes(b"\x00\xff" * 100_000)
    (ham / "A_notes.txt").write_text("x" * 200_000)
    assert load_dataset(ham).rows.id.tolist() == NAMES


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(ham):
    table = ham / "HAM10000_metadata.csv"
    before = load_dataset(ham).fingerprint()
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    assert load_dataset(ham).fingerprint() == before


def test_how_a_diagnosis_was_confirmed_is_never_a_feature(ham, console):
    dataset = load_dataset(ham, console=console)
    assert "dx_type" not in dataset.rows
    assert any("dx_type" in notice and "never used as features" in notice for notice in console.notices)


@pytest.mark.parametrize("column", ["dx_type", "diagnosis", "benign_malignant", "diagnosis_confirm_type", "biopsed"])
def test_columns_known_to_give_the_label_away_are_told_in_any_table(column, tmp_path, console):
    write_plain(tmp_path, f"file,kind,lesion,{column}\na,nv,l1,x\n")
    dataset = load_dataset(tmp_path, Layout(image="file", label="kind", group="lesion"), console)
    assert dataset.layout.leaks == (column,)
    assert any(f"the label away: {column}" in notice for notice in console.notices)


def test_a_label_is_not_its_own_leak(tmp_path):
    write_plain(tmp_path, "file,benign_malignant,diagnosis\na,benign,x\n")
    dataset = load_dataset(tmp_path, Layout(image="file", label="benign_malignant"))
    assert dataset.layout.leaks == ("diagnosis",)


@pytest.mark.parametrize("column", ["dx_type", "dx", "dx_type=category", "age,dx_type=number"])
def test_a_column_that_gives_the_label_away_is_refused_as_metadata(ham, column):
    assert "gives the label away" in str(refusal(ham, layout_from_flags(metadata=column)))


def test_a_leak_is_refused_in_a_dataset_toml_too(tmp_path):
    write_plain(tmp_path, "file,kind,dx_type\na,nv,histo\n")
    (tmp_path / "dataset.toml").write_text('image = "file"\nlabel = "kind"\n[metadata]\ncategorical = ["dx_type"]\n')
    assert "'dx_type' gives the label away" in str(refusal(tmp_path))


def test_a_leak_named_in_a_dataset_toml_is_refused_as_a_flag(tmp_path):
    write_plain(tmp_path, "file,kind,excised\na,nv,yes\n")
    (tmp_path / "dataset.toml").write_text('image = "file"\nlabel = "kind"\nleaks = ["excised"]\n')
    assert "'excised' gives the label away" in str(refusal(tmp_path, layout_from_flags(metadata="excised")))


# counting


def test_rows_without_image_and_images_without_row_are_left_out_and_counted(ham, console):
    write_pictures(ham / "HAM10000_images_part_1", ["ISIC_9999998.jpg", "ISIC_9999999.jpg"])
    (ham / "HAM10000_images_part_1" / f"{NAMES[0]}.jpg").unlink()
    dataset = load_dataset(ham, console=console)
    assert dataset.rows.id.tolist() == NAMES[1:]
    counts = dict(dataset.counts)
    assert counts["rows in the table"] == len(NAMES)
    assert counts["rows without an image file, left out"] == 1
    assert counts["image files without a row, left out"] == 2
    assert counts["images used"] == len(NAMES) - 1
    told = " | ".join(console.notices)
    assert "rows without an image file, left out: 1" in told
    assert "image files without a row, left out: 2" in told


def test_nothing_is_told_of_a_complete_dataset_but_the_leak(ham, console):
    load_dataset(ham, console=console)
    assert len(console.notices) == 1


@pytest.mark.parametrize("label", ["", " ", "NaN", "na"])
def test_rows_without_a_label_are_left_out_and_counted(ham, label):
    rows = table_rows(NAMES)
    rows[3][2] = label
    dataset = load_dataset(write_ham(ham, NAMES, rows=rows))
    assert NAMES[3] not in set(dataset.rows.id)
    assert dict(dataset.counts)["rows without a label, left out"] == 1


def test_a_row_that_ends_early_lacks_its_last_cells(tmp_path):
    write_plain(tmp_path, "file,age,kind\na,40,nv\nb,50\nc\nd,60,mel\n")
    dataset = load_dataset(tmp_path, COLUMNS)
    assert dataset.rows.id.tolist() == ["a", "d"]
    assert dataset.classes == ["mel", "nv"]


def test_a_folder_without_images_keeps_every_row(ham):
    for path in ham.rglob("*.jpg"):
        path.unlink()
    dataset = load_dataset(ham)
    assert len(dataset.rows) == len(NAMES)
    assert not dataset.has_images
    assert dataset.rows.path.isna().all()


def test_a_missing_group_column_is_told_and_every_image_is_its_own_group(tmp_path, console):
    write_plain(tmp_path, "file,kind\na,nv\nb,nv\n")
    dataset = load_dataset(tmp_path, COLUMNS, console)
    assert dataset.rows.group.tolist() == ["a", "b"]
    assert any("--group-column" in notice for notice in console.notices)


def test_an_image_whose_group_is_empty_is_its_own_group(ham):
    rows = table_rows(NAMES)
    rows[0][0] = rows[1][0] = " "
    assert load_dataset(write_ham(ham, NAMES, rows=rows)).rows.group.tolist()[:2] == NAMES[:2]


# missing values


@pytest.mark.parametrize("cell", ["", " ", "unknown", "Unknown", "NA", "N/A", "nan", "None", "null", "?"])
def test_unknown_and_empty_cells_are_missing(cell, tmp_path):
    write_plain(tmp_path, f"file,kind,age,sex\na,nv,{cell},{cell}\nb,nv, 45 , male \n")
    rows = load_dataset(tmp_path, COLUMNS).rows
    assert rows.age.isna().tolist() == [True, False]
    assert rows.sex.isna().tolist() == [True, False]
    assert (rows.age[1], rows.sex[1]) == (45.0, "male")


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e400", "old", "45 years", "4_5", "0x10", "True", '"45,5"'])
def test_text_and_infinite_values_in_a_numeric_column_are_refused(cell, tmp_path):
    write_plain(tmp_path, f"file,kind,age\na,nv,45\nb,nv,{cell}\n")
    message = str(refusal(tmp_path, COLUMNS))
    assert "column 'age' should hold finite numbers, but 1 of 2 rows do not" in message
    assert repr(cell.strip('"')) in message


def test_metadata_of_new_images_are_read_by_the_same_rules(tmp_path):
    table = read_table(write_plain(tmp_path, "id,age,sex\n007,50,unknown\n") / "table.csv")
    fields = normalise_metadata(table, Layout(numeric=("age",), categorical=("sex",)))
    assert table.id.tolist() == ["007"]
    assert fields.age.tolist() == [50.0]
    assert fields.sex.tolist() == [None]


# order and identity


cells = st.tuples(
    st.sampled_from(["nv", "mel", "bkl"]),
    st.sampled_from(["L1", "L2", ""]),
    st.sampled_from(["", "unknown", "35", "60"]),
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True), cells, min_size=1, max_size=8), st.data())
def test_the_order_of_the_table_does_not_matter(content, data):
    ids = list(content)
    shuffled = data.draw(st.permutations(ids))
    loaded = []
    with tempfile.TemporaryDirectory() as root:
        for folder, order in (("a", ids), ("b", shuffled)):
            lines = [",".join([i, *content[i]]) for i in order]
            (Path(root) / folder).mkdir()
            write_plain(Path(root) / folder, "\n".join(["file,kind,lesion,age", *lines]) + "\n")
            flags = Layout(image="file", label="kind", group="lesion", name="same")
            loaded.append(load_dataset(Path(root) / folder, flags))
    assert loaded[0].rows.id.tolist() == sorted(ids)
    assert loaded[0].rows.equals(loaded[1].rows)
    assert loaded[0].fingerprint() == loaded[1].fingerprint()


@pytest.mark.parametrize(("column", "cell"), [(0, "HAM_x"), (2, "df"), (4, "85"), (5, "female")])
def test_the_fingerprint_tells_another_group_label_or_metadata(ham, column, cell):
    before = load_dataset(ham).fingerprint()
    rows = table_rows(NAMES)
    rows[0][column] = cell
    assert load_dataset(write_ham(ham, NAMES, rows=rows)).fingerprint() != before


def test_the_fingerprint_is_of_the_table_and_not_of_the_place(ham, tmp_path):
    before = load_dataset(ham).fingerprint()
    assert load_dataset(ham.rename(tmp_path / "moved")).fingerprint() == before


def test_kept_rows_are_a_dataset_of_their_own(ham):
    dataset = load_dataset(ham)
    part = dataset.keep(dataset.rows.label == "mel")
    assert part.classes == ["mel"]
    assert part.rows.index.tolist() == list(range(len(part.rows)))
    assert len(dataset.rows) == len(NAMES)


# matching ids to files


@pytest.mark.parametrize(
    ("cell", "file"),
    [
        ("a", "a.jpg"),
        ("a", "a.PNG"),
        ("a.jpg", "a.jpg"),
        ("a.jpg", "a.JPG"),
        ("a.JPG", "a.jpg"),
        ("a.jpg", "a.jpeg"),
        ("a.b", "a.b.jpg"),
        ("deep/a.jpg", "deep/a.jpg"),
        ("deep/a", "deep/a.jpg"),
        ("deep/a.jpg", "deep/a.JPG"),
        ("a", "deep/deeper/a.jpg"),
        ("naïve 1", "naïve 1.jpg"),
    ],
)
def test_an_id_finds_its_file_by_path_or_name_with_or_without_ending(cell, file, tmp_path):
    write_plain(tmp_path, f"file,kind\n{cell},nv\nother,mel\n")
    write_pictures((tmp_path / file).parent, [Path(file).name, "unrelated.jpg"])
    dataset = load_dataset(tmp_path, COLUMNS)
    assert dataset.rows.path.tolist() == [tmp_path / file]
    assert dataset.rows.id.tolist() == [image_id(cell)]


def test_ids_and_labels_are_taken_as_they_are_spelled(tmp_path):
    ids = ["007", "1.0", "1e5", "NA", "None", "null", "true"]
    write_plain(tmp_path, "\n".join(["file,kind", *(f"{i},None" for i in ids)]) + "\n", [f"{i}.jpg" for i in ids])
    dataset = load_dataset(tmp_path, COLUMNS)
    assert dataset.rows.id.tolist() == ids
    assert dataset.classes == ["None"]


def test_a_full_file_name_goes_before_another_ending(tmp_path):
    write_plain(tmp_path, "file,kind\na.jpg,nv\n")
    write_pictures(tmp_path / "deep", ["a.jpg", "a.png"])
    assert load_dataset(tmp_path, COLUMNS).rows.path.tolist() == [tmp_path / "deep" / "a.jpg"]


def test_equal_names_in_two_folders_are_told_apart_by_their_paths(tmp_path):
    write_plain(tmp_path, "file,kind\none/a.jpg,nv\ntwo/a,mel\n")
    for name in ("one", "two"):
        write_pictures(tmp_path / name, ["a.jpg"])
    rows = load_dataset(tmp_path, COLUMNS).rows
    assert rows.id.tolist() == ["one/a", "two/a"]
    assert rows.path.tolist() == [tmp_path / "one" / "a.jpg", tmp_path / "two" / "a.jpg"]


@pytest.mark.parametrize("files", [["one/a.jpg", "two/a.jpg"], ["a.jpg", "a.png"], ["one/a.JPG", "two/a.jpeg"]])
def test_an_id_that_several_files_match_is_refused(files, tmp_path):
    write_plain(tmp_path, "file,kind\na,nv\n")
    for file in files:
        write_pictures((tmp_path / file).parent, [Path(file).name])
    message = str(refusal(tmp_path, COLUMNS))
    assert "the image id 'a' matches 2 files" in message
    assert all(str(tmp_path / file) in message for file in files)


def test_hidden_files_and_folders_hold_no_images(ham):
    write_pictures(ham / ".trash", [f"{NAMES[0]}.jpg"])
    (ham / "HAM10000_images_part_1" / f"._{NAMES[0]}.jpg").write_bytes(b"\0\5\x16\7")
    assert len(load_dataset(ham).rows) == len(NAMES)
    assert len(find_images(ham)) == len(NAMES)


def test_a_dataset_below_a_hidden_folder_is_read(tmp_path):
    assert load_dataset(write_ham(tmp_path / ".data" / "ham", NAMES)).has_images


def test_linked_image_folders_are_followed_once(ham, tmp_path):
    (ham / "HAM10000_images_part_1").rename(tmp_path / "elsewhere")
    (ham / "HAM10000_images_part_1").symlink_to(tmp_path / "elsewhere")
    (ham / "HAM10000_images_part_2" / "up").symlink_to(ham)
    dataset = load_dataset(ham)
    assert dataset.rows.id.tolist() == NAMES
    assert dict(dataset.counts)["image files without a row, left out"] == 0


def test_folders_and_dangling_links_named_like_images_are_kept_for_the_quarantine(ham):
    (ham / "HAM10000_images_part_1" / f"{NAMES[0]}.jpg").unlink()
    (ham / "HAM10000_images_part_1" / f"{NAMES[0]}.jpg").mkdir()
    (ham / "HAM10000_images_part_1" / f"{NAMES[1]}.jpg").unlink()
    (ham / "HAM10000_images_part_1" / f"{NAMES[1]}.jpg").symlink_to("nowhere.jpg")
    assert load_dataset(ham).rows.id.tolist() == NAMES


# generic tables


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
    assert {path.parent.name for path in dataset.rows.path} == {"shots"}
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
    assert dataset.rows.path[0].samefile(tmp_path / "pictures" / "a.jpg")


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
    assert by_site.classes == ["back"]
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


def test_a_table_is_found_by_columns(ham):
    assert table_with(ham, {"image_id", "age"}) == ham / "HAM10000_metadata.csv"
    assert table_with(ham, {"image_id", "height"}) is None


# refusals


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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (Layout(image="file", label="nope"), "table.csv has no label column 'nope'; its columns are 'file', 'kind'"),
        (Layout(image="nope", label="kind"), "has no image column 'nope'"),
        (Layout(image="file", label="kind", group="nope"), "has no group column 'nope'"),
        (Layout(image="file", label="kind", numeric=("nope",)), "has no metadata column 'nope'"),
        (Layout(image="file", label="kind", table="nope.csv"), "no such table"),
    ],
    ids=["label", "image", "group", "metadata", "table"],
)
def test_a_column_or_table_that_is_not_there_is_refused(flags, message, tmp_path):
    assert message in str(refusal(write_plain(tmp_path, "file,kind\na,nv\n"), flags))


@pytest.mark.parametrize("name", ["id", "path", "label", "group"])
def test_a_metadata_column_may_not_take_the_name_of_a_role(name, tmp_path):
    write_plain(tmp_path, f"file,kind,{name}\na,nv,x\n")
    message = str(refusal(tmp_path, Layout(image="file", label="kind", categorical=(name,))))
    assert f"a metadata column cannot be called {name!r}" in message


def test_a_metadata_column_is_of_one_kind(tmp_path):
    write_plain(tmp_path, "file,kind,age\na,nv,40\n")
    flags = Layout(image="file", label="kind", numeric=("age",), categorical=("age",))
    assert "named as numeric and as categorical" in str(refusal(tmp_path, flags))


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


def test_ids_that_match_no_image_are_refused_with_both_sides(tmp_path):
    message = str(refusal(write_plain(tmp_path, "file,kind\nx1,nv\nx2,nv\n", ["y1.jpg"]), COLUMNS))
    assert "none of the 2 ids" in message
    assert "'x1'" in message
    assert "'y1.jpg'" in message


@pytest.mark.parametrize("cells", [("a", "a"), ("a", " a "), ("a", "a.jpg"), ("a.jpg", "a.JPG"), ("a.jpg", "a.png")])
@pytest.mark.parametrize("images", [[], ["a.jpg", "b.jpg"]], ids=["without images", "with images"])
def test_two_rows_of_one_id_are_refused(cells, images, tmp_path):
    write_plain(tmp_path, f"file,kind\n{cells[0]},nv\nb,nv\n{cells[1]},mel\n", images)
    message = str(refusal(tmp_path, COLUMNS))
    assert f"the image id {cells[1].strip()!r} stands in more than one row of table.csv (1 rows repeat one)" in message


def test_two_ids_of_one_file_are_refused(tmp_path):
    write_plain(tmp_path, "file,kind\na,nv\ndeep/a.jpg,mel\n")
    write_pictures(tmp_path / "deep", ["a.jpg"])
    assert "the image id 'deep/a.jpg' stands in more than one row" in str(refusal(tmp_path, COLUMNS))


@pytest.mark.parametrize("text", ["file,kind\n", "file,kind\na,\nb, \n"])
@pytest.mark.parametrize("images", [[], ["a.jpg"]])
def test_a_table_without_a_labelled_row_is_refused(text, images, tmp_path):
    assert "has no row with a label" in str(refusal(write_plain(tmp_path, text, images), COLUMNS))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'file,kind\n"a,nv\nb,mel\n', "EOF inside string"),
        (b"file,kind\na,nv\nb,mel,1\n", "Expected 2 fields in line 3, saw 3"),
        (b"file,kind\na,nv,1\nb,mel,2\n", "more cells than its header"),
        (b"file,kind\na,n\xe9vus\n", "Expected UTF-8 text"),
        (b"file,kind, kind\na,nv,mel\n", "more than one column 'kind'"),
    ],
    ids=["open quote", "one long row", "long rows", "Latin-1", "repeated column"],
)
def test_a_table_that_cannot_be_read_is_refused_with_the_reason(content, reason, tmp_path):
    (tmp_path / "table.csv").write_bytes(content)
    message = str(refusal(tmp_path, COLUMNS))
    assert str(tmp_path / "table.csv") in message
    assert reason in message


def test_a_table_that_is_gone_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot read .*: No such file or directory"):
        read_table(tmp_path / "gone.csv")


def test_an_empty_table_is_refused(tmp_path):
    (tmp_path / "table.csv").touch()
    with pytest.raises(UserError, match="No columns to parse"):
        read_table(tmp_path / "table.csv")
    assert "tables seen: table.csv" in str(refusal(tmp_path))


def test_an_image_folder_that_is_not_there_is_refused(tmp_path):
    write_plain(tmp_path, "file,kind\na,nv\n")
    (tmp_path / "dataset.toml").write_text('image = "file"\nlabel = "kind"\nimages = ["shots"]\n')
    assert f"no such image folder: {tmp_path / 'shots'}" in str(refusal(tmp_path))


# real data


@pytest.mark.real_data
def test_the_real_ham10000_loads(shared, console):
    dataset = load_dataset(shared / "ham10000", console=console)
    assert len(dataset.rows) == 5984
    assert dict(dataset.counts)["rows in the table"] == 10_015
    assert dict(dataset.counts)["rows without an image file, left out"] == 4031
    assert dict(dataset.counts)["image files without a row, left out"] == 0
    assert dataset.classes == ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    assert dataset.rows.group.is_unique
    assert dataset.rows.age.dropna().between(0, 85).all()
    assert "unknown" not in set(dataset.rows.sex) | set(dataset.rows.localization)
    assert not set(dataset.rows) & {"dx_type", "dataset"}
