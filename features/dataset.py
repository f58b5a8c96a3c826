"""A dataset: one row per image with label, group and metadata, read from a folder as people have it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cache.errors import UserError
from features.images import SUFFIXES
from features.layouts import KNOWN_LEAKS, KNOWN_NUMERIC, Layout
from features.process import release_memory
from features.recognise import choose_layout
from features.tables import (
    as_objects,
    categories,
    image_id,
    is_missing,
    join_second,
    labels_of_one_hot,
    normalise_metadata,
    numbers,
    read_table,
)

ROLES = ("id", "path", "label", "group")  # columns of Dataset.rows beside the metadata
TEST_CELLS = ("test", "holdout", "hold-out")  # in the column of a dataset's own split


@dataclass(frozen=True)
class Dataset:
    """Images and their table, in canonical order: sorted by image id.

    Attributes
    ----------
    name, folder : str, Path
        What it is called and where it lies.
    layout : Layout
        Which column is what.
    rows : DataFrame
        One row per image: ``id`` (str), ``path`` (str or None when there is no file),
        ``label`` (str), ``group`` (str), and one column per metadata field (float or str, missing as NaN/None).
    counts : list of (str, int)
        What was counted between the table and `rows`, in reading order; the last one is the number of rows.
    context : DataFrame
        The subgroup columns, aligned to `rows` and with its notion of missing. Never features.
    unused : DataFrame
        Columns that are neither role nor metadata, leaks among them, as the text that stands there, aligned to `rows`;
        empty cells are None.
    own_test : ndarray of bool or None
        Rows of the dataset's own locked test split, (n,); None when it has none.
    flags : dict of str to object
        Flags of the command line, with underscores, that say which column is what.
    """

    name: str
    folder: Path
    layout: Layout
    rows: pd.DataFrame
    counts: list[tuple[str, int]] = field(default_factory=list)
    context: pd.DataFrame = None
    unused: pd.DataFrame = None
    own_test: np.ndarray | None = None
    flags: dict[str, object] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("context", "unused"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, pd.DataFrame(index=self.rows.index))

    @property
    def classes(self) -> list[str]:
        """Label names, sorted."""
        return sorted(self.rows["label"].unique())

    @property
    def has_images(self) -> bool:
        """Whether all rows have an image file."""
        return bool(len(self.rows) and self.rows["path"].notna().all())

    @property
    def metadata_fields(self) -> list[str]:
        """Names of the metadata columns that may become features."""
        return [*self.layout.numeric, *self.layout.categorical]

    def keep(self, rows) -> Dataset:
        """The same dataset with only these rows: a mask (bool, one per row), positions, or a slice."""
        chosen = np.arange(len(self.rows))[rows if isinstance(rows, slice) else np.asarray(rows)]
        aligned = {
            name: getattr(self, name).iloc[chosen].reset_index(drop=True) for name in ("rows", "context", "unused")
        }
        own = None if self.own_test is None else self.own_test[chosen]
        return replace(self, own_test=own, **aligned)

    def with_paths(self, paths: list[str | None]) -> Dataset:
        """The dataset with each row's image at the path of its place."""
        # As objects, since a name of bytes that are no UTF-8 fits no other type.
        return replace(self, rows=self.rows.assign(path=pd.Series(paths, self.rows.index, dtype=object)))

    def fingerprint(self) -> str:
        """SHA-256 over ids, labels, groups, metadata and the own split: two equal tables have the same one."""
        table = self.rows.drop(columns="path")
        if self.own_test is not None:
            table = table.assign(**{"own test split": self.own_test})
        return hashlib.sha256(table.to_csv(index=False).encode("utf-8", "surrogatepass")).hexdigest()


