"""Tables as text: found in a folder, read, joined, and their cells turned into numbers, categories and classes."""

from __future__ import annotations

import csv
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from cache.errors import UserError
from features.images import SUFFIXES
from features.layouts import Layout
from features.plausible import form_of

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", "")
EMPTY = ("", "nan", "na", "<na>", "nat")  # as programs write a cell that holds nothing
MISSING = (
    *EMPTY,
    *("unknown", "unk", "not known", "undetermined", "undefined", "unspecified", "not specified", "not determined"),
    *("n/a", "#n/a", "n.a.", "none", "null", "nil", "missing", "not available", "unavailable", "not applicable"),
    *("not recorded", "not reported", "not stated", "not given", "no data", "unlabeled", "unlabelled"),
    *("?", "??", "???", "-", "--", "---", "\u2013", "\u2014", ".", "..", "..."),
)
TEXT_ENCODING = "utf-8-sig"


def tables_in(folder: Path) -> list[Path]:
    """Files of `folder` that are named like a table, sorted."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
    return [p for p in files if p.suffix.lower() in TABLE_SUFFIXES]


def table_with(folder: Path, columns: set[str]) -> Path | None:
    """The first table in `folder` that has all of `columns`, or None."""
    return next((path for path in tables_in(folder) if columns <= set(header_of(path))), None)


def header_of(path: Path) -> list[str]:
    """A table's column names; none for a file that is no table.

    Raises
    ------
    UserError
        It cannot be opened.
    """
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


def image_id(name: str) -> str:
    """An image's id from an id column's cell or a file name: without its image suffix."""
    suffix = os.path.splitext(name)[1]
    return name[: -len(suffix)] if suffix.lower() in SUFFIXES else name


def ids_of(table: pd.DataFrame, image: str) -> pd.Series:
    """The image ids of a table whose image column is `image`."""
    return table[image].str.strip().map(image_id)


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
            f"{table[image].loc[first]!r}). Expected one 1 and otherwise 0 in the columns {', '.join(columns)}."
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


def _delimiter(header: str) -> str:
    return max(",\t;", key=header.count)
