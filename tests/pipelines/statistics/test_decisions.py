"""Net benefit is the formula of its paper, and its band widens with the groups."""

from __future__ import annotations

import numpy as np
import pytest

from dermfuse.pipelines.statistics.decisions import decision_curve, net_benefit


def drawn(n: int = 600, seed: int = 0):
    """A risk of each row, and whether it came true."""
    rng = np.random.default_rng(seed)
    risk = rng.beta(1, 4, n)
    return rng.random(n) < risk, risk


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.5])
def test_net_benefit_is_true_positives_less_false_ones_at_the_odds_of_the_threshold(threshold):
    positive, risk = drawn()
    treated = risk >= threshold
    hits, misses = (treated & positive).sum(), (treated & ~positive).sum()
    expected = hits / 600 - misses / 600 * threshold / (1 - threshold)
    assert net_benefit(positive, risk, threshold) == pytest.approx(expected)


def test_the_curve_is_net_benefit_at_every_threshold():
    positive, risk = drawn()
    curve = decision_curve(positive, risk, np.arange(600), seed=0)
    assert curve["threshold"] == pytest.approx(np.arange(0.01, 1.0, 0.01))
    for place in (0, 9, 49, 98):
        assert curve["net_benefit"][place] == pytest.approx(net_benefit(positive, risk, curve["threshold"][place]))


def test_treating_all_gains_the_prevalence_less_the_odds_of_the_rest():
    positive, risk = drawn()
    curve = decision_curve(positive, risk, np.arange(600), seed=0)
    odds = 0.25 / 0.75
    assert curve["treat_all"][24] == pytest.approx(positive.mean() - (1 - positive.mean()) * odds)
    assert curve["prevalence"] == pytest.approx(positive.mean())


def test_a_perfect_risk_is_worth_the_prevalence_at_every_threshold():
    positive, _ = drawn()
    curve = decision_curve(positive, positive.astype(float), np.arange(600), seed=0)
    assert curve["net_benefit"] == pytest.approx([positive.mean()] * 99)
    assert min(curve["gain_low"]) > 0


def test_a_risk_that_says_nothing_gains_nothing_over_treating_all_or_none():
    positive, _ = drawn(2000)
    curve = decision_curve(positive, np.full(2000, positive.mean()), np.arange(2000), seed=0)
    assert max(curve["gain_low"]) <= 1e-12


def test_a_well_calibrated_risk_never_does_worse_than_treating_all_or_none():
    positive, risk = drawn(6_000)
    curve = decision_curve(positive, risk, np.arange(6_000), seed=0)
    best = np.maximum(curve["treat_all"], 0)
    assert (np.array(curve["net_benefit"]) > best - 0.004).all()


def test_the_band_holds_the_curve_and_is_twice_as_wide_for_four_copies_of_each_row():
    positive, risk = drawn(300)
    positive, risk, groups = (np.repeat(a, 4) for a in (positive, risk, np.arange(300)))
    by_group = decision_curve(positive, risk, groups, seed=0)
    by_row = decision_curve(positive, risk, np.arange(1200), seed=0)
    low, value, high = (np.array(by_group[name])[:40] for name in ("low", "net_benefit", "high"))
    assert (low <= value).all() and (value <= high).all()
    width = np.array(by_row["high"])[:40] - np.array(by_row["low"])[:40]
    assert np.median((high - low) / width) == pytest.approx(2, rel=0.1)


def test_the_curve_is_reproduced_by_its_seed():
    positive, risk = drawn()
    groups = np.arange(600) // 2
    assert decision_curve(positive, risk, groups, seed=4) == decision_curve(positive, risk, groups, seed=4)
    assert decision_curve(positive, risk, groups, seed=4) != decision_curve(positive, risk, groups, seed=5)
