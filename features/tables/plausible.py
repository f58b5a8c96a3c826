"""Numbers that no person has: codes that stand for missing, impossible ages, other units, and what is no number."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

# Values by which tables, surveys and programs say that a number is missing.
_REPEATED = [int(digit * n) for digit in "789" for n in range(2, 8)]
_REFUSED = [int("9" * n) - k for n in (2, 3, 4) for k in (1, 2, 3)]
_NINES = (99.9, 99.99, 999.9, 999.99, 9999.9)
HIGH_CODES = frozenset(map(float, [*_REPEATED, *_REFUSED, *_NINES, 32767, 65535, 2147483647]))
LOW_CODES = frozenset(map(float, [-1, -7, -8, -9, -32768, -2147483648])) | {-code for code in HIGH_CODES}

OLDEST = 120.0
_DAYS, _WEEKS, _MONTHS = 366.0, 53.0, 12.0
_OF_NO_AGE = (
    "group groups band bin bins decade class category cat code quantile z zscore scaled norm normalised normalized std "
    "standardised standardized log index"
)
MOST_NAMED = 3  # different values that a notice lists
FEWEST = 10  # rows, for a column to tell what is far from its other values
FEWEST_DIFFERENT = 3
FAR = 10.0  # widths of the middle 90 % beyond which a value is told to stand alone
SUSPECT_AGE = 99.0
# Beyond these, sums of squares leave what single precision holds: in usual distances from the median, and as it stands.
ABSURD, LARGEST = 1e12, 1e35


@dataclass(frozen=True)
class Limits:
    """What a person can have: the smallest and the largest value, and what the numbers are."""

    low: float
    high: float
    what: str


def limits_of(name: str) -> Limits | None:
    """What values a column of this name can hold; None where its name does not tell.

    Examples
    --------
    >>> limits_of("age_approx")
    Limits(low=0.0, high=120.0, what='ages in years')
    >>> limits_of("patientAge").high, limits_of("age_months").high, limits_of("fitzpatrick").high
    (120.0, 1440.0, 6.0)
    >>> limits_of("stage"), limits_of("age_group")
    (None, None)
    """
    words = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
    if words & {"age", "ages"} and not words & {*_OF_NO_AGE.split()}:
        for names, unit, scale in (
            ({"month", "months", "mo", "mos"}, "months", _MONTHS),
            ({"week", "weeks"}, "weeks", _WEEKS),
            ({"day", "days"}, "days", _DAYS),
        ):
            if words & names:
                return Limits(0.0, OLDEST * scale, f"ages in {unit}")
        return Limits(0.0, OLDEST, "ages in years")
    if words & {"fitzpatrick", "fitspatrick", "phototype"} or {"skin", "type"} <= words:
        return Limits(0.0, 6.0, "skin types after Fitzpatrick")
    return None


def settled(values: pd.Series, name: str) -> tuple[pd.Series, list[str]]:
    """A column's numbers with what stands for missing as NaN, and what a person should be told of it.

    Parameters
    ----------
    values : Series of float
        Missing as NaN.
    name : str
        The column's; one that tells of ages or skin types has limits, see :func:`limits_of`. In others a number is
        missing where it is a usual code and lies far from all others, or where it is absurd; a lone number that is
        neither is told and kept.

    Returns
    -------
    Series of float, list of str
    """
    known = values.dropna()
    limits = limits_of(name)
    if limits is None:
        wrong = known[absurd(known, *_middle(known))]
        codes, told = _codes(known[~known.isin(wrong)], name)
        codes |= set(wrong)
        if len(wrong):
            told.append(
                f"column {name!r}: {held(wrong)}, more than {ABSURD:.0e} times as far from the median as half of the "
                "numbers; read as missing"
            )
    elif _is_other_unit(known, limits):
        return values.mask(values.notna()), [_other_unit(known, name, limits)]
    else:
        wrong = known[(known < limits.low) | (known > limits.high)]
        codes = set(wrong)
        told = [f"column {name!r}: {held(wrong)}, which no person has; read as missing"] if codes else []
        told += _suspect(known[~known.isin(codes)], name) if limits.what == "ages in years" else []
    return (values.mask(values.isin(codes)) if codes else values), told


def absurd(values: pd.Series, middle: float, width: float) -> pd.Series:
    """Which numbers no model can be given beside others that lie `width` around `middle`, (n,) bool; NaN is none."""
    with np.errstate(over="ignore"):
        return (values - middle).abs() > ABSURD * (width if width > 0 else max(abs(middle), 1.0))


def _middle(known: pd.Series) -> tuple[float, float]:
    """A median of the numbers, and how far from it the nearer half of them lies at most."""
    if known.empty:
        return 0.0, 0.0
    middle = float(known.quantile(0.5, interpolation="lower"))
    with np.errstate(over="ignore"):
        return middle, float((known - middle).abs().quantile(0.5, interpolation="lower"))


def held(values: pd.Series) -> str:
    """How many cells hold which values: each where they are few, else the range of them.

    Examples
    --------
    >>> held(pd.Series([-9.0, -9.0, 150.0]))
    '2 cells hold -9 and 1 holds 150'
    >>> held(pd.Series([130.0, 140.0, 150.0, 160.0]))
    '4 cells hold numbers from 130 to 160'
    """
    counts = values.value_counts()
    if len(counts) > MOST_NAMED:
        return f"{len(values):,} cells hold numbers from {values.min():.7g} to {values.max():.7g}"
    parts = [
        f"{n:,} {'cells ' if n > 1 and i == 0 else 'cell ' if i == 0 else ''}{'hold' if n > 1 else 'holds'} {value:.7g}"
        for i, (value, n) in enumerate(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    ]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


# Ages


def _is_other_unit(known: pd.Series, limits: Limits) -> bool:
    """Whether a column with limits holds other numbers altogether: most lie outside, and they are no codes."""
    numbers = known[~known.isin(HIGH_CODES | LOW_CODES)]
    if len(numbers) < FEWEST_DIFFERENT or numbers.nunique() < FEWEST_DIFFERENT:
        return False
    outside = (numbers < limits.low) | (numbers > limits.high)
    fractions = numbers % 1 != 0
    standardised = bool((fractions & outside).mean() > 0.1)
    shares = len(numbers) >= FEWEST and bool(fractions.mean() > 0.5) and numbers.max() <= 1.0
    return bool(outside.mean() > 0.5) or standardised or (shares and limits.what.startswith("ages"))


def _other_unit(known: pd.Series, name: str, limits: Limits) -> str:
    numbers = known[~known.isin(HIGH_CODES | LOW_CODES)]
    middle = float(numbers.median())
    if numbers.quantile(0.05) >= 1880 and numbers.quantile(0.95) <= 2100:
        looks = "which look like years of birth"
    elif numbers.min() >= 0 and OLDEST < middle <= OLDEST * _MONTHS:
        looks = "which look like months"
    elif numbers.min() >= 0 and OLDEST * _MONTHS < middle <= OLDEST * _DAYS:
        looks = "which look like days"
    else:
        looks = "which look scaled"
    return (
        f"column {name!r}: {len(known):,} cells hold numbers from {numbers.min():.7g} to {numbers.max():.7g}, {looks} "
        f"and are no {limits.what}; the column is read as missing: write {limits.what}, or give the column another name"
    )


def _suspect(known: pd.Series, name: str) -> list[str]:
    """Tell of many ages of 99 far from all others; people of 99 years there are, so they are kept."""
    others, at = known[known != SUSPECT_AGE], int((known == SUSPECT_AGE).sum())
    if at < max(5, 0.005 * len(known)) or others.empty or others.max() > SUSPECT_AGE - 9:
        return []
    return [
        f"column {name!r}: {at:,} cells hold 99, and none of the others more than {others.max():g}; 99 is read as an "
        "age: empty these cells if it stands for missing"
    ]


# Other numbers


def _codes(known: pd.Series, name: str) -> tuple[set[float], list[str]]:
    """Values of a column that stand for missing, since they are usual codes far from all others; and what to tell."""
    values = np.unique(known)
    low = int(np.argmin([*np.isin(values, list(LOW_CODES)), False]))
    high = int(np.argmin([*np.isin(values[::-1], list(HIGH_CODES)), False]))
    others = values[low : len(values) - high]
    if len(known) < FEWEST or len(others) < FEWEST_DIFFERENT:
        return set(), []
    first, last = float(others[0]), float(others[-1])
    codes = {v for v in values[:low] if _low_code(v, first, last)}
    codes |= {v for v in values[len(values) - high :] if _high_code(v, first, last)}
    told, ends = [], f"all others lie between {first:.7g} and {last:.7g}"
    if codes:
        told.append(
            f"column {name!r}: {held(known[known.isin(codes)])}, a usual code for missing, and {ends}; read as missing"
        )
    kept = {v for v in (*values[:low], *values[len(values) - high :]) if v not in codes}
    doubtful = {v for v in kept if v < 0 <= first}
    if doubtful:
        told.append(
            f"column {name!r}: {held(known[known.isin(doubtful)])}, and no other is below zero; used as it "
            "stands: empty these cells if it means missing"
        )
    told += _far(known[~known.isin(codes | doubtful)], name)
    return codes, told


def _low_code(value: float, first: float, last: float) -> bool:
    if first >= 0:
        return value <= -7 or first - value >= 2
    return first - value > last - first


def _high_code(value: float, first: float, last: float) -> bool:
    # Two digits are a usual measurement, too.
    return value - last > (5 if value < 100 else 2) * (last - first)


def _far(known: pd.Series, name: str) -> list[str]:
    """Tell of numbers that lie far from all others and are no codes."""
    if len(known) < 2 * FEWEST:
        return []
    low, high = known.quantile(0.05), known.quantile(0.95)
    width = FAR * (high - low)
    far = known[(known < low - width) | (known > high + width)] if width else known[:0]
    if far.empty or len(far) > 0.01 * len(known) + 1:
        return []
    return [
        f"column {name!r}: {held(far)}, far from all others (90 % lie between {low:.7g} and {high:.7g}); used as it "
        "stands: empty these cells if it is a mistake"
    ]


# What is no number

_NUMBER = r"[+-]?\d+(?:[.,]\d+)?"
_FORMS = (
    (re.compile(rf"(?:[<>\u2264\u2265~\u2248]=?|over|under|about|ca\.?)\s*{_NUMBER}.*", re.I), "a bound, not a number"),
    (re.compile(rf"{_NUMBER}\s*\+"), "a bound, not a number"),
    (re.compile(rf"{_NUMBER}\s*(?:-|\u2013|to|\.\.)\s*{_NUMBER}.*", re.I), "a range, not a number"),
    (re.compile(rf"{_NUMBER}\s*(?:[a-z\u00b5]+\.?|%)(?:\s*old)?", re.I), "a number with a unit"),
    (re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*"), "a date"),
    (re.compile(r"[+-]?inf(inity)?", re.I), "infinite"),
)


def form_of(text: str) -> str | None:
    """What a cell that is no number looks like; None where it looks like nothing known.

    Examples
    --------
    >>> form_of("45 years"), form_of("> 85"), form_of("85+"), form_of("60-70"), form_of("1961-05-17"), form_of("old")
    ('a number with a unit', 'a bound, not a number', 'a bound, not a number', 'a range, not a number', 'a date', None)
    """
    if _FORMS[4][0].fullmatch(text.strip()):
        return _FORMS[4][1]
    return next((what for pattern, what in _FORMS if pattern.fullmatch(text.strip())), None)
