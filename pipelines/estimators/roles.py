"""Which column of a DataFrame is what: image blocks by their names, metadata by its type."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from pandas.api import types

from dermfuse.pipelines.estimators.mistakes import InputError
from dermfuse.pipelines.model.table import Columns, assemble

# A column of an image block, ``mobilenet_v2:0007``; see `dermfuse.pipelines.model.table.block_columns`.
OF_BLOCK = re.compile(r"(?P<block>.+):\d{4,}")
PATH = "path"
# Each field is learned by itself in the late fusion; a matrix of embeddings as fields would take hours.
MOST_FIELDS = 256


def columns_of(X: pd.DataFrame) -> Columns:
    """The roles of a frame's columns.

    Parameters
    ----------
    X : DataFrame
        Columns are named by str.

    Raises
    ------
    InputError
        Paths in place of embeddings, a column of dates, or far too many metadata columns.

    Examples
    --------
    >>> frame = pd.DataFrame({"net:0000": [0.5], "net:0001": [1.5], "age": [40], "sex": ["female"]})
    >>> columns_of(frame)
    Columns(images={'net': ['net:0000', 'net:0001']}, numeric=['age'], categorical=['sex'])
    """
    names = list(X.columns)
    if PATH in names:
        raise InputError(
            "X has a column 'path', which is no feature. Turn images into columns first: "
            "make_pipeline(ImageEmbedder(), FusionClassifier()); or leave the column out."
        )
    images: dict[str, list[str]] = {}
    numeric, categorical = [], []
    for name in names:
        found = OF_BLOCK.fullmatch(name)
        if found:
            images.setdefault(found["block"], []).append(name)
        elif types.is_numeric_dtype(X[name]) and not types.is_bool_dtype(X[name]):
            numeric.append(name)
        elif types.is_datetime64_any_dtype(X[name]) or types.is_timedelta64_dtype(X[name]):
            raise InputError(f"column {name!r} holds dates. Give a number, such as the age in years, or leave it out.")
        else:
            categorical.append(name)
    if len(numeric) + len(categorical) > MOST_FIELDS:
        raise InputError(
            f"X has {len(numeric) + len(categorical):,} metadata columns; expected {MOST_FIELDS} at most. Where they "
            "are embeddings, name them as an image block: pd.DataFrame(X, columns=[f'mine:{i:04d}' for i in "
            "range(X.shape[1])])."
        )
    return Columns(images, numeric, categorical)


def refuse_repeated(X: pd.DataFrame) -> None:
    """Refuse a frame that has one name twice.

    Raises
    ------
    InputError
        With the name.
    """
    repeated = X.columns[X.columns.duplicated()]
    if len(repeated):
        raise InputError(f"X has the column {repeated[0]!r} more than once. Expected each name once.")


def as_table(X: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The frame as pipelines work on it: numbers float32, what is missing as NaN, categories as text.

    Raises
    ------
    InputError
        An image column holds no finite numbers, or a metadata column what its kind cannot hold.
    """
    vectors = {name: _finite(name, X[parts]) for name, parts in columns.images.items()}
    fields = {name: _numbers(name, X[name]) for name in columns.numeric}
    fields |= {name: _words(X[name]) for name in columns.categorical}
    return assemble(columns, vectors, pd.DataFrame(fields, index=X.index)).reset_index(drop=True)


def _finite(block: str, part: pd.DataFrame) -> np.ndarray:
    try:
        values = part.to_numpy(np.float32, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(f"the image block {block!r} holds no numbers: {error}.") from None
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise InputError(
            f"the image block {block!r} has NaN or infinity in {int(bad.sum()):,} of {len(bad):,} rows. Leave these "
            "rows out; metadata may be missing, an image may not."
        )
    return values


def _numbers(name: str, column: pd.Series) -> np.ndarray:
    try:
        values = pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(f"column {name!r} should hold numbers, as in fit: {error}.") from None
    if np.isinf(values).any() or (np.abs(values[~np.isnan(values)]) > np.finfo(np.float32).max).any():
        raise InputError(f"column {name!r} holds infinity or a value too large for float32. Expected numbers or NaN.")
    return values


def _words(column: pd.Series) -> pd.Series:
    cells = column.astype(object)
    return cells.where(cells.isna(), cells.map(str))
