"""Metrics of predicted probabilities, each with a 95 % interval from a bootstrap over groups."""

from __future__ import annotations

import numpy as np

from dermfuse.pipelines.model.calibration import balanced_decisions
from dermfuse.pipelines.statistics.bootstrap import (
    Draws,
    draw,
    number,
    of_absolute_error,
    owners_of,
    percentile,
    wilson,
)
from dermfuse.pipelines.statistics.weighted import FROM_CONFUSION, Scores, cells_by_owner, one_against_rest

ONE_CALL = ("accuracy", "balanced_accuracy", "macro_f1")
RANKING = ("auc", "average_precision", "sensitivity_at_95_specificity", "partial_auc")


def evaluate(
    truth: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, seed: int, positive: int = 1
) -> tuple[dict, list[dict]]:
    """:func:`summarise` and :func:`per_class` from the same resamples."""
    owner = owners_of(groups)
    draws = draw(Scores(truth, probabilities, owner, positive).everything, owner, seed)
    return _overall_entries(draws), _class_rows(draws, truth, probabilities, owner)


def summarise(truth: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, seed: int, positive: int = 1) -> dict:
    """Every overall metric of a set of predictions, with intervals.

    Parameters
    ----------
    truth : ndarray of int, shape (n,)
        Column of the true class.
    probabilities : ndarray, shape (n, classes)
    groups : ndarray, shape (n,)
        Rows of one group are resampled together.
    seed : int
    positive : int
        Of two classes, the column that ``auc``, ``average_precision`` and their like are about.

    Returns
    -------
    dict
        Metric name to ``{"value", "low", "high"}``; None where undefined, as for the AUC of a class with no rows.
        ``ece`` is the expected calibration error of the top probability, ``ece_positive`` that of the positive one of
        two classes, both over 15 bins of equal mass (Naeini, Cooper and Hauskrecht, AAAI 2015); 0 is perfect.
        For ``sensitivity_at_95_specificity`` and ``partial_auc`` see
        :meth:`dermfuse.pipelines.statistics.ranking.Ranked.measures`.
    """
    owner = owners_of(groups)
    return _overall_entries(draw(Scores(truth, probabilities, owner, positive).overall, owner, seed))


