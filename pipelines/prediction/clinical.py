"""The metadata of new images: which table holds it, and the row of each image, found by the rule that fitting uses."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from dermfuse.cache.errors import UserError, listed
from dermfuse.features.files.endings import image_id
from dermfuse.features.files.matching import Match, by_excel, clean, match
from dermfuse.features.tables.column_names import folded, lacks, looks_like, other_spellings
from dermfuse.features.tables.columns import Layout
from dermfuse.features.tables.read import normalise_metadata, read_columns, tables_in
from dermfuse.features.tables.sheets import header_of, why_no_table


def read_metadata(table: Path, layout: Layout) -> tuple[pd.DataFrame, list[str]]:
    """A table's metadata columns by the cells of its image column, and what was noticed.

    ``attrs["table"]`` of the columns is the table's name.

    Raises
    ------
    UserError
        The table is not there, lacks a column, or repeats an id.
    """
    wanted = [layout.image, *layout.numeric, *layout.categorical]
    if not table.is_file():
        raise UserError(f"no such metadata table: {table}. Expected columns {listed(sorted(wanted))}.")
    content, told = read_columns(table, wanted, layout.numeric)
    if not set(wanted) <= set(content.columns):
        raise UserError(
            f"{table} has {lacks(sorted(wanted), content.columns)}; the run was fitted with "
            f"{listed(sorted(wanted))}. Add it, with empty cells where nothing is known."
        )
    fields, more = _by_cells(content, layout, table, table.name)
    return fields, told + more


def metadata_of_frame(frame: pd.DataFrame, layout: Layout) -> tuple[pd.DataFrame, list[str]]:
    """A frame's metadata columns by image, as :func:`read_metadata` gives those of a table with the same cells.

    Parameters
    ----------
    frame : DataFrame
        Its image column says of which image a row is; without one, its index does.
    layout : Layout

    Raises
    ------
    UserError
        The frame lacks a column, or repeats an image.
    """
    if layout.image not in frame.columns:
        frame = frame.assign(**{layout.image: frame.index})
    wanted = [layout.image, *layout.numeric, *layout.categorical]
    if not set(wanted) <= set(frame.columns):
        raise UserError(
            f"the metadata has {lacks(sorted(wanted), list(map(str, frame.columns)))}; the run was fitted with "
            f"{', '.join(sorted(wanted))}. Add it, with NaN where nothing is known."
        )
    cells = frame[wanted].reset_index(drop=True).map(lambda cell: "" if pd.isna(cell) else str(cell)).astype("string")
    return _by_cells(cells, layout, "the metadata", "the metadata")


def _by_cells(content: pd.DataFrame, layout: Layout, table: object, name: str) -> tuple[pd.DataFrame, list[str]]:
    """The metadata columns of cells of text, by the cells of the image column, and what was noticed."""
    cells, told = content[layout.image].map(clean), []
    if cells.eq("").any():
        told.append(f"rows of {name} without an image id, left out: {int(cells.eq('').sum()):,}")
        content, cells = content[cells.ne("")], cells[cells.ne("")]
    ids = cells.map(image_id)
    if ids.duplicated().any():
        twice = ids[ids.duplicated()].iloc[0]
        raise UserError(f"{table} has more than one row for image {twice!r}. Expected one row per image.")
    fields = normalise_metadata(content, layout)
    fields.index = pd.Index(cells.to_numpy(object), dtype=object)
    fields.attrs["table"] = name
    return fields, told


def choose_table(folder: Path, layout: Layout, images: list[Path] | None) -> tuple[Path | None, list[str]]:
    """The table in `folder`, or in the folders right below it, that has the columns and the most of the images.

    Without `images`, the first that has the columns. Noticed is which tables were passed over, and why.
    """
    wanted, fitting, told = [layout.image, *layout.numeric, *layout.categorical], [], []
    for path in _candidates(folder, layout):
        if _fits(path, wanted):
            fitting.append(path)
        elif why := _nearly_fits(path, wanted):
            told.append(f"{path.name} is passed over as metadata: {why}")
    if images is None or not fitting:
        return fitting[0] if fitting else None, told
    shared = {path: _shared(path, layout, images) for path in fitting}
    best = max(fitting, key=shared.get)
    for path in fitting:
        if not shared[path]:
            told.append(f"{path.name} is passed over as metadata: none of its rows is of one of the images")
        elif path != best:
            told.append(
                f"{path.name} is passed over as metadata: it has rows of {shared[path]:,} images, and {best.name} "
                f"of {shared[best]:,}"
            )
    return best if shared[best] else None, told


def id_cells(table: Path | None, folder: Path | None, layout: Layout) -> list[str]:
    """The id column of a table, else of every table in `folder` that has it; what is not there has no ids."""
    if table is not None:
        tables = [table]
    else:
        tables = _candidates(folder, layout) if folder is not None and folder.is_dir() else []
    cells = []
    for path in tables:
        if path.is_file() and layout.image in _columns(path, [layout.image]):
            cells += read_columns(path, [layout.image], ())[0][layout.image].tolist()
    return cells


def rows_of(images: Iterable[Path], cells: Iterable[str]) -> tuple[list[str], Match]:
    """Each image's absolute path once, and the match of a table's id cells with them."""
    paths = list(dict.fromkeys(os.path.abspath(image) for image in images))
    folder = os.path.join(os.path.dirname(os.path.commonprefix(paths)), "")
    return paths, match(list(cells), paths, lambda path: path.removeprefix(folder).replace(os.sep, "/"))


def refuse_unmatched(images: list[Path], fields: pd.DataFrame, table: Path, column: str) -> None:
    """Refuse a table that was given by hand and has no row of any image.

    Raises
    ------
    UserError
        None of its rows is of one of the images.
    """
    _, found = rows_of(images, fields.index)
    if images and all(image is None for image in found.images):
        first = repr(fields.index[0]) if len(fields) else "none"
        raise UserError(
            f"none of the {len(fields):,} rows of {table} (column {column!r}, first: {first}) matches any of the "
            f"{len(images):,} images (first: {str(images[0])!r}). Expected file names with or without their ending, or "
            "ends of their paths: mend the column, or leave --metadata out."
        )


def by_image(images: list[Path], fields: pd.DataFrame | None, names: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """The row of each image, missing where it has none, which is noticed by count.

    Parameters
    ----------
    images : list of Path
    fields : DataFrame or None
        Metadata columns by id cells.
    names : list of str
        The columns that are wanted.

    Returns
    -------
    DataFrame, list of str
        By absolute path of the image, each once; and what was noticed.

    Raises
    ------
    UserError
        Two rows are of one image, or one row of two images that differ.
    """
    if fields is None:
        fields = pd.DataFrame(columns=names, index=pd.Index([], dtype=object))
    paths, found = rows_of(images, fields.index)
    table = fields.attrs.get("table", "the table")
    rows = np.full(len(paths), -1)
    for row, image in enumerate(found.images):
        if image is not None and rows[image] >= 0:
            raise UserError(
                f"{table} has more than one row for image {os.path.basename(paths[image])!r} "
                f"({fields.index[rows[image]]!r} and {fields.index[row]!r}). Expected one row per image."
            )
        if image is not None:
            rows[image] = row
    told = _noticed(paths, fields, rows, found, names, table) if len(fields) else []
    matched = fields[names].reset_index(drop=True).reindex(rows)
    return matched.set_axis(pd.Index(paths, dtype=object)), told


def _noticed(paths: list[str], fields, rows: np.ndarray, found: Match, names: list[str], table: str) -> list[str]:
    told, without = list(found.told), np.flatnonzero(rows < 0)
    if len(without):
        first = os.path.basename(paths[without[0]])
        told.append(
            f"{len(without):,} of {len(paths):,} images have no row in {table} (first: {first!r}); their "
            f"{listed(names)} are missing"
        )
    alone = [cell for cell, image in zip(fields.index, found.images, strict=True) if image is None]
    if alone:
        told.append(
            f"{len(alone):,} of {len(fields):,} rows of {table} are of none of the images (first: {alone[0]!r})"
        )
    shortened = by_excel(alone) if len(without) else []
    if shortened:
        told.append(
            f"ids of {table} that look like what Excel makes of one: {len(shortened):,} (first: {shortened[0]!r}); "
            "format the column as text"
        )
    return told


def _candidates(folder: Path, layout: Layout) -> list[Path]:
    """The tables of a folder; where none has the columns of the run, those of the folders right below it too."""
    wanted, tables = [layout.image, *layout.numeric, *layout.categorical], tables_in(folder)
    if not any(_fits(path, wanted) for path in tables):
        below = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX")))
        tables += [path for place in below for path in tables_in(place)]
    return tables


def _columns(path: Path, wanted: list[str]) -> list[str]:
    """A table's columns, those that spell a wanted one otherwise by its wanted name."""
    columns = header_of(path)
    spelled = other_spellings(columns, wanted)
    return [spelled.get(name, name) for name in columns]


def _fits(path: Path, wanted: list[str]) -> bool:
    return set(wanted) <= set(_columns(path, wanted))


def _nearly_fits(path: Path, wanted: list[str]) -> str | None:
    """Why a table that seems to be meant does not fit; None for one that is something else."""
    columns = _columns(path, wanted)
    unread = None if columns else why_no_table(path)
    if unread:
        return unread
    meant = set(wanted) & set(columns) or {name for name in wanted if looks_like(name, columns)}
    return f"it has {lacks(wanted, columns)}" if meant and any(map(folded, columns)) else None


def _shared(path: Path, layout: Layout, images: list[Path]) -> int:
    """How many of the images have a row in a table."""
    content, _ = read_columns(path, [layout.image], ())
    _, found = rows_of(images, content[layout.image])
    return len({image for image in found.images if image is not None})
