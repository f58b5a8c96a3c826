"""Shapley values go to what the model uses, and add up to the prediction."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermfuse.pipelines.evaluation import explain
from dermfuse.pipelines.evaluation.explain import BACKGROUND_ROWS, EXACT_PLAYERS, SHOWN_ROWS
from dermfuse.pipelines.model.table import METADATA, Columns
from tests.pipelines.noise import BLOCK, rows, sigmoid_of

CLASSES = ["benign", "melanoma"]


def leans_on_block(X: pd.DataFrame) -> np.ndarray:
    """Uses the block and the site, and never age or sex."""
    return sigmoid_of(2 * X["cae:0000"] * X["cae:0001"] + X["cae:0000"] + (X["site"] == "a"))


def shapley(predict, columns: Columns, n: int = 12, seed: int = 0, background: int = 20) -> explain.Explanation:
    return explain.shapley(predict, rows(background, columns, 7), rows(n, columns), CLASSES, columns, seed)


def sums(found: explain.Explanation) -> np.ndarray:
    """Sum over players, (rows, classes)."""
    table = found.shap.pivot_table(index="sample", columns="class", values="shap_value", aggfunc="sum")
    return table[CLASSES].to_numpy()


@pytest.mark.parametrize("extra", [0, EXACT_PLAYERS], ids=["exact", "sampled"])
def test_values_add_up_to_the_prediction_less_the_backgrounds_mean(extra):
    columns = Columns(BLOCK.images, ["age", *(f"m{i}" for i in range(extra))], ["sex", "site"])

    def predict(X):
        return sigmoid_of(sum(X[f"m{i}"] - 50 for i in range(extra)) / 20 + X["cae:0000"] * (X["site"] == "a"))

    background, X = rows(BACKGROUND_ROWS, columns, 7), rows(9, columns)
    found = explain.shapley(predict, background, X, CLASSES, columns, seed=0)
    assert sums(found) == pytest.approx(predict(X) - predict(background).mean(axis=0), abs=1e-6)


def test_a_player_that_the_model_ignores_has_no_importance_at_all():
    found = shapley(leans_on_block, BLOCK)
    shown = found.shap.groupby("feature")["shap_value"].apply(lambda v: v.abs().max())
    assert shown["age"] == pytest.approx(0, abs=1e-9) and shown["sex"] == pytest.approx(0, abs=1e-9)
    assert shown["cae"] > 0.1 and shown["site"] > 0.05


def test_the_advance_is_called_once_a_row():
    steps, X = [], rows(30, BLOCK)
    explain.shapley(leans_on_block, X, X.iloc[:7], CLASSES, BLOCK, seed=0, advance=lambda: steps.append(1))
    assert len(steps) == 7


def test_few_players_are_explained_exactly():
    """Two players by hand: the mean over both orders of coming in, over all background rows."""
    columns = Columns({}, ["age", "size"], [])

    def predict(X):
        return sigmoid_of(X["age"] / 50 * X["size"] / 50)

    background, X = rows(5, columns, 7), rows(3, columns)
    found = explain.shapley(predict, background, X, CLASSES, columns, seed=0).shap

    def mean_with(known: dict) -> float:
        return predict(background.assign(**known))[:, 1].mean()

    for i in range(3):
        age, size = ({name: X[name].iloc[i]} for name in ("age", "size"))
        nobody, everybody = mean_with({}), mean_with({**age, **size})
        expected = (mean_with(age) - nobody + everybody - mean_with(size)) / 2
        of_row = found[(found["sample"] == i) & (found["class"] == "melanoma")].set_index("feature")["shap_value"]
        assert of_row["age"] == pytest.approx(expected, abs=1e-9)


def test_many_players_are_sampled_and_not_enumerated():
    columns = Columns({}, [f"m{i}" for i in range(14)], [])
    evaluated = []

    def predict(X):
        evaluated.append(len(X))
        return sigmoid_of((X.sum(axis=1) - 700) / 20)

    explain.shapley(predict, rows(4, columns, 7), rows(2, columns), CLASSES, columns, seed=0)
    assert sum(evaluated) < 2 * 4 * 2**14 / 10


def test_a_single_player_gets_the_whole_difference():
    columns = Columns({"cae": ["cae:0000"]}, [], [])

    def predict(X):
        return sigmoid_of(X["cae:0000"])

    background, X = rows(10, columns, 7), rows(5, columns)
    found = explain.shapley(predict, background, X, CLASSES, columns, seed=0)
    assert set(found.shap["feature"]) == {"cae"}
    assert sums(found) == pytest.approx(predict(X) - predict(background).mean(axis=0), abs=1e-9)


@pytest.mark.parametrize(("extra", "n"), [(0, 150), (EXACT_PLAYERS, 12)], ids=["exact", "sampled"])
def test_values_are_reproduced_by_their_seed_and_leave_the_global_random_state_alone(extra, n):
    columns = Columns(BLOCK.images, [f"m{i}" for i in range(extra)], ["site"])

    def predict(X):
        total = sum((X[f"m{i}"] - 50) / 10 * (X["site"] == "a") * X["cae:0000"] for i in range(extra))
        return sigmoid_of(total + X["cae:0000"] * X["cae:0001"])

    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    first = shapley(predict, columns, n)
    assert np.array_equal(np.random.get_state()[1], before)
    np.random.seed(6)
    pd.testing.assert_frame_equal(shapley(predict, columns, n).shap, first.shap)
    assert not first.shap.equals(shapley(predict, columns, n, seed=1).shap)


def test_no_more_rows_are_explained_than_shown_and_the_number_is_told():
    few, many = shapley(leans_on_block, BLOCK, n=5), shapley(leans_on_block, BLOCK, n=SHOWN_ROWS + 20)
    assert (few.shown, many.shown) == (5, SHOWN_ROWS)
    assert many.shap["sample"].nunique() == SHOWN_ROWS


def test_the_table_has_a_row_a_sample_class_and_player_with_the_value_it_had():
    found = shapley(leans_on_block, BLOCK, n=6).shap
    assert len(found) == 6 * 2 * 4
    assert list(found) == ["sample", "class", "feature", "block", "shap_value", "feature_value", "feature_text"]
    X = rows(6, BLOCK)
    age = found[(found["feature"] == "age") & (found["class"] == "benign")]
    assert age["feature_value"].min() == 0 and age["feature_value"].max() == 1
    assert age["feature_text"].tolist() == [f"{v:g}" for v in X["age"]]
    assert found.loc[found["feature"] == "sex", "feature_text"].isin(["a", "b", "c"]).all()
    assert (found.loc[found["feature"] == "cae", "feature_text"] == "").all()
    assert set(found.loc[found["feature"] != "cae", "block"]) == {METADATA}
    assert found.loc[found["feature"] != "age", "feature_value"].isna().all()


def test_missing_values_are_named_missing():
    columns = Columns({}, ["age"], ["site"])
    X = rows(4, columns)
    X.loc[0, "age"], X.loc[1, "site"] = np.nan, np.nan
    found = explain.shapley(
        lambda X: sigmoid_of(X["age"].fillna(0) / 50), rows(5, columns, 7), X, CLASSES, columns, seed=0
    ).shap
    text = found[found["class"] == "benign"].set_index(["feature", "sample"])["feature_text"]
    assert text["age", 0] == "missing" and text["site", 1] == "missing"


def test_a_number_that_never_varies_or_is_never_known_has_no_colour():
    columns = Columns({}, ["age", "size"], [])
    X = rows(4, columns).assign(age=np.float32(50), size=np.float32("nan"))
    found = explain.shapley(lambda X: sigmoid_of(X["age"] / 50), rows(5, columns, 7), X, CLASSES, columns, seed=0).shap
    assert found["feature_value"].isna().all()


def test_mean_absolute_values_are_the_importance_of_each_class():
    found = shapley(leans_on_block, BLOCK)
    mean = found.shap.assign(size=found.shap["shap_value"].abs()).groupby(["feature", "class"])["size"].mean()
    assert {row["kind"] for row in found.importance} == {"shap"}
    assert {(row["feature"], row["class"]): row["value"] for row in found.importance} == pytest.approx(mean.to_dict())
