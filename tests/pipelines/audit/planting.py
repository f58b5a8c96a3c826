"""A small drawn dataset with embeddings made of its pixels, into which leaks are planted one at a time."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from dermfuse.features.console import Console
from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.demo.synthetic import make_dataset
from dermfuse.features.images.decoder import BadImage, decode
from dermfuse.pipelines.audit.check import Audit, Check
from dermfuse.pipelines.audit.columns import check_columns
from dermfuse.pipelines.audit.duplicates import check_files
from dermfuse.pipelines.audit.extractors import check_extractors
from dermfuse.pipelines.audit.given import AuditInput
from dermfuse.pipelines.audit.groups import check_groups
from dermfuse.pipelines.audit.image_files import check_file_facts
from dermfuse.pipelines.audit.near import check_near
from dermfuse.pipelines.audit.oversized import check_sizes
from dermfuse.pipelines.audit.whole import labels_of, run_audit
from dermfuse.pipelines.evaluation import splits
from dermfuse.pipelines.model.table import Columns, Table, assemble, block_columns

LESIONS, SIDE, FOLDS = 90, 64, 3
BLOCK = "pixels"


def drawn(folder: Path, seed: int) -> Path:
    """A clean dataset of 90 drawn lesions."""
    make_dataset(folder, lesions=LESIONS, size=SIDE, seed=seed)
    return folder


def given_of(folder: Path, seed: int = 0) -> AuditInput:
    """What fit would hand to the audit, with a 4 x 4 thumbnail as embedding."""
    dataset = load_dataset(folder)
    whole = dataset.whole
    thumbnails = [_thumbnail(path) for path in dataset.rows["path"]]
    dataset = dataset.keep(np.array([one is not None for one in thumbnails]))
    vectors = np.stack([one for one in thumbnails if one is not None])
    keys = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in dataset.rows["path"]]
    groups = splits.join_same_files(dataset.rows["group"].to_numpy(str), keys)
    dataset = replace(dataset, rows=dataset.rows.assign(group=groups))
    labels = dataset.rows["label"].to_numpy(str)
    fold = np.full(len(labels), -1)
    train = ~splits.locked_test(labels, groups, seed)
    fold[train] = splits.folds_of(labels[train], groups[train], seed, FOLDS)
    layout = dataset.layout
    columns = Columns({BLOCK: block_columns(BLOCK, vectors.shape[1])}, list(layout.numeric), list(layout.categorical))
    X = assemble(columns, {BLOCK: vectors}, dataset.rows[columns.metadata])
    table = Table(X, labels, groups, dataset.rows["id"].to_numpy(str), np.array(keys), columns)
    used = tuple(dataset.metadata_fields)
    return AuditInput(dataset, whole, fold, keys, table, {BLOCK: set()}, used, seed)


def audited(given: AuditInput) -> Audit:
    """The audit, quietly."""
    return run_audit(given, Console(quiet=True))


CHECKS = {
    "GROUP": lambda given, labels: check_groups(given) + check_sizes(given),
    "SAME": lambda given, labels: check_files(given),
    "LEAK": check_columns,
    "COLUMN": check_columns,
    "NEAR": lambda given, labels: [check_near(given)[0]],
    "EXTRACTOR": lambda given, labels: check_extractors(given),
}


def checked(given: AuditInput, code: str) -> Check:
    """One check, without the kinds that do not answer it."""
    kind = CHECKS.get(code.partition("_")[0], check_file_facts)
    return next(check for check in kind(given, labels_of(given)) if check.code == code)


def _thumbnail(path: Path) -> np.ndarray | None:
    try:
        pixels = decode(path).pixels.permute(1, 2, 0).numpy()
    except BadImage:
        return None
    return np.asarray(Image.fromarray(pixels).resize((4, 4)), np.float32).ravel()


# Leaks in the files or the table


def table_of(folder: Path) -> pd.DataFrame:
    """The table, as text."""
    return pd.read_csv(folder / "metadata.csv", dtype=str, keep_default_na=False)


def write_table(folder: Path, table: pd.DataFrame) -> None:
    """Put another table in its place."""
    table.to_csv(folder / "metadata.csv", index=False)


def add_column(folder: Path, name: str, cells) -> None:
    """One more column."""
    write_table(folder, table_of(folder).assign(**{name: cells}))


def make_feature(folder: Path, kind: str, name: str) -> None:
    """Let ``dataset.toml`` name a column as metadata; `kind` is ``numeric`` or ``categorical``."""
    settings = folder / "dataset.toml"
    settings.write_text(settings.read_text().replace(f"{kind} = [", f'{kind} = ["{name}", '))


def readable(folder: Path) -> dict[str, Path]:
    """Image id to file, of those that have a row and can be read."""
    rows = load_dataset(folder).rows
    found = zip(rows["id"], map(Path, rows["path"]), strict=True)
    return {name: path for name, path in found if _thumbnail(path) is not None}


def class_of(folder: Path) -> dict[str, str]:
    """Image id to class."""
    table = table_of(folder)
    return dict(zip(table["image_id"], table["dx"], strict=True))


def melanomas(folder: Path) -> list[Path]:
    """Files of melanomas that can be read."""
    classes = class_of(folder)
    return [path for name, path in readable(folder).items() if classes[name] == "mel"]


def two_sides(folder: Path, seed: int) -> tuple[str, str]:
    """An image of the locked test split and one of training, of different groups and one class."""
    given = given_of(folder, seed)
    test = np.flatnonzero((given.fold < 0) & (given.labels == "nv"))[0]
    train = np.flatnonzero((given.fold >= 0) & (given.labels == "nv"))[0]
    return str(given.ids[test]), str(given.ids[train])


def copy_file(folder: Path, seed: int) -> None:
    """One file under two names, in two groups."""
    test, train = two_sides(folder, seed)
    shutil.copyfile(folder / "images" / f"{test}.jpg", folder / "images" / f"{train}.jpg")


def copy_under_another_label(folder: Path, seed: int) -> None:
    """One file under two labels."""
    classes = class_of(folder)
    names = list(readable(folder))
    first = next(name for name in names if classes[name] == "nv")
    other = next(name for name in names if classes[name] == "mel")
    shutil.copyfile(folder / "images" / f"{first}.jpg", folder / "images" / f"{other}.jpg")


def compress_again(folder: Path, seed: int) -> None:
    """A picture of the locked test split, compressed again, in training."""
    test, train = two_sides(folder, seed)
    picture = Image.open(folder / "images" / f"{test}.jpg")
    picture.resize((80, 80)).save(folder / "images" / f"{train}.jpg", quality=80)


def label_in_a_column(folder: Path, seed: int) -> None:
    """The label in other words."""
    labels = table_of(folder)["dx"]
    add_column(folder, "ward", "W" + pd.Series(pd.factorize(labels)[0]).astype(str))


def label_with_noise(folder: Path, seed: int) -> None:
    """The label in 95 % of the rows, any in the others."""
    rng, labels = np.random.default_rng(seed), table_of(folder)["dx"].to_numpy(str)
    wrong = rng.random(len(labels)) < 0.05
    add_column(folder, "referral", np.where(wrong, rng.permutation(labels), labels))


def label_in_gaps(folder: Path, seed: int) -> None:
    """A measurement that only some diagnoses have."""
    rng, labels = np.random.default_rng(seed), table_of(folder)["dx"].to_numpy(str)
    depth = np.round(rng.uniform(0, 4, len(labels)), 2).astype(str)
    add_column(folder, "depth", np.where(labels == "nv", "", depth))


def label_as_feature(folder: Path, seed: int) -> None:
    """The label in other words, as a feature."""
    label_in_a_column(folder, seed)
    make_feature(folder, "categorical", "ward")


def label_in_gaps_of_a_feature(folder: Path, seed: int) -> None:
    """A measurement that only some diagnoses have, as a feature."""
    label_in_gaps(folder, seed)
    make_feature(folder, "numeric", "depth")


def label_in_a_number(folder: Path, seed: int) -> None:
    """A measurement that lies elsewhere for each class, wrong in 5 % of the rows."""
    rng, labels = np.random.default_rng(seed), table_of(folder)["dx"]
    number = rng.normal(size=len(labels)) + 6 * pd.factorize(labels, sort=True)[0]
    wrong = rng.random(len(labels)) < 0.05
    add_column(folder, "score", np.where(wrong, rng.permutation(number), number).round(3).astype(str))


def bytes_by_class(folder: Path, seed: int) -> None:
    """Melanomas were saved at another quality."""
    for path in melanomas(folder):
        Image.open(path).save(path, quality=100, subsampling=0)


def larger_by_class(folder: Path, seed: int) -> None:
    """Melanomas were photographed with another camera."""
    for path in melanomas(folder):
        Image.open(path).resize((72, 66)).save(path, quality=92)


def format_by_class(folder: Path, seed: int) -> None:
    """Melanomas are PNG files."""
    for path in melanomas(folder):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()


def exif_by_class(folder: Path, seed: int) -> None:
    """Melanomas kept the camera's EXIF data, the same number of bytes stands in all files."""
    classes = class_of(folder)
    for name, path in readable(folder).items():
        exif = Image.Exif()
        exif[0x010F] = "camera"
        extra = {"exif": exif} if classes[name] == "mel" else {"comment": b"x" * 36}
        Image.open(path).save(path, quality=92, **extra)


