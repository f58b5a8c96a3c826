"""Metadata columns as training reads them: one spelling of a category, and nothing that stands for missing."""

from __future__ import annotations

import pandas as pd

from features import plausible
from features.layouts import Layout
from features.spelling import merged, spelling
from features.tables import categories, numbers

# In a column of this name, letters are the words that stand there too.
SEX_COLUMNS = ("sex", "gender")
_SEXES = {"m": "male", "f": "female"}


def settled_metadata(table: pd.DataFrame, layout: Layout, told: list[str]) -> pd.DataFrame:
    """The metadata columns of a table: NaN for a missing number, None for a missing category.

    Parameters
    ----------
    table : DataFrame of str
    layout : Layout
    told : list of str
        What was read as missing, or as another spelling, is added.

    Raises
    ------
    UserError
        A numeric column holds text or infinite values.
    """
    out = {name: settled_numbers(table[name], told) for name in layout.numeric}
    out |= {name: settled_categories(table[name], told) for name in layout.categorical}
    return pd.DataFrame(out, index=table.index)


def settled_numbers(column: pd.Series, told: list[str]) -> pd.Series:
    """A column of text as float64; codes for missing and what no person has are NaN, see `features.plausible`."""
    values, lines = plausible.settled(numbers(column), str(column.name))
    told += lines
    return values


def settled_categories(column: pd.Series, told: list[str]) -> pd.Series:
    """A column of text as objects, one spelling of each category, missing as None."""
    words = merged(categories(column), f"column {column.name!r}", told)
    short = letters_of_sex(str(column.name), [word for word in words.unique() if word is not None])
    if not short:
        return words
    for letter, word in short.items():
        told.append(f"column {column.name!r}: {letter!r} ({int((words == letter).sum()):,} rows) is read as {word!r}")
    return pd.Series([short.get(word, word) for word in words], words.index, dtype=object, name=words.name)


def letters_of_sex(name: str, words: list[str], known: list[str] | None = None) -> dict[str, str]:
    """What the letters M and F stand for in a column of sexes, where the words themselves are known.

    Parameters
    ----------
    name : str
        Of the column.
    words : list of str
        What stands in it.
    known : list of str, optional
        Categories that may be meant; `words` if not given.

    Examples
    --------
    >>> letters_of_sex("sex", ["Male", "Female", "M"]), letters_of_sex("site", ["male", "M"])
    ({'M': 'Male'}, {})
    """
    if name.lower() not in SEX_COLUMNS:
        return {}
    by_key = {spelling(word): word for word in (words if known is None else known)}
    letters = {word: by_key.get(_SEXES.get(spelling(word), "")) for word in words}
    return {word: meant for word, meant in letters.items() if meant is not None}
