"""Facts of the image files that should not tell the label: size, shape, format, EXIF, folder, order of names."""

from __future__ import annotations

import re
import stat
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from dermfuse.features.images.decoder import FORMATS
from dermfuse.pipelines.audit.check import Check, Question, plural
from dermfuse.pipelines.audit.giveaway import Labels, Told, told_by
from dermfuse.pipelines.audit.given import AuditInput
from dermfuse.pipelines.audit.memo import Findings, signatures

BYTES = Question(
    "FILE_SIZE", "The size of the files in bytes does not give the label away", "warning", "Size of the files in bytes"
)
SHAPE = Question(
    "IMAGE_SIZE",
    "Width, height and aspect of the images do not give the label away",
    "warning",
    "Width, height and aspect of the images",
)
FORMAT = Question("FILE_FORMAT", "The file format does not give the label away", "warning", "Format of the files")
EXIF = Question("EXIF", "Whether a file holds EXIF data does not give the label away", "warning", "EXIF data")
FOLDER = Question("FOLDER", "The folder of a file does not give the label away", "warning", "Folders of the files")
NAMES = Question(
    "NAME_ORDER",
    "Prefix and order of the names of images and groups do not give the label away",
    "warning",
    "Prefix and order of names",
)
OF_FILES = (BYTES, SHAPE, FORMAT, EXIF, FOLDER)


def check_file_facts(given: AuditInput, labels: Labels | None, findings: Findings | None = None) -> list[Check]:
    """All checks of file facts; only headers are read, and none where `findings` knows what they tell."""
    findings = findings or Findings()
    if labels is None:
        why = "there are no folds: the classes are too small"
        return [question.not_applicable(why) for question in (*OF_FILES, NAMES)]
    known = {**labels.inputs(), "seed": given.seed}
    inputs = {"ids": given.ids, "table groups": given.table_groups, "grouped": bool(given.dataset.layout.group)}
    named = findings.part("names", {**known, **inputs}, lambda: _told(_names(given), labels, given.seed))
    names = _judge(NAMES, named)
    if not given.dataset.has_images:
        return [*(question.not_applicable("the folder holds no images") for question in OF_FILES), names]
    paths = given.dataset.rows["path"].iloc[labels.rows]
    part = findings.part("files", {**known, "files": signatures(paths)}, lambda: _of_files(paths, labels, given.seed))
    return [*(_judge(question, part["told"][question.code], part["unread"]) for question in OF_FILES), names]


def _of_files(paths: Iterable[str | Path], labels: Labels, seed: int) -> dict:
    """What each fact of the files tells, by the code of its check, and how many could not be read."""
    facts = read_file_facts(paths)
    width, height = facts["width"].to_numpy(), facts["height"].to_numpy()
    asked = {
        BYTES: {"size in bytes": facts["bytes"].to_numpy()},
        SHAPE: {"width": width, "height": height, "aspect": width / height},
        FORMAT: {"format": facts["format"].to_numpy(object)},
        EXIF: {"presence of EXIF data": facts["exif"].to_numpy(object)},
        FOLDER: {"folder": facts["folder"].to_numpy(object)},
    }
    within = Labels(labels.names, labels.truth, labels.groups, labels.fold, np.arange(len(labels.rows)))
    told = {question.code: _told(columns, within, seed) for question, columns in asked.items()}
    return {"told": told, "unread": int(facts["format"].isna().sum())}


def read_file_facts(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Bytes, width, height, format, EXIF presence and folder of each file, from its header alone.

    Returns
    -------
    DataFrame
        ``bytes``, ``width``, ``height`` float with NaN; ``format``, ``exif``, ``folder`` objects with None. What
        cannot be read is missing.
    """
    with warnings.catch_warnings():
        # Pillow's warnings name no file, and no pixel is decoded here.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        rows = [_file_facts(Path(path)) for path in paths]
    names = ["bytes", "width", "height", "format", "exif", "folder"]
    # As objects, or pandas would turn None into NaN.
    table = pd.DataFrame(rows, columns=names, dtype=object)
    return table.astype({"bytes": float, "width": float, "height": float})


def _file_facts(path: Path) -> tuple:
    from PIL import Image

    nothing = (np.nan, np.nan, np.nan, None, None, str(path.parent))
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # a pipe would wait for its other end
            return nothing
        with open(path, "rb") as file:
            image = Image.open(file, formats=FORMATS)
            exif = "with" if "exif" in image.info else "without"
            return (facts.st_size, *map(float, image.size), image.format, exif, str(path.parent))
    except Exception:  # Pillow's parsers raise many types on hostile headers; extraction tells the reason
        return nothing


def _names(given: AuditInput) -> dict[str, np.ndarray]:
    """Order and prefix of the names of images and, where there are any, of groups."""
    named = {"image": given.ids}
    if given.dataset.layout.group:
        named["group"] = given.table_groups
    columns = {}
    for what, names in named.items():
        columns[f"order of {what} names"] = pd.Series([_sortable(name) for name in names]).rank().to_numpy(float)
        prefixes = [re.match(r"\D*", name)[0] for name in names]
        # Names without a digit have no prefix: all of the name would be one.
        columns[f"prefix of {what} names"] = np.array(
            [prefix if prefix != name else "" for prefix, name in zip(prefixes, names, strict=True)], dtype=object
        )
    return columns


def _sortable(name: str) -> tuple:
    """Names in the order of their numbers: 9 before 10."""
    parts = re.split(r"(\d+)", name)
    return tuple((part, 0) if i % 2 == 0 else ("", int(part)) for i, part in enumerate(parts))


def _told(columns: dict[str, np.ndarray], labels: Labels, seed: int) -> dict[str, Told]:
    return {name: told_by(values[labels.rows], labels, seed) for name, values in columns.items()}


def _judge(question: Question, part: dict[str, dict], unread: int = 0) -> Check:
    told = {name: Told.from_part(kept) for name, kept in part.items()}
    name, most = max(told.items(), key=lambda item: (item[1].gives_away, np.nan_to_num(item[1].macro_auc)))
    unread = f"; {plural(unread, 'file')} could not be read" if unread else ""
    if most.gives_away:
        return question.found(1, f"The label can be told from the {name}: {most.words()}{unread}.")
    if most.signals:
        detail = f"The {name} tells something, as where classes come from different sources: {most.words()}{unread}."
        return question.found(1, detail, None, "note")
    return question.passed(f"the {name} tells the most, with {most.words()}{unread}")
