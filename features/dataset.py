"""A dataset: one row per image with label, group and metadata, read from a folder as people have it."""

from __future__ import annotations

import csv
import hashlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from cache.errors import UserError, usage_error
from features.images import SUFFIXES
from features.layouts import KNOWN_LEAKS, PRESETS, Layout, layout_from_toml, metadata_by_name

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", "")
MISSING = ("", "unknown", "nan", "na", "n/a", "none", "null", "?")
TEXT_ENCODING = "utf-8-sig"
ROLES = ("id", "path", "label", "group")  # columns of Dataset.rows beside the metadata


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
        One row per image: ``id`` (str), ``path`` (Path or None when the folder holds no images at all),
        ``label`` (str), ``group`` (str), and one column per metadata field (float or str, missing as NaN/None).
    counts : list of (str, int)
        What was counted between the table and `rows`, in reading order.
    """

    name: str
    folder: Path
    layout: Layout
    rows: pd.DataFrame
    counts: list[tuple[str, int]] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Label names, sorted."""
        return sorted(self.rows["label"].unique())

    @property
    def has_images(self) -> bool:
        """Whether rows have an image file."""
        return bool(len(self.rows)) and self.rows["path"].notna().all()

    @property
    def metadata_fields(self) -> list[str]:
        """Names of the metadata columns that may become features."""
        return [*self.layout.numeric, *self.layout.categorical]

    def keep(self, mask) -> Dataset:
        """The same dataset with only the rows where `mask` (bool, one per row) is true."""
        return replace(self, rows=self.rows[mask].reset_index(drop=True))

    def fingerprint(self) -> str:
        """SHA-256 over ids, labels, groups and metadata: two equal tables have the same one."""
        text = self.rows.drop(columns="path").to_csv(index=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def load_dataset(folder: Path, flags: Layout | None = None, console=None) -> Dataset:
    """Read the dataset in `folder`: by `flags`, else its ``dataset.toml``, else a preset known by its columns.

    Parameters
    ----------
    folder : Path
        Holds a table (comma, tab or semicolon separated) and, anywhere below it, image files.
    flags : Layout, optional
        Columns named on the command line; they go before ``dataset.toml`` and presets.
    console : Console, optional
        Told what is left out.

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
    layout, table_path = _choose_layout(folder, flags)
    table = read_table(table_path)
    layout = replace(layout, leaks=_leaks_in(table, layout))
    _require_columns(table, layout, table_path)
    dataset = _assemble(folder, layout, table, table_path)
    if console is not None:
        _tell(dataset, console)
    return dataset


def normalise_metadata(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Metadata columns of `table` with one notion of missing: NaN for numbers, None for categories.

    Raises
    ------
    UserError
        A numeric column holds text or infinite values.
    """
    out = {}
    for name in layout.numeric:
        text = table[name].astype("string").str.strip()
        text = text.mask(text.str.lower().isin(MISSING))
        numbers = pd.to_numeric(text, errors="coerce").astype("float64")
        wrong = text.notna() & (numbers.isna() | ~numbers.abs().lt(float("inf")))
        if wrong.any():
            raise UserError(
                f"column {name!r} should hold finite numbers, but {int(wrong.sum())} of {len(text)} rows do not "
                f"(first: {text[wrong].iloc[0]!r}). Mend them, or name the column as categorical in dataset.toml."
            )
        out[name] = numbers
    for name in layout.categorical:
        text = table[name].astype("string").str.strip()
        text = text.mask(text.str.lower().isin(MISSING))
        out[name] = text.astype(object).where(text.notna(), None)
    return pd.DataFrame(out, index=table.index)


def find_images(folder: Path, subfolders: tuple[str, ...] = ()) -> list[Path]:
    """Every file below `folder` (or its `subfolders`) that is named like an image, sorted; links are followed."""
    roots = [folder / name for name in subfolders] or [folder]
    absent = [str(root) for root in roots if not root.is_dir()]
    if absent:
        raise UserError(f"no such image folder: {', '.join(absent)}. Mend 'images' in dataset.toml.")
    return sorted({p for root in roots for p in _named_like_images(root)})


def table_with(folder: Path, columns: set[str]) -> Path | None:
    """The first table in `folder` that has all of `columns`, or None."""
    return next((path for path in _tables(folder) if columns <= set(_header(path))), None)


def image_id(name: str) -> str:
    """An image's id from an id column's cell or a file name: without its image suffix."""
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in SUFFIXES else name


def _named_like_images(root: Path) -> Iterator[Path]:
    seen = set()  # real folders, since a link may lead back up
    for where, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        names = (name for name in (*folders, *files) if not name.startswith("."))
        yield from (Path(where, name) for name in names if Path(name).suffix.lower() in SUFFIXES)


def _choose_layout(folder: Path, flags: Layout | None) -> tuple[Layout, Path]:
    """Flags go over ``dataset.toml``, else over the preset that a table's columns tell."""
    flags, toml = flags or Layout(), folder / "dataset.toml"
    if toml.is_file():
        layout = flags.over(layout_from_toml(toml))
        return layout, _table_for(folder, layout)
    for path in [_table_for(folder, flags)] if flags.table or flags.label else _tables(folder):
        columns = _header(path)
        preset = next((p for p in PRESETS if p.required <= set(columns)), None)
        if preset is not None:
            return flags.over(preset.fitted_to(set(columns))), path
        if flags.label and flags.image:
            numeric, categorical = metadata_by_name([c for c in columns if c != flags.label])
            return flags.over(Layout(numeric=numeric, categorical=categorical)), path
    if flags.label:
        raise usage_error(f"the label column {flags.label!r} is named, but no image column. Give --image-column too.")
    _refuse_nearly_known(folder)
    seen = ", ".join(p.name for p in _tables(folder)) or "none"
    raise UserError(
        f"no table of a known layout in {folder} (tables seen: {seen}). Known: "
        f"{'; '.join(p.describe() for p in PRESETS)}. For another, give --image-column and --label-column "
        "(and --group-column), or put a dataset.toml beside the table; 'python cli.py demo' needs no data."
    )


def _refuse_nearly_known(folder: Path) -> None:
    """Name the column that keeps a table from being one of the presets."""
    for path in _tables(folder):
        for preset in PRESETS:
            absent = preset.required - set(_header(path))
            if len(absent) == 1:
                raise UserError(
                    f"{path.name} looks like {preset.layout.name} but has no column {next(iter(absent))!r}. "
                    "Add it, or name the columns with --image-column, --label-column and --group-column."
                )


def _leaks_in(table: pd.DataFrame, layout: Layout) -> tuple[str, ...]:
    """Columns of the table that are known to give the label away, beside the label itself."""
    suspects = dict.fromkeys((*layout.leaks, *KNOWN_LEAKS))
    return tuple(name for name in suspects if name in table.columns and name != layout.label)


def _tables(folder: Path) -> list[Path]:
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
    return [p for p in files if p.suffix.lower() in TABLE_SUFFIXES]


def _table_for(folder: Path, layout: Layout) -> Path:
    if layout.table:
        path = folder / layout.table
        if not path.is_file():
            raise UserError(f"no such table: {path}. Mend 'table' in dataset.toml or --table.")
        return path
    tables = _tables(folder)
    wanted = {layout.image, layout.label} - {None}
    matching = [p for p in tables if wanted <= set(_header(p))]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(p.name for p in matching)
        raise usage_error(f"several tables have the columns {sorted(wanted)}: {names}. Name one with --table.")
    if len(tables) == 1:
        return tables[0]
    raise UserError(f"no table in {folder} has the columns {sorted(wanted)}. Mend the column flags, or name --table.")


def _header(path: Path) -> list[str]:
    try:
        with open(path, encoding=TEXT_ENCODING, errors="replace", newline="") as file:
            first = file.readline()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from None
    try:
        cells = next(csv.reader([first], delimiter=_delimiter(first)), [])
    except csv.Error:  # some other file without an ending, say
        return []
    return [c.strip() for c in cells]


def _delimiter(header: str) -> str:
    return max(",\t;", key=header.count)


def read_table(path: Path) -> pd.DataFrame:
    """A table's cells as text, header stripped; the delimiter (comma, tab, semicolon) is found in the header.

    Raises
    ------
    UserError
        It cannot be read as such a table.
    """
    try:
        with open(path, encoding=TEXT_ENCODING, errors="replace") as file:
            delimiter = _delimiter(file.readline())
        with warnings.catch_warnings():
            # Without index_col=False, a row with a cell too many would move every cell one column on.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Everything is read as text: an id such as 007 keeps its zeros, and missing is decided in one place.
            table = pd.read_csv(
                path, sep=delimiter, dtype="string", keep_default_na=False, encoding=TEXT_ENCODING, index_col=False
            )
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from None
    except pd.errors.ParserWarning:
        raise UserError(f"cannot read the table {path}: its rows have more cells than its header.") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        reason = str(error).strip()
        raise UserError(f"cannot read the table {path}: {reason}. Expected UTF-8 text with a header line.") from None
    table.columns = [str(c).strip() for c in table.columns]
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise UserError(f"the table {path} has more than one column {twice[0]!r}. Expected each name once.")
    return table.fillna("")


def _require_columns(table: pd.DataFrame, layout: Layout, path: Path) -> None:
    wanted = {"image": layout.image, "label": layout.label, "group": layout.group}
    for role, name in wanted.items():
        if name and name not in table.columns:
            raise UserError(
                f"the table {path.name} has no {role} column {name!r}; its columns are "
                f"{', '.join(map(repr, table.columns))}. Give --{role}-column, or mend dataset.toml."
            )
    metadata = [*layout.numeric, *layout.categorical]
    for name in metadata:
        if name not in table.columns:
            raise UserError(f"the table {path.name} has no metadata column {name!r}. Mend --metadata-columns.")
        if metadata.count(name) > 1:
            raise UserError(f"the metadata column {name!r} is named as numeric and as categorical. Choose one.")
        if name in ROLES:
            raise UserError(f"a metadata column cannot be called {name!r}. Rename it in {path.name}, or leave it out.")
    leaks = sorted({layout.label, *layout.leaks, *KNOWN_LEAKS} & {*metadata})
    if leaks:
        raise UserError(f"{leaks[0]!r} gives the label away and cannot be a metadata feature. Leave it out.")


def _assemble(folder: Path, layout: Layout, table: pd.DataFrame, path: Path) -> Dataset:
    counts = [("rows in the table", len(table))]
    label = table[layout.label].str.strip()
    unlabelled = label.str.lower().isin(("", "nan", "na"))
    if unlabelled.any():
        counts.append(("rows without a label, left out", int(unlabelled.sum())))
    table, label = table[~unlabelled], label[~unlabelled]

    if not len(table):
        raise UserError(f"the table {path.name} has no row with a label. Expected at least one row per class.")

    ids = table[layout.image].str.strip()
    images = find_images(folder, layout.images)
    paths, matched = _match(folder, ids, images)
    rows = pd.DataFrame({"id": ids.map(image_id)})
    rows["path"] = paths
    repeated = rows["id"].duplicated() | (rows["path"].notna() & rows["path"].duplicated())
    if repeated.any():
        raise UserError(
            f"the image id {ids[repeated].iloc[0]!r} stands in more than one row of {path.name} "
            f"({int(repeated.sum())} rows repeat one). Expected one row per image: remove the repeats."
        )
    rows["label"] = label
    rows["group"] = table[layout.group].str.strip() if layout.group else rows["id"]
    lone = rows["group"].eq("")
    rows.loc[lone, "group"] = rows.loc[lone, "id"]
    rows = pd.concat([rows, normalise_metadata(table, layout)], axis=1)
    if images:
        if not matched:
            raise UserError(
                f"none of the {len(rows)} ids in column {layout.image!r} of {path.name} (first: {ids.iloc[0]!r}) "
                f"matches any of the {len(images)} image files (first: {images[0].name!r}). Expected file names with "
                "or without their ending: check --image-column."
            )
        with_image = rows["path"].notna()
        counts.append(("rows without an image file, left out", int((~with_image).sum())))
        counts.append(("image files without a row, left out", len(images) - len(matched)))
        rows = rows[with_image]
    rows = rows.sort_values("id", kind="stable").reset_index(drop=True)
    counts.append(("images used" if images else "rows used (the folder holds no images)", len(rows)))
    return Dataset(layout.name or folder.resolve().name, folder, layout, rows, counts)


def _match(folder: Path, ids: pd.Series, images: list[Path]) -> tuple[list[Path | None], set[Path]]:
    """For each id the image of that relative path or name, whatever its ending; and the images that were matched."""
    by_path = {p.relative_to(folder).as_posix(): p for p in images if p.is_relative_to(folder)}
    by_name: dict[str, list[Path]] = {}
    by_stem: dict[str, list[Path]] = {}
    for path in images:
        by_name.setdefault(path.name, []).append(path)
        by_stem.setdefault(path.stem, []).append(path)
    for name, path in by_path.items():
        if "/" in name:
            by_stem.setdefault(image_id(name), []).append(path)
    paths = []
    for i in ids:
        found = [by_path[i]] if i in by_path else by_name.get(i) or by_stem.get(image_id(i), [])
        if len(found) > 1:
            raise UserError(
                f"the image id {i!r} matches {len(found)} files: {', '.join(str(p) for p in found[:3])}. Expected one: "
                "remove the others, write paths into the image column, or name 'images' folders in dataset.toml."
            )
        paths.append(found[0] if found else None)
    return paths, {p for p in paths if p is not None}


def _tell(dataset: Dataset, console) -> None:
    for what, n in dataset.counts:
        if "left out" in what and n:
            console.notice(f"{what}: {n:,}")
    if not dataset.layout.group:
        console.notice(
            "no group column is known: images of one lesion or patient may fall on both sides of a split; "
            "name it with --group-column"
        )
    if dataset.layout.leaks:
        console.notice(f"never used as features, since they give the label away: {', '.join(dataset.layout.leaks)}")