def folder_by_class(folder: Path, seed: int) -> None:
    """One folder a class."""
    classes = class_of(folder)
    for name, path in readable(folder).items():
        home = path.parent / classes[name]
        home.mkdir(exist_ok=True)
        path.rename(home / path.name)


def renamed(folder: Path, name_of: Callable[[int, str], str], order: bool) -> None:
    """Other image names, given a number and the class; numbers follow the classes where `order` is set."""
    table = table_of(folder)
    ranked = table.sort_values("dx", kind="stable").index if order else table.index
    names = {table["image_id"][i]: name_of(number, table["dx"][i]) for number, i in enumerate(ranked)}
    for old, new in names.items():
        if (folder / "images" / f"{old}.jpg").exists():
            (folder / "images" / f"{old}.jpg").rename(folder / "images" / f"{new}.jpg")
    write_table(folder, table.assign(image_id=table["image_id"].map(names)))


def names_in_order(folder: Path, seed: int) -> None:
    """Images are numbered class after class."""
    renamed(folder, lambda number, label: f"IMG_{number}", True)


def names_with_prefix(folder: Path, seed: int) -> None:
    """Names begin with the class."""
    renamed(folder, lambda number, label: f"{label}_{number}", False)


def two_labels_in_a_group(folder: Path, seed: int) -> None:
    """One image of a lesion has another diagnosis."""
    table = table_of(folder)
    kept = table["image_id"].isin(readable(folder))
    several = table[kept & (table["dx"] == "nv")]
    several = several[several["lesion_id"].duplicated(keep=False)]
    table.loc[several.index[0], "dx"] = "bkl"
    write_table(folder, table)


