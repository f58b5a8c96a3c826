"""A dataset: one row per image with label, group and metadata, read from a folder as people have it."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from cache.errors import UserError, usage_error
from features.images import SUFFIXES
from features.layouts import KNOWN_LEAKS, PRESETS, Layout, layout_from_toml, metadata_by_name

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", "")
MISSING = ("", "unknown", "nan", "na", "n/a", "none", "null", "?")
TEXT_ENCODING = "utf-8-sig"


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
    """Every file below `folder` (or its `subfolders`) that is named like an image, sorted."""
    roots = [folder / name for name in subfolders] or [folder]
    absent = [str(root) for root in roots if not root.is_dir()]
    if absent:
        raise UserError(f"no such image folder: {', '.join(absent)}. Mend 'images' in dataset.toml.")
    found = {p for root in roots for p in root.rglob("*") if p.suffix.lower() in SUFFIXES}
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def table_with(folder: Path, columns: set[str]) -> Path | None:
    """The first table in `folder` that has all of `columns`, or None."""
    return next((path for path in _tables(folder) if columns <= set(_header(path))), None)


def image_id(name: str) -> str:
    """An image's id from an id column's cell or a file name: without its image suffix."""
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in SUFFIXES else name


def _choose_layout(folder: Path, flags: Layout | None) -> tuple[Layout, Path]:
    toml = folder / "dataset.toml"
    described = layout_from_toml(toml) if toml.is_file() else None
    if flags is not None and flags.label:
        layout = flags.over(described)
        path = _table_for(folder, layout)
        if not (layout.numeric or layout.categorical):
            numeric, categorical = metadata_by_name(_header(path))
            layout = replace(layout, numeric=numeric, categorical=categorical)
        return layout, path
    if described is not None:
        return described, _table_for(folder, described)
    for path in _tables(folder):
        columns = set(_header(path))
        for preset in PRESETS:
            if preset.required <= columns:
                return preset.fitted_to(columns), path
    seen = ", ".join(p.name for p in _tables(folder)) or "none"
    raise UserError(
        f"no table of a known layout in {folder} (tables seen: {seen}). Known: "
        f"{'; '.join(p.describe() for p in PRESETS)}. For another, give --image-column and --label-column "
        "(and --group-column), or put a dataset.toml beside the table; 'python cli.py demo' needs no data."
    )


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
    return [c.strip() for c in next(csv.reader([first], delimiter=_delimiter(first)), [])]


def _delimiter(header: str) -> str:
    return max(",\t;", key=header.count)


def read_table(path: Path) -> pd.DataFrame:
    """A table's cells as text, header stripped; the delimiter (comma, tab, semicolon) is found in the header.

    Raises
    ------
    UserError
        It cannot be read as such a table.
    """
    with open(path, encoding=TEXT_ENCODING, errors="replace") as file:
        delimiter = _delimiter(file.readline())
    try:
        # Everything is read as text: an id such as 007 keeps its zeros, and missing is decided in one place.
        table = pd.read_csv(path, sep=delimiter, dtype="string", keep_default_na=False, encoding=TEXT_ENCODING)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the table {path}: {error}. Expected UTF-8 text with a header line.") from None
    table.columns = [str(c).strip() for c in table.columns]
    return table


def _require_columns(table: pd.DataFrame, layout: Layout, path: Path) -> None:
    wanted = {"image": layout.image, "label": layout.label, "group": layout.group}
    for role, name in wanted.items():
        if name and name not in table.columns:
            raise UserError(
                f"the table {path.name} has no {role} column {name!r}; its columns are "
                f"{', '.join(map(repr, table.columns))}. Give --{role}-column, or mend dataset.toml."
            )
    for name in (*layout.numeric, *layout.categorical):
        if name not in table.columns:
            raise UserError(f"the table {path.name} has no metadata column {name!r}. Mend --metadata-columns.")
    leaks = sorted({layout.label, *layout.leaks, *KNOWN_LEAKS} & {*layout.numeric, *layout.categorical})
    if leaks:
        raise UserError(f"{leaks[0]!r} gives the label away and cannot be a metadata feature. Leave it out.")


def _assemble(folder: Path, layout: Layout, table: pd.DataFrame, path: Path) -> Dataset:
    counts = [("rows in the table", len(table))]
    label = table[layout.label].str.strip()
    unlabelled = label.str.lower().isin(("", "nan", "na"))
    if unlabelled.any():
        counts.append(("rows without a label, left out", int(unlabelled.sum())))
    table, label = table[~unlabelled], label[~unlabelled]

    ids = table[layout.image].str.strip()
    repeated = ids[ids.duplicated()]
    if len(repeated):
        raise UserError(
            f"the image id {repeated.iloc[0]!r} stands in more than one row of {path.name} "
            f"({len(repeated)} rows repeat one). Expected one row per image: remove the repeats."
        )
    images = find_images(folder, layout.images)
    paths, matched = _match(folder, ids, images)
    rows = pd.DataFrame({"id": ids.map(image_id)})
    rows["path"] = paths
    rows["label"] = label
    rows["group"] = table[layout.group].str.strip() if layout.group else rows["id"]
    lone = rows["group"].eq("")
    rows.loc[lone, "group"] = rows.loc[lone, "id"]
    rows = pd.concat([rows, normalise_metadata(table, layout)], axis=1)
    if images:
        if not matched:
            raise UserError(
                f"none of the {len(rows)} ids in column {layout.image!r} of {path.name} (first: {ids.iloc[0]!r}) "
                f"matches any of the {len(images)} image files (first: {images[0].name!r}). Expected file names with or "
                "without their ending: check --image-column."
            )
        with_image = rows["path"].notna()
        counts.append(("rows without an image file, left out", int((~with_image).sum())))
        counts.append(("image files without a row, left out", len(images) - len(matched)))
        rows = rows[with_image]
    if not len(rows):
        raise UserError(f"the table {path.name} has no row with a label. Expected at least one row per class.")
    rows = rows.sort_values("id", kind="stable").reset_index(drop=True)
    counts.append(("images used" if images else "rows used (the folder holds no images)", len(rows)))
    return Dataset(layout.name or folder.resolve().name, folder, layout, rows, counts)


def _match(folder: Path, ids: pd.Series, images: list[Path]) -> tuple[list[Path | None], set[Path]]:
    """For each id the image of that relative path, name or stem; and the set of images that were matched."""
    by_path = {p.relative_to(folder).as_posix(): p for p in images}
    by_name: dict[str, list[Path]] = {}
    for path in images:
        by_name.setdefault(path.name, []).append(path)
        by_name.setdefault(path.stem, []).append(path)
    paths = []
    for i in ids:
        found = [by_path[i]] if i in by_path else by_name.get(i, [])
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
            console.notice(f"{n:,} {what}")
    if not dataset.layout.group:
        console.notice(
            "no group column is known: images of one lesion or patient may fall on both sides of a split; "
            "name it with --group-column"
        )
    if dataset.layout.leaks:
        console.notice(f"never used as features, since they give the label away: {', '.join(dataset.layout.leaks)}")
