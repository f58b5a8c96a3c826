"""The late fusion adds what the known fields tell, and a missing field tells nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from dermfuse.pipelines.model.fusion import LateFusion
from dermfuse.pipelines.statistics.metrics import macro_auc

FIELDS = ["age"], ["sex", "site"]


def drawn(n=3000, seed=0, telling=2.0):
    """Probabilities of a weak model of images, fields that tell the class beside it, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    p = softmax(rng.normal(size=(n, 3)) + np.eye(3)[truth], axis=1)
    age = 50 + 5 * telling * truth + rng.normal(0, 10, n)
    site = np.where(rng.random(n) < 0.2 * telling, np.take(["a", "b", "c"], truth), rng.choice(["a", "b", "c"], n))
    metadata = pd.DataFrame({"age": age, "sex": rng.choice(["f", "m"], n), "site": site}).astype({"age": np.float32})
    return p, metadata, truth


def blank(metadata, *fields):
    return metadata.assign(**dict.fromkeys(fields, np.nan))


@pytest.fixture(scope="module")
def fitted():
    return LateFusion(*FIELDS).fit(*drawn())


def test_each_known_field_that_tells_the_class_helps(fitted):
    p, metadata, truth = drawn(seed=1)
    alone = macro_auc(truth, fitted.predict_proba(p, blank(metadata, "age", "sex", "site")))
    for unknown in (["sex", "site"], ["age", "sex"]):
        one = macro_auc(truth, fitted.predict_proba(p, blank(metadata, *unknown)))
        assert alone + 0.02 < one < macro_auc(truth, fitted.predict_proba(p, metadata))


def test_probabilities_are_calibrated_for_every_pattern_of_missing_fields():
    fitted = LateFusion(*FIELDS).fit(*drawn(telling=1.0))
    p, metadata, truth = drawn(20_000, seed=2, telling=1.0)
    for unknown in ([], ["age"], ["sex"], ["site"], ["age", "site"], ["age", "sex", "site"]):
        said = fitted.predict_proba(p, blank(metadata, *unknown))
        for k in range(3):
            bins = pd.qcut(said[:, k], 5, labels=False)
            for b in range(5):
                assert said[bins == b, k].mean() == pytest.approx((truth[bins == b] == k).mean(), abs=0.03)


def test_without_a_field_it_is_as_good_as_one_that_never_had_it(fitted):
    p, metadata, truth = drawn(seed=3)
    never = LateFusion(["age"], ["sex"]).fit(*drawn())
    with_gaps = macro_auc(truth, fitted.predict_proba(p, blank(metadata, "site")))
    assert with_gaps >= macro_auc(truth, never.predict_proba(p, metadata)) - 0.003


def test_where_a_field_is_missing_says_nothing():
    """In training only class 0 lacks its age; an image without one is not class 0 for that."""
    p, metadata, truth = drawn(telling=0.0)
    metadata.loc[(truth == 0) & (np.arange(len(truth)) % 2 == 0), "age"] = np.nan
    found = LateFusion(*FIELDS).fit(p, metadata, truth).predict_proba(p, blank(metadata, "age"))
    assert found[:, 0].mean() == pytest.approx((truth == 0).mean(), abs=0.05)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_rows_are_answered_one_by_one_and_sum_to_one(fitted, seed):
    p, metadata, _ = drawn(20, seed)
    metadata = metadata.mask(np.random.default_rng(seed).random(metadata.shape) < 0.5)
    metadata["age"] = metadata["age"].astype(np.float32)
    whole = fitted.predict_proba(p, metadata)
    assert whole.sum(axis=1) == pytest.approx(1.0)
    assert np.allclose(fitted.predict_proba(p[3:4], metadata[3:4]), whole[3:4])


def test_a_value_that_never_occurred_tells_nothing(fitted):
    p, metadata, _ = drawn(50)
    assert np.allclose(
        fitted.predict_proba(p, metadata.assign(site="mars")), fitted.predict_proba(p, blank(metadata, "site"))
    )


def test_a_number_far_outside_says_no_more_than_one_at_the_edge(fitted):
    p, metadata, _ = drawn(50)
    far, farther = (fitted.predict_proba(p, metadata.assign(age=np.float32(age))) for age in (500, 5e6))
    assert np.allclose(far, farther)


def test_fields_without_a_value_or_of_one_value_are_no_error():
    p, metadata, truth = drawn(200)
    empty = metadata.assign(age=np.float32(np.nan), sex=np.nan, site="a")
    found = LateFusion(*FIELDS).fit(p, empty, truth).predict_proba(p, metadata)
    assert np.isfinite(found).all()


def test_a_seed_reproduces_it():
    first, again = (LateFusion(*FIELDS, seed=7).fit(*drawn(300)) for _ in range(2))
    assert all(np.array_equal(first.weights_[name], again.weights_[name]) for name in first.weights_)
