"""How far probabilities can be believed: every calibrator on the same predictions, and reliability diagrams."""

from __future__ import annotations

import numpy as np

from dermfuse.pipelines.model.calibration import calibrator_named, cross_fitted
from dermfuse.pipelines.model.choices import CALIBRATION, CALIBRATORS
from dermfuse.pipelines.statistics.bootstrap import number
from dermfuse.pipelines.statistics.metrics import point_values
from dermfuse.pipelines.statistics.weighted import equal_mass_bins

COMPARED = ("ece", "ece_positive", "log_loss", "brier", "macro_auc")


def calibration(
    truth: np.ndarray,
    raw: np.ndarray,
    calibrated: np.ndarray,
    fold: np.ndarray,
    used: str = CALIBRATION,
    positive: int = 1,
) -> dict:
    """The entry ``calibration`` of ``metrics.json``.

    Parameters
    ----------
    truth : ndarray of int, shape (n,)
        Column of the true class.
    raw, calibrated : ndarray, shape (n, classes)
        Before and after the calibrator that the run uses.
    fold : ndarray of int, shape (n,)
        -1 in the locked test split.
    used : str
        The name of the run's calibrator.
    positive : int
        Of two classes, the column that diagrams and ``ece_positive`` are about.

    Returns
    -------
    dict
        ``used``; ``methods``, ``reliability`` and ``means``, each of ``out_of_fold`` and ``test``. Methods are scored
        cross-fitted out of fold, and on the test split learned from all out-of-fold rows. Of the used one the scores
        are of `calibrated`, the run's own predictions.
    """
    train = fold >= 0
    by_method = {name: _apply(name, truth, raw, fold) for name in CALIBRATORS if name != used}
    by_method[used] = calibrated
    out: dict = {"used": used, "methods": {}, "reliability": {}, "means": {}}
    for part, rows in (("out_of_fold", train), ("test", ~train)):
        y, before, after = truth[rows], raw[rows], calibrated[rows]
        out["methods"][part] = {name: _scores(y, by_method[name][rows], positive) for name in CALIBRATORS}
        diagrams = {"before": reliability(y, before, positive), "after": reliability(y, after, positive)}
        out["reliability"][part] = diagrams
        out["means"][part] = _means(y, before, after)
    return out


def reliability(truth: np.ndarray, probabilities: np.ndarray, positive: int = 1) -> list[dict]:
    """The bins of the expected calibration error: of rows with similar top probability, how many were right.

    Returns
    -------
    list of dict
        By rising probability: ``n``, ``said`` (the mean top probability), ``right`` (the share of right decisions).
        Of two classes it is the probability of the positive one, and the share that was of it: there the top
        probability would hide which way it errs.
    """
    if probabilities.shape[1] == 2:
        said, came = probabilities[:, positive], truth == positive
    else:
        said, came = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = equal_mass_bins(said)
    groups = [bins == k for k in np.unique(bins)]
    return [{"n": int(g.sum()), "said": float(said[g].mean()), "right": float(came[g].mean())} for g in groups]


def _apply(name: str, truth: np.ndarray, raw: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Probabilities by one method, as honest as those of the run."""
    train = fold >= 0
    out = np.empty(raw.shape)
    out[train] = cross_fitted(raw[train], truth[train], fold[train], name)
    out[~train] = calibrator_named(name).fit(raw[train], truth[train]).transform(raw[~train])
    return out


def _scores(truth: np.ndarray, probabilities: np.ndarray, positive: int) -> dict[str, float | None]:
    values = point_values(truth, probabilities, positive)
    return {name: number(values[name]) for name in COMPARED if name in values}


def _means(truth: np.ndarray, before: np.ndarray, after: np.ndarray) -> list[dict]:
    """For every class, by column: its share of the rows, and its mean probability before and after."""
    shares = np.bincount(truth, minlength=before.shape[1]) / len(truth)
    columns = {"prevalence": shares, "before": before.mean(axis=0), "after": after.mean(axis=0)}
    return [{name: float(values[k]) for name, values in columns.items()} for k in range(before.shape[1])]
