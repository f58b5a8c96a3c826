"""What decisions by a risk are worth: the decision curve of one class against the rest."""

from __future__ import annotations

import numpy as np

from dermfuse.pipelines.statistics.bootstrap import TAILS, one_thread, owners_of, resampled
from dermfuse.pipelines.statistics.weighted import sums_by_owner

THRESHOLDS = np.arange(1, 100) / 100


def net_benefit(positive: np.ndarray, risk: np.ndarray, threshold: float) -> float:
    """True positives a row, less the false ones, weighed by the odds of the threshold.

    ``TP / n - FP / n * t / (1 - t)`` where rows of at least risk `t` are treated. Who treats at a risk of
    10 % holds one missed case for as bad as nine needless treatments. Vickers and Elkin, "Decision curve analysis: a
    novel method for evaluating prediction models", Medical Decision Making 26 (2006).

    Parameters
    ----------
    positive : ndarray of bool, shape (n,)
    risk : ndarray of float, shape (n,)
        Its probability.
    threshold : float
        Between 0 and 1, both excluded.
    """
    return float(_gains(positive, risk, np.array([threshold])).mean())


def decision_curve(positive: np.ndarray, risk: np.ndarray, groups: np.ndarray, seed: int) -> dict:
    """Net benefit of the model, of treating all and of treating none, over thresholds of 1 to 99 %.

    Parameters
    ----------
    positive, risk
        As in :func:`net_benefit`.
    groups : ndarray, shape (n,)
        Rows of one group are resampled together.
    seed : int

    Returns
    -------
    dict
        Lists by threshold: ``threshold``; ``net_benefit`` with the 95 % percentile band ``low`` and ``high`` of a
        bootstrap over groups; ``treat_all`` (treating none is 0); ``gain_low`` and ``gain_high``, the band of what the
        model gains over the better of treating all and none. And ``prevalence``.
    """
    owner = owners_of(groups)
    owners = int(owner.max()) + 1
    model = sums_by_owner(_gains(positive, risk, THRESHOLDS), owner, owners)
    everyone = sums_by_owner(_gains(positive, np.ones(len(positive)), THRESHOLDS), owner, owners)
    rows = np.bincount(owner, minlength=owners).astype(np.float64)
    benefits, gains = [], []
    with one_thread():
        for weights in resampled(owners, len(owner), seed):
            total = (weights @ rows)[:, None]
            benefits.append(weights @ model / total)
            gains.append(benefits[-1] - np.maximum(weights @ everyone / total, 0.0))
    low, high = np.quantile(np.concatenate(benefits), TAILS, axis=0)
    gain_low, gain_high = np.quantile(np.concatenate(gains), TAILS, axis=0)
    columns = {
        "threshold": THRESHOLDS,
        "net_benefit": model.sum(axis=0) / len(owner),
        "low": low,
        "high": high,
        "treat_all": everyone.sum(axis=0) / len(owner),
        "gain_low": gain_low,
        "gain_high": gain_high,
    }
    return {"prevalence": float(positive.mean()), **{name: values.tolist() for name, values in columns.items()}}


def _gains(positive: np.ndarray, risk: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """What each row adds at each threshold, (n, thresholds): 1, less the odds if needless, 0 if not treated."""
    worth = np.where(positive[:, None], 1.0, -thresholds / (1 - thresholds))
    return np.where(risk[:, None] >= thresholds, worth, 0.0)
