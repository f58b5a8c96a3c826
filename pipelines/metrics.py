"""Metrics of predicted probabilities, each with a 95 % interval from a bootstrap over groups."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipelines.calibration import balanced_decisions

RESAMPLES = 1000
CHUNK = 100
LEVEL = 0.95
HOW = (
    f"95 % percentile intervals from {RESAMPLES:,} bootstrap resamples of whole groups (Efron and Tibshirani 1993); "
    "the fitted models are held fixed, so the intervals tell how the score depends on which images were scored"
)


def summarise(truth: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, seed: int) -> dict:
    """Every overall metric of a set of predictions, with intervals.

    Parameters
    ----------
    truth : ndarray of int, shape (n,)
        Column of the true class.
    probabilities : ndarray, shape (n, classes)
    groups : ndarray, shape (n,)
        Rows of one group are resampled together.
    seed : int

    Returns
    -------
    dict
        Metric name to ``{"value", "low", "high"}``; None where undefined, as for the AUC of a class with no rows.
    """
    names = _Scores(truth, probabilities).overall
    return _with_intervals(names, truth, probabilities, groups, seed)


def per_class(truth: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, seed: int) -> list[dict]:
    """For every class, by column: n, prevalence, and its one-against-rest metrics with intervals."""
    flat = _with_intervals(_Scores(truth, probabilities).by_class, truth, probabilities, groups, seed)
    rows = []
    for column in range(probabilities.shape[1]):
        n = int((truth == column).sum())
        row = {"n": n, "prevalence": n / len(truth)}
        row.update({name.split("|")[0]: v for name, v in flat.items() if name.endswith(f"|{column}")})
        rows.append(row)
    return rows


def operating_points(truth: np.ndarray, probabilities: np.ndarray, prevalence: np.ndarray) -> dict:
    """Accuracy, balanced accuracy and macro F1 of the two decision rules.

    ``accuracy_optimal`` takes the most probable class; ``balanced`` the class that would be most probable if all
    were equally frequent in training (`prevalence`, shape (classes,)).
    """
    rules = {
        "accuracy_optimal": probabilities.argmax(axis=1),
        "balanced": balanced_decisions(probabilities, prevalence),
    }
    out = {}
    for name, decision in rules.items():
        matrix = confusion(truth, decision, probabilities.shape[1])[None]
        values = {k: f(matrix) for k, f in _FROM_CONFUSION.items() if k != "weighted_f1"}
        out[name] = {k: _number(v[0]) for k, v in values.items()}
    return out


def confusion(truth: np.ndarray, decision: np.ndarray, classes: int) -> np.ndarray:
    """Counts, shape (classes, classes): rows are the truth, columns the decision."""
    return np.bincount(truth * classes + decision, minlength=classes * classes).reshape(classes, classes)


def point_values(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float | None]:
    """Every overall metric without an interval."""
    scores = _Scores(truth, probabilities).overall(np.ones((1, len(truth))))
    return {name: _number(v[0]) for name, v in scores.items()}


def macro_auc(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean one-against-rest area under the ROC curve over the classes present."""
    return float(_Scores(truth, probabilities).macro_auc(np.ones((1, len(truth))))[0])


