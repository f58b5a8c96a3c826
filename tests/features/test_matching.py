"""An image id and its file: who finds whom, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.dataset import find_images, load_dataset
from features.tables import image_id
from tests.features.folders import COLUMNS, NAMES, refusal, write_plain
from tests.features.pictures import write_ham, write_pictures


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
    assert dataset.rows.path.map(Path).tolist() == [tmp_path / file]
    assert dataset.rows.id.tolist() == [image_id(cell)]


def test_ids_and_labels_are_taken_as_they_are_spelled(tmp_path):
    ids = ["007", "1.0", "1e5", "NA", "None", "null", "true"]
    write_plain(tmp_path, "\n".join(["file,kind", *(f"{i},007" for i in ids)]) + "\n", [f"{i}.jpg" for i in ids])
    dataset = load_dataset(tmp_path, COLUMNS)
    assert dataset.rows.id.tolist() == ids
    assert dataset.classes == ["007"]


def test_a_full_file_name_goes_before_another_ending(tmp_path):
    write_plain(tmp_path, "file,kind\na.jpg,nv\n")
    write_pictures(tmp_path / "deep", ["a.jpg", "a.png"])
    assert load_dataset(tmp_path, COLUMNS).rows.path.map(Path).tolist() == [tmp_path / "deep" / "a.jpg"]


def test_equal_names_in_two_folders_are_told_apart_by_their_paths(tmp_path):
    write_plain(tmp_path, "file,kind\none/a.jpg,nv\ntwo/a,mel\n")
    for name in ("one", "two"):
        write_pictures(tmp_path / name, ["a.jpg"])
    rows = load_dataset(tmp_path, COLUMNS).rows
    assert rows.id.tolist() == ["one/a", "two/a"]
    assert rows.path.map(Path).tolist() == [tmp_path / "one" / "a.jpg", tmp_path / "two" / "a.jpg"]


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


def test_an_image_folder_that_is_not_there_is_refused(tmp_path):
    write_plain(tmp_path, "file,kind\na,nv\n")
    (tmp_path / "dataset.toml").write_text('image = "file"\nlabel = "kind"\nimages = ["shots"]\n')
    assert f"no such image folder: {tmp_path / 'shots'}" in str(refusal(tmp_path))


@pytest.mark.parametrize("images", ['["pics"]', '[".", "pics"]'])
def test_the_dataset_may_be_the_working_folder(tmp_path, monkeypatch, images):
    write_plain(tmp_path, "file,kind\npics/one/a.jpg,nv\npics/two/b,mel\n")
    write_pictures(tmp_path / "pics" / "one", ["a.jpg"])
    write_pictures(tmp_path / "pics" / "two", ["b.jpg"])
    (tmp_path / "dataset.toml").write_text(f'image = "file"\nlabel = "kind"\nimages = {images}\n')
    monkeypatch.chdir(tmp_path)
    for folder in (Path("."), Path("pics/..")):
        assert [Path(path).resolve() for path in load_dataset(folder).rows.path] == [
            tmp_path / "pics" / "one" / "a.jpg",
            tmp_path / "pics" / "two" / "b.jpg",
        ]
