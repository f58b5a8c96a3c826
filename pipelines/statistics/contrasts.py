"""How well a model does on some rows against all others: values, gaps, and what chance alone would make of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from dermfuse.pipelines.statistics.bootstrap import LEVEL, Draws, draw, owners_of, percentile, wilson
from dermfuse.pipelines.statistics.ranking import Ranked, ratio
from dermfuse.pipelines.statistics.weighted import mean_of_present, sums_by_owner

# Fewer groups of a class, and a sensitivity or an AUC is no more than an anecdote.
FEWEST_OF_CLASS = 10
AREA, ACCURACY, BALANCED = "area", "accuracy", "balanced_accuracy"


@dataclass(frozen=True)
class ScoredRows:
    """Scored rows: ``truth`` and ``decision``, int (n,); what the AUC ranks, (n, targets); ``groups`` (n,)."""

    truth: np.ndarray
    decision: np.ndarray
    scores: np.ndarray
    positive: np.ndarray
    groups: np.ndarray

    def take(self, rows: np.ndarray) -> ScoredRows:
        """The chosen rows, bool (n,)."""
        return ScoredRows(*(values[rows] for values in vars(self).values()))


@dataclass(frozen=True)
class Contrast:
    """One part of the rows: by measure its value, ``{"value", "low", "high"}``, and its gap, with ``p_value``."""

    metrics: dict[str, dict]
    gaps: dict[str, dict]


def contrasts(rows: ScoredRows, parts: list[np.ndarray], classes: int, seed: int) -> list[Contrast]:
    """Measure each part of the rows, and its gap to all other rows.

    ``accuracy``; ``balanced_accuracy``, over the classes of which both sides hold ``FEWEST_OF_CLASS`` groups, so that
    a gap compares the same classes; ``area``, the mean AUC over targets of which both sides hold as many positive
    and negative groups. None where nothing is left. All parts and both sides see the same resamples of groups.

    The standard error of a gap is that of the resamples, or, when larger, the one that both sides would have if the
    side of fewer rows were served like the other: resamples of a few rows that were all answered well do not vary,
    and would make a chance finding of them (the score test's reasoning; for the AUC by Hanley and McNeil,
    Radiology 143, 1982). Interval and p value are normal.

    Parameters
    ----------
    rows : ScoredRows
    parts : list of ndarray of bool, shape (n,)
    classes : int
    seed : int
    """
    owner = owners_of(rows.groups)
    sides = [_Side.both(rows, part, owner, classes) for part in parts]
    sums = [sums_by_owner(_hits(rows, part, classes), owner, owner.max() + 1) for part in parts]
    everything = sums_by_owner(_hits(rows, np.ones(len(owner), bool), classes), owner, owner.max() + 1)
    stacked = np.concatenate([everything, *sums], axis=1)

    def score(weights: np.ndarray) -> dict[str, np.ndarray]:
        counts = (weights @ stacked).reshape(len(weights), len(parts) + 1, 2, classes)
        out = {}
        for i, pair in enumerate(sides):
            for side, seen in zip(pair, (counts[:, i + 1], counts[:, 0] - counts[:, i + 1]), strict=True):
                out |= {f"{name}|{side.name}|{i}": values for name, values in side.scores(seen, weights).items()}
        return out

    draws = draw(score, owner, seed)
    return [_contrast(draws, i, pair) for i, pair in enumerate(sides)]


@dataclass(frozen=True)
class _Side:
    """A part, or the rest of the rows, with what both have enough of."""

    name: str
    shared: np.ndarray
    ranked: list[Ranked]
    n: int
    rows: int
    of_class: np.ndarray
    of_target: list[tuple[int, int]]

    @staticmethod
    def both(rows: ScoredRows, part: np.ndarray, owner: np.ndarray, classes: int) -> tuple[_Side, _Side]:
        """The part and the rest."""

        def groups(side: np.ndarray, flags: np.ndarray) -> np.ndarray:
            return np.array([len(np.unique(owner[side & flag])) for flag in flags.T])

        of_class = [groups(side, rows.truth[:, None] == np.arange(classes)) for side in (part, ~part)]
        hits, misses = ([groups(side, f) for side in (part, ~part)] for f in (rows.positive, ~rows.positive))
        shared = np.flatnonzero(np.minimum(*of_class) >= FEWEST_OF_CLASS)
        targets = np.flatnonzero(np.min([*hits, *misses], axis=0) >= FEWEST_OF_CLASS)
        made = []
        for i, (name, side) in enumerate((("part", part), ("rest", ~part))):
            ranked = [Ranked(rows.scores[side, m], rows.positive[side, m], owner[side]) for m in targets]
            sizes = [(int(hits[i][m]), int(misses[i][m])) for m in targets]
            groups_there, rows_there = len(np.unique(owner[side])), int(side.sum())
            made.append(_Side(name, shared, ranked, groups_there, rows_there, of_class[i][shared], sizes))
        return made[0], made[1]

    def scores(self, counts: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Measures from hits and rows by class, (resamples, 2, classes), and from the ranking."""
        hit, seen = counts[:, 0], counts[:, 1]
        out = {ACCURACY: ratio(hit.sum(axis=1), seen.sum(axis=1))}
        out[BALANCED] = out[AREA] = np.full(len(weights), np.nan)
        if len(self.shared) > 1:
            out[BALANCED] = mean_of_present(ratio(hit[:, self.shared], seen[:, self.shared]).T)
        if self.ranked:
            out[AREA] = mean_of_present(np.stack([r.measures(weights)["auc"] for r in self.ranked]))
        return out

    def variance(self, measure: str, value: float) -> float:
        """Of a measure that is `value` on average, with as many groups as there are here."""
        if measure == ACCURACY:
            return value * (1 - value) / self.n
        if measure == BALANCED:
            return value * (1 - value) * float((1 / self.of_class).sum()) / len(self.of_class) ** 2
        return float(np.mean([np.sqrt(_area_variance(value, *sizes)) for sizes in self.of_target])) ** 2


