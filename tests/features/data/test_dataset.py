"""Datasets as people have them: what is read, what is counted, and what is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.tables.columns import Layout, layout_from_flags
from tests import commands as cli
from tests.features.folders import COLUMNS, NAMES, refusal, write_plain
from tests.features.pictures import HEADER, table_rows, write_ham, write_pictures

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
    paths = load_dataset(ham).rows.path.map(Path)
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


def test_how_a_diagnosis_was_confirmed_is_never_a_feature(ham):
    dataset = load_dataset(ham)
    assert "dx_type" not in dataset.rows
    assert any("dx_type" in notice and "never used as features" in notice for notice in dataset.noticed)


@pytest.mark.parametrize("column", ["dx_type", "diagnosis", "benign_malignant", "diagnosis_confirm_type", "biopsed"])
def test_columns_known_to_give_the_label_away_are_told_in_any_table(column, tmp_path):
    write_plain(tmp_path, f"file,kind,lesion,{column}\na,nv,l1,x\n")
    dataset = load_dataset(tmp_path, Layout(image="file", label="kind", group="lesion"))
    assert dataset.layout.leaks == (column,)
    assert any(f"the label away: {column}" in notice for notice in dataset.noticed)


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


def test_rows_without_image_and_images_without_row_are_left_out_and_counted(ham):
    write_pictures(ham / "HAM10000_images_part_1", ["ISIC_9999998.jpg", "ISIC_9999999.jpg"])
    (ham / "HAM10000_images_part_1" / f"{NAMES[0]}.jpg").unlink()
    dataset = load_dataset(ham)
    assert dataset.rows.id.tolist() == NAMES[1:]
    counts = dict(dataset.counts)
    assert counts["rows in the table"] == len(NAMES)
    assert counts["rows without an image file, left out"] == 1
    assert counts["image files without a row, left out"] == 2
    assert counts["images used"] == len(NAMES) - 1
    told = " | ".join(dataset.noticed)
    assert "rows without an image file, left out: 1" in told
    assert "image files without a row, left out: 2" in told


def test_nothing_is_told_of_a_complete_dataset_but_the_leak(ham):
    dataset = load_dataset(ham)
    assert len(dataset.noticed) == 1


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


def test_every_row_of_the_table_is_there_when_asked_for(ham):
    (ham / "HAM10000_images_part_1" / f"{NAMES[2]}.jpg").unlink()
    dataset = load_dataset(ham)
    whole = dataset.whole
    assert whole.rows.id.tolist() == NAMES
    assert whole.rows.path.isna().tolist() == [name == NAMES[2] for name in NAMES]
    assert not whole.has_images
    assert whole.counts[-1] == ("rows used", len(NAMES))
    assert f"rows without an image file, left out: 1 (first: {NAMES[2]!r})" in dataset.noticed


def test_table_and_folders_are_read_once(ham, monkeypatch):
    from dermfuse.features.data import dataset
    from dermfuse.features.tables import read

    calls = []
    sheet, listed = read.read_sheet, dataset.list_images
    monkeypatch.setattr(read, "read_sheet", lambda path: calls.append(path.name) or sheet(path))
    monkeypatch.setattr(dataset, "list_images", lambda *given: calls.append("folders") or listed(*given))
    (ham / "HAM10000_images_part_1" / f"{NAMES[2]}.jpg").unlink()
    assert cli.run("audit", "--data", ham, "-q")[0] == 0
    assert sorted(calls) == ["HAM10000_metadata.csv", "folders"]


def test_a_dataset_with_all_its_images_is_the_whole_table_itself(ham):
    dataset = load_dataset(ham)
    assert dataset.whole is dataset
    (ham / "HAM10000_images_part_1" / f"{NAMES[2]}.jpg").unlink()
    assert len(load_dataset(ham).whole.rows) == len(load_dataset(ham).rows) + 1
    assert load_dataset(ham).keep([0, 1]).table is None


def test_a_folder_without_images_keeps_every_row(ham):
    for path in ham.rglob("*.jpg"):
        path.unlink()
    dataset = load_dataset(ham)
    assert len(dataset.rows) == len(NAMES)
    assert not dataset.has_images
    assert dataset.rows.path.isna().all()


def test_a_missing_group_column_is_told_and_every_image_is_its_own_group(tmp_path):
    write_plain(tmp_path, "file,kind\na,nv\nb,nv\n")
    dataset = load_dataset(tmp_path, COLUMNS)
    assert dataset.rows.group.tolist() == ["a", "b"]
    assert any("--group-column" in notice for notice in dataset.noticed)


@pytest.mark.parametrize("cell", [" ", "unknown", "NaN"])
def test_an_image_whose_group_is_not_known_is_its_own_group_and_counted(cell, ham):
    rows = table_rows(NAMES)
    rows[0][0] = rows[1][0] = cell
    dataset = load_dataset(write_ham(ham, NAMES, rows=rows))
    assert dataset.rows.group.tolist()[:2] == NAMES[:2]
    assert "rows without a group, each a group of its own: 2" in dataset.noticed


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


# refusals


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


@pytest.mark.parametrize("text", ["file,kind\n", "file,kind\na,\nb, \n"])
@pytest.mark.parametrize("images", [[], ["a.jpg"]])
def test_a_table_without_a_labelled_row_is_refused(text, images, tmp_path):
    assert "has no row with a label" in str(refusal(write_plain(tmp_path, text, images), COLUMNS))


# real data


@pytest.mark.real_data
def test_the_real_ham10000_loads(shared):
    dataset = load_dataset(shared / "ham10000")
    assert len(dataset.rows) == 5984
    assert dict(dataset.counts)["rows in the table"] == 10_015
    assert dict(dataset.counts)["rows without an image file, left out"] == 4031
    assert dict(dataset.counts)["image files without a row, left out"] == 0
    assert dataset.classes == ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    assert dataset.rows.group.is_unique
    assert dataset.rows.age.dropna().between(0, 85).all()
    assert "unknown" not in set(dataset.rows.sex) | set(dataset.rows.localization)
    assert not set(dataset.rows) & {"dx_type", "dataset"}
