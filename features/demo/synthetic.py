"""The embedded demo dataset: drawn lesions, their true masks, metadata with signal, and a few bad files.

It is laid out like HAM10000 (classes, their shares, several images a lesion, column names), so that every
stage can be tried offline. All of it is invented; nothing measured on it says anything about real skin.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from dermfuse.cache.errors import UserError
from dermfuse.features.demo.drawing import CLASSES, DRAWING_VERSION, draw, make_lesion

# Shares of HAM10000's lesions (Tschandl et al., Scientific Data 5, 180161, 2018).
SHARES = {
    "nv": 0.7225,
    "bkl": 0.0974,
    "mel": 0.0822,
    "bcc": 0.0438,
    "akiec": 0.0305,
    "vasc": 0.0131,
    "df": 0.0098,
}
MIN_PER_CLASS = 8  # five grouped folds and a locked test split need this many
IMAGES_PER_LESION = (0.74, 0.19, 0.055, 0.01, 0.005)  # probability of one to five
RECORD = "synthetic.json"

# Invented, with the direction of the clinical pattern: mean and standard deviation of age, share of men.
AGE = {
    "nv": (42, 13),
    "bkl": (66, 10),
    "mel": (62, 12),
    "bcc": (68, 10),
    "akiec": (71, 9),
    "vasc": (40, 17),
    "df": (52, 11),
}
MALE = {"nv": 0.50, "bkl": 0.56, "mel": 0.60, "bcc": 0.62, "akiec": 0.65, "vasc": 0.48, "df": 0.38}
# fmt: off
SITES = (
    "back", "trunk", "abdomen", "chest", "lower extremity", "upper extremity",
    "face", "neck", "scalp", "hand", "foot",
)
SITE_WEIGHTS = {
    "nv":    (24, 18, 13,  5, 22,  9,  2,  2,  1,  1,  3),
    "bkl":   (20,  7,  5,  7, 14,  9, 28,  4,  4,  2,  0),
    "mel":   (30,  5,  5,  6, 18, 17, 11,  3,  2,  1,  2),
    "bcc":   (28,  3,  3, 10, 11, 10, 26,  5,  4,  0,  0),
    "akiec": ( 8,  0,  1,  4, 16, 19, 38,  4,  6,  4,  0),
    "vasc":  (12, 25, 20,  3, 16,  8,  7,  3,  3,  3,  0),
    "df":    ( 3,  2,  3,  1, 66, 22,  0,  0,  0,  1,  2),
}
# fmt: on
AGE_MISSING, SEX_UNKNOWN, SITE_UNKNOWN = 0.02, 0.015, 0.03

# One of each, so that what the pipeline says about broken data can be seen in the demo.
BAD_FILES = ("truncated", "html", "empty")
FAULTS = (*BAD_FILES, "no file")
HTML_PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>Not Found</body></html>\n"

DATASET_TOML = """\
# A demo dataset, drawn by a program (features/demo/synthetic.py), not photographed.
# Its true lesion masks are in masks/, which is not an image folder.
name = "synthetic demo"
group_word = "lesions"
synthetic = true
malignant = ["mel", "bcc", "akiec"]
table = "metadata.csv"
images = ["images"]

[columns]
image = "image_id"
label = "dx"
group = "lesion_id"

