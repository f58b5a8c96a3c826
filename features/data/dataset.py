"""A dataset: one row per image with label, group and metadata, read from a folder as people have it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dermfuse.cache.errors import UserError, listed
from dermfuse.features.data.labels import read_labels, settle_malignant, settle_positive, with_malignant
from dermfuse.features.data.metadata import settled_categories, settled_metadata, settled_numbers
from dermfuse.features.data.recognise import choose_layout, folder_of_table
from dermfuse.features.files.endings import image_id
from dermfuse.features.files.listing import Listing, list_images
from dermfuse.features.files.matching import by_excel, clean
from dermfuse.features.files.photographs import Pairing, pair
from dermfuse.features.process import release_memory
from dermfuse.features.tables.column_names import looks_like, same_to_the_eye
from dermfuse.features.tables.columns import KNOWN_LEAKS, Layout
from dermfuse.features.tables.read import (
    as_objects,
    is_missing,
    join_second,
    labels_of_one_hot,
    read_columns,
    refuse_long_cells,
)
from dermfuse.features.tables.spelling import one_id

ROLES = ("id", "path", "label", "group")  # columns of Dataset.rows beside the metadata
WITHOUT_IMAGE, WITHOUT_ROW = "rows without an image file, left out", "image files without a row, left out"
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
    table : Dataset or None
        Every row of the table, where rows without an image were left out; see `whole`. A part of the dataset has none.
    flags : dict of str to object
        Flags of the command line, with underscores, that say which column is what.
    noticed : list of str
        What was left out or read in another way, a line each.
    """

    name: str
    folder: Path
    layout: Layout
    rows: pd.DataFrame
    counts: list[tuple[str, int]] = field(default_factory=list)
    context: pd.DataFrame = None
    unused: pd.DataFrame = None
    own_test: np.ndarray | None = None
    table: Dataset | None = None
    flags: dict[str, object] = field(default_factory=dict)
    noticed: list[str] = field(default_factory=list)

    def __post_init__(self):
        for name in ("context", "unused"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, pd.DataFrame(index=self.rows.index))

    @property
    def classes(self) -> list[str]:
        """Label names, sorted."""
        return sorted(self.rows["label"].unique())

    @property
    def whole(self) -> Dataset:
        """Every row of the table, also those without an image file."""
        return self if self.table is None else self.table

    @property
    def has_images(self) -> bool:
        """Whether all rows have an image file."""
        return bool(len(self.rows) and self.rows["path"].notna().all())

    @property
    def metadata_fields(self) -> list[str]:
        """Names of the metadata columns that may become features."""
        return [*self.layout.numeric, *self.layout.categorical]

    @property
    def X(self) -> pd.DataFrame:  # noqa: N802
        """What scikit-learn is given: ``path``, where there are images, and the metadata columns; by image id."""
        columns = [*(["path"] if self.has_images else []), *self.metadata_fields]
        return self.rows[columns].set_axis(pd.Index(self.rows["id"], name="image"))

    @property
    def y(self) -> np.ndarray:
        """The labels, (n,) str."""
        return self.rows["label"].to_numpy(str)

    @property
    def groups(self) -> np.ndarray:
        """The lesion or patient of each image, (n,) str; no two sides of a split may share one."""
        return self.rows["group"].to_numpy(str)

    def keep(self, rows) -> Dataset:
        """The same dataset with only these rows: a mask (bool, one per row), positions, or a slice."""
        chosen = np.arange(len(self.rows))[rows if isinstance(rows, slice) else np.asarray(rows)]
        aligned = {
            name: getattr(self, name).iloc[chosen].reset_index(drop=True) for name in ("rows", "context", "unused")
        }
        own = None if self.own_test is None else self.own_test[chosen]
        return replace(self, own_test=own, table=None, **aligned)

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


