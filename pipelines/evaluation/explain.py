"""What moves a fitted model's predictions: Shapley values of metadata fields and image blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dermfuse.pipelines.model.table import Columns

SHOWN_ROWS = 100
BACKGROUND_ROWS = 16
# Exact Shapley values need 2^players evaluations; beyond this many, permutations of players are sampled.
EXACT_PLAYERS = 8

Predict = Callable[[pd.DataFrame], np.ndarray]


@dataclass(frozen=True)
class Explanation:
    """Importance in the run folder's long form, and single Shapley values.

    Attributes
    ----------
    importance : list of dict
        Rows of ``importance.parquet``.
    shap : DataFrame
        Rows of ``shap.parquet``.
    shown : int
        How many rows the Shapley values are of.
    """

    importance: list[dict]
    shap: pd.DataFrame
    shown: int


def shapley(
    predict: Predict,
    background: pd.DataFrame,
    X: pd.DataFrame,
    classes: list[str],
    columns: Columns,
    seed: int,
    advance=lambda n=1: None,
) -> Explanation:
    """Shapley values of the predicted probabilities, players being metadata fields and whole image blocks.

    Lundberg and Lee, "A unified approach to interpreting model predictions", NeurIPS 2017; interventional, so a
    player that is left out takes its values from a background row. Exact up to `EXACT_PLAYERS` players.

    Parameters
    ----------
    predict : callable
        ``X`` to probabilities (n, classes).
    background : DataFrame
        Training rows; `BACKGROUND_ROWS` of them are drawn.
    X : DataFrame
        Rows to explain; `SHOWN_ROWS` of them are drawn.
    classes : list of str
    columns : Columns
    seed : int
    advance : callable
        Called after each explained row.

    Returns
    -------
    Explanation
        For one row and class, the values of all players add up to the probability less the background's mean.
    """
    import shap

    rng = np.random.default_rng(seed)
    background = _sample(background, BACKGROUND_ROWS, rng)
    X = _sample(X, SHOWN_ROWS, rng)
    pool = pd.concat([background, X], ignore_index=True)
    players = columns.players()

    def by_index(sources: np.ndarray) -> np.ndarray:
        """Probabilities of rows put together: each player's columns come from the pool's row of that number."""
        sources = sources.astype(int)
        mixed = {
            name: pool[names].iloc[sources[:, i]].reset_index(drop=True)
            for i, (name, names) in enumerate(players.items())
        }
        return predict(pd.concat(mixed.values(), axis=1)[list(pool.columns)])

    one_each = np.ones(len(players))
    masker = shap.maskers.Independent(np.outer(np.arange(len(background)), one_each), max_samples=len(background))
    values = []
    with _global_random_state_kept():
        if len(players) <= EXACT_PLAYERS:
            explainer = shap.explainers.Exact(by_index, masker)
        else:
            explainer = shap.explainers.Permutation(by_index, masker, seed=seed)
        for row in range(len(background), len(pool)):
            values.append(explainer(np.full((1, len(players)), row), silent=True).values[0])
            advance()
    values = np.stack(values)  # (rows, players, classes)
    return Explanation(_mean_shap(values, classes, columns), _shap_table(values, X, classes, columns), len(X))


def importance_row(
    kind, feature, block, value, *, cls=None, low=np.nan, high=np.nan, p=np.nan, selected=np.nan
) -> dict:
    """One row of ``importance.parquet``."""
    return {
        "kind": kind,
        "feature": feature,
        "block": block,
        "class": cls,
        "value": float(value),
        "low": float(low),
        "high": float(high),
        "p_value": float(p),
        "selected": float(selected),
    }


@contextmanager
def _global_random_state_kept() -> Iterator[None]:
    """Around SHAP, which draws its permutations from NumPy's global state and seeds it."""
    before = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(before)


def _sample(X: pd.DataFrame, most: int, rng: np.random.Generator) -> pd.DataFrame:
    return X if len(X) <= most else X.iloc[np.sort(rng.choice(len(X), most, replace=False))]


def _mean_shap(values: np.ndarray, classes: list[str], columns: Columns) -> list[dict]:
    mean = np.abs(values).mean(axis=0)
    return [
        importance_row("shap", player, columns.block_of(player), mean[i, k], cls=name)
        for i, player in enumerate(columns.players())
        for k, name in enumerate(classes)
    ]


def _shap_table(values: np.ndarray, X: pd.DataFrame, classes: list[str], columns: Columns) -> pd.DataFrame:
    parts = []
    for i, player in enumerate(columns.players()):
        scaled, text = _for_colour(X, player, columns)
        for k, name in enumerate(classes):
            part = pd.DataFrame({"sample": np.arange(len(X)), "class": name, "feature": player})
            part["block"] = columns.block_of(player)
            part["shap_value"] = values[:, i, k]
            part["feature_value"], part["feature_text"] = scaled, text
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _for_colour(X: pd.DataFrame, player: str, columns: Columns) -> tuple[np.ndarray, list[str]]:
    """A player's values scaled to [0, 1] where they have an order, and as text."""
    nothing = np.full(len(X), np.nan)
    if player in columns.images:
        return nothing, [""] * len(X)
    values = X[player]
    text = ["missing" if pd.isna(v) else f"{v:g}" if player in columns.numeric else str(v) for v in values]
    if player in columns.categorical:
        return nothing, text
    numbers = values.to_numpy(float)
    low, high = np.nanmin(numbers, initial=np.inf), np.nanmax(numbers, initial=-np.inf)
    return ((numbers - low) / (high - low) if high > low else nothing), text
