"""Importance goes to what the model uses; an input that means nothing is called important no more often than stated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermfuse.pipelines.evaluation.permutation import (
    FEWEST,
    MOST,
    SHUFFLED_ROWS,
    donors,
    permutation_importance,
    shuffles_for,
)
from dermfuse.pipelines.model.table import Columns
from dermfuse.pipelines.statistics.metrics import macro_auc
from dermfuse.pipelines.statistics.paired import ALPHA
from tests.pipelines.noise import BLOCK, rows, sigmoid_of


def leans_on_block(X: pd.DataFrame) -> np.ndarray:
    """Uses the block and the site, and never age or sex."""
    return sigmoid_of(2 * X["cae:0000"] * X["cae:0001"] + X["cae:0000"] + (X["site"] == "a"))


def truth_of(predict, X: pd.DataFrame) -> np.ndarray:
    return (predict(X)[:, 1] > np.random.default_rng(1).random(len(X))).astype(int)


def alone(n: int) -> np.ndarray:
    """A group for each row."""
    return np.arange(n).astype(str)


def importance(predict, X, truth, groups=None, columns=BLOCK, seed=0, **more) -> dict[str, dict]:
    groups = alone(len(X)) if groups is None else groups
    return {row["feature"]: row for row in permutation_importance(predict, X, truth, groups, columns, seed, **more)}


def fields_of_groups(seed: int, noise: int, groups: int, largest: int) -> tuple:
    """A fixed model of one telling field and of fields that mean nothing, all of them told of the group."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(groups), rng.integers(1, largest + 1, groups))
    truth = (rng.random(groups) < 0.3).astype(int)[owner]
    told = truth + rng.normal(size=groups)[owner]
    names = ["told", *(f"noise{i}" for i in range(noise))]
    values = np.column_stack([told, rng.normal(size=(groups, noise))[owner]]).astype(np.float32)
    weights = np.r_[1.0, rng.normal(scale=0.2, size=noise)]
    X = pd.DataFrame(values, columns=names)
    return lambda X: sigmoid_of(X.to_numpy() @ weights), X, truth, owner.astype(str), Columns({}, names, [])


@pytest.mark.parametrize("largest", [1, 4], ids=["single rows", "groups of rows"])
def test_fields_that_mean_nothing_are_called_important_as_rarely_as_stated_and_a_telling_one_is_found(largest, request):
    repeats = 60 if request.config.getoption("--long") else 15
    found = [importance(*fields_of_groups(seed, 20, 110, largest), seed=seed) for seed in range(repeats)]
    noise = [row for one in found for name, row in one.items() if name != "told"]
    assert len(noise) == 20 * repeats
    # Three standard errors of a share of so many are allowed for.
    room = 3 * np.sqrt(ALPHA * (1 - ALPHA) / len(noise))
    assert np.mean([row["p_value"] <= ALPHA for row in noise]) <= ALPHA + room
    assert np.mean([row["low"] > 0 or row["high"] < 0 for row in noise]) <= ALPHA + room
    assert np.mean([row["low"] > 0 for row in noise]) <= ALPHA / 2 + room
    told = [one["told"] for one in found]
    assert all(row["p_value"] <= ALPHA and row["low"] > 0 for row in told)


def test_an_interval_covers_the_drop_that_many_rows_show():
    """The model is fixed; what varies is which groups were scored."""
    columns = Columns({}, ["age", "size"], [])

    def predict(X):
        return sigmoid_of((X["age"] - 50) / 10 + (X["size"] - 50) / 20)

    def drawn(groups: int, seed: int):
        X = rows(groups, columns, seed).loc[np.repeat(np.arange(groups), 2)].reset_index(drop=True)
        truth = (predict(X)[:, 1] > np.repeat(np.random.default_rng(seed + 5000).random(groups), 2)).astype(int)
        return X, truth, np.repeat(np.arange(groups), 2).astype(str)

    X, truth, groups = drawn(20_000, 9999)
    real = importance(predict, X, truth, groups, columns)["age"]["value"]
    held = [importance(predict, *drawn(100, seed), columns, seed=seed)["age"] for seed in range(100)]
    assert np.mean([row["low"] <= real <= row["high"] for row in held]) >= 0.88


def test_a_field_that_the_model_ignores_loses_nothing():
    X = rows(300, BLOCK)
    found = importance(leans_on_block, X, truth_of(leans_on_block, X))
    for name in ("age", "sex"):
        assert [found[name][key] for key in ("value", "low", "high", "p_value")] == [0, 0, 0, 1]


