"""Placements average to the AUC, and resampling them is as good as resampling the rows."""

from __future__ import annotations

import numpy as np
import pytest

from dermfuse.pipelines.statistics.bootstrap import draw, owners_of
from dermfuse.pipelines.statistics.metrics import macro_auc
from dermfuse.pipelines.statistics.placements import draw_difference, macro, placements
from dermfuse.pipelines.statistics.weighted import Scores


def predictions(n: int, classes: int, seed: int, digits: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    p = rng.dirichlet(np.ones(classes), n) + 0.4 * np.eye(classes)[truth]
    return truth, np.round(p / p.sum(axis=1, keepdims=True), digits)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("digits", [12, 1], ids=["distinct", "many ties"])
def test_their_mean_is_the_macro_auc_on_either_side(classes, digits):
    truth, p = predictions(80, classes, 0, digits)
    values = placements(truth, p)
    assert macro(truth, values) == pytest.approx(macro_auc(truth, p))
    others = np.mean([values[truth != k, k].mean() for k in range(classes)])
    assert others == pytest.approx(macro_auc(truth, p))


def test_a_class_without_rows_is_left_out():
    truth, p = predictions(60, 3, 0)
    truth = np.where(truth == 2, 0, truth)
    assert np.isnan(placements(truth, p)[:, 2]).all()
    assert macro(truth, placements(truth, p)) == pytest.approx(macro_auc(truth, p))


def test_resampled_differences_are_those_of_resampled_rows():
    truth, first = predictions(300, 3, 1)
    second = predictions(300, 3, 2)[1]
    owner = owners_of(np.arange(300) // 2)
    one, other = Scores(truth, first, owner), Scores(truth, second, owner)
    exact = draw(lambda weights: {"drop": one.macro_auc(weights) - other.macro_auc(weights)}, owner, 0)
    quick = draw_difference(truth, placements(truth, first) - placements(truth, second), owner, 0)
    assert quick.value["drop"] == pytest.approx(exact.value["drop"])
    assert np.corrcoef(quick.drawn["drop"], exact.drawn["drop"])[0, 1] > 0.997
    assert quick.drawn["drop"].std() == pytest.approx(exact.drawn["drop"].std(), rel=0.02)
