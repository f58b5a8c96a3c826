"""What a fitted model leans on: the macro AUC that it loses when an input is shuffled, and whether that is chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from dermfuse.pipelines.evaluation.explain import importance_row
from dermfuse.pipelines.model.table import Columns
from dermfuse.pipelines.statistics.bootstrap import owners_of
from dermfuse.pipelines.statistics.placements import draw_difference, macro, placements

# Predicting is what shuffles cost. Few rows are shuffled more often, since there chance is larger; 20 is what a p of
# 0.05 takes.
SHUFFLED_ROWS = 20_000
FEWEST, MOST = 20, 199
# Numbers in one call of the model, so that memory stays small.
_CELLS = 10_000_000

Predict = Callable[[pd.DataFrame], np.ndarray]


def shuffles_for(rows: int) -> int:
    """How often an input is shuffled over so many rows."""
    return int(np.clip(SHUFFLED_ROWS // max(rows, 1), FEWEST, MOST))


def permutation_importance(
    predict: Predict,
    X: pd.DataFrame,
    truth: np.ndarray,
    groups: np.ndarray,
    columns: Columns,
    seed: int,
    advance=lambda n=1: None,
) -> list[dict]:
    """Drop of macro AUC when one metadata field, or one image block as a whole, is shuffled over the groups.

    Breiman, "Random forests", Machine Learning 45 (2001), with a block's columns shuffled together, since they say
    the same thing many times over. The interval is a bootstrap over groups of the drop, paired row by row, the mean
    over shuffles being taken first. The p value is the share of shuffles that did as well as the true values, these
    among them: exact, whatever the number of rows, where an input has nothing to do with the class and the other
    inputs. Phipson and Smyth, "Permutation p-values should never be zero", SAGMB 9 (2010).

    Parameters
    ----------
    predict : callable
        ``X`` to probabilities (n, classes).
    X : DataFrame
        Rows the model has not learned from.
    truth : ndarray of int, shape (n,)
    groups : ndarray of str, shape (n,)
        Rows of one group are given the values of one other group, as they share most of theirs.
    columns : Columns
    seed : int
    advance : callable
        Given the number of shuffles done.

    Returns
    -------
    list of dict
        One row a player: mean drop, its 95 % interval, and p. Empty where `truth` is of one class, of which no AUC is
        defined.
    """
    if len(set(truth)) < 2:
        return []
    rng, owner, shuffles = np.random.default_rng(seed), owners_of(groups), shuffles_for(len(X))
    before = placements(truth, predict(X))
    rows = []
    for player, names in columns.players().items():
        found = []
        for chances in _shuffled_chances(predict, X, names, owner, shuffles, rng):
            found += [placements(truth, one) for one in chances]
            advance(len(chances))
        entry = draw_difference(truth, np.mean([before - one for one in found], axis=0), owner, seed).entries()["drop"]
        whole, without = macro(truth, before), np.array([macro(truth, one) for one in found])
        # Equal scores may differ in their last digit by the order of summing.
        p = (1 + (without >= whole - 1e-12).sum()) / (1 + shuffles)
        block = columns.block_of(player)
        rows.append(
            importance_row("permutation", player, block, entry["value"], low=entry["low"], high=entry["high"], p=p)
        )
    return rows


def donors(owner: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The row that each row takes its values from when groups change places, (n,) int.

    Rows of a group take those of one other group in turn, and begin again where that one has fewer.
    """
    members = np.argsort(owner, kind="stable")
    sizes = np.bincount(owner)
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(owner), int)
    place[members] = np.arange(len(owner)) - np.repeat(starts, sizes)
    giver = rng.permutation(len(sizes))[owner]
    return members[starts[giver] + place % sizes[giver]]


def _shuffled_chances(predict, X: pd.DataFrame, names, owner, shuffles: int, rng) -> Iterator[list[np.ndarray]]:
    """Probabilities under each shuffle, (n, classes), several to a call of the model."""
    n = len(X)
    at_once = max(1, _CELLS // max(X.size, 1))
    mine, others = X[names], X.drop(columns=names)
    for start in range(0, shuffles, at_once):
        many = min(at_once, shuffles - start)
        taken = mine.iloc[np.concatenate([donors(owner, rng) for _ in range(many)])].reset_index(drop=True)
        kept = others.iloc[np.tile(np.arange(n), many)].reset_index(drop=True)
        yield np.split(predict(pd.concat([kept, taken], axis=1)[list(X.columns)]), many)