def _hits(rows: ScoredRows, part: np.ndarray, classes: int) -> np.ndarray:
    """By class whether a row is in the part and answered rightly, and whether it is in the part, (n, 2 * classes)."""
    of_class = (rows.truth[:, None] == np.arange(classes)) & part[:, None]
    return np.concatenate([of_class & (rows.truth == rows.decision)[:, None], of_class], axis=1)


def _area_variance(area: float, hits: int, misses: int) -> float:
    both, others = area / (2 - area) - area**2, 2 * area**2 / (1 + area) - area**2
    return (area * (1 - area) + (hits - 1) * both + (misses - 1) * others) / (hits * misses)


def _contrast(draws: Draws, i: int, sides: tuple[_Side, _Side]) -> Contrast:
    part, rest = sides
    metrics, gaps = {}, {}
    for measure in (ACCURACY, BALANCED, AREA):
        value, other = (draws.value[f"{measure}|{side.name}|{i}"] for side in sides)
        drawn, others = (draws.drawn[f"{measure}|{side.name}|{i}"] for side in sides)
        is_share = measure == ACCURACY
        metrics[measure] = wilson(value, drawn, part.n, part.rows) if is_share else percentile(value, drawn)
        if metrics[measure]["low"] is not None and metrics[measure]["low"] == metrics[measure]["high"]:
            # Resamples of a perfect ranking are all perfect, which is no evidence.
            metrics[measure] |= {"low": None, "high": None}
        larger = value if part.n > rest.n else other
        gaps[measure] = _gap(value - other, drawn - others, measure, larger, sides)
    return Contrast(metrics, gaps)


def _gap(gap: float, drawn: np.ndarray, measure: str, larger: float, sides: tuple[_Side, _Side]) -> dict:
    if not np.isfinite(gap):
        return dict.fromkeys(("value", "low", "high", "p_value"))
    error = np.sqrt(max(np.nanvar(drawn), sum(side.variance(measure, larger) for side in sides)))
    if error == 0:
        return {"value": float(gap), "low": None, "high": None, "p_value": None}
    half = norm.ppf((1 + LEVEL) / 2) * error
    low, high = max(gap - half, -1.0), min(gap + half, 1.0)
    return {
        "value": float(gap),
        "low": float(low),
        "high": float(high),
        "p_value": float(2 * norm.sf(abs(gap) / error)),
    }