def load_dataset(folder: Path, flags: Layout | None = None, console=None, every_row: bool = False) -> Dataset:
    """Read the dataset in `folder`: by `flags`, else its ``dataset.toml``, else a preset known by its columns.

    Parameters
    ----------
    folder : Path
        Holds a table (comma, tab or semicolon separated) and, anywhere below it, image files.
    flags : Layout, optional
        Columns named on the command line; they go before ``dataset.toml`` and presets.
    console : Console, optional
        Told what is left out.
    every_row : bool
        Whether rows without an image file stay, to look at the whole table.

    Raises
    ------
    UserError
        No such folder, no table, no label column, no image that matches, duplicated ids.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"no such folder: {folder}. Expected a dataset folder (a table and images); "
            "run 'python cli.py demo' for a synthetic one, or give another with --data."
        )
    layout, path, told = choose_layout(folder, flags)
    table, counts = _read(folder, layout, path)
    layout = _settled(layout, table)
    _require_columns(table, layout, path)
    dataset = _labelled(folder, layout, table, path, counts)
    dataset = _with_images(dataset, table, path, every_row)
    dataset = _without_constant(dataset, told)
    _check_own_split(dataset)
    if console is not None:
        _tell(dataset, told, console)
    release_memory()
    return dataset


def find_images(folder: Path, subfolders: tuple[str, ...] = ()) -> list[str]:
    """Every file below `folder` (or its `subfolders`) that is named like an image, sorted; links are followed."""
    roots = [folder / name for name in subfolders] or [folder]
    absent = [str(root) for root in roots if not root.is_dir()]
    if absent:
        raise UserError(f"no such image folder: {', '.join(absent)}. Mend 'images' in dataset.toml.")
    found = [path for root in roots for path in _named_like_images(root)]
    return sorted(found if len(roots) == 1 else set(found))


def _named_like_images(root: Path) -> Iterator[str]:
    seen = set()  # real folders, since a link may lead back up
    for where, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        names = (name for name in (*folders, *files) if not name.startswith("."))
        home = _inside(Path(where))
        yield from (home + name for name in names if os.path.splitext(name)[1].lower() in SUFFIXES)


def _inside(folder: Path) -> str:
    """What the paths of files in a folder begin with."""
    return "" if folder == Path() else os.path.join(folder, "")


def _read(folder: Path, layout: Layout, path: Path) -> tuple[pd.DataFrame, list[tuple[str, int]]]:
    """The table with the second one joined and the label column made, where the layout says so."""
    table = read_table(path)
    counts = [("rows in the table", len(table))]
    if layout.image not in table.columns:
        return table, counts  # refused with the other columns
    if layout.second_table:
        second = folder / layout.second_table
        if not second.is_file():
            raise UserError(f"no such table: {second}. Mend 'second_table' in dataset.toml.")
        table, joined = join_second(table, read_table(second), layout.image, second.name)
        counts += joined
    if layout.one_hot:
        if layout.label in table.columns:
            raise UserError(f"{path.name} has both one column per class and a column {layout.label!r}. Rename that.")
        table[layout.label] = labels_of_one_hot(table, layout.one_hot, layout.image, path.name)
    return table, counts


def _settled(layout: Layout, table: pd.DataFrame) -> Layout:
    """The layout with the leaks that this table has, and no subgroup by the label itself."""
    suspects = dict.fromkeys((*layout.leaks, *KNOWN_LEAKS))
    leaks = tuple(name for name in suspects if name in table.columns and name != layout.label)
    return replace(layout, leaks=leaks, subgroups=tuple(c for c in layout.subgroups if c != layout.label))


def _require_columns(table: pd.DataFrame, layout: Layout, path: Path) -> None:
    wanted = {"image": layout.image, "label": layout.label, "group": layout.group}
    for role, name in wanted.items():
        if name and name not in table.columns:
            raise UserError(
                f"the table {path.name} has no {role} column {name!r}; its columns are "
                f"{', '.join(map(repr, table.columns))}. Give --{role}-column, or mend dataset.toml."
            )
    for role, names in (("split", (layout.split,)), ("subgroups", layout.subgroups)):
        absent = [name for name in names if name and name not in table.columns]
        if absent:
            raise UserError(f"the table {path.name} has no column {absent[0]!r}. Mend {role!r} in dataset.toml.")
    metadata = [*layout.numeric, *layout.categorical]
    for name in metadata:
        if name not in table.columns:
            raise UserError(f"the table {path.name} has no metadata column {name!r}. Mend --metadata-columns.")
        if metadata.count(name) > 1:
            raise UserError(f"the metadata column {name!r} is named as numeric and as categorical. Choose one.")
        if name in ROLES:
            raise UserError(f"a metadata column cannot be called {name!r}. Rename it in {path.name}, or leave it out.")
    leaks = sorted({layout.label, *layout.one_hot, *layout.leaks, *KNOWN_LEAKS} & {*metadata})
    if leaks:
        raise UserError(f"{leaks[0]!r} gives the label away and cannot be a metadata feature. Leave it out.")
    if layout.split in metadata:
        raise UserError(f"{layout.split!r} is the dataset's own split and cannot be a metadata feature. Leave it out.")


def _labelled(folder: Path, layout: Layout, table: pd.DataFrame, path: Path, counts: list) -> Dataset:
    """All rows that have a label, in the table's order, without paths."""
    label = table[layout.label].str.strip()
    unlabelled = label.str.lower().isin(("", "nan", "na"))
    if unlabelled.any():
        counts.append(("rows without a label, left out", int(unlabelled.sum())))
    table, label = table[~unlabelled], label[~unlabelled]
    if not len(table):
        raise UserError(f"the table {path.name} has no row with a label. Expected at least one row per class.")
    names = dict(layout.label_names)
    rows = pd.DataFrame({"id": table[layout.image].str.strip().map(image_id), "path": None})
    rows["label"] = pd.Series([names.get(cell, cell) for cell in label], table.index, label.dtype)
    rows["group"] = table[layout.group].str.strip() if layout.group else rows["id"]
    lone = is_missing(rows["group"]) if layout.group else pd.Series(False, table.index)
    rows.loc[lone, "group"] = rows.loc[lone, "id"]
    if lone.any():
        counts.append(("rows without a group, each a group of its own", int(lone.sum())))
    rows = pd.concat([rows, normalise_metadata(table, layout)], axis=1)
    own = table[layout.split].str.strip().str.lower().isin(TEST_CELLS).to_numpy(bool) if layout.split else None
    layout = replace(layout, malignant=_malignant(layout, set(rows["label"])))
    name = layout.name or folder.resolve().name
    return Dataset(name, folder, layout, rows, counts, _context(table, layout), _unused(table, layout), own)


