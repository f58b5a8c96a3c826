"""Paired statistics: the difference of a metric between two models on the same rows, and what can be concluded."""

from __future__ import annotations

import numpy as np

from dermfuse.pipelines.statistics.bootstrap import TAILS, number

ALPHA = 0.05
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece", "ece_positive"})


def difference(first: np.ndarray, second: np.ndarray) -> dict:
    """Difference of a metric between two runs, from values of which the first is observed and the rest resampled.

    The p value is two-sided, from the share of resamples on the far side of zero:
    ``2 (1 + min(#{d <= 0}, #{d >= 0})) / (1 + resamples)``, at most 1 (Davison and Hinkley 1997, section 4.4).

    Parameters
    ----------
    first, second : ndarray, shape (1 + resamples,)
        Both from the same resamples; NaN where the metric is not defined.

    Returns
    -------
    dict
        ``first``, ``second``, ``difference``, ``low``, ``high`` (95 % percentile interval) and ``p``; None where
        not defined.
    """
    drawn = (second - first)[1:]
    drawn = drawn[np.isfinite(drawn)]
    low, high, p = None, None, None
    if len(drawn) and np.isfinite(second[0] - first[0]):
        low, high = np.quantile(drawn, TAILS)
        beyond = min((drawn <= 0).sum(), (drawn >= 0).sum())
        p = min(1.0, 2 * (1 + beyond) / (1 + len(drawn)))
    values = {"first": first[0], "second": second[0], "difference": second[0] - first[0], "low": low, "high": high}
    return {**{name: number(value) for name, value in values.items()}, "p": number(p)}


def corrected_t(differences: np.ndarray, folds: int) -> dict:
    """Corrected resampled t test of differences by fold (Nadeau and Bengio, Machine Learning 52, 2003).

    Training sets of different folds overlap, so that the plain variance of the mean is too small. It is raised from
    ``1 / J`` to ``1 / J + n_test / n_train`` of the variance over the J folds, where the ratio is ``1 / (folds - 1)``.

    Parameters
    ----------
    differences : ndarray, shape (J,)
        One a fold, of all repeats; those not defined are left out.
    folds : int
        Folds of one repeat.

    Returns
    -------
    dict
        ``difference`` (mean over folds), ``p`` (two-sided, J - 1 degrees of freedom; None with fewer than two
        folds, or when all differ from zero by the same amount) and ``folds`` (J).
    """
    from scipy import stats

    d = differences[np.isfinite(differences)]
    if len(d) < 2:
        return {"difference": number(d.mean()) if len(d) else None, "p": None, "folds": len(d)}
    variance = (1 / len(d) + 1 / (folds - 1)) * d.var(ddof=1)
    p = None
    if np.ptp(d) > 1e-12:  # less is rounding
        p = 2 * stats.t.sf(abs(d.mean()) / np.sqrt(variance), len(d) - 1)
    elif abs(d.mean()) < 1e-12:
        p = 1.0
    return {"difference": float(d.mean()), "p": number(p), "folds": len(d)}


def holm(p_values: list[float | None]) -> list[float | None]:
    """Holm's step-down correction over all p values that are defined (Scandinavian Journal of Statistics 6, 1979)."""
    from statsmodels.stats.multitest import multipletests

    there = [p for p in p_values if p is not None]
    corrected = iter(multipletests(there, method="holm")[1]) if there else iter(())
    return [None if p is None else float(next(corrected)) for p in p_values]


def verdict(metric: str, entry: dict) -> str:
    """``better`` or ``worse`` where the corrected p value is below 5 %, else ``undecided``."""
    if entry["p_holm"] is None or entry["p_holm"] >= ALPHA or not entry["difference"]:
        return "undecided"
    return "better" if (entry["difference"] > 0) != (metric in LOWER_IS_BETTER) else "worse"
