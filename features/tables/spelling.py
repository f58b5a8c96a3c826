"""Words that stand for one thing though they are spelled differently: in case, in blanks, in zeros of a number."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

import pandas as pd

_NUMBER = re.compile(r"([+-]?)0*(\d+)(?:\.(\d*?)0*)?")
_GAP = re.compile(r"[\s_\-\u2010-\u2015]+")
_LETTER = re.compile(r"[A-Za-z][\x20-\x7e]*$")
_DROPPED = dict.fromkeys(map(ord, " _-'\""))
_QUOTES = "\"'\u2018\u2019\u201c\u201d"
MOST_LISTED = 6


def spelling(text: str) -> str:
    """What all spellings of one word share.

    Case, blanks at the ends, quotes around it and letters that cannot be seen do not count; blanks, underscores and
    hyphens between words are the same and count once; a number is its value.

    Examples
    --------
    >>> spelling(" Basal__Cell carcinoma") == spelling("basal-cell Carcinoma")
    True
    >>> spelling("01") == spelling("1.0"), spelling("-1") == spelling("1"), spelling("T10") == spelling("T1")
    (True, False, False)
    """
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFKC", text)
        text = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf"))
    text = text.strip().strip(_QUOTES).strip()
    number = _NUMBER.fullmatch(text)
    if number is not None:
        sign, whole, fraction = number.groups()
        value = f"{whole}.{fraction}" if fraction else whole
        return f"-{value}" if sign == "-" and value.strip("0.") else value
    # A sign by itself is a word of its own.
    return _GAP.sub(" ", text).strip().casefold() or text


def by_spelling(names: Iterable[str]) -> dict[str, str]:
    """Names by what their spellings share; those of which two do are left out, since they are meant to differ."""
    found: dict[str, set[str]] = {}
    for name in names:
        found.setdefault(spelling(name), set()).add(name)
    return {key: next(iter(same)) for key, same in found.items() if len(same) == 1}


def one_spelling(counts: Mapping[str, int], known: Iterable[str] = ()) -> dict[str, str]:
    """Which spelling each word is read as: the known one, else the most frequent, else the first in order.

    Parameters
    ----------
    counts : mapping of str to int
        How many cells hold each word, as it is spelled there.
    known : iterable of str
        Spellings that somebody settled; they go before what is frequent.

    Returns
    -------
    dict of str to str
        For each word of `counts`.

    Examples
    --------
    >>> one_spelling({"nv": 3, "NV": 1, "mel": 1})
    {'nv': 'nv', 'NV': 'nv', 'mel': 'mel'}
    >>> one_spelling({"NV": 3}, known=["nv"])
    {'NV': 'nv'}
    """
    known = list(known)
    settled, meant = by_spelling(known), set(known)
    groups: dict[str, list[str]] = {}
    for word in counts:
        groups.setdefault(spelling(word), []).append(word)
    chosen = {}
    for key, words in groups.items():
        best = settled.get(key) or min(words, key=lambda word: (-counts[word], word))
        chosen |= {word: word if word in meant else best for word in words}
    return {word: chosen[word] for word in counts}


def told_of(counts: Mapping[str, int], read_as: Mapping[str, str], where: str, kind: str) -> list[str]:
    """A line for every word that was read as another spelling of it, with how many cells hold each.

    Parameters
    ----------
    counts, read_as : mapping
        As :func:`one_spelling` takes and gives them.
    where : str
        Such as ``column 'sex'``.
    kind : str
        What a word stands for: ``class`` or ``category``.

    Examples
    --------
    >>> counts = {"nv": 3000, "NV": 1200}
    >>> told_of(counts, one_spelling(counts), "column 'dx'", "class")
    ["column 'dx': 'nv' (3,000 rows) and 'NV' (1,200) differ only in spelling and are read as one class 'nv'"]
    """
    sources: dict[str, list[str]] = {}
    for word, name in read_as.items():
        sources.setdefault(name, []).append(word)
    lines = []
    for name, words in sources.items():
        if words == [name]:
            continue
        words = sorted(words, key=lambda word: (-counts[word], word))
        listed = _listed(
            [f"{shown(word)} ({rows(counts[word]) if i == 0 else f'{counts[word]:,}'})" for i, word in enumerate(words)]
        )
        if len(words) > 1:
            lines.append(f"{where}: {listed} differ only in spelling and are read as one {kind} {shown(name)}")
        else:
            lines.append(f"{where}: {listed} is read as the {kind} {shown(name)}, another spelling of it")
    return lines


def merged(column: pd.Series, where: str, told: list[str], kind: str = "category") -> pd.Series:
    """A column of words, None where missing, with one spelling of each; what was read as another is added to `told`."""
    counts = {str(word): int(n) for word, n in column.value_counts().items()}
    read_as = one_spelling(counts)
    told += told_of(counts, read_as, where, kind)
    changed = {word: name for word, name in read_as.items() if word != name}
    if not changed:
        return column
    return pd.Series([changed.get(word, word) for word in column], column.index, dtype=object, name=column.name)


def one_id(column: pd.Series, where: str, told: list[str]) -> pd.Series:
    """A column of ids with one spelling of each, such as ``12`` for ``12.0``; how many there are is added to `told`."""
    counts = {str(word): int(n) for word, n in column.value_counts().items()}
    # Spellings of one word are the same here, too, and a million ids are looked at in a second.
    if all(map(_LETTER.match, counts)) and len({word.translate(_DROPPED).lower() for word in counts}) == len(counts):
        return column
    read_as = one_spelling(counts)
    changed = {word: name for word, name in read_as.items() if word != name}
    if not changed:
        return column
    ids = len(set(changed.values()))
    told.append(  # which ones is nobody's business
        f"{where}: {ids:,} {'id is' if ids == 1 else 'ids are'} spelled in several ways, which differ in case, blanks "
        "or zeros only; each is read as one"
    )
    return pd.Series([changed.get(word, word) for word in column], column.index, column.dtype, name=column.name)


def rows(n: int) -> str:
    """A number of rows in words."""
    return f"{n:,} row" if n == 1 else f"{n:,} rows"


def shown(word: str) -> str:
    """A word in quotes, by its codes where an accent is a character of its own, since it looks like another word."""
    return repr(word) if unicodedata.is_normalized("NFC", word) else ascii(word)


def _listed(parts: list[str]) -> str:
    if len(parts) > MOST_LISTED:
        parts = [*parts[:MOST_LISTED], f"{len(parts) - MOST_LISTED} more"]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