def one_id_for_many(folder: Path, seed: int) -> None:
    """A third of the rows has the lesion 0."""
    table, rng = table_of(folder), np.random.default_rng(seed)
    write_table(folder, table.assign(lesion_id=np.where(rng.random(len(table)) < 0.3, "0", table["lesion_id"])))


def one_strange_id_for_many(folder: Path, seed: int) -> None:
    """A third of the rows has one lesion, whose id looks like any other."""
    table, rng = table_of(folder), np.random.default_rng(seed)
    write_table(folder, table.assign(lesion_id=np.where(rng.random(len(table)) < 0.3, "L_777", table["lesion_id"])))


# Leaks in what a run makes of them


def group_across(given: AuditInput) -> AuditInput:
    """One image of a lesion in the locked test split, another in training."""
    fold, groups = given.fold.copy(), pd.Series(given.groups)
    several = groups[groups.duplicated(keep=False) & (fold >= 0)]
    fold[several.index[0]] = -1
    return replace(given, fold=fold)


def unjoined(given: AuditInput) -> AuditInput:
    """Groups and splits as they would be if the same file did not join them."""
    rows = given.dataset.rows.assign(group=given.table_groups)
    fold, keys = given.fold.copy(), pd.Series(given.keys)
    twice = np.flatnonzero(keys.duplicated(keep=False))
    fold[twice[0]], fold[twice[1]] = -1, 0
    return replace(given, dataset=replace(given.dataset, rows=rows), fold=fold)