def test_importance_is_positive_for_the_one_informative_block():
    def predict(X):
        return sigmoid_of(3 * X["cae:0000"])

    X = rows(300, BLOCK)
    found = importance(predict, X, truth_of(predict, X))
    assert found["cae"]["value"] > 0.25 and found["cae"]["low"] > 0.2
    assert found["cae"]["p_value"] == 1 / (1 + shuffles_for(300))
    assert all(row["value"] == 0 for name, row in found.items() if name != "cae")


def test_the_drop_is_that_of_macro_auc():
    columns, seen = Columns({}, ["age"], []), []

    def predict(X):
        z = np.column_stack([X["age"] - 50, 50 - X["age"], np.zeros(len(X))]) / 10
        seen.append(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))
        return seen[-1]

    X = rows(90, columns)
    truth = np.where(X["age"] > 55, 0, np.where(X["age"] < 45, 1, 2))
    value = importance(predict, X, truth, columns=columns)["age"]["value"]
    whole, *shuffled = [one for chances in seen for one in np.split(chances, len(chances) // 90)]
    assert len(shuffled) == shuffles_for(90)
    expected = macro_auc(truth, whole) - np.mean([macro_auc(truth, one) for one in shuffled])
    assert value == pytest.approx(expected, abs=1e-12)


def test_a_class_without_rows_is_left_out_as_in_the_scores():
    def predict(X):
        return np.column_stack([leans_on_block(X), np.zeros(len(X))])

    X = rows(80, BLOCK)
    truth = truth_of(leans_on_block, X)
    with_third, without = importance(predict, X, truth), importance(leans_on_block, X, truth)
    for name in with_third:
        assert {k: v for k, v in with_third[name].items() if k != "class"} == pytest.approx(
            {k: v for k, v in without[name].items() if k != "class"}, nan_ok=True
        )


def test_a_blocks_columns_are_shuffled_together():
    def predict(X):
        # Both columns say the same: shuffled apart, each would lose what the other still tells.
        return sigmoid_of(3 * np.where(np.sign(X["cae:0000"]) == np.sign(X["cae:0001"]), X["cae:0000"], -9))

    X = rows(60, BLOCK)
    X["cae:0001"] = X["cae:0000"]
    seen = []
    importance(lambda X: seen.append(X.copy()) or predict(X), X, (X["cae:0000"] > 0).to_numpy().astype(int))
    assert all((shown["cae:0000"] == shown["cae:0001"]).all() for shown in seen)


def test_rows_of_a_group_take_the_values_of_one_group():
    owner = np.repeat(np.arange(50), np.random.default_rng(0).integers(1, 5, 50))
    for seed in range(20):
        taken = owner[donors(owner, np.random.default_rng(seed))]
        giver = {group: set(taken[owner == group]) for group in range(50)}
        assert all(len(groups) == 1 for groups in giver.values())
        assert set.union(*giver.values()) == set(range(50)), "every group gives once"


def test_a_group_takes_as_many_different_rows_as_its_giver_has():
    owner = np.array([0, 0, 0, 1, 1])
    for seed in range(8):
        taken = donors(owner, np.random.default_rng(seed))
        assert sorted(taken) in ([0, 1, 2, 3, 4], [0, 1, 3, 3, 4])


def test_shuffled_tables_keep_their_types_and_the_given_table_is_left_alone():
    X = rows(40, BLOCK)
    X.loc[3, "site"], X.loc[4, "age"] = np.nan, np.nan
    before, seen = X.copy(), []

    def predict(shown):
        seen.append((shown.dtypes, list(shown)))
        return sigmoid_of(shown["age"].fillna(0) / 50)

    importance(predict, X, np.arange(40) % 2)
    assert all((types == X.dtypes).all() and names == list(X) for types, names in seen)
    pd.testing.assert_frame_equal(X, before)


def test_few_rows_are_shuffled_more_often_and_a_p_of_the_level_is_always_within_reach():
    assert shuffles_for(1) == MOST and shuffles_for(10**7) == FEWEST
    assert FEWEST < shuffles_for(SHUFFLED_ROWS // 50) < MOST
    assert 1 / (1 + FEWEST) <= ALPHA


def test_the_advance_is_told_of_every_shuffle():
    steps, X = [], rows(30, BLOCK)
    importance(leans_on_block, X, np.arange(30) % 2, advance=steps.append)
    assert sum(steps) == len(BLOCK.players()) * shuffles_for(30)


def test_importance_is_reproduced_by_its_seed_alone():
    X = rows(100, BLOCK)
    truth = truth_of(leans_on_block, X)
    first, again, other = (importance(leans_on_block, X, truth, seed=seed) for seed in (0, 0, 1))
    values = [[(row["value"], row["low"], row["p_value"]) for row in found.values()] for found in (first, again, other)]
    assert values[0] == values[1] != values[2]


def test_without_two_classes_there_is_no_importance():
    assert importance(leans_on_block, rows(20, BLOCK), np.zeros(20, int)) == {}
