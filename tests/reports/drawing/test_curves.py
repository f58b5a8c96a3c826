"""The curves against scikit-learn, ties among them, and that thinning changes nothing one can see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermfuse.reports.drawing import curves

metrics = pytest.importorskip("sklearn.metrics")

# Scores of a few levels: ties are the rule, as in a forest of few trees.
samples = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.booleans(), min_size=n, max_size=n),
        st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]) | st.floats(0, 1), min_size=n, max_size=n),
    )
)


@settings(deadline=None)
@given(samples)
def test_roc_is_scikit_learns(sample):
    truth, score = np.array(sample[0]), np.array(sample[1])
    curve = curves.roc_curve(truth, score)
    if truth.all() or not truth.any():
        assert curve is None
        return
    false_positive_rate, true_positive_rate, _ = metrics.roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose(curve[0], false_positive_rate)
    np.testing.assert_allclose(curve[1], true_positive_rate)
    assert curves.area_under_roc(curve) == pytest.approx(metrics.roc_auc_score(truth, score))


@settings(deadline=None)
@given(samples)
def test_precision_recall_is_scikit_learns(sample):
    truth, score = np.array(sample[0]), np.array(sample[1])
    curve = curves.precision_recall_curve(truth, score)
    if not truth.any():
        assert curve is None
        return
    precision, recall, _ = metrics.precision_recall_curve(truth, score)
    np.testing.assert_allclose(curve[0], recall[::-1])
    np.testing.assert_allclose(curve[1], precision[::-1])
    assert curves.average_precision(curve) == pytest.approx(metrics.average_precision_score(truth, score))
    steps = curves.as_steps(*curve)
    assert np.trapezoid(steps[1], steps[0]) == pytest.approx(curves.average_precision(curve))


def test_no_samples_give_no_curve():
    assert curves.roc_curve(np.array([], bool), np.array([])) is None
    assert curves.precision_recall_curve(np.array([], bool), np.array([])) is None


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="expected two vectors of one length"):
        curves.roc_curve(np.array([True, False]), np.array([0.5]))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.floats(0.001, 0.1))
def test_thinning_keeps_the_ends_and_every_point_near_the_line(seed, n, tolerance):
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.random(n)), rng.random(n).cumsum() / n
    kept_x, kept_y = curves.thin(x, y, tolerance)
    kept = np.column_stack([kept_x, kept_y])
    assert (kept_x[0], kept_y[0], kept_x[-1], kept_y[-1]) == (x[0], y[0], x[-1], y[-1])
    assert set(zip(kept_x, kept_y, strict=True)) <= set(zip(x, y, strict=True))
    ends = kept[1:] if n > 1 else kept
    for point in np.column_stack([x, y]):
        segments = zip(kept, ends, strict=False)
        assert min(curves._distance(point[None], start, end)[0] for start, end in segments) <= tolerance + 1e-12


def test_a_long_curve_becomes_short():
    rng = np.random.default_rng(0)
    truth = rng.random(20_000) < 0.3
    curve = curves.roc_curve(truth, rng.normal(size=truth.size) + truth)
    assert len(curves.thin(*curve)[0]) < 200
