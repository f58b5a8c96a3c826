"""Prediction sets: for each image the classes that cannot be ruled out, at a stated coverage of every class.

A class is in an image's set when its calibrated probability reaches the class's own threshold, which is a quantile of
the probabilities that images of this class received. These are the least ambiguous sets whose coverage holds by class
(Sadinle, Lei and Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", JASA 114, 2019);
a threshold a class is what Vovk, "Conditional validity of inductive conformal predictors", ACML 2012, calls
label-conditional. Coverage over all classes together follows from it.

Images of one group are not exchangeable, groups are: thresholds learn from one row of each group, drawn by seed, and
the promise is about a random image of a new group (the single subsampling of Dunn, Wasserman and Ramdas,
"Distribution-free prediction sets for two-layer hierarchical models", JASA 118, 2023).
"""

from __future__ import annotations

import math

import numpy as np

from dermfuse.pipelines.runs.schema import SCHEMA
from dermfuse.pipelines.statistics.bootstrap import TAILS, wilson_ends

FILE = "prediction_sets.json"
COVERAGE = 0.9
# A threshold is one of the probabilities that it is compared with, give or take the rounding of 1 - (1 - p).
SLACK = 1e-8
METHOD = (
    "least ambiguous sets with a threshold for each class (Sadinle, Lei and Wasserman 2019; Vovk 2012), "
    "learned from out-of-fold probabilities of one image a group, drawn by seed (Dunn, Wasserman and Ramdas 2023)"
)


def prediction_sets(
    truth: np.ndarray,
    probabilities: np.ndarray,
    fold: np.ndarray,
    groups: np.ndarray,
    classes: list[str],
    seed: int,
    coverage: float = COVERAGE,
) -> dict:
    """Thresholds for new images, and how the sets do out of fold and on the locked test split.

    Thresholds for the rows of a fold come from the other folds, those for test rows and new images from all folds.
    Only the calibrators of these other folds have seen the fold's labels: one slope and one bias a class, each learned
    from all folds but one.
    Out-of-fold probabilities stand in for those of the final model, as in Vovk, "Cross-conformal predictors", 2015;
    so the coverage is close to the stated one rather than guaranteed, and is measured here.

    Parameters
    ----------
    truth : ndarray of int, shape (n,)
        Column of the true class.
    probabilities : ndarray, shape (n, classes)
        Calibrated; out of fold where `fold` is not negative.
    fold : ndarray of int, shape (n,)
        -1 in the locked test split.
    groups : ndarray, shape (n,)
        No group stands in two folds.
    classes : list of str
        Names of the columns.
    seed : int
        Draws the row of each group.
    coverage : float
        Share of sets that should hold the true class, at least one half and below one.

    Returns
    -------
    dict
        The content of ``prediction_sets.json``: ``coverage``, ``method``; ``reason`` is None, or says why there are
        no sets, and then nothing follows. ``by_class``: ``class``, ``groups``, ``threshold`` (the least probability
        at which the class is in the set), and ``low`` and ``high``, between which the coverage that these groups
        happened to give lies with 95 %. ``refused``: classes of too few groups, which every set holds. ``out_of_fold``
        and ``test``: coverage with its interval, mean size, share of each size, and the same by class.

    Raises
    ------
    ValueError
        `coverage` is out of range.
    """
    needed = groups_needed(coverage)
    train, drawn = fold >= 0, _one_row_a_group(groups, truth, seed)
    out = {"schema": SCHEMA, "coverage": coverage, "method": METHOD, "reason": None}
    held = np.array([_counts(truth, drawn & train & (fold != k), classes) for k in np.unique(fold[train])])
    enough = held.min(axis=0) >= needed
    if not enough.any():
        most = int(held.min(axis=0).max())
        reason = f"no class has {needed} groups outside each fold, as {coverage:.0%} coverage needs; the most is {most}"
        return {**out, "reason": reason}
    inside = np.zeros(probabilities.shape, bool)
    for number in np.unique(fold):
        learn, rows = drawn & train & (fold != number), fold == number
        inside[rows] = in_sets(probabilities[rows], _thresholds(truth, probabilities, learn, enough, coverage))
    final = _thresholds(truth, probabilities, drawn & train, enough, coverage)
    counts = _counts(truth, drawn & train, classes)
    return {
        **out,
        "by_class": [
            {"class": str(name), "groups": int(n), "threshold": float(t), **_realised(int(n), coverage, bool(e))}
            for name, n, t, e in zip(classes, counts, final, enough, strict=True)
        ],
        "refused": [
            {"class": str(name), "groups": int(n), "needed": needed, "reason": _why_refused(int(n), needed, coverage)}
            for name, n, e in zip(classes, held.min(axis=0), enough, strict=True)
            if not e
        ],
        "out_of_fold": _measured(inside[train], truth[train], groups[train], classes),
        "test": _measured(inside[~train], truth[~train], groups[~train], classes),
    }


def groups_needed(coverage: float) -> int:
    """The fewest groups of a class from which a threshold is learned: 10 for 90 %, 20 for 95 %.

    Theory would do with one less, whose threshold is the least probability of all; MAPIE asks for as many as here.

    Raises
    ------
    ValueError
        `coverage` is out of range.
    """
    if not 0.5 <= coverage < 1:
        raise ValueError(f"coverage is {coverage}; expected at least 0.5 and below 1")
    return math.ceil(round(1 / (1 - coverage), 6))


