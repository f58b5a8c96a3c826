"""Tables as text: found in a folder, read, joined, and their cells turned into numbers, categories and classes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from dermfuse.cache.errors import UserError, listed
from dermfuse.features.files.endings import image_id
from dermfuse.features.files.matching import clean
from dermfuse.features.tables.column_names import other_spellings
from dermfuse.features.tables.columns import Layout
from dermfuse.features.tables.decimals import with_points
from dermfuse.features.tables.plausible import form_of
from dermfuse.features.tables.sheets import read_sheet
from dermfuse.features.tables.spelling import shown
from dermfuse.features.tables.workbooks import ENDINGS as WORKBOOKS

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", "", *WORKBOOKS)
PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".tgz", ".parquet", ".feather", ".numbers")
LONGEST_CELL = 1_000
EMPTY = ("", "nan", "na", "<na>", "nat")  # as programs write a cell that holds nothing
MISSING = (
    *EMPTY,
    *("unknown", "unk", "not known", "undetermined", "undefined", "unspecified", "not specified", "not determined"),
    *("n/a", "#n/a", "n.a.", "none", "null", "nil", "missing", "not available", "unavailable", "not applicable"),
    *("not recorded", "not reported", "not stated", "not given", "no data", "unlabeled", "unlabelled"),
    *("?", "??", "???", "-", "--", "---", "\u2013", "\u2014", ".", "..", "..."),
)


def tables_in(folder: Path) -> list[Path]:
    """Files of `folder` that are named like a table, sorted."""
    # Excel keeps a file ~$NAME beside a workbook that is open.
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith((".", "~$"))]
    return [p for p in files if p.suffix.lower() in TABLE_SUFFIXES]


def packed_in(folder: Path) -> list[Path]:
    """Files of `folder` that may hold a table, in a form that is not read, sorted."""
    return [p for p in sorted(folder.iterdir()) if p.is_file() and p.suffix.lower() in PACKED]


def read_table(path: Path) -> pd.DataFrame:
    """A table's cells as text, header stripped; see :func:`dermfuse.features.tables.sheets.read_sheet`."""
    return read_sheet(path).cells


def read_columns(path: Path, wanted: Iterable[str], numeric: Iterable[str]) -> tuple[pd.DataFrame, list[str]]:
    """A table with its columns called as they are wanted, and decimal commas of numbers as points.

    Parameters
    ----------
    path : Path
    wanted : iterable of str
        Names that are taken in another case, or with other blanks and underscores.
    numeric : iterable of str
        Columns of numbers. Where the comma stands between cells, one inside of a number is none of a decimal.

    Returns
    -------
    DataFrame of str, list of str
        The cells; and what a person should be told of how they were read.

    Raises
    ------
    UserError
        As :func:`dermfuse.features.tables.sheets.read_sheet`.
    """
    sheet = read_sheet(path)
    told, cells = list(sheet.told), sheet.cells
    spelled = other_spellings(cells.columns, wanted)
    if spelled:
        pairs = listed(spelled.items(), lambda pair: f"{shown(pair[0])} is read as {shown(pair[1])}")
        told.append(f"columns of {path.name} in another spelling: {pairs}")
        cells = cells.rename(columns=spelled)
    for name in numeric if sheet.delimiter != "," else ():
        found = with_points(cells[name]) if name in cells.columns else None
        if found is not None:
            cells[name], had = found
            told.append(f"decimal commas in column {name!r}: {len(had):,} (first: {had.iloc[0]!r})")
    return cells, told


def ids_of(table: pd.DataFrame, image: str) -> pd.Series:
    """The image ids of a table whose image column is `image`."""
    return table[image].map(clean).map(image_id)


def join_second(
    table: pd.DataFrame, second: pd.DataFrame, image: str, name: str
) -> tuple[pd.DataFrame, list[tuple[str, int]]]:
    """`table` with the columns of `second` at the rows of the same image; empty where `second` has no such row.

    Parameters
    ----------
    table, second : DataFrame of str
    image : str
        The column of both that holds image ids.
    name : str
        The second table's, for errors.

    Returns
    -------
    DataFrame of str, list of (str, int)
        Rows as in `table`; and how many rows each table has that the other lacks.

    Raises
    ------
    UserError
        The second table has no image column, repeats an image, or has another column of the first.
    """
    if image not in second:
        raise UserError(f"the second table {name} has no image column {image!r}. Expected both tables to have it.")
    both = [c for c in second.columns if c in table.columns and c != image]
    if both:
        raise UserError(f"both tables have a column {both[0]!r}. Rename or remove it in one of them, {name} say.")
    ids, others = ids_of(table, image), ids_of(second, image)
    if others.duplicated().any():
        twice = others[others.duplicated()].iloc[0]
        raise UserError(f"the image id {twice!r} stands in more than one row of {name}. Expected one row per image.")
    added = second.drop(columns=image).set_axis(pd.Index(others, dtype=object))
    added = added.reindex(pd.Index(ids, dtype=object), fill_value="").set_axis(table.index)
    counts = [
        ("rows without a row in the second table", int((~ids.isin(others)).sum())),
        ("rows of the second table without a row in the first, left out", int((~others.isin(ids)).sum())),
    ]
    return pd.concat([table, added], axis=1), counts