def summarise_repeats(
    truth: np.ndarray, repeats: list[np.ndarray], groups: np.ndarray, seed: int, positive: int = 1
) -> dict:
    """As :func:`summarise`, of the mean over several predictions of the same rows.

    Parameters
    ----------
    repeats : list of ndarray, shape (n, classes)
        Probabilities from each division into folds; each resample of groups is the same for all.
    """
    owner = owners_of(groups)
    scores = [Scores(truth, probabilities, owner, positive) for probabilities in repeats]

    def mean(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = [score.overall(weights) for score in scores]
        return {name: np.mean([one[name] for one in found], axis=0) for name in found[0]}

    return _overall_entries(draw(mean, owner, seed))


def per_class(truth: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, seed: int) -> list[dict]:
    """For every class, by column: n, prevalence, and its one-against-rest metrics with intervals."""
    owner = owners_of(groups)
    draws = draw(Scores(truth, probabilities, owner).by_class, owner, seed)
    return _class_rows(draws, truth, probabilities, owner)


def operating_points(
    truth: np.ndarray, probabilities: np.ndarray, prevalence: np.ndarray, groups: np.ndarray, seed: int
) -> dict:
    """Accuracy, balanced accuracy and macro F1 of the two decision rules, with intervals.

    ``accuracy_optimal`` takes the most probable class; ``balanced`` the class that would be most probable if all
    were equally frequent in training (`prevalence`, shape (classes,)).
    """
    owner, classes = owners_of(groups), probabilities.shape[1]
    rules = {
        "accuracy_optimal": probabilities.argmax(axis=1),
        "balanced": balanced_decisions(probabilities, prevalence),
    }
    out = {}
    for name, decision in rules.items():
        cells = cells_by_owner(truth, decision, classes, owner)

        def score(weights: np.ndarray, cells=cells) -> dict[str, np.ndarray]:
            matrix = (weights @ cells).reshape(-1, classes, classes)
            return {metric: FROM_CONFUSION[metric](matrix) for metric in ONE_CALL}

        out[name] = draw(score, owner, seed).entries()
    return out


def malignant(
    truth: np.ndarray,
    probabilities: np.ndarray,
    columns: np.ndarray,
    prevalence: np.ndarray,
    groups: np.ndarray,
    seed: int,
) -> dict:
    """Malignant against benign: the probability of malignant is the sum over the malignant classes.

    Parameters
    ----------
    truth, probabilities, groups, seed
        As in :func:`summarise`.
    columns : ndarray of int
        The malignant classes; neither none nor all.
    prevalence : ndarray, shape (classes,)
        In training; the balanced rule calls a row malignant where it is more likely so than a training row was.

    Returns
    -------
    dict
        ``n``, ``prevalence``; ``auc``, ``average_precision``, ``sensitivity_at_95_specificity``, ``partial_auc`` and
        ``ece`` with intervals; ``operating_points``, each a threshold with its sensitivity, specificity and precision.
    """
    owner = owners_of(groups)
    hit, sums = as_binary(truth, probabilities, columns)
    draws = draw(Scores(hit, sums, owner).overall, owner, seed)
    entries = _overall_entries(draws)
    share = float(prevalence[columns].sum())
    return {
        "n": int(hit.sum()),
        "prevalence": float(hit.mean()),
        **{
            name: entries[name] for name in ("auc", "average_precision", "sensitivity_at_95_specificity", "partial_auc")
        },
        "ece": entries["ece_positive"],
        "operating_points": {
            "accuracy_optimal": _at_threshold(hit, sums[:, 1], 0.5, owner, seed),
            "balanced": _at_threshold(hit, sums[:, 1], share, owner, seed),
        },
    }


def as_binary(truth: np.ndarray, probabilities: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Truth, 0 or 1, and probabilities (n, 2) of being in one of `columns`."""
    inside = np.clip(probabilities[:, columns].sum(axis=1), 0.0, 1.0)
    return np.isin(truth, columns).astype(int), np.column_stack([1 - inside, inside])


def confusion(truth: np.ndarray, decision: np.ndarray, classes: int) -> np.ndarray:
    """Counts, shape (classes, classes): rows are the truth, columns the decision."""
    return np.bincount(truth * classes + decision, minlength=classes * classes).reshape(classes, classes)


def point_values(truth: np.ndarray, probabilities: np.ndarray, positive: int = 1) -> dict[str, float | None]:
    """Every overall metric without an interval."""
    scores = Scores(truth, probabilities, positive=positive).overall(np.ones((1, len(truth))))
    return {name: number(v[0]) for name, v in scores.items()}


def macro_auc(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean one-against-rest area under the ROC curve over the classes present."""
    return float(Scores(truth, probabilities).macro_auc(np.ones((1, len(truth))))[0])


def _overall_entries(draws: Draws) -> dict[str, dict]:
    """Intervals of the overall metrics: percentiles, but those of absolute errors for calibration errors."""
    return {
        name: (of_absolute_error if name.startswith("ece") else percentile)(value, draws.drawn[name])
        for name, value in draws.value.items()
        if "|" not in name
    }


def _class_rows(draws: Draws, truth: np.ndarray, probabilities: np.ndarray, owner: np.ndarray) -> list[dict]:
    decision = probabilities.argmax(axis=1)
    rows = []
    for column in range(probabilities.shape[1]):
        n = int((truth == column).sum())
        asked = _denominators(truth == column, decision == column, owner)
        row = {"n": n, "prevalence": n / len(truth)}
        for name in ("sensitivity", "specificity", "precision", "f1", "auc", "average_precision"):
            value, drawn = draws.value[f"{name}|{column}"], draws.drawn[f"{name}|{column}"]
            row[name] = wilson(value, drawn, *asked[name]) if name in asked else percentile(value, drawn)
        rows.append(row)
    return rows


def _denominators(hit: np.ndarray, said: np.ndarray, owner: np.ndarray) -> dict[str, tuple[int, int]]:
    """Of how many groups and rows each share is a share."""
    asked = {"sensitivity": hit, "specificity": ~hit, "precision": said}
    return {name: (len(np.unique(owner[rows])), int(rows.sum())) for name, rows in asked.items()}


def _at_threshold(hit: np.ndarray, score: np.ndarray, threshold: float, owner: np.ndarray, seed: int) -> dict:
    """Sensitivity, specificity and precision of calling `score` >= `threshold` positive."""
    said = score >= threshold
    cells = cells_by_owner(hit, said.astype(int), 2, owner)
    draws = draw(lambda weights: one_against_rest((weights @ cells).reshape(-1, 2, 2), 1), owner, seed)
    asked = _denominators(hit == 1, said, owner)
    shares = {name: wilson(draws.value[name], draws.drawn[name], *counts) for name, counts in asked.items()}
    return {"threshold": threshold, **shares}
