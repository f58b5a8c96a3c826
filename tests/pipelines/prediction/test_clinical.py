"""The metadata of new images through the command line: joined, refused, or told; and what is scored of a folder."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermfuse.cache.errors import FAILED
from dermfuse.features.files.photographs import COPIES, LOOKALIKES
from tests import commands
from tests.pipelines.prediction.test_predictor import FIELDS, readable

ROWS = [("50", "male", "back"), ("61", "female", "face"), ("35", "male", "hand"), ("72", "female", "neck")]


@pytest.fixture
def new(demo, finished, tmp_path):
    """A folder with four pictures X_1.jpg to X_4.jpg."""
    folder = tmp_path / "new"
    folder.mkdir()
    for n, path in enumerate(readable(demo, finished, 4), start=1):
        shutil.copy(path, folder / f"X_{n}.jpg")
    return folder


@pytest.fixture
def predict(demo, finished, capsys):
    """``predict --json`` of some targets: exit code, what was imputed by image name, and stderr."""

    def call(*targets):
        place = ["--cache", demo.store.root, "--runs", finished.parent]
        code, out, err = commands.run("predict", finished.name, *targets, *place, "--json", capture=capsys)
        rows = [json.loads(line) for line in out.splitlines()]
        return code, {row["image"].rpartition("/new/")[2]: row["imputed"] for row in rows}, err

    return call


def write_table(path, cells, header=("image_id", *FIELDS), rows=ROWS):
    lines = [header, *((cell, *row) for cell, row in zip(cells, rows, strict=False))]
    path.write_text("".join(",".join(line) + "\n" for line in lines))
    return path


NAMED = [f"X_{n}" for n in range(1, 5)]
JOINED = {
    "ids": NAMED,
    "endings": [f"{name}.jpg" for name in NAMED],
    "other endings": [f"{name}.PNG" for name in NAMED],
    "Windows paths": [f"C:\\scans\\{name}.jpg" for name in NAMED],
    "paths of another machine": [f"/mnt/set/{name}.jpg" for name in NAMED],
    "paths with the folder": [f"new/{name}.jpg" for name in NAMED],
    "another case": [name.lower() for name in NAMED],
    "mixed": ["X_1", "new\\X_2.jpg", "x_3", "D:/y/X_4.jpg"],
}


@pytest.mark.parametrize("cells", JOINED.values(), ids=JOINED)
@pytest.mark.parametrize("by_hand", [True, False])
def test_rows_are_joined_however_their_ids_are_written(cells, by_hand, new, predict, tmp_path):
    table = write_table((tmp_path if by_hand else new) / "new.csv", cells)
    code, imputed, err = predict(new, *(["--metadata", table] if by_hand else []))
    assert (code, imputed) == (0, {f"{name}.jpg": [] for name in NAMED})
    assert "have no row" not in err


def test_images_without_a_row_and_rows_without_an_image_are_told_by_count(new, predict, tmp_path):
    table = write_table(tmp_path / "new.csv", ["X_1", "X_2", "other", "X_9"])
    code, imputed, err = predict(new, "--metadata", table)
    assert code == 0 and imputed == {"X_1.jpg": [], "X_2.jpg": [], "X_3.jpg": FIELDS, "X_4.jpg": FIELDS}
    assert "2 of 4 images have no row in new.csv (first: 'X_3.jpg'); their age, sex, localization are missing" in err
    assert "2 of 4 rows of new.csv are of none of the images (first: 'other')" in err


@pytest.mark.parametrize("cells", [["Y_1", "Y_2"], ["old/X_1.jpg", "old/X_2.jpg"], ["X_1_mask", "X_2_mask"]])
def test_a_table_given_by_hand_of_which_nothing_matches_is_refused(cells, new, predict, tmp_path):
    table = write_table(tmp_path / "new.csv", cells)
    code, imputed, err = predict(new, "--metadata", table)
    assert (code, imputed) == (FAILED, {})
    assert f"none of the 2 rows of {table} (column 'image_id', first: {cells[0]!r}) matches any of the 4 images" in err


def test_of_several_tables_the_one_with_the_images_is_taken_and_the_others_are_named(new, predict):
    write_table(new / "a_training.csv", ["T_1", "T_2"])
    write_table(new / "b_some.csv", ["X_1"])
    write_table(new / "c_new.csv", NAMED)
    write_table(new / "d_other.csv", NAMED, ("image", *FIELDS))
    code, imputed, err = predict(new)
    assert code == 0 and set(map(tuple, imputed.values())) == {()}
    assert "a_training.csv is passed over as metadata: none of its rows is of one of the images" in err
    assert "b_some.csv is passed over as metadata: it has rows of 1 images, and c_new.csv of 4" in err
    assert (
        "d_other.csv is passed over as metadata: it has no column 'image_id' (its column 'image' looks like it)" in err
    )


def test_a_table_one_folder_down_is_found(new, predict):
    (new / "tables").mkdir()
    write_table(new / "tables" / "new.csv", NAMED)
    assert set(map(tuple, predict(new)[1].values())) == {()}


def test_no_table_with_a_row_of_an_image_is_told(new, predict):
    write_table(new / "a.csv", ["T_1"])
    code, imputed, err = predict(new)
    assert code == 0 and set(map(tuple, imputed.values())) == {tuple(FIELDS)}
    assert "a.csv is passed over as metadata" in err and "no metadata is given: a model of images alone answers" in err


@pytest.mark.parametrize(
    ("header", "lacks"),
    [
        (("image_id", "age", "sex", "site"), "no column 'localization' (its column 'site' looks like it)"),
        (("isic_id", "age", "sex", "localization"), "no column 'image_id' (its column 'isic_id' looks like it)"),
        (("image_id", "age_approx", "sex", "localization"), "no column 'age' (its column 'age_approx' looks like it)"),
        (("image_id", "Alter", "Gender", "localization"), "no column 'age' (its column 'Alter' looks like it)"),
    ],
)
def test_a_table_that_lacks_a_column_is_refused_by_hand_and_passed_over_in_a_folder(header, lacks, new, predict):
    table = write_table(new / "new.csv", NAMED, header)
    code, imputed, err = predict(new)
    assert code == 0 and set(map(tuple, imputed.values())) == {tuple(FIELDS)}
    assert f"new.csv is passed over as metadata: it has {lacks}" in err
    code, imputed, err = predict(new, "--metadata", table)
    assert (code, imputed) == (FAILED, {}) and f"new.csv has {lacks}" in err


@pytest.mark.parametrize("cells", [["X_1", "X_1.jpg"], ["X_1", "new/X_1.jpg"], ["new/X_1", "new\\X_1.jpg"]])
def test_several_rows_of_one_image_are_refused_on_one_line(cells, new, predict, tmp_path):
    table = write_table(tmp_path / "new.csv", cells)
    code, imputed, err = predict(new, "--metadata", table)
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, imputed, len(errors)) == (FAILED, {}, 1) and "more than one row for image" in errors[0]


def test_one_row_never_serves_two_files(new, predict, tmp_path):
    for n, part in ((1, "p1"), (2, "p2")):
        (new / part).mkdir()
        (new / f"X_{n}.jpg").rename(new / part / "IMG_1.jpg")
    table = write_table(tmp_path / "one.csv", ["p1/IMG_1.jpg"])
    imputed = predict(new, "--metadata", table)[1]
    assert (imputed["p1/IMG_1.jpg"], imputed["p2/IMG_1.jpg"]) == ([], FIELDS)
    table = write_table(tmp_path / "both.csv", ["p1/IMG_1.jpg", "p2\\IMG_1"])
    imputed = predict(new, "--metadata", table)[1]
    assert (imputed["p1/IMG_1.jpg"], imputed["p2/IMG_1.jpg"]) == ([], [])
    table = write_table(tmp_path / "none.csv", ["IMG_1"])
    code, _, err = predict(new, "--metadata", table)
    assert code == FAILED and "the image id 'IMG_1' matches 2 files" in err
    code, imputed, err = predict(new / "p2", "--metadata", write_table(tmp_path / "other.csv", ["p1/IMG_1.jpg"]))
    assert code == FAILED and "none of the 1 rows" in err


@pytest.mark.parametrize(
    "save",
    [
        lambda table, path: path.write_bytes(table.to_csv(index=False, sep="\t").encode("utf-16")),
        lambda table, path: path.write_text("sep=;\n" + table.to_csv(index=False, sep=";")),
        lambda table, path: path.write_text(table.rename(columns={"image_id": "Image ID"}).to_csv(index=False)),
        lambda table, path: path.write_text(table.assign(age="45,5").to_csv(index=False, sep=";") + ";;;\n" * 3),
        lambda table, path: table.to_excel(path.with_suffix(".xlsx"), index=False),
    ],
    ids=["UTF-16", "sep line", "header", "decimal commas", "workbook"],
)
def test_metadata_are_read_as_people_keep_them(save, new, predict):
    pytest.importorskip("openpyxl")
    table = pd.DataFrame([(name, *row) for name, row in zip(NAMED, ROWS, strict=True)], columns=["image_id", *FIELDS])
    save(table, new / "new.csv")
    code, imputed, err = predict(new)
    assert code == 0 and set(map(tuple, imputed.values())) == {()}, err


def mask_of(path):
    with Image.open(path) as image:
        size = image.size
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    return Image.fromarray(((x - size[0] / 2) ** 2 + (y - size[1] / 2) ** 2 < 300).astype(np.uint8) * 255)


@pytest.mark.parametrize("name", ["{}_segmentation.png", "{}.png", "second/{}.png", "masks/{}.jpg"])
def test_masks_in_a_folder_are_not_scored_and_told(name, new, predict):
    for photograph in sorted(new.glob("X_*.jpg")):
        path = new / name.format(photograph.stem)
        path.parent.mkdir(exist_ok=True)
        mask_of(photograph).convert("RGB").save(path)
    code, imputed, err = predict(new)
    assert code == 0 and sorted(imputed) == [f"{name}.jpg" for name in NAMED]
    assert f"{LOOKALIKES}: 4 (first: " in err


def test_a_mask_that_is_named_is_scored_and_told(new, predict):
    mask_of(new / "X_1.jpg").save(new / "M.png")
    code, imputed, err = predict(new / "M.png", new / "X_1.jpg")
    assert code == 0 and len(imputed) == 2
    assert "look like masks or thumbnails, used since they were named: 1 (first: 'M.png', black and white)" in err


def test_what_is_called_like_a_mask_is_scored_where_the_table_names_it(new, predict):
    for name in NAMED:
        (new / f"{name}.jpg").rename(new / f"{name}_mask.jpg")
    write_table(new / "new.csv", [f"{name}_mask" for name in NAMED[:3]])
    code, imputed, err = predict(new)
    assert (code, imputed) == (0, {f"{name}_mask.jpg": [] for name in NAMED[:3]})
    assert f"{LOOKALIKES}: 1 (first: " in err


def test_a_folder_of_masks_alone_is_refused(new, predict):
    mask_of(new / "X_1.jpg").save(new / "a_mask.png")
    for path in new.glob("*.jpg"):
        path.unlink()
    code, imputed, err = predict(new)
    assert (code, imputed) == (FAILED, {}) and "is a photograph: all are masks" in err


def test_copies_are_scored_once_and_files_of_other_formats_are_told(new, predict):
    (new / "again").mkdir()
    shutil.copy(new / "X_1.jpg", new / "again" / "X_1.jpg")
    (new / "Y.heic").write_bytes(b"x")
    shutil.copy(new / "X_2.jpg", new / "Z.jfif")
    code, imputed, err = predict(new)
    assert code == 0 and len(imputed) == 5 and "Z.jfif" in imputed
    assert f"{COPIES}: 1 (first: " in err
    assert "image files of another format than JPEG, PNG, WebP, BMP or TIFF, left out: 1 (first: 'Y.heic')" in err
