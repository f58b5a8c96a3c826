"""Macro AUC as a mean over rows, so that the difference between two predictions of the same rows has an interval."""

from __future__ import annotations

import numpy as np

from dermfuse.pipelines.statistics.bootstrap import Draws, draw
from dermfuse.pipelines.statistics.ranking import ratio
from dermfuse.pipelines.statistics.weighted import mean_of_present, sums_by_owner


def placements(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Share of the other side that each row is on the right side of, for each class against the rest.

    The AUC of a class is the mean of its column over the class's rows, and over the other rows as well.
    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988).

    Parameters
    ----------
    truth : ndarray of int, shape (n,)
        Column of the true class.
    probabilities : ndarray, shape (n, classes)

    Returns
    -------
    ndarray of float64, shape (n, classes)
        Ties count half; NaN for a class that has no rows, or all of them.
    """
    found = np.full(probabilities.shape, np.nan)
    for k in range(probabilities.shape[1]):
        hit, score = truth == k, probabilities[:, k]
        if hit.any() and not hit.all():
            found[hit, k] = _share_below(score[hit], score[~hit])
            found[~hit, k] = 1 - _share_below(score[~hit], score[hit])
    return found


def macro(truth: np.ndarray, values: np.ndarray) -> float:
    """Mean over classes of the mean of `values`, (n, classes), over each class's rows: of placements, the macro AUC."""
    by_class = [values[truth == k, k].mean() if (truth == k).any() else np.nan for k in range(values.shape[1])]
    return float(mean_of_present(np.array(by_class)[:, None])[0])


def draw_difference(truth: np.ndarray, difference: np.ndarray, owner: np.ndarray, seed: int) -> Draws:
    """A difference of macro AUC, named ``drop``, and its resamples over groups.

    Under weights, the placements are those among all rows: what resampling the other side would add is of the order
    of 1/n beside what is counted.

    Parameters
    ----------
    truth : ndarray of int, shape (n,)
    difference : ndarray, shape (n, classes)
        Of the placements of two predictions.
    owner : ndarray of int, shape (n,)
        From :func:`dermfuse.pipelines.statistics.bootstrap.owners_of`.
    seed : int
    """
    owners = int(owner.max()) + 1
    sides = []
    for k in range(difference.shape[1]):
        hit = truth == k
        if not hit.any() or hit.all():
            continue
        both = [np.column_stack([side, np.where(side, difference[:, k], 0.0)]) for side in (hit, ~hit)]
        sums = sums_by_owner(np.column_stack(both).astype(np.float64), owner, owners)
        sides.append((sums, difference[hit, k].mean()))

    def score(weights: np.ndarray) -> dict[str, np.ndarray]:
        by_class = []
        for sums, mean in sides:
            hits, among_hits, others, among_others = (weights @ sums).T
            by_class.append(ratio(among_hits, hits) + ratio(among_others, others) - mean)
        return {"drop": mean_of_present(np.stack(by_class))}

    return draw(score, owner, seed)


def _share_below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    ordered = np.sort(others)
    below, reached = (np.searchsorted(ordered, scores, side) for side in ("left", "right"))
    return (below + reached) / (2 * len(ordered))
