"""Masks, superpixels, thumbnails and files of other formats beside photographs: left out, counted and told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.files.listing import list_images
from dermfuse.features.files.lookalikes import drawn_apart, named_apart, what_it_looks_like
from dermfuse.features.files.photographs import LOOKALIKES, photographs
from tests.features.folders import COLUMNS, NAMES, refusal, write_plain
from tests.features.pictures import encoded, scene, write_ham, write_pictures


def noisy(seed: int = 0, height: int = 60, width: int = 80) -> np.ndarray:
    """A picture with the grain of a photograph."""
    grain = np.random.default_rng(seed).integers(-20, 20, (height, width, 3))
    return np.clip(scene(seed, height, width).astype(int) // 2 + 60 + grain, 0, 255).astype(np.uint8)


def mask(height: int = 60, width: int = 80) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    inside = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2
    return Image.fromarray(inside.astype(np.uint8) * 255)


def superpixels(height: int = 60, width: int = 80) -> Image.Image:
    blocks = np.random.default_rng(0).integers(0, 255, (height // 20, width // 20, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)


def write(path: Path, picture, kind: str = "PNG", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture, kind, **options))
    return path


@pytest.mark.parametrize(
    "below",
    [
        *("ISIC_1_segmentation.png", "ISIC_1_Segmentation.png", "ISIC_1_superpixels.png"),
        *(
            "ISIC_1_attribute_globules.png",
            "ISIC_1_attribute_milia_like_cyst.png",
            "ISIC_1_mask.jpg",
            "mask_ISIC_1.png",
        ),
        *("masks/ISIC_1.png", "Train_Masks/ISIC_1.png", "a/segmentation/b/ISIC_1.png", "thumbnails/ISIC_1.jpg"),
        *("ISIC_1_thumb.jpg", "ISIC_1-thumbnail.jpg", "ISIC_1_mask (1).png", "ISIC_1 mask.png", "ISIC_1_seg.png"),
        *("montage_1.jpg", "ISIC_1_gt.png", "ISIC_1_GroundTruth.png", "contact_sheet-2.jpg"),
    ],
)
def test_names_that_are_those_of_no_photograph(below):
    assert named_apart(below)


@pytest.mark.parametrize(
    "below",
    [
        *("ISIC_1.jpg", "ISIC_0012654_downsampled.jpg", "lesion_1.jpg", "masked_ball.jpg", "PAT_1_lesion.png"),
        *("ISIC_2019_Training_Input/ISIC_1.jpg", "imgs_part_1/PAT_8_15_820.png", "segregated.jpg", "IMD002.bmp"),
        *("x_no_mask.jpg", "without mask/x.jpg", "masking/x.jpg"),
    ],
)
def test_names_of_photographs(below):
    assert not named_apart(below)


@pytest.mark.parametrize(
    ("picture", "kind", "options", "looks"),
    [
        (mask(), "PNG", {}, "black and white"),
        (mask(), "PNG", {"mode": "1"}, "black and white"),
        (mask(), "PNG", {"mode": "P"}, "black and white"),
        (mask(), "PNG", {"mode": "RGB"}, "black and white"),
        (mask(), "PNG", {"mode": "RGBA"}, "black and white"),
        (mask(), "BMP", {}, "black and white"),
        (mask(300, 400), "JPEG", {"mode": "RGB"}, "black and white"),
        (superpixels(), "PNG", {}, "flat colours"),
        (np.zeros((8, 8, 3), np.uint8), "PNG", {}, "tiny"),
        (noisy(), "PNG", {}, None),
        (noisy(), "PNG", {"mode": "L"}, None),
        (noisy(), "PNG", {"mode": "P"}, None),
        (noisy(), "JPEG", {}, None),
        (noisy(), "JPEG", {"mode": "L"}, None),
    ],
)
def test_colours_and_size_tell_a_photograph(picture, kind, options, looks, tmp_path):
    path = write(tmp_path / f"a.{kind.lower()}", picture, kind, **options)
    assert what_it_looks_like(str(path)) == looks
    assert drawn_apart([str(path)]) == ({str(path): looks} if looks else {})


def test_a_folder_of_photographs_costs_a_few_headers(tmp_path, monkeypatch):
    from dermfuse.features.files import lookalikes

    opened, decoded = [], []
    header, decode = lookalikes._header, lookalikes.decode
    monkeypatch.setattr(lookalikes, "_header", lambda path: opened.append(path) or header(path))
    monkeypatch.setattr(lookalikes, "decode", lambda path: decoded.append(path) or decode(path))
    write_pictures(tmp_path, [f"{n}.jpg" for n in range(400)])
    assert drawn_apart(list_images(tmp_path).images) == {}
    assert (len(opened), decoded) == (lookalikes.SAMPLE, [])


BESIDE = {
    "ISIC": lambda i: {f"{i}_segmentation.png": mask(), f"{i}_superpixels.png": superpixels()},
    "same names in a folder of their own": lambda i: {f"masks/{i}.png": mask()},
    "same names, a folder that says nothing": lambda i: {f"second/{i}.png": mask()},
    "same folder": lambda i: {f"{i}.png": mask()},
    "in colours": lambda i: {f"second/{i}.png": mask().convert("RGB")},
    "PH2": lambda i: {f"{i}/{i}_lesion/{i}_lesion.bmp": mask()},
    "thumbnails": lambda i: {f"{i}_thumb.png": scene(1, 10, 12)},
    "superpixels": lambda i: {f"sp/{i}.png": superpixels()},
}


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
@pytest.mark.parametrize("missing", [0, 3])
def test_no_mask_is_anybodys_photograph(beside, missing, tmp_path):
    write_ham(tmp_path, NAMES)
    for n, name in enumerate(NAMES):
        photograph = next(tmp_path.rglob(f"{name}.jpg"))
        for below, picture in beside(name).items():
            write(tmp_path / below, picture, "BMP" if below.endswith("bmp") else "PNG")
        if n < missing:
            photograph.unlink()
    dataset = load_dataset(tmp_path)
    assert dataset.rows.id.tolist() == NAMES[missing:]
    assert {Path(path).suffix for path in dataset.rows.path} == {".jpg"}
    counts = dict(dataset.counts)
    assert counts[LOOKALIKES] == len(beside("x")) * len(NAMES)
    assert counts["rows without an image file, left out"] == missing
    assert counts["image files without a row, left out"] == 0
    assert any(notice.startswith(f"{LOOKALIKES}: {counts[LOOKALIKES]} (first: ") for notice in dataset.noticed)


def test_a_picture_whose_own_full_name_is_an_id_was_asked_for(tmp_path):
    write(tmp_path / "a_mask.png", mask())
    write(tmp_path / "masks" / "b.png", mask())
    write(tmp_path / "c.png", mask())
    write_plain(tmp_path, "file,kind\na_mask,nv\nmasks/b.png,mel\nc.png,nv\n")
    assert load_dataset(tmp_path, COLUMNS).rows.id.tolist() == ["a_mask", "c", "masks/b"]


def test_a_folder_of_masks_alone_matches_nothing_and_says_why(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.png", mask())
    message = str(refusal(write_plain(tmp_path, "file,kind\na,nv\nb,mel\n"), COLUMNS))
    assert "none of the 2 ids" in message
    assert f"{LOOKALIKES}: 2 (first: 'a.png', black and white)" in message


def test_masks_among_photographs_of_the_same_ending_are_told_by_their_colours(tmp_path):
    for n in range(40):
        write(tmp_path / f"p{n:02}.png", noisy(n) if n % 2 else mask())
    found = photographs(list_images(tmp_path))
    assert (len(found.images), len(found.drawn)) == (20, 20)


def test_files_of_other_formats_are_counted_and_told(tmp_path):
    write_plain(tmp_path, "file,kind\na,nv\nb,mel\nc,nv\n", ["a.jpg"])
    for name in ("b.HEIC", "c.dcm", "d.gif", "e.svg"):
        (tmp_path / name).write_bytes(b"x")
    dataset = load_dataset(tmp_path, COLUMNS)
    assert any(
        "image files of another format than JPEG, PNG, WebP, BMP or TIFF, left out: 4" in n for n in dataset.noticed
    )


def test_images_that_are_all_of_another_format_are_told_too(tmp_path):
    write_plain(tmp_path, "file,kind\na,nv\n")
    (tmp_path / "a.heic").write_bytes(b"x")
    dataset = load_dataset(tmp_path, COLUMNS)
    assert not dataset.has_images
    assert any("left out: 1 (first: 'a.heic')" in notice for notice in dataset.noticed)


@pytest.mark.parametrize("ending", ["jfif", "JPE", "jif", "jfi", "TIFF", "dib", "apng"])
def test_every_spelling_of_an_ending_is_read(ending, tmp_path):
    write_plain(tmp_path, "file,kind\na,nv\n", [f"a.{ending}"])
    assert Path(load_dataset(tmp_path, COLUMNS).rows.path[0]).name == f"a.{ending}"


def test_a_file_without_an_ending_is_read_by_its_bytes_and_one_with_another_is_told(tmp_path):
    for name in ("a", "b.x1"):
        (tmp_path / name).write_bytes(encoded(scene()))
    write_plain(tmp_path, "file,kind\na,nv\nb,mel\n")
    dataset = load_dataset(tmp_path, COLUMNS)
    assert dataset.rows.id.tolist() == ["a"]
    told = "files that are images by their bytes and not by their ending, left out: 1 (first: 'b.x1')"
    assert told in dataset.noticed


def test_what_macos_puts_beside_images_is_told_and_left_out(tmp_path):
    write_plain(tmp_path, "file,kind\na,nv\n", ["a.jpg"])
    (tmp_path / "._a.jpg").write_bytes(b"\0\5\x16\7")
    (tmp_path / "__MACOSX" / "set").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "set" / "._a.jpg").write_bytes(b"\0\5\x16\7")
    dataset = load_dataset(tmp_path, COLUMNS)
    assert Path(dataset.rows.path[0]) == tmp_path / "a.jpg"
    assert any("files that macOS puts beside images (._*, __MACOSX), left out: 2" in n for n in dataset.noticed)