def resampled_weights(groups: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each row is drawn when whole groups are drawn with replacement; (resamples, n) float64."""
    _, position = np.unique(groups, return_inverse=True)
    total = position.max() + 1
    draws = rng.multinomial(total, np.full(total, 1.0 / total), size=resamples)
    return draws[:, position].astype(np.float64)


def _with_intervals(score: Callable, truth, probabilities, groups, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    value = score(np.ones((1, len(truth))))
    parts = [score(resampled_weights(groups, CHUNK, rng)) for _ in range(RESAMPLES // CHUNK)]
    out = {}
    for name in value:
        drawn = np.concatenate([part[name] for part in parts])
        low, high = (None, None)
        if np.isfinite(value[name][0]) and np.isfinite(drawn).any():
            low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        out[name] = {"value": _number(value[name][0]), "low": _number(low), "high": _number(high)}
    return out


def _number(value) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


class _Scores:
    """Metrics of fixed predictions under many row weightings at once: (resamples, n) weights to (resamples,)."""

    def __init__(self, truth: np.ndarray, probabilities: np.ndarray):
        self.truth, self.p = truth, np.asarray(probabilities, dtype=np.float64)
        self.classes = self.p.shape[1]
        self.hit = np.eye(self.classes)[truth]
        cell = truth * self.classes + self.p.argmax(axis=1)
        self._cells = np.eye(self.classes**2)[cell]
        self._ranked = [_Ranked(self.p[:, k], truth == k) for k in range(self.classes)]
        # A probability of zero costs what it costs in scikit-learn: 36, not infinity.
        least = np.finfo(np.float64).eps
        self._log_loss = -np.log(np.maximum(self.p[np.arange(len(truth)), truth], least))
        self._brier = ((self.p - self.hit) ** 2).sum(axis=1)

    def overall(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Overall metrics, each (resamples,)."""
        matrix = self._confusion(weights)
        out = {name: f(matrix) for name, f in _FROM_CONFUSION.items()}
        out["macro_auc"] = self.macro_auc(weights)
        aps = np.stack([r.average_precision(weights) for r in self._ranked])
        out["macro_average_precision"] = _mean_of_present(aps)
        total = weights.sum(axis=1)
        out["log_loss"] = weights @ self._log_loss / total
        out["brier"] = weights @ self._brier / total
        if self.classes == 2:
            out["auc"] = self._ranked[1].auc(weights)
            out["average_precision"] = aps[1]
        return out

    def macro_auc(self, weights: np.ndarray) -> np.ndarray:
        """Mean one-against-rest AUC over the classes present, (resamples,)."""
        return _mean_of_present(np.stack([r.auc(weights) for r in self._ranked]))

    def by_class(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """One-against-rest metrics, named ``metric|column``."""
        matrix = self._confusion(weights)
        out = {}
        for k, ranked in enumerate(self._ranked):
            hit, row, column = matrix[:, k, k], matrix[:, k].sum(1), matrix[:, :, k].sum(1)
            others = matrix.sum((1, 2)) - row
            out[f"sensitivity|{k}"] = _ratio(hit, row)
            out[f"specificity|{k}"] = _ratio(others - (column - hit), others)
            out[f"precision|{k}"] = _ratio(hit, column)
            out[f"f1|{k}"] = _ratio(2 * hit, row + column)
            out[f"auc|{k}"] = ranked.auc(weights)
            out[f"average_precision|{k}"] = ranked.average_precision(weights)
        return out

    def _confusion(self, weights: np.ndarray) -> np.ndarray:
        return (weights @ self._cells).reshape(-1, self.classes, self.classes)


class _Ranked:
    """One class's scores, sorted once, so that every resample costs a cumulative sum."""

    def __init__(self, score: np.ndarray, positive: np.ndarray):
        self._order = np.argsort(-score, kind="stable")
        ordered = score[self._order]
        self._starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self._positive = positive[self._order].astype(np.float64)

    def _by_score(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ordered = weights[:, self._order]
        positive = np.add.reduceat(ordered * self._positive, self._starts, axis=1)
        return positive, np.add.reduceat(ordered, self._starts, axis=1) - positive

    def auc(self, weights: np.ndarray) -> np.ndarray:
        """Area under the ROC curve; ties count half."""
        positive, negative = self._by_score(weights)
        below = negative.sum(axis=1, keepdims=True) - negative.cumsum(axis=1)
        pairs = (positive * (below + 0.5 * negative)).sum(axis=1)
        return _ratio(pairs, positive.sum(axis=1) * negative.sum(axis=1))

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Sum of precision times the step in recall, as scikit-learn defines it."""
        positive, negative = self._by_score(weights)
        found = positive.cumsum(axis=1)
        precision = _ratio(found, found + negative.cumsum(axis=1), empty=0.0)
        return _ratio((precision * positive).sum(axis=1), positive.sum(axis=1))


def _ratio(a: np.ndarray, b: np.ndarray, empty: float = np.nan) -> np.ndarray:
    return np.divide(a, b, out=np.full(np.shape(a), empty), where=b > 0)


def _mean_of_present(by_class: np.ndarray) -> np.ndarray:
    """Mean over classes (axis 0) that have rows in the resample."""
    present = np.isfinite(by_class)
    return _ratio(np.where(present, by_class, 0).sum(axis=0), present.sum(axis=0).astype(float))


def _f1(matrix: np.ndarray) -> np.ndarray:
    hit = np.einsum("bkk->bk", matrix)
    return _ratio(2 * hit, matrix.sum(1) + matrix.sum(2), empty=0.0)


def _balanced_accuracy(matrix: np.ndarray) -> np.ndarray:
    recall = _ratio(np.einsum("bkk->bk", matrix), matrix.sum(2))
    return _mean_of_present(recall.T)


def _macro_f1(matrix: np.ndarray) -> np.ndarray:
    seen = (matrix.sum(1) + matrix.sum(2)) > 0
    return _ratio((_f1(matrix) * seen).sum(1), seen.sum(1).astype(float))


def _weighted_f1(matrix: np.ndarray) -> np.ndarray:
    return _ratio((_f1(matrix) * matrix.sum(2)).sum(1), matrix.sum((1, 2)))


_FROM_CONFUSION: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "accuracy": lambda m: _ratio(np.einsum("bkk->b", m), m.sum((1, 2))),
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "weighted_f1": _weighted_f1,
}
