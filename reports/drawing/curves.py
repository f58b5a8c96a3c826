"""ROC and precision-recall curves of one class against the rest, and their thinning for drawing."""

from __future__ import annotations

import numpy as np


def _counts(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return true and false positives at every distinct score, from the strictest threshold on."""
    truth, score = np.asarray(truth, dtype=bool), np.asarray(score, dtype=float)
    if truth.shape != score.shape or truth.ndim != 1:
        raise ValueError(f"Got shapes {truth.shape} and {score.shape}, but expected two vectors of one length.")
    order = np.argsort(-score, kind="stable")
    truth, score = truth[order], score[order]
    # Ties share one threshold, so a point stands only where the score changes.
    last_of_tie = np.append(np.flatnonzero(np.diff(score)), truth.size - 1) if truth.size else np.array([], int)
    true_positives = np.cumsum(truth)[last_of_tie]
    return true_positives, last_of_tie + 1 - true_positives


def roc_curve(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Receiver operating characteristic.

    Parameters
    ----------
    truth : ndarray of bool, shape (n,)
        Whether a sample belongs to the class.
    score : ndarray of float, shape (n,)
        The probability of the class.

    Returns
    -------
    (false_positive_rate, true_positive_rate) or None
        Both rise from 0 to 1; None when one side has no sample, where the curve is not defined.
    """
    true_positives, false_positives = _counts(truth, score)
    if not true_positives.size or not true_positives[-1] or not false_positives[-1]:
        return None
    return (
        np.append(0.0, false_positives / false_positives[-1]),
        np.append(0.0, true_positives / true_positives[-1]),
    )


def precision_recall_curve(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Precision against recall, in the order of rising recall.

    Returns
    -------
    (recall, precision) or None
        Starts at recall 0 with precision 1, by convention; None when no sample belongs to the class.
    """
    true_positives, false_positives = _counts(truth, score)
    if not true_positives.size or not true_positives[-1]:
        return None
    precision = true_positives / (true_positives + false_positives)
    return np.append(0.0, true_positives / true_positives[-1]), np.append(1.0, precision)


def area_under_roc(curve: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the area under a ROC curve, by trapezoids (ties count one half)."""
    false_positive_rate, true_positive_rate = curve
    return float(np.trapezoid(true_positive_rate, false_positive_rate))


def average_precision(curve: tuple[np.ndarray, np.ndarray]) -> float:
    """Return precision averaged with the gains in recall as weights: the area under the steps."""
    recall, precision = curve
    return float(np.sum(np.diff(recall) * precision[1:]))


def as_steps(recall: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn a precision-recall curve into the corners of the steps that `average_precision` measures."""
    return np.repeat(recall, 2)[:-1], np.repeat(precision, 2)[1:]


def thin(x: np.ndarray, y: np.ndarray, tolerance: float = 0.0015) -> tuple[np.ndarray, np.ndarray]:
    """Drop the points of a polyline that nobody can see (Douglas and Peucker, 1973).

    Parameters
    ----------
    x, y : ndarray of float, shape (n,)
        The polyline, in units of the axes.
    tolerance : float
        No dropped point is farther than this from the thinned line.

    Returns
    -------
    (x, y) : tuple of ndarray
        A part of the points, the first and last among them.
    """
    points = np.column_stack([x, y]).astype(float)
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    pending = [(0, len(points) - 1)]
    while pending:
        first, last = pending.pop()
        if last - first < 2:
            continue
        distance = _distance(points[first + 1 : last], points[first], points[last])
        farthest = int(np.argmax(distance))
        if distance[farthest] > tolerance:
            middle = first + 1 + farthest
            keep[middle] = True
            pending += [(first, middle), (middle, last)]
    return points[keep, 0], points[keep, 1]


def _distance(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the distance of each point from the segment between `start` and `end`."""
    along = end - start
    length = float(along @ along)
    if length == 0.0:
        return np.hypot(*(points - start).T)
    share = np.clip((points - start) @ along / length, 0.0, 1.0)
    return np.hypot(*(points - start - share[:, None] * along).T)
