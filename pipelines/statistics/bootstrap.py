"""Intervals from a bootstrap over groups: the draws, and how an interval is read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

RESAMPLES = 1000
LEVEL = 0.95
HOW = (
    f"95 % percentile intervals from {RESAMPLES:,} bootstrap resamples of whole groups (Efron and Tibshirani 1993), "
    "but Wilson's intervals for sensitivity, specificity and precision, with the number of independent rows that the "
    "resamples imply, and wider ones for the calibration error, which noise raises; "
    "the fitted models are held fixed, so the intervals tell how the score depends on which images were scored"
)
# Rows times resamples of one step: what is at hand then fits in a processor's cache.
_CELLS = 400_000
TAILS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]


@dataclass(frozen=True)
class Draws:
    """Scores of the rows as they are, and of every resample.

    Attributes
    ----------
    value : dict of str to float
        NaN where undefined.
    drawn : dict of str to ndarray, shape (resamples,)
    """

    value: dict[str, float]
    drawn: dict[str, np.ndarray]

    def entries(self) -> dict[str, dict]:
        """Each score as ``{"value", "low", "high"}``, by :func:`percentile`."""
        return {name: percentile(self.value[name], self.drawn[name]) for name in self.value}


def one_thread() -> threadpool_limits:
    """Have matrix products done by one thread: the same result on every machine, and no waiting on a busy one."""
    return threadpool_limits(1, user_api="blas")


def owners_of(groups: np.ndarray) -> np.ndarray:
    """The number of each row's group, 0 and up, (n,) int."""
    return np.unique(groups, return_inverse=True)[1]


def resampled(owners: int, rows: int, seed: int) -> Iterator[np.ndarray]:
    """How often each group is drawn when as many as there are are drawn with replacement.

    Yields
    ------
    ndarray of float64, shape (some resamples, owners)
        ``RESAMPLES`` in all, a few at a time so that memory stays small for any number of `rows`.
    """
    rng = np.random.default_rng(seed)
    step = int(np.clip(_CELLS // max(rows, 1), 1, 100))
    for start in range(0, RESAMPLES, step):
        many = min(step, RESAMPLES - start)
        drawn = rng.integers(0, owners, (many, owners)) + owners * np.arange(many)[:, None]
        yield np.bincount(drawn.ravel(), minlength=many * owners).reshape(many, owners).astype(np.float64)


def draw(score: Callable[[np.ndarray], dict[str, np.ndarray]], owner: np.ndarray, seed: int) -> Draws:
    """A score of the rows as they are and under every resample of groups.

    Parameters
    ----------
    score : callable
        Weights of groups, (resamples, owners), to arrays (resamples,) by name.
    owner : ndarray of int, shape (n,)
        From :func:`owners_of`.
    seed : int
    """
    owners = int(owner.max()) + 1
    with one_thread():
        value = score(np.ones((1, owners)))
        parts = [score(weights) for weights in resampled(owners, len(owner), seed)]
    drawn = {name: np.concatenate([part[name] for part in parts]) for name in value}
    return Draws({name: float(found[0]) for name, found in value.items()}, drawn)


def percentile(value: float, drawn: np.ndarray) -> dict:
    """The value between the percentiles of its resamples; None where undefined."""
    if not np.isfinite(value) or not np.isfinite(drawn).any():
        return _entry(value, None, None)
    return _entry(value, *np.nanquantile(drawn, TAILS))


def of_absolute_error(value: float, drawn: np.ndarray) -> dict:
    """A conservative interval for a sum of absolute gaps, such as the calibration error, which noise raises.

    Where there is no gap, the value is all noise and resampling adds that noise once more: as both add up by squares,
    the value lies ``1 + sqrt(2)`` times as far above the truth as the resamples' mean above the value. The lower end
    takes that away and then half the resamples' spread; the upper end is their percentile. Plain percentiles may lie
    wholly above the truth.
    """
    if not np.isfinite(value) or not np.isfinite(drawn).any():
        return _entry(value, None, None)
    middle, high = np.nanmean(drawn), np.nanquantile(drawn, TAILS[1])
    low = value - (1 + np.sqrt(2)) * max(middle - value, 0.0) - (high - middle)
    return _entry(value, min(max(low, 0.0), value), max(high, value))


def wilson(value: float, drawn: np.ndarray, groups: int, rows: int) -> dict:
    """Wilson's score interval of a share, with the number of independent rows that the resamples imply.

    That number is ``value * (1 - value) / variance of the resamples``, at most the number of `rows`, and the number of
    `groups` where resamples do not vary. Percentiles of a share of few rows are too narrow, and of none or all have no
    width.
    Wilson, JASA 22 (1927); the design effect as in Korn and Graubard, Survey Methodology 24 (1998).
    """
    if not np.isfinite(value) or not groups:
        return _entry(value, None, None)
    spread = np.nanvar(drawn) if np.isfinite(drawn).any() else 0.0
    # Where every group has the same share, what varies is rounding.
    n = min(value * (1 - value) / spread, float(rows)) if spread > 1e-12 and 0 < value < 1 else float(groups)
    return _entry(value, *wilson_ends(value, n))


def wilson_ends(share: float, n: float) -> tuple[float, float]:
    """Both ends of Wilson's interval for a share of `n` independent rows, which need not be a whole number."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(share * n, n, alpha=1 - LEVEL, method="wilson")
    # Rounding may leave the ends just outside of what a share can be.
    return max(0.0, min(float(low), share)), min(1.0, max(float(high), share))


def _entry(value, low, high) -> dict:
    return {"value": number(value), "low": number(low), "high": number(high)}


def number(value) -> float | None:
    """A plain float, or None where undefined."""
    return None if value is None or not np.isfinite(value) else float(value)