def known_leak_used(given: AuditInput) -> AuditInput:
    """A column that is known by name to give the label away is a feature."""
    dataset = given.dataset
    cells = np.where(dataset.rows["label"] == "nv", "follow_up", "histo")
    layout = replace(dataset.layout, leaks=("dx_type",), categorical=(*dataset.layout.categorical, "dx_type"))
    dataset = replace(dataset, rows=dataset.rows.assign(dx_type=cells), layout=layout)
    return replace(given, dataset=dataset, used=(*given.used, "dx_type"))


def extractor_saw_the_test(given: AuditInput) -> AuditInput:
    """The extractor learned from every image."""
    return replace(given, learned={BLOCK: set(given.keys)})


@dataclass(frozen=True)
class Leak:
    """One kind of leak: how it is planted, and the check and severity that must find it."""

    code: str
    severity: str
    in_folder: Callable[[Path, int], None] | None = None
    in_run: Callable[[AuditInput], AuditInput] | None = None


LEAKS = {
    "group across splits": Leak("GROUP_SPLIT", "error", in_run=group_across),
    "same file across splits": Leak("SAME_FILE_SPLIT", "error", copy_file, unjoined),
    "same file in two groups": Leak("SAME_FILE_GROUPS", "warning", copy_file),
    "same file under two labels": Leak("SAME_FILE_LABELS", "error", copy_under_another_label),
    "re-encoded copy across splits": Leak("NEAR_DUPLICATE", "error", compress_again),
    "leak column known by name": Leak("LEAK_COLUMN", "error", in_run=known_leak_used),
    "leak column by its values": Leak("COLUMN_VALUES", "warning", label_in_a_column),
    "noisy leak column": Leak("COLUMN_VALUES", "warning", label_with_noise),
    "leak column as a feature": Leak("COLUMN_VALUES", "error", label_as_feature),
    "noisy leak in a number": Leak("COLUMN_VALUES", "warning", label_in_a_number),
    "leaky gaps": Leak("COLUMN_MISSING", "warning", label_in_gaps),
    "leaky gaps of a feature": Leak("COLUMN_MISSING", "error", label_in_gaps_of_a_feature),
    "file size": Leak("FILE_SIZE", "warning", bytes_by_class),
    "width and height": Leak("IMAGE_SIZE", "warning", larger_by_class),
    "file format": Leak("FILE_FORMAT", "warning", format_by_class),
    "EXIF data": Leak("EXIF", "warning", exif_by_class),
    "folder": Leak("FOLDER", "warning", folder_by_class),
    "order of names": Leak("NAME_ORDER", "warning", names_in_order),
    "prefix of names": Leak("NAME_ORDER", "warning", names_with_prefix),
    "placeholder for a group": Leak("GROUP_SIZE", "warning", one_id_for_many),
    "one id for many": Leak("GROUP_SIZE", "warning", one_strange_id_for_many),
    "labels in a group": Leak("GROUP_LABELS", "warning", two_labels_in_a_group),
    "extractor that saw the test": Leak("EXTRACTOR_TEST", "error", in_run=extractor_saw_the_test),
}


def planted(leak: Leak, clean: Path, folder: Path, seed: int) -> AuditInput:
    """What the audit is given of the dataset in `clean` with one leak, made in the copy `folder` where it needs one."""
    if leak.in_folder is not None:
        shutil.copytree(clean, folder)
        (folder / "synthetic.json").unlink()
        leak.in_folder(folder, seed)
    given = given_of(clean if leak.in_folder is None else folder, seed)
    return given if leak.in_run is None else leak.in_run(given)