def refuse_long_cells(table: pd.DataFrame, columns: Iterable[str], name: str) -> None:
    """Refuse a cell that is no name, class or number: arrays of text are as wide as their longest one.

    Raises
    ------
    UserError
        One of the `columns` holds a cell of more than ``LONGEST_CELL`` characters.
    """
    for column in columns:
        lengths = table[column].str.len()
        if len(lengths) and lengths.max() > LONGEST_CELL:
            row = int(lengths.to_numpy(int).argmax()) + 1
            raise UserError(
                f"the table {name} has a cell of {int(lengths.max()):,} characters in column {column!r} "
                f"(row {row:,} of {len(table):,}). Expected at most {LONGEST_CELL:,}: mend that row, or name another "
                "column."
            )


def labels_of_one_hot(table: pd.DataFrame, columns: tuple[str, ...], image: str, name: str) -> pd.Series:
    """The column that is 1 or true in each row, as text; empty where all cells say nothing.

    Raises
    ------
    UserError
        A column is not there, a cell is not 0 or 1, or a row marks no class or several.
    """
    absent = [c for c in columns if c not in table.columns]
    if absent:
        raise UserError(f"the table {name} has no class column {absent[0]!r}. Mend 'one_hot' in dataset.toml.")
    cells = table[list(columns)].apply(lambda column: column.str.strip())
    labelled = ~cells.apply(is_missing).all(axis=1)
    cells = cells.where(labelled, "").apply(lambda column: column.str.lower().replace({"true": "1", "false": "0"}))
    values = cells.where(cells.ne(""), "0").apply(pd.to_numeric, errors="coerce").astype("float64")
    wrong = ~values.isin((0.0, 1.0)).all(axis=1) | (labelled & values.sum(axis=1).ne(1))
    if wrong.any():
        first = table.index[wrong][0]
        raise UserError(
            f"{int(wrong.sum())} of {len(table)} rows of {name} do not mark exactly one class (first: image "
            f"{table[image].loc[first]!r}). Expected one 1 and otherwise 0 in the columns {listed(columns)}."
        )
    return values.idxmax(axis=1).where(labelled, "").astype("string")


def normalise_metadata(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Metadata columns of `table` with one notion of missing: NaN for numbers, None for categories.

    Raises
    ------
    UserError
        A numeric column holds text or infinite values.
    """
    out = {name: numbers(table[name]) for name in layout.numeric}
    out |= {name: categories(table[name]) for name in layout.categorical}
    return pd.DataFrame(out, index=table.index)


def numbers(column: pd.Series) -> pd.Series:
    """A column of text as float64, missing as NaN.

    Raises
    ------
    UserError
        It holds text or infinite values.
    """
    text = _known(column)
    values = pd.to_numeric(text, errors="coerce").astype("float64")
    wrong = text.notna() & (values.isna() | ~values.abs().lt(float("inf")))
    if wrong.any():
        first = text[wrong].iloc[0]
        form = form_of(first)
        raise UserError(
            f"column {column.name!r} should hold finite numbers, but {int(wrong.sum())} of {len(text)} rows do not "
            f"(first: {first!r}{f', {form}' if form else ''}). Mend them, or name the column as categorical in "
            "dataset.toml."
        )
    return values


def categories(column: pd.Series) -> pd.Series:
    """A column of text as objects, stripped, missing as None; equal cells are one object."""
    return as_objects(_known(column))


def as_objects(text: pd.Series) -> pd.Series:
    """A column of text as objects, missing as None; equal cells are one object, since a table has many."""
    codes, values = pd.factorize(text)
    known = np.append(values.astype(object), [None])  # code -1, the last, is what is missing
    return pd.Series(known[codes], text.index, dtype=object, name=text.name)


def is_missing(column: pd.Series) -> pd.Series:
    """Which cells of a column of text say nothing: empty, or one of the usual words for unknown."""
    return says_nothing(column, MISSING)


def says_nothing(column: pd.Series, words: tuple[str, ...]) -> pd.Series:
    """Which cells of a column of text are one of `words`, whatever their case, with blanks or underscores inside."""
    # A table has many cells and few different ones.
    codes, values = pd.factorize(column)
    found = np.array([" ".join(str(v).replace("_", " ").split()).lower() in words for v in values] + [True])
    return pd.Series(found[codes], column.index)


def _known(column: pd.Series) -> pd.Series:
    text = column.astype("string").str.strip()
    return text.mask(is_missing(text))
