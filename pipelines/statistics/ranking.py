"""How well a score ranks rows of one class above the rest, under many row weightings at once."""

from __future__ import annotations

import numpy as np

SPECIFICITY = 0.95
LEAST_SENSITIVITY = 0.80


class Ranked:
    """One class's scores, sorted once, so that every resample costs a cumulative sum.

    Only steps of the score that hold a positive row move any of the measures, so of the ROC curve only their
    corners are made: a rare class costs little more than the sums over its negatives.

    Parameters
    ----------
    score : ndarray of float, shape (n,)
        Higher means more likely positive.
    positive : ndarray of bool, shape (n,)
    owner : ndarray of int, shape (n,)
        Column of the weights that each row takes its weight from.
    """

    def __init__(self, score: np.ndarray, positive: np.ndarray, owner: np.ndarray):
        hits, misses = np.flatnonzero(positive), np.flatnonzero(~positive)
        hits = hits[np.argsort(-score[hits], kind="stable")]
        misses = misses[np.argsort(-score[misses], kind="stable")]
        steps, self._last = _runs(score[hits])
        # How many negatives lie above a step, and how many above or on it.
        self._above = np.searchsorted(-score[misses], -steps, side="left")
        self._reached = np.searchsorted(-score[misses], -steps, side="right")
        self._positive_owner, self._negative_owner = owner[hits], owner[misses]

    def measures(self, weights: np.ndarray, clinical: bool = False) -> dict[str, np.ndarray]:
        """Areas under the curves, each (resamples,), NaN where positives or negatives are missing.

        Parameters
        ----------
        weights : ndarray of float64, shape (resamples, owners)
        clinical : bool
            Also the sensitivity at 95 % specificity and the partial AUC.

        Returns
        -------
        dict of str to ndarray
            ``auc``: ties count half. ``average_precision``: the sum of precision times the step in recall, as
            scikit-learn defines it. ``sensitivity_at_95_specificity``: the highest sensitivity of a threshold whose
            specificity is at least 95 %. ``partial_auc``: the area under the ROC curve above a sensitivity of 80 %,
            0 to 0.2 (the score of the ISIC 2024 challenge; 0.02 by guessing).
        """
        corners = self._corners(weights)
        out = {"auc": _auc(*corners), "average_precision": _average_precision(*corners)}
        if clinical:
            out["sensitivity_at_95_specificity"] = _sensitivity_at(*corners)
            out["partial_auc"] = _partial_auc(*corners)
        return out

    def _corners(self, weights: np.ndarray) -> tuple[np.ndarray, ...]:
        """True positives before and after each step, false positives before and after, all negatives."""
        found = _cumulated(weights[:, self._positive_owner])
        wrong = _cumulated(weights[:, self._negative_owner])
        after = found[:, self._last + 1]
        before = np.concatenate([found[:, :1], after[:, :-1]], axis=1)
        return before, after, wrong[:, self._above], wrong[:, self._reached], wrong[:, -1]


def _runs(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values of a sorted vector and the last place of each."""
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1) if len(ordered) else np.zeros(0, int)
    return ordered[last], last


def _cumulated(weights: np.ndarray) -> np.ndarray:
    out = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=out[:, 1:])
    return out


def _total(after: np.ndarray) -> np.ndarray:
    return after[:, -1] if after.shape[1] else np.zeros(len(after))


def _auc(before, after, above, reached, negatives) -> np.ndarray:
    pairs = ((after - before) * (negatives[:, None] - 0.5 * (above + reached))).sum(axis=1)
    return ratio(pairs, _total(after) * negatives)


def _average_precision(before, after, above, reached, negatives) -> np.ndarray:
    precision = ratio(after, after + reached, empty=0.0)
    return ratio((precision * (after - before)).sum(axis=1), _total(after))


def _sensitivity_at(before, after, above, reached, negatives) -> np.ndarray:
    # Weights are counts; the slack is for the rounding of 0.05 alone.
    allowed = (1 - SPECIFICITY) * negatives + 1e-9
    steps = (reached <= allowed[:, None]).sum(axis=1)
    sensitivity = np.concatenate([np.zeros((len(after), 1)), after], axis=1)[np.arange(len(after)), steps]
    return np.where(negatives > 0, ratio(sensitivity, _total(after)), np.nan)


def _partial_auc(before, after, above, reached, negatives) -> np.ndarray:
    start = np.clip(LEAST_SENSITIVITY * _total(after)[:, None], before, after)
    # Within a step the curve is a straight line from (above, before) to (reached, after).
    entered = above + (reached - above) * ratio(start - before, after - before, empty=0.0)
    area = ((after - start) * (negatives[:, None] - 0.5 * (entered + reached))).sum(axis=1)
    return ratio(area, _total(after) * negatives)


def ratio(a: np.ndarray, b: np.ndarray, empty: float = np.nan) -> np.ndarray:
    """``a / b``, and `empty` where nothing is divided by."""
    return np.divide(a, b, out=np.full(np.shape(a), empty), where=b > 0)
