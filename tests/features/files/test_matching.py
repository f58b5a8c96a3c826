"""An image id and its file: who finds whom, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.files.endings import image_id
from dermfuse.features.files.listing import find_images
from dermfuse.features.files.matching import clean, match
from tests.features.folders import COLUMNS, NAMES, refusal, write_plain
from tests.features.pictures import encoded, scene, write_ham, write_pictures


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
    for seed, file in enumerate(files):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(encoded(scene(seed)))
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


# paths, cases and digits, told


def found(tmp_path, cells, files):
    """The file below the folder that each cell of a table finds, and what was noticed."""
    for seed, file in enumerate(files):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(encoded(scene(seed)))
    write_plain(tmp_path, "file,kind\n" + "".join(f'"{cell}",nv\n' for cell in cells))
    dataset = load_dataset(tmp_path, COLUMNS)
    whole = dataset.whole
    below = [None if path is None else str(Path(path).relative_to(tmp_path)) for path in whole.rows.path]
    paths = dict(zip(whole.rows.id, below, strict=True))
    return [paths[image_id(clean(cell.replace('""', '"')))] for cell in cells], dataset.noticed


@pytest.mark.parametrize(
    ("cells", "files", "expected"),
    [
        (["p1\\a.jpg", "p2\\a.jpg"], ["p1/a.jpg", "p2/a.jpg"], ["p1/a.jpg", "p2/a.jpg"]),
        (["C:\\scans\\x1.jpg", "c:\\scans\\x2"], ["x1.jpg", "deep/x2.png"], ["x1.jpg", "deep/x2.png"]),
        (["/home/me/p1/a.jpg", "/home/me/p2/a.jpg"], ["p1/a.jpg", "p2/a.jpg"], ["p1/a.jpg", "p2/a.jpg"]),
        (["https://host/set/x1.jpg"], ["x1.jpg"], ["x1.jpg"]),
        (["./p1/a.jpg", "../set/p2/b.jpg"], ["p1/a.jpg", "set/p2/b.jpg"], ["p1/a.jpg", "set/p2/b.jpg"]),
        (["old/p1/a.jpg", "x"], ["p1/a.jpg", "x.jpg"], ["p1/a.jpg", "x.jpg"]),
        (["a.jpg", "p1/a.jpg"], ["a.jpg", "p1/a.jpg"], ["a.jpg", "p1/a.jpg"]),
        (["a", "p1/a"], ["a.jpg", "p1/a.jpg"], ["a.jpg", "p1/a.jpg"]),
        (["isic_1", "ISIC_2.JPG"], ["ISIC_1.jpg", "isic_2.jpeg"], ["ISIC_1.jpg", "isic_2.jpeg"]),
        (["a", "A"], ["a.jpg", "A.jpg"], ["a.jpg", "A.jpg"]),
        (["e\u0301 1"], ["\u00e9 1.jpg"], ["\u00e9 1.jpg"]),
        (["24306", "7.0"], ["0024306.jpg", "007.jpg"], ["0024306.jpg", "007.jpg"]),
        (["\ufeffa", "\u00a0b\u200b", '=""c""'], ["a.jpg", "b.jpg", "c.jpg"], ["a.jpg", "b.jpg", "c.jpg"]),
        (["a", "p1/b.jpg", "c.png"], ["a.jpg", "p1/b.jpg", "q/c.png"], ["a.jpg", "p1/b.jpg", "q/c.png"]),
        (["a.dcm", "b.gif"], ["a.jpg", "b.png"], ["a.jpg", "b.png"]),
        (["a.jfif", "b"], ["a.jfif", "b.JPE"], ["a.jfif", "b.JPE"]),
    ],
)
def test_a_row_finds_its_file_however_its_path_is_written(cells, files, expected, tmp_path):
    assert found(tmp_path, cells, files)[0] == expected


@pytest.mark.parametrize(
    ("cells", "files", "expected"),
    [
        (["p1/IMG_1.jpg", "x"], ["p2/IMG_1.jpg", "x.jpg"], [None, "x.jpg"]),
        (["D:\\p1\\IMG_1.jpg", "x"], ["p2/IMG_1.jpg", "x.jpg"], [None, "x.jpg"]),
        (["D:\\a\\1.jpg", "D:\\b\\1.jpg", "x"], ["1.jpg", "x.jpg"], [None, None, "x.jpg"]),
        (["7", "07", "x"], ["007.jpg", "x.jpg"], [None, None, "x.jpg"]),
        (["a", "A"], ["a.jpg"], ["a.jpg", None]),
        (["AA", "x"], ["aa.jpg", "Aa.jpg", "x.jpg"], [None, "x.jpg"]),
        (["ISIC_1", "x"], ["ISIC_1_downsampled.jpg", "x.jpg"], [None, "x.jpg"]),
        (["1", "x"], ["11.jpg", "x.jpg"], [None, "x.jpg"]),
    ],
)
def test_a_file_that_may_be_another_rows_is_nobodys(cells, files, expected, tmp_path):
    assert found(tmp_path, cells, files)[0] == expected


@pytest.mark.parametrize(
    ("cell", "file", "told"),
    [
        (
            "isic_1",
            "ISIC_1.jpg",
            "rows whose file is spelled in another case, matched: 1 (first: 'isic_1' with 'ISIC_1.jpg')",
        ),
        ("24306", "0024306.jpg", "rows whose id lacks the leading zeros of its file, matched: 1"),
        ("C:/scans/a.jpg", "deep/a.jpg", "rows whose path begins elsewhere, matched by its end: 1"),
    ],
)
def test_a_match_by_another_spelling_is_told(cell, file, told, tmp_path):
    paths, noticed = found(tmp_path, [cell], [file])
    assert paths == [file]
    assert any(notice.startswith(told) for notice in noticed)


def test_what_did_not_match_is_told_with_an_example_of_both_sides(tmp_path):
    _, noticed = found(tmp_path, ["a", "1.2E+05", "03-May"], ["a.jpg", "b.jpg"])
    assert "rows without an image file, left out: 2 (first: '1.2E+05')" in noticed
    assert "image files without a row, left out: 1 (first: 'b.jpg')" in noticed
    assert any("look like what Excel makes of one: 2 (first: '1.2E+05')" in notice for notice in noticed)


def test_the_work_grows_with_rows_and_images_and_not_with_both():
    class Counted(str):
        asked = 0

        def __eq__(self, other):
            Counted.asked += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    asked = []
    for n in (500, 1000):
        Counted.asked = 0
        images = [f"/d/p{i}/1.jpg" for i in range(n)]
        match([Counted(f"q{i}/1.jpg") for i in range(n)], images, lambda path: path[3:])
        asked.append(Counted.asked)
    assert asked[1] <= 3 * asked[0] + 1000


# copies


@pytest.mark.parametrize("parts", [("HAM10000_images_part_1", "ham10000_images_part_1"), ("", "again/deep")])
def test_identical_copies_count_once_and_are_told(parts, tmp_path):
    for part in parts:
        write_pictures(tmp_path / part, ["a.jpg", "b.jpg"])
    write_plain(tmp_path, "file,kind\na,nv\nb,mel\n")
    dataset = load_dataset(tmp_path, COLUMNS)
    assert dataset.rows.id.tolist() == ["a", "b"] and dataset.rows.path.is_unique
    assert dict(dataset.counts)["identical copies of an image file, left out"] == 2
    assert dict(dataset.counts)["image files without a row, left out"] == 0
    assert any(
        notice.startswith("identical copies of an image file, left out: 2 (first: ") for notice in dataset.noticed
    )


def test_a_copy_beside_a_row_that_names_the_other_is_counted_as_one(tmp_path):
    for part in ("p1", "p2"):
        write_pictures(tmp_path / part, ["a.jpg"])
    write_plain(tmp_path, "file,kind\np1/a.jpg,nv\n")
    counts = dict(load_dataset(tmp_path, COLUMNS).counts)
    assert counts["identical copies of an image file, left out"] == 1


def test_a_small_file_of_an_image_that_is_there_is_left_out(tmp_path):
    for part, size in (("large", (300, 400)), ("small", (75, 100))):
        (tmp_path / part).mkdir()
        (tmp_path / part / "a.jpg").write_bytes(encoded(scene(0, *size)))
    write_plain(tmp_path, "file,kind\na,nv\n")
    dataset = load_dataset(tmp_path, COLUMNS)
    assert Path(dataset.rows.path[0]).parent.name == "large"
    assert "smaller files of an image that is there, left out: 1 (first: 'small/a.jpg')" in dataset.noticed