def threshold(own: np.ndarray, coverage: float) -> float:
    """The probability that a class has to reach, from those that n rows of this class received.

    One order statistic: of the n scores ``1 - p`` the ``ceil((n + 1) coverage)``-th smallest. A new row's score is no
    larger with at least the stated probability, if it is exchangeable with these: Papadopoulos, Proedrou, Vovk and
    Gammerman, "Inductive confidence machines for regression", ECML 2002; of this score, Sadinle, Lei and Wasserman,
    JASA 114, 2019.

    Parameters
    ----------
    own : ndarray of float, shape (n,)
        At least :func:`groups_needed` of them.
    coverage : float

    Raises
    ------
    ValueError
        `coverage` is out of range, the rows are too few for it, or what they received are no probabilities.
    """
    needed = groups_needed(coverage)
    own = np.asarray(own, dtype=np.float64)
    if len(own) < needed:
        raise ValueError(f"a threshold of {coverage:.0%} coverage needs {needed} probabilities, got {len(own)}")
    strange = own[~((own >= 0) & (own <= 1 + SLACK))]
    if len(strange):
        raise ValueError(f"{strange[0]} is no probability; a threshold is learned from numbers between 0 and 1")
    scores = np.sort(1 - own)
    return float(1 - scores[_rank(len(scores), coverage) - 1])


def in_sets(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Which classes each row's set holds, bool (n, classes); a set may be empty."""
    return np.asarray(probabilities) >= np.asarray(thresholds) - SLACK


def _one_row_a_group(groups: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """A random row of each group, of each class where a group has several; bool, (n,)."""
    order = np.random.default_rng(seed).permutation(len(truth))
    chosen = np.zeros(len(truth), bool)
    chosen[order[np.unique(_units(groups, truth)[order], return_index=True)[1]]] = True
    return chosen


def _units(groups: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """Number of each row's group, or of its group and class, (n,) int."""
    position = np.unique(groups, return_inverse=True)[1]
    return position if truth is None else position * (int(truth.max(initial=0)) + 1) + truth


def _counts(truth: np.ndarray, rows: np.ndarray, classes: list[str]) -> np.ndarray:
    return np.bincount(truth[rows], minlength=len(classes))


def _thresholds(truth, probabilities, learn: np.ndarray, enough: np.ndarray, coverage: float) -> np.ndarray:
    """Threshold of each class from the rows `learn`; 0, which all reach, where there are not enough."""
    out = np.zeros(len(enough))
    for k in np.flatnonzero(enough):
        out[k] = threshold(probabilities[learn & (truth == k), k], coverage)
    return out


def _rank(n: int, coverage: float) -> int:
    """Which of n scores is the threshold, counted from 1; rounded first, since 100 * 0.55 is a little more than 55."""
    return math.ceil(round((n + 1) * coverage, 6))


def _realised(n: int, coverage: float, enough: bool) -> dict:
    """Where the coverage of a threshold from `n` groups lies with 95 %: it is Beta distributed (Vovk 2012)."""
    from scipy.stats import beta

    if not enough:
        return {"low": 1.0, "high": 1.0}
    k = _rank(n, coverage)
    low, high = beta.ppf(TAILS, k, n + 1 - k)
    return {"low": float(low), "high": float(high)}


def _why_refused(n: int, needed: int, coverage: float) -> str:
    return f"{n} groups outside a fold; {coverage:.0%} coverage needs {needed}, so every set holds this class"


def _measured(inside: np.ndarray, truth: np.ndarray, groups: np.ndarray, classes: list[str]) -> dict:
    """How sets do, every group counted once; overall and by class."""
    by_class = []
    for k, name in enumerate(classes):
        rows = truth == k
        by_class.append({"class": str(name), **_summary(inside[rows], truth[rows], groups[rows])})
    weights = _weights(groups)
    sizes = np.bincount(inside.sum(axis=1), weights, minlength=len(classes) + 1)
    total = max(weights.sum(), 1.0)
    return {
        **_summary(inside, truth, groups),
        "sizes": [float(share) for share in sizes / total],
        "per_class": by_class,
    }


def _summary(inside: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> dict:
    weights, n = _weights(groups), len(np.unique(groups))
    if not n:
        empty = {"value": None, "low": None, "high": None}
        return {"images": 0, "groups": 0, "coverage": empty, "mean_size": None}
    share = float(weights @ inside[np.arange(len(truth)), truth] / n)
    # A mean of shares between 0 and 1 varies at most as much as one of hits and misses.
    low, high = wilson_ends(share, n)
    size = float(weights @ inside.sum(axis=1) / n)
    covered = {"value": share, "low": low, "high": high}
    return {"images": len(truth), "groups": n, "coverage": covered, "mean_size": size}


def _weights(groups: np.ndarray) -> np.ndarray:
    """One over the size of each row's group, so that a group weighs 1, (n,)."""
    if not len(groups):
        return np.zeros(0)
    position = _units(groups)
    return 1.0 / np.bincount(position)[position]