def load_dataset(folder: Path, flags: Layout | None = None) -> Dataset:
    """Read the dataset in `folder`: by `flags`, else its ``dataset.toml``, else a preset known by its columns.

    Table and folders are read once; rows without an image file are left out of the dataset, and are in its `whole`.

    Parameters
    ----------
    folder : Path
        Holds a table (text or a workbook; else one folder below holds it) and, anywhere below it, image files.
    flags : Layout, optional
        Columns named on the command line; they go before ``dataset.toml`` and presets.

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
    place = folder_of_table(folder, flags)
    layout, path, told = choose_layout(place, flags, folder)
    if place != folder:
        told.append(f"the table is read from {path.relative_to(folder)}")
        folder = place if (place / "dataset.toml").is_file() else folder
    table, counts = _read(layout, path, told)
    layout = _settled(layout, table)
    _require_columns(table, layout, path)
    used = (layout.image, layout.label, layout.group, *layout.numeric, *layout.categorical, *layout.subgroups)
    refuse_long_cells(table, dict.fromkeys(filter(None, used)), path.name)
    dataset = _labelled(folder, layout, table, path, counts, told)
    dataset, examples = _with_images(dataset, table, path, told)
    if dataset.table is not None:
        # The whole table may hold a class that no image has, so it has no positive one of its own.
        dataset = replace(dataset, table=_with_readings(_without_constant(dataset.table, []), [], positive=False))
    dataset = _without_constant(dataset, told)
    dataset = _with_readings(dataset, told)
    _check_own_split(dataset)
    release_memory()
    return replace(dataset, noticed=_noticed(dataset, told, examples))


def _read(layout: Layout, path: Path, told: list[str]) -> tuple[pd.DataFrame, list[tuple[str, int]]]:
    """The table with the second one joined and the label column made, where the layout says so."""
    wanted = {*layout.columns, *KNOWN_LEAKS}
    table, more = read_columns(path, wanted, layout.numbers)
    told += more
    counts = [("rows in the table", len(table))]
    if layout.image not in table.columns:
        return table, counts  # refused with the other columns
    if layout.second_table:
        second = path.parent / layout.second_table
        if not second.is_file():
            raise UserError(f"no such table: {second}. Mend 'second_table' in dataset.toml.")
        others, more = read_columns(second, wanted, layout.numbers)
        told += more
        table, joined = join_second(table, others, layout.image, second.name)
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
                f"{listed(table.columns, repr)}{_alike(name, table)}. "
                f"Give --{role}-column, or mend dataset.toml."
            )
    for role, names in (("split", (layout.split,)), ("subgroups", layout.subgroups)):
        absent = [name for name in names if name and name not in table.columns]
        if absent:
            raise UserError(f"the table {path.name} has no column {absent[0]!r}. Mend {role!r} in dataset.toml.")
    metadata = [*layout.numeric, *layout.categorical]
    for name in metadata:
        if name not in table.columns:
            raise UserError(
                f"the table {path.name} has no metadata column {name!r}{_alike(name, table)}. Mend --metadata-columns."
            )
        if metadata.count(name) > 1:
            raise UserError(f"the metadata column {name!r} is named as numeric and as categorical. Choose one.")
        if name in ROLES:
            raise UserError(f"a metadata column cannot be called {name!r}. Rename it in {path.name}, or leave it out.")
    alike = same_to_the_eye(metadata)
    if alike:
        raise UserError(
            f"the metadata columns {ascii(alike[0])} and {ascii(alike[1])} of {path.name} look the same. Rename one of "
            "them, or leave it out."
        )
    leaks = sorted({layout.label, *layout.one_hot, *layout.leaks, *KNOWN_LEAKS} & {*metadata})
    if leaks:
        raise UserError(f"{leaks[0]!r} gives the label away and cannot be a metadata feature. Leave it out.")
    if layout.split in metadata:
        raise UserError(f"{layout.split!r} is the dataset's own split and cannot be a metadata feature. Leave it out.")


def _alike(name: str, table: pd.DataFrame) -> str:
    found = looks_like(name, table.columns)
    return f" ({found!r} looks like it)" if found else ""


def _labelled(folder: Path, layout: Layout, table: pd.DataFrame, path: Path, counts: list, told: list[str]) -> Dataset:
    """All rows that have a label, in the table's order, without paths."""
    read = read_labels(table[layout.label].str.strip(), layout)
    counts += read.counts
    told += read.told
    labelled = read.classes.notna()
    table, label = table[labelled], read.classes[labelled]
    if not len(table):
        said = "".join(f" ({what}: {n:,})" for what, n in read.counts)
        raise UserError(f"the table {path.name} has no row with a label{said}. Expected at least one row per class.")
    rows = pd.DataFrame({"id": table[layout.image].map(clean).map(image_id), "path": None})
    rows["label"] = label.astype(table[layout.label].dtype)
    rows["group"] = table[layout.group].str.strip() if layout.group else rows["id"]
    lone = is_missing(rows["group"]) if layout.group else pd.Series(False, table.index)
    if layout.group:
        rows["group"] = one_id(rows["group"], f"group column {layout.group!r}", told)
    rows.loc[lone, "group"] = rows.loc[lone, "id"]
    if lone.any():
        counts.append(("rows without a group, each a group of its own", int(lone.sum())))
    rows = pd.concat([rows, settled_metadata(table, layout, told)], axis=1)
    own = table[layout.split].str.strip().str.lower().isin(TEST_CELLS).to_numpy(bool) if layout.split else None
    layout = with_malignant(layout, sorted(set(rows["label"])))
    name = layout.name or folder.resolve().name
    return Dataset(name, folder, layout, rows, counts, _context(table, layout, told), _unused(table, layout), own)


