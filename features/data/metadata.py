"""Metadata columns as training reads them: one spelling of a category, and nothing that stands for missing."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from dermfuse.cache.errors import UserError, listed
from dermfuse.features.tables import plausible
from dermfuse.features.tables.columns import Layout
from dermfuse.features.tables.read import categories, numbers
from dermfuse.features.tables.spelling import merged, rows, spelling

# In a column of this name, letters are the words that stand there too.
SEX_COLUMNS = ("sex", "gender")
_SEXES = {"m": "male", "f": "female"}
# Numbers that no list of categories has but for missing, and those that some have.
_USUAL = "-8 -9 -88 -98 -99 -888 -998 -999 -8888 -9998 -9999 888 998 999 8888 9998 9999 99999"
CODES = frozenset(_USUAL.split())
_DOUBTFUL = frozenset(["-1", "99", "88"])
MOST_CODED = 20  # different numbers in a column of categories; one of more is a column of measurements


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
    """A column of text as float64; codes for missing and what no person has are NaN.

    See :mod:`dermfuse.features.tables.plausible`.


    Raises
    ------
    UserError
        It holds text, infinite values, or numbers too large for any model.
    """
    values, lines = plausible.settled(numbers(column), str(column.name))
    told += lines
    if values.abs().max() > plausible.LARGEST:
        raise UserError(
            f"column {column.name!r} holds numbers up to {values.abs().max():.3g}, but expected none beyond "
            f"{plausible.LARGEST:.0e}. Write them in another unit, or leave the column out of the metadata."
        )
    return values


def settled_categories(column: pd.Series, told: list[str]) -> pd.Series:
    """A column of text as objects, one spelling of each category, missing as None."""
    words = _without_codes(merged(categories(column), f"column {column.name!r}", told), told)
    short = letters_of_sex(str(column.name), [word for word in words.unique() if word is not None])
    if not short:
        return words
    for letter, word in short.items():
        told.append(f"column {column.name!r}: {letter!r} ({rows(int((words == letter).sum()))}) is read as {word!r}")
    return pd.Series([short.get(word, word) for word in words], words.index, dtype=object, name=words.name)


def codes_in(words: Iterable[str]) -> set[str]:
    """Words of a column of categories that are numbers by which tables say that a category is missing.

    Examples
    --------
    >>> sorted(codes_in(["male", "female", "-9", "99"])), codes_in(["1", "2", "99"]), codes_in(["998", "999", "1000"])
    (['-9', '99'], set(), set())
    """
    words = list(words)
    numbers = {word: spelling(word) for word in words if re.fullmatch(r"-?\d+(\.\d+)?", spelling(word))}
    found = {word for word, number in numbers.items() if number in CODES}
    if len(numbers) < len(words) and {*numbers.values()} <= CODES | _DOUBTFUL:  # all others are words
        found = set(numbers)
    largest = max((abs(float(number)) for word, number in numbers.items() if word not in found), default=0.0)
    return found if largest < 100 and len(numbers) <= MOST_CODED else set()


def _without_codes(words: pd.Series, told: list[str]) -> pd.Series:
    """The words with None for codes; a column of many numbers is told to be one of measurements."""
    counts = {str(word): int(n) for word, n in words.value_counts().items()}
    numbers = [word for word in counts if re.fullmatch(r"-?\d*\.?\d+", word)]
    if len(numbers) > MOST_CODED and len(numbers) >= 0.9 * len(counts):
        told.append(
            f"column {words.name!r}: {len(numbers):,} different numbers are read as categories; where they are "
            f"measurements, name the column {words.name}=number in --metadata-columns or as numeric in dataset.toml"
        )
    codes = codes_in(counts)
    if not codes:
        return words
    found = listed(sorted(codes), lambda word: f"{word!r} ({rows(counts[word])})")
    told.append(f"column {words.name!r}: {found}, a usual code for missing, is read as missing")
    return words.mask(words.isin(codes), None).astype(object)


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
