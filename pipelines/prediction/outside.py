"""Metadata of new images beside that of training: codes, impossible values, other spellings, values far outside."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from dermfuse.features.data.metadata import letters_of_sex
from dermfuse.features.tables.plausible import HIGH_CODES, LARGEST, LOW_CODES, absurd, limits_of
from dermfuse.features.tables.spelling import by_spelling, spelling

MOST_NAMED = 6  # different values that a notice lists
FEWEST = 5  # values, for a column to tell whether all are shifted
SHIFTED = 0.8  # share of them below or above what 98 % of training had


def ranges_of(fields: pd.DataFrame) -> dict[str, dict | None]:
    """What numbers each column of the training rows holds; None for one that is empty.

    Returns
    -------
    dict of str to (dict or None)
        ``min``, ``low`` (1 %), ``median``, ``high`` (99 %) and ``max``.
    """
    found = {}
    for name in fields:
        values = fields[name].dropna().to_numpy(float)
        parts = np.quantile(values, [0, 0.01, 0.5, 0.99, 1]) if len(values) else None
        names = ("min", "low", "median", "high", "max")
        found[str(name)] = None if parts is None else dict(zip(names, map(float, parts), strict=True))
    return found


class Outside:
    """Reads the metadata of new images as training read its own, and counts what was not like it.

    Parameters
    ----------
    ranges : dict of str to (dict or None)
        As :func:`ranges_of` gives them; a column that is not there has no range.
    categories : dict of str to set of str
        Categories that occurred in training, by column.
    """

    def __init__(self, ranges: dict[str, dict | None], categories: dict[str, set[str]]):
        self._ranges, self._categories = ranges, categories
        self._missing: Counter = Counter()
        self._far: Counter = Counter()
        self._read_as: Counter = Counter()
        self._unseen: Counter = Counter()
        self._values: dict[str, list[float]] = {}

    def read(self, fields: pd.DataFrame) -> pd.DataFrame:
        """The fields (n rows) with what stands for missing as NaN and categories as training spells them."""
        fields = fields.copy()
        for name in fields:
            if name in self._categories:
                fields[name] = self._words(fields[name], str(name))
            else:
                fields[name] = self._numbers(fields[name], str(name))
        return fields

    def lines(self) -> list[str]:
        """What a person should be told of all that was read."""
        told = []
        for name, values in _by_column(self._missing).items():
            told.append(f"{name}: {_listed(values)}, which stands for missing or for no person; read as missing")
        for name, values in _by_column(self._far).items():
            known = self._ranges[name]
            told.append(
                f"{name}: {_listed(values)}, far outside training ({known['min']:.7g} to {known['max']:.7g}); used as "
                "it stands, where no training row can tell what it means"
            )
        told += [line for name in self._values if (line := self._shift(name))]
        for (name, value, meant), n in self._read_as.items():
            told.append(f"{name} = {value!r} is read as {meant!r} in {n} predictions")
        for (name, value), n in self._unseen.items():
            told.append(f"{name} = {value!r} never occurred in training; read as missing in {n} predictions")
        return told

    def _numbers(self, column: pd.Series, name: str) -> pd.Series:
        values = column.to_numpy(float, copy=True)
        limits, trained = limits_of(name), self._ranges.get(name)
        if limits is not None:
            missing = (values < limits.low) | (values > limits.high)
        else:
            missing = np.array([_is_code(value, trained) for value in values], bool) | _absurd(column, trained)
        self._missing.update((name, float(value)) for value in values[missing])
        values[missing] = np.nan
        if trained is not None:
            low, high = _reach(trained)
            self._far.update((name, float(value)) for value in values[(values < low) | (values > high)])
            self._values.setdefault(name, []).extend(values[~np.isnan(values)])
        return pd.Series(values, column.index, name=name)

    def _words(self, column: pd.Series, name: str) -> pd.Series:
        trained = self._categories[name]
        alike = by_spelling(trained)
        words = [word for word in column.dropna().unique() if word not in trained]
        meant = {word: alike[spelling(word)] for word in words if spelling(word) in alike}
        meant |= letters_of_sex(name, [word for word in words if word not in meant], sorted(trained))
        for word in column.dropna():
            if word in meant:
                self._read_as[name, word, meant[word]] += 1
            elif word not in trained:
                self._unseen[name, word] += 1
        meant |= {word: None for word in words if word not in meant}
        return pd.Series([meant.get(word, word) for word in column], column.index, dtype=object)

    def _shift(self, name: str) -> str | None:
        """Whether nearly all values of a column lie on one side of training, as with another unit."""
        values, trained = np.array(self._values[name]), self._ranges[name]
        below, above = int((values < trained["low"]).sum()), int((values > trained["high"]).sum())
        if len(values) < FEWEST or max(below, above) < SHIFTED * len(values):
            return None
        side, usual = "below" if below > above else "above", f"{trained['low']:.7g} to {trained['high']:.7g}"
        factor = _factor(float(np.median(values)), trained["median"])
        return (
            f"{name}: {max(below, above)} of {len(values)} values lie {side} what 98 % of training had ({usual})"
            f"{factor}; is it another unit?"
        )


def _is_code(value: float, trained: dict | None) -> bool:
    """Whether a number is a usual code for missing that training had nothing like."""
    if trained is None or (value not in LOW_CODES and value not in HIGH_CODES):
        return False
    low, high = _reach(trained)
    return (value < 0 <= trained["min"]) or not low <= value <= high


def _reach(trained: dict) -> tuple[float, float]:
    """How far values may lie outside training before they are told: as far as 98 % of training is wide."""
    spread = trained["high"] - trained["low"] or abs(trained["median"]) or 1.0
    return trained["min"] - spread, trained["max"] + spread


def _factor(middle: float, trained: float) -> str:
    """In words, how many times larger or smaller one median is than the other, where that is many."""
    if middle <= 0 or trained <= 0:
        return ""
    ratio, way = (middle / trained, "larger") if middle > trained else (trained / middle, "smaller")
    return f", about {ratio:.0f} times {way}" if ratio >= 5 else ""


def _absurd(column: pd.Series, trained: dict | None) -> np.ndarray:
    """Numbers that no model can be given, by what training read, (n,) bool."""
    values = column.astype(float)
    too_large = values.abs() > LARGEST
    if trained is not None:
        too_large |= absurd(values, trained["median"], trained["max"] - trained["min"])
    return too_large.to_numpy(bool)


def _by_column(counts: Counter) -> dict[str, list[tuple[float, int]]]:
    found: dict[str, list[tuple[float, int]]] = {}
    for (name, value), n in sorted(counts.items()):
        found.setdefault(name, []).append((value, n))
    return found


def _listed(values: list[tuple[float, int]]) -> str:
    total = sum(n for _, n in values)
    many = "1 prediction has" if total == 1 else f"{total} predictions have"
    if len(values) > MOST_NAMED:
        return f"{many} numbers from {values[0][0]:.7g} to {values[-1][0]:.7g}"
    return f"{many} {', '.join(f'{value:.7g}' for value, _ in values)}"