def _with_readings(dataset: Dataset, told: list[str], positive: bool = True) -> Dataset:
    """The dataset with what its classes are read as: malignant or benign and, of two, the positive one."""
    counts = {str(name): int(n) for name, n in dataset.rows["label"].value_counts().items()}
    layout = settle_malignant(dataset.layout, counts, told)
    if positive:
        layout = settle_positive(layout, counts, told)
    return replace(dataset, layout=layout)


def _context(table: pd.DataFrame, layout: Layout, told: list[str]) -> pd.DataFrame:
    """The subgroup columns, as numbers where they are numeric metadata or named like an age."""
    columns = {
        name: (settled_numbers if name in layout.numbers else settled_categories)(table[name], told)
        for name in layout.subgroups
    }
    return pd.DataFrame(columns, index=table.index)


def _unused(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    used = {layout.image, layout.label, layout.group, layout.split}
    used |= {*layout.one_hot, *layout.numeric, *layout.categorical}
    text = {name: as_objects(table[name].mask(table[name].eq(""))) for name in table.columns if name not in used}
    return pd.DataFrame(text, index=table.index)


def _with_images(dataset: Dataset, table: pd.DataFrame, path: Path, told: list[str]) -> tuple[Dataset, dict[str, str]]:
    """The dataset in canonical order, with paths and without the rows that have no image; and examples of what is left.

    It keeps every row of the table beside it.
    """
    layout, counts = dataset.layout, list(dataset.counts)
    ids = table[layout.image][dataset.rows.index].map(clean)
    listing = list_images(dataset.folder, layout.images)
    found = pair(ids.tolist(), listing)
    told += found.told
    dataset = dataset.with_paths(found.paths)
    rows = dataset.rows
    with_image = rows["path"].notna().to_numpy(bool)
    matched = int(with_image.sum())
    repeated = rows["id"].duplicated() | (rows["path"].notna() & rows["path"].duplicated())
    if repeated.any():
        raise UserError(
            f"the image id {ids[repeated].iloc[0]!r} stands in more than one row of {path.name} "
            f"({int(repeated.sum())} rows repeat one). Expected one row per image: remove the repeats."
        )
    if listing.images and not matched:
        raise UserError(_none_match(ids, listing, found, layout.image, path))
    order = rows["id"].reset_index(drop=True).sort_values(kind="stable").index.to_numpy()
    left = found.counts if not listing.images else _left_out(ids[~with_image].tolist(), found, listing, told)
    counts += [(what, n) for what, n, _ in left]
    examples = {what: example for what, _, example in left}
    without = "rows used" if listing.images else "rows used (the folder holds no images)"
    whole = replace(dataset, counts=[*counts, (without, len(order))]).keep(order)
    if not listing.images:
        return whole, examples
    used = replace(dataset, counts=[*counts, ("images used", matched)]).keep(order[with_image[order]])
    return replace(used, table=whole if matched < len(order) else None), examples


def _left_out(alone: list[str], found: Pairing, listing: Listing, told: list[str]) -> list[tuple[str, int, str]]:
    """What was left out of both sides, with an example; `alone` are the ids without an image."""
    shortened = by_excel(alone)
    if shortened:
        told.append(
            f"ids without an image file that look like what Excel makes of one: {len(shortened):,} "
            f"(first: {shortened[0]!r}); format the column as text"
        )
    without_row = (WITHOUT_ROW, len(found.left), repr(listing.below(found.left[0])) if found.left else "")
    return [(WITHOUT_IMAGE, len(alone), repr(alone[0]) if alone else ""), *found.counts, without_row]


def _none_match(ids: pd.Series, listing: Listing, found: Pairing, column: str, path: Path) -> str:
    left_out = "".join(f"; {what}: {n:,} (first: {example})" for what, n, example in found.counts)
    example = listing.below(found.left[0] if found.left else listing.images[0])
    return (
        f"none of the {len(ids)} ids in column {column!r} of {path.name} (first: {ids.iloc[0]!r}) "
        f"matches any of the {len(listing.images)} image files (first: {example!r}{left_out}). Expected file "
        "names with or without their ending, or paths below the folder: check --image-column, or name the folder of "
        "the photographs with 'images' in dataset.toml."
    )


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


def _noticed(dataset: Dataset, told: list[str], examples: dict[str, str]) -> list[str]:
    layout, told = dataset.layout, list(told)
    for what, n in dataset.counts[1:-1]:
        if n:
            told.append(f"{what}: {n:,}" + (f" (first: {examples[what]})" if examples.get(what) else ""))
    if not layout.group:
        told.append(
            "no group column is known: images of one lesion or patient may fall on both sides of a split; "
            "name it with --group-column"
        )
    if layout.leaks:
        told.append(f"never used as features, since they give the label away: {listed(layout.leaks)}")
    if dataset.own_test is not None:
        told.append(
            f"the locked test split is the dataset's own (column {layout.split!r}): {int(dataset.own_test.sum()):,} of "
            f"{len(dataset.rows):,} rows"
        )
    return list(dict.fromkeys(told))