def _malignant(layout: Layout, classes: set[str]) -> tuple[str, ...]:
    absent = [name for name in layout.malignant if name not in classes]
    if absent and layout.preset == "generic":
        raise UserError(
            f"'malignant' names {absent[0]!r}, but the classes are {', '.join(sorted(classes))}. Mend dataset.toml."
        )
    return tuple(name for name in layout.malignant if name in classes)


def _context(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """The subgroup columns, as numbers where they are numeric metadata or named like an age."""

    def is_number(name: str) -> bool:
        return name in layout.numeric or (name not in layout.categorical and name.lower() in KNOWN_NUMERIC)

    columns = {name: (numbers if is_number(name) else categories)(table[name]) for name in layout.subgroups}
    return pd.DataFrame(columns, index=table.index)


def _unused(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    used = {layout.image, layout.label, layout.group, layout.split}
    used |= {*layout.one_hot, *layout.numeric, *layout.categorical}
    text = {name: as_objects(table[name].mask(table[name].eq(""))) for name in table.columns if name not in used}
    return pd.DataFrame(text, index=table.index)


def _with_images(dataset: Dataset, table: pd.DataFrame, path: Path, every_row: bool) -> Dataset:
    """The dataset in canonical order with paths, and without the rows that have no image unless all are wanted."""
    layout, rows, counts = dataset.layout, dataset.rows, list(dataset.counts)
    ids = table[layout.image].str.strip()[rows.index]
    images = find_images(dataset.folder, layout.images)
    rows = dataset.with_paths(_match(dataset.folder, ids, images)).rows
    matched = int(rows["path"].notna().sum())
    repeated = rows["id"].duplicated() | (rows["path"].notna() & rows["path"].duplicated())
    if repeated.any():
        raise UserError(
            f"the image id {ids[repeated].iloc[0]!r} stands in more than one row of {path.name} "
            f"({int(repeated.sum())} rows repeat one). Expected one row per image: remove the repeats."
        )
    if images and not matched:
        raise UserError(
            f"none of the {len(rows)} ids in column {layout.image!r} of {path.name} (first: {ids.iloc[0]!r}) "
            f"matches any of the {len(images)} image files (first: {os.path.basename(images[0])!r}). Expected file "
            "names with or without their ending: check --image-column."
        )
    order = rows["id"].reset_index(drop=True).sort_values(kind="stable").index.to_numpy()
    used = "rows used" if images else "rows used (the folder holds no images)"
    if images:
        with_image = rows["path"].notna().to_numpy(bool)
        what = "rows without an image file" if every_row else "rows without an image file, left out"
        counts.append((what, int((~with_image).sum())))
        counts.append(("image files without a row, left out", len(images) - matched))
        if not every_row:
            order, used = order[with_image[order]], "images used"
    counts.append((used, len(order)))
    return replace(dataset, rows=rows, counts=counts).keep(order)


def _match(folder: Path, ids: pd.Series, images: list[str]) -> list[str | None]:
    """For each id the image of that relative path or name, whatever its ending."""
    wanted, inside = {*ids, *ids.map(image_id)}, _inside(folder)
    exact: dict[str, str] = {}
    named: dict[str, tuple[str, ...]] = {}
    stems: dict[str, tuple[str, ...]] = {}
    for image in images:  # as text, since Python keeps the parts of a Path for good
        name = os.path.basename(image)
        below = image.removeprefix(inside).replace(os.sep, "/") if image.startswith(inside) else name
        if below in wanted:
            exact[below] = image
        if name in wanted:
            named[name] = (*named.get(name, ()), image)
        for stem in {os.path.splitext(name)[0], image_id(below)} & wanted:
            stems[stem] = (*stems.get(stem, ()), image)
    paths = []
    for i in ids:
        found = (exact[i],) if i in exact else named.get(i) or stems.get(image_id(i), ())
        if len(found) > 1:
            raise UserError(
                f"the image id {i!r} matches {len(found)} files: {', '.join(found[:3])}. Expected one: "
                "remove the others, write paths into the image column, or name 'images' folders in dataset.toml."
            )
        paths.append(found[0] if found else None)
    return paths


def _without_constant(dataset: Dataset, told: list[str]) -> Dataset:
    """The dataset without metadata that is the same in all rows, since no model can learn from it."""
    layout, rows = dataset.layout, dataset.rows
    constant = [name for name in dataset.metadata_fields if len(rows) > 1 and rows[name].nunique(dropna=False) == 1]
    for name in constant:
        what = "is empty in all rows" if rows[name].isna().all() else "has the same value in all rows"
        told.append(f"column {name!r} {what}; it can tell nothing and is not used")
    kept = {role: tuple(c for c in getattr(layout, role) if c not in constant) for role in ("numeric", "categorical")}
    return replace(dataset, layout=replace(layout, **kept), rows=rows.drop(columns=constant))


def _check_own_split(dataset: Dataset) -> None:
    if dataset.own_test is not None and dataset.own_test.all() | ~dataset.own_test.any():
        side = "test" if dataset.own_test.all() else "training"
        raise UserError(
            f"the split column {dataset.layout.split!r} puts every row into {side}. Expected some cells that read "
            f"{' or '.join(TEST_CELLS)} and some that do not: mend it, or leave 'split' out of dataset.toml."
        )


def _tell(dataset: Dataset, told: list[str], console) -> None:
    layout = dataset.layout
    for line in told:
        console.notice(line)
    for what, n in dataset.counts[1:-1]:
        if n:
            console.notice(f"{what}: {n:,}")
    if not layout.group:
        console.notice(
            "no group column is known: images of one lesion or patient may fall on both sides of a split; "
            "name it with --group-column"
        )
    if layout.leaks:
        console.notice(f"never used as features, since they give the label away: {', '.join(layout.leaks)}")
    if dataset.own_test is not None:
        console.notice(
            f"the locked test split is the dataset's own (column {layout.split!r}): {int(dataset.own_test.sum()):,} of "
            f"{len(dataset.rows):,} rows"
        )
