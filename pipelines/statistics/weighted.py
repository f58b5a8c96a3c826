"""Scores of fixed predictions under many row weightings at once: what a bootstrap over groups asks for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dermfuse.pipelines.statistics.ranking import Ranked, ratio

BINS = 15


class Scores:
    """Metrics as functions of weights, (resamples, owners) to (resamples,).

    Rows of one owner, a group, always count together, so whatever is a sum over rows is summed over each group once.

    Parameters
    ----------
    truth : ndarray of int, shape (n,)
        Column of the true class.
    probabilities : ndarray, shape (n, classes)
    owner : ndarray of int, shape (n,), or None
        Column of the weights that each row takes its weight from; None gives every row its own.
    positive : int
        Of two classes, the column that ``auc`` and its like are about.
    """

    def __init__(self, truth: np.ndarray, probabilities: np.ndarray, owner: np.ndarray | None = None, positive=1):
        self.truth, self.p = truth, np.asarray(probabilities, dtype=np.float64)
        self.classes, self.positive = self.p.shape[1], positive
        self.owner = np.arange(len(truth)) if owner is None else owner
        self.owners = int(self.owner.max()) + 1
        self._cells = cells_by_owner(truth, self.p.argmax(axis=1), self.classes, self.owner)
        self._ranked = [Ranked(self.p[:, k], truth == k, self.owner) for k in range(self.classes)]
        self._by_row = self._losses()

    def overall(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Overall metrics, each (resamples,)."""
        return self._overall(weights, self._confusion(weights), self._ranks(weights))

    def everything(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Overall metrics, and each class's against the rest, named ``metric|column``."""
        matrix, ranks = self._confusion(weights), self._ranks(weights)
        return {**self._overall(weights, matrix, ranks), **self._by_class(matrix, ranks)}

    def by_class(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Each class's metrics against the rest, named ``metric|column``."""
        return self._by_class(self._confusion(weights), self._ranks(weights))

    def macro_auc(self, weights: np.ndarray) -> np.ndarray:
        """Mean one-against-rest AUC over the classes present, (resamples,)."""
        return mean_of_present(np.stack([ranked.measures(weights)["auc"] for ranked in self._ranked]))

    def ranking(self, weights: np.ndarray, column: int) -> dict[str, np.ndarray]:
        """How one class is ranked above the rest: areas, partial area and sensitivity at 95 % specificity."""
        return self._ranked[column].measures(weights, clinical=True)

    def _losses(self) -> dict[str, np.ndarray]:
        """Sums over each owner's rows, (owners, m), for everything that is a mean over rows."""
        n = len(self.truth)
        # A probability of zero costs what it costs in scikit-learn: 36, not infinity.
        least = np.finfo(np.float64).eps
        said = self.p[np.arange(n), self.truth]
        loss = -np.log(np.maximum(said, least))
        brier = (self.p**2).sum(axis=1) - 2 * said + 1
        rows = sums_by_owner(np.column_stack([np.ones(n), loss, brier]), self.owner, self.owners)
        top = self.p.argmax(axis=1)
        out = {"rows": rows, "ece": _gaps(self.p.max(axis=1), top == self.truth, self.owner, self.owners)}
        if self.classes == 2:
            column = self.p[:, self.positive]
            out["ece_positive"] = _gaps(column, self.truth == self.positive, self.owner, self.owners)
        return out

    def _ranks(self, weights: np.ndarray) -> list[dict[str, np.ndarray]]:
        binary = self.classes == 2
        return [r.measures(weights, clinical=binary and k == self.positive) for k, r in enumerate(self._ranked)]

    def _confusion(self, weights: np.ndarray) -> np.ndarray:
        return (weights @ self._cells).reshape(-1, self.classes, self.classes)

    def _overall(self, weights, matrix, ranks) -> dict[str, np.ndarray]:
        out = {name: f(matrix) for name, f in FROM_CONFUSION.items()}
        out["macro_auc"] = mean_of_present(np.stack([rank["auc"] for rank in ranks]))
        out["macro_average_precision"] = mean_of_present(np.stack([rank["average_precision"] for rank in ranks]))
        total, loss, brier = (weights @ self._by_row["rows"]).T
        out["log_loss"], out["brier"] = ratio(loss, total), ratio(brier, total)
        for name in ("ece", "ece_positive"):
            if name in self._by_row:
                out[name] = ratio(np.abs(weights @ self._by_row[name]).sum(axis=1), total)
        if self.classes == 2:
            out |= ranks[self.positive]
        return out

    def _by_class(self, matrix, ranks) -> dict[str, np.ndarray]:
        out = {}
        for k, rank in enumerate(ranks):
            for name, values in one_against_rest(matrix, k).items():
                out[f"{name}|{k}"] = values
            out[f"auc|{k}"], out[f"average_precision|{k}"] = rank["auc"], rank["average_precision"]
        return out


def one_against_rest(matrix: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Sensitivity, specificity, precision and F1 of class `k` from confusion matrices (resamples, classes, classes)."""
    hit, row, column = matrix[:, k, k], matrix[:, k].sum(1), matrix[:, :, k].sum(1)
    others = matrix.sum((1, 2)) - row
    return {
        "sensitivity": ratio(hit, row),
        "specificity": ratio(others - (column - hit), others),
        "precision": ratio(hit, column),
        "f1": ratio(2 * hit, row + column),
    }


def cells_by_owner(truth: np.ndarray, decision: np.ndarray, classes: int, owner: np.ndarray) -> np.ndarray:
    """Each owner's confusion matrix, flat: shape (owners, classes * classes), float64."""
    cells, owners = classes * classes, int(owner.max()) + 1
    flat = owner * cells + truth * classes + decision
    return np.bincount(flat, minlength=owners * cells).reshape(owners, cells).astype(np.float64)


def sums_by_owner(values: np.ndarray, owner: np.ndarray, owners: int) -> np.ndarray:
    """Sums of (n, m) values over each owner's rows, (owners, m)."""
    return np.stack([np.bincount(owner, weights=column, minlength=owners) for column in values.T], axis=1)


def equal_mass_bins(values: np.ndarray) -> np.ndarray:
    """The bin of each value, (n,) int: at most 15 bins between quantiles; equal values share a bin."""
    edges = np.quantile(values, np.arange(1, BINS) / BINS)
    return np.searchsorted(np.unique(edges), values, side="right")


def mean_of_present(by_class: np.ndarray) -> np.ndarray:
    """Mean over classes (axis 0) that have rows in the resample."""
    present = np.isfinite(by_class)
    return ratio(np.where(present, by_class, 0).sum(axis=0), present.sum(axis=0).astype(float))


def _gaps(said: np.ndarray, came: np.ndarray, owner: np.ndarray, owners: int) -> np.ndarray:
    """What was said minus what came, summed by owner and bin, (owners, bins); the bins stay when rows are redrawn."""
    number = equal_mass_bins(said)
    bins = int(number.max()) + 1
    return np.bincount(owner * bins + number, weights=said - came, minlength=owners * bins).reshape(owners, bins)


def _f1(matrix: np.ndarray) -> np.ndarray:
    hit = np.einsum("bkk->bk", matrix)
    return ratio(2 * hit, matrix.sum(1) + matrix.sum(2), empty=0.0)


def _balanced_accuracy(matrix: np.ndarray) -> np.ndarray:
    recall = ratio(np.einsum("bkk->bk", matrix), matrix.sum(2))
    return mean_of_present(recall.T)


def _macro_f1(matrix: np.ndarray) -> np.ndarray:
    seen = (matrix.sum(1) + matrix.sum(2)) > 0
    return ratio((_f1(matrix) * seen).sum(1), seen.sum(1).astype(float))


def _weighted_f1(matrix: np.ndarray) -> np.ndarray:
    return ratio((_f1(matrix) * matrix.sum(2)).sum(1), matrix.sum((1, 2)))


FROM_CONFUSION: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "accuracy": lambda m: ratio(np.einsum("bkk->b", m), m.sum((1, 2))),
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "weighted_f1": _weighted_f1,
}