[metadata]
numeric = ["age"]
categorical = ["sex", "localization"]
"""


@dataclass(frozen=True)
class SyntheticSummary:
    """What a synthetic dataset holds.

    Attributes
    ----------
    images : int
        Readable images that have a row; each has a mask.
    lesions : int
        Groups in the table.
    bad_files : int
        Rows whose image file cannot be decoded.
    folder : Path
        Where it lies.
    rows_without_image, images_without_row : int
        Rows that name no file, and files that no row names.
    reused : bool
        Whether it was there already and nothing was drawn.
    """

    images: int
    lesions: int
    bad_files: int
    folder: Path
    rows_without_image: int = 0
    images_without_row: int = 0
    reused: bool = False


def make_dataset(
    folder: Path,
    lesions: int = 640,
    size: int = 128,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> SyntheticSummary:
    """Draw the demo dataset into `folder`, or reuse it where it is finished.

    It is written beside `folder` and renamed at the end, so that an interrupted run leaves nothing half done.
    The same parameters give the same bytes, as long as NumPy, SciPy and Pillow stay the same.

    Parameters
    ----------
    folder : Path
        Absent, empty, or holding a finished dataset of the same parameters. It will hold
        ``images/DEMO_*.jpg``, ``masks/DEMO_*.png`` (8 bit, 255 inside the lesion), ``metadata.csv``,
        ``dataset.toml`` and ``synthetic.json``.
    lesions : int
        Number of lesions, at least 56: eight of each class.
    size : int
        Width and height of an image in pixels, 32 to 1024.
    seed : int
        At least 0. Lesion ``i`` (from 1) depends on ``seed`` and ``i`` alone, but for its class.
    progress : callable, optional
        ``progress(1)`` is called after each of `planned_images` images.

    Returns
    -------
    SyntheticSummary

    Raises
    ------
    UserError
        A parameter is out of range, `folder` holds something else, or it cannot be written.
    """
    _require_ranges(lesions, size, seed)
    folder = Path(folder)
    parameters = {"drawing": DRAWING_VERSION, "lesions": int(lesions), "size": int(size), "seed": int(seed)}
    finished = _finished(folder, parameters)
    if finished is not None:
        return finished
    part = folder.absolute().with_name(f".{folder.absolute().name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.mkdir(parents=True)
        summary = replace(_write(part, parameters, progress), folder=folder)
        if folder.is_dir():
            folder.rmdir()
        os.rename(part, folder)
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}. Expected a folder that can be made there; "
            "give another one."
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return summary


def planned_images(lesions: int = 640, seed: int = 0) -> int:
    """How many images `make_dataset` goes through, for a progress bar's total."""
    _require_ranges(lesions, 128, seed)
    return len(_plan(lesions, seed))


def class_counts(lesions: int) -> dict[str, int]:
    """Lesions of each class: HAM10000's shares, at least `MIN_PER_CLASS`; nevi make up the difference."""
    counts = {dx: max(MIN_PER_CLASS, round(SHARES[dx] * lesions)) for dx in CLASSES}
    counts["nv"] = lesions - sum(n for dx, n in counts.items() if dx != "nv")
    return counts


def _require_ranges(lesions: int, size: int, seed: int) -> None:
    least = MIN_PER_CLASS * len(CLASSES)
    if lesions < least:
        raise UserError(
            f"lesions={lesions} is too few: expected at least {least}, {MIN_PER_CLASS} of each of "
            f"{len(CLASSES)} classes. Give a larger number."
        )
    if not 32 <= size <= 1024:
        raise UserError(f"size={size} is out of range: expected 32 to 1024 pixels. Give another size.")
    if seed < 0:
        raise UserError(f"seed={seed} is negative: expected 0 or more. Give another seed.")


def _finished(folder: Path, parameters: dict[str, int]) -> SyntheticSummary | None:
    """The finished dataset in `folder`, or None where the folder is absent or empty."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    asked = _words(parameters)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        found, summary = (
            record["parameters"],
            SyntheticSummary(**record["summary"], folder=folder, reused=True),
        )
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder} is not empty and holds no finished synthetic dataset: expected an absent or empty "
            f"folder, or one made with {asked}. Give another folder."
        ) from None
    if found != parameters:
        raise UserError(
            f"{folder} holds a synthetic dataset made with {_words(found)}: expected {asked}. "
            "Remove it, or give another folder."
        )
    masks = len(list(folder.glob("masks/*.png")))
    images = len(list(folder.glob("images/*.jpg")))
    expected = summary.images + summary.bad_files + summary.images_without_row
    if (images, masks) != (expected, summary.images) or not (folder / "metadata.csv").is_file():
        raise UserError(
            f"{folder} holds a synthetic dataset with {images} images and {masks} masks: expected {expected} "
            f"and {summary.images}, and metadata.csv. Remove it, so that it is drawn again."
        )
    return summary


def _words(parameters: dict[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())


@dataclass(frozen=True)
class _Planned:
    """One image to be made: its lesion, which view of it, its row, and what is wrong with it, if anything."""

    lesion: int
    view: int
    dx: str
    age: str
    sex: str
    localization: str
    fault: str = ""


def _plan(lesions: int, seed: int) -> list[_Planned]:
    """Every image in the order of its id, the faulty ones among them; the one without a row is last."""
    # Stream 0 is the dataset's; lesions count from 1, since NumPy pads short seeds with zeros.
    rng = np.random.default_rng([seed, 0])
    labels = rng.permutation([dx for dx, n in class_counts(lesions).items() for _ in range(n)])
    views = [_views(lesion, str(dx), seed) for lesion, dx in enumerate(labels, start=1)]
    roomy = [i for i, planned in enumerate(views) if len(planned) < len(IMAGES_PER_LESION)]
    for i, fault in zip(rng.choice(roomy, len(FAULTS), replace=False), FAULTS, strict=True):
        views[i].append(replace(views[i][0], view=len(views[i]), fault=fault))
    stray = replace(_views(lesions + 1, "nv", seed)[0], fault="no row")
    return [planned for of_lesion in views for planned in of_lesion] + [stray]


def _views(lesion: int, dx: str, seed: int) -> list[_Planned]:
    """The images of one lesion; its metadata are the same in all of them."""
    rng = np.random.default_rng([seed, lesion])
    age = int(np.clip(5 * np.rint(rng.normal(*AGE[dx]) / 5), 5, 85))
    sex = "male" if rng.random() < MALE[dx] else "female"
    weights = np.array(SITE_WEIGHTS[dx])
    site = SITES[rng.choice(len(SITES), p=weights / weights.sum())]
    gaps = rng.random(3) < (AGE_MISSING, SEX_UNKNOWN, SITE_UNKNOWN)
    row = ("" if gaps[0] else str(age), "unknown" if gaps[1] else sex, "unknown" if gaps[2] else site)
    count = 1 + rng.choice(len(IMAGES_PER_LESION), p=IMAGES_PER_LESION)
    return [_Planned(lesion, view, dx, *row) for view in range(count)]


def _write(folder: Path, parameters: dict[str, int], progress) -> SyntheticSummary:
    """Write the whole dataset into the empty `folder`; the record comes last."""
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    plan = _plan(parameters["lesions"], parameters["seed"])
    for number, planned in enumerate(plan, start=1):
        _write_image(folder, f"DEMO_{number:07d}", planned, parameters["size"], parameters["seed"])
        if progress is not None:
            progress(1)
    _table(plan).to_csv(folder / "metadata.csv", index=False, lineterminator="\n")
    (folder / "dataset.toml").write_text(DATASET_TOML, encoding="utf-8", newline="\n")
    faults = [planned.fault for planned in plan]
    summary = SyntheticSummary(
        images=faults.count(""),
        lesions=parameters["lesions"],
        bad_files=sum(fault in BAD_FILES for fault in faults),
        folder=folder,
        rows_without_image=faults.count("no file"),
        images_without_row=faults.count("no row"),
    )
    counts = {name: value for name, value in asdict(summary).items() if name not in ("folder", "reused")}
    record = json.dumps({"parameters": parameters, "summary": counts}, indent=2) + "\n"
    (folder / RECORD).write_text(record, encoding="utf-8", newline="\n")
    return summary


def _table(plan: list[_Planned]) -> pd.DataFrame:
    rows = [
        (f"LESION_{p.lesion:07d}", f"DEMO_{number:07d}", p.dx, p.age, p.sex, p.localization)
        for number, p in enumerate(plan, start=1)
        if p.fault != "no row"
    ]
    return pd.DataFrame(rows, columns=["lesion_id", "image_id", "dx", "age", "sex", "localization"])


def _write_image(folder: Path, name: str, planned: _Planned, size: int, seed: int) -> None:
    """Draw one view of a lesion into ``images/`` and ``masks/``, or what its fault leaves of them."""
    if planned.fault == "no file":
        return
    lesion = make_lesion(planned.dx, np.random.default_rng([seed, planned.lesion, 1]))
    pixels, mask = draw(lesion, size, np.random.default_rng([seed, planned.lesion, 2 + planned.view]))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    jpeg = buffer.getvalue()
    broken = {"truncated": jpeg[: len(jpeg) * 3 // 5], "html": HTML_PAGE, "empty": b""}
    (folder / "images" / f"{name}.jpg").write_bytes(broken.get(planned.fault, jpeg))
    if not planned.fault:
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"{name}.png")
