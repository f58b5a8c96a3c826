"""Preprocessing learns on the rows it is given, survives what is missing or new, and keeps float32."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.feature_selection import f_classif

from dermfuse.pipelines.model.preprocess import (
    BlockWeight,
    LeadingComponents,
    SignedSquareRoot,
    anova_scores,
    preprocess,
)
from dermfuse.pipelines.model.table import METADATA, Columns
from tests.pipelines.tables import problem

AGE_ONLY = Columns({}, ["age"], [])


def ages(*values) -> pd.DataFrame:
    return pd.DataFrame({"age": np.array(values, dtype=np.float32)})


def encoder(fitted):
    """The step that imputes, scales and one-hot encodes the metadata."""
    return fitted.named_transformers_[METADATA]["encode"]


def fields(n: int = 40, site=None, age=None) -> tuple[Columns, pd.DataFrame, np.ndarray]:
    """Two metadata columns that tell two classes apart, and the classes."""
    truth = np.arange(n) % 2
    age = np.where(truth, 60.0, 40.0) + np.arange(n) % 3 if age is None else age
    site = np.where(truth ^ (np.arange(n) % 5 == 0), "face", "back").astype(object) if site is None else site
    X = pd.DataFrame({"age": np.asarray(age, dtype=np.float32), "site": np.asarray(site, dtype=object)})
    return Columns({}, ["age"], ["site"]), X, truth


def test_signed_square_root_keeps_signs_and_dtype():
    X = np.array([[4.0, -9.0, 0.0]], dtype=np.float32)
    out = SignedSquareRoot().fit_transform(X)
    assert out.tolist() == [[2.0, -3.0, 0.0]] and out.dtype == np.float32


@pytest.mark.parametrize("n, width, components", [(300, 60, 7), (30, 60, 29), (12, 40, 1)])
def test_components_are_those_of_a_whole_decomposition(n, width, components):
    rng = np.random.default_rng(0)
    X = rng.normal(1, np.geomspace(1, 9, width), (n, width)).astype(np.float32)
    ours, whole = LeadingComponents(components).fit(X), PCA(components, svd_solver="covariance_eigh").fit(X)
    assert ours.components_ == pytest.approx(whole.components_, abs=1e-3)
    assert ours.explained_variance_ == pytest.approx(whole.explained_variance_, rel=1e-4)
    assert ours.transform(X) == pytest.approx(whole.transform(X), abs=5e-3)
    assert ours.transform(X).dtype == np.float32


@pytest.mark.parametrize("rank", [0, 1, 5])
def test_columns_that_say_the_same_give_components_all_the_same(rank):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(50, rank)) @ rng.normal(size=(rank, 80))).astype(np.float32)
    fitted = LeadingComponents(20).fit(X)
    assert fitted.components_ @ fitted.components_.T == pytest.approx(np.eye(20), abs=1e-4)
    assert (fitted.explained_variance_ >= 0).all() and fitted.transform(X)[:, rank:] == pytest.approx(0, abs=1e-3)


def test_signed_square_root_needs_no_names_and_no_fit():
    # Without a fit it has noted no names; a warning would be an error here.
    X = pd.DataFrame({"a": [4.0, -9.0]})
    assert SignedSquareRoot().transform(X).tolist() == [[2.0], [-3.0]]
    assert SignedSquareRoot().fit(X.to_numpy()).transform(X).tolist() == [[2.0], [-3.0]]


def test_everything_comes_out_in_float32():
    given = problem()
    for components, select_k in product((None, 3), (None, 4)):
        fitted = preprocess(given.table.columns, components, select_k).fit(given.table.X, given.truth)
        assert fitted.transform(given.table.X).dtype == np.float32


def test_image_columns_are_centred_and_equally_wide():
    X = problem(metadata=False).table.X
    given = problem(metadata=False).with_x(X * np.geomspace(1e-3, 1e3, X.shape[1]).astype(np.float32))
    out = preprocess(given.table.columns, None, None).fit_transform(given.table.X, given.truth)
    assert out.mean(axis=0) == pytest.approx(0, abs=1e-4)
    for block in (out[:, :8], out[:, 8:]):
        assert block.std(axis=0) == pytest.approx(block.std(), rel=1e-3)


def first_component(block: np.ndarray) -> float:
    """Standard deviation along a block's first principal component."""
    return np.linalg.eigvalsh(np.cov(block, rowvar=False).reshape(block.shape[1], -1))[-1] ** 0.5


@pytest.mark.parametrize("components", [None, 4])
def test_every_block_weighs_the_same_whatever_its_width(components):
    given = problem(widths={"wide": 40, "narrow": 3}, groups=120)
    fitted = preprocess(given.table.columns, components, None).fit(given.table.X, given.truth)
    out = fitted.transform(given.table.X)
    parts = [out[:, part] for name, part in fitted.output_indices_.items() if name != "remainder"]
    assert [first_component(part) for part in parts] == pytest.approx([10, 10, 10], rel=1e-3)


def test_a_block_that_never_varies_keeps_its_weight():
    X = np.ones((20, 3), dtype=np.float32)
    assert np.array_equal(BlockWeight().fit_transform(X), X)


def test_each_image_block_is_compressed_by_itself_where_it_is_wider_than_the_components():
    given = problem(widths={"wide": 12, "narrow": 3, "exact": 5}, metadata=False)
    fitted = preprocess(given.table.columns, 5, None).fit(given.table.X, given.truth)
    assert fitted.transform(given.table.X).shape[1] == 5 + 3 + 5
    widths = {name: part.stop - part.start for name, part in fitted.output_indices_.items() if name != "remainder"}
    assert widths == {"wide": 5, "narrow": 3, "exact": 5}


def test_anova_sees_metadata_only():
    given = problem()
    fitted = preprocess(given.table.columns, None, 1).fit(given.table.X, given.truth)
    assert fitted.transform(given.table.X).shape[1] == 8 + 5 + 1
    assert not any(":" in name for name, *_ in anova_scores(fitted))


@pytest.mark.parametrize("select_k", [1, 2, 3, 5])
def test_select_k_keeps_that_many_encoded_columns_of_highest_f(select_k):
    given = problem()
    fitted = preprocess(given.table.columns, None, select_k).fit(given.table.X, given.truth)
    scores = sorted(anova_scores(fitted), key=lambda row: -row[1])
    assert [kept for *_, kept in scores] == [True] * select_k + [False] * (len(scores) - select_k)


def test_select_k_beyond_the_columns_keeps_them_all():
    columns, X, truth = fields()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fitted = preprocess(columns, None, 99).fit(X, truth)
    assert all(kept for *_, kept in anova_scores(fitted))


def test_without_select_k_the_columns_of_p_below_five_percent_are_kept():
    given = problem(groups=120)
    fitted = preprocess(given.table.columns, None, None).fit(given.table.X, given.truth)
    scores = anova_scores(fitted)
    assert all(kept == (p < 0.05) for _, _, p, kept in scores)
    assert {bool(kept) for *_, kept in scores} == {True, False}


def test_anova_scores_are_the_f_test_of_the_encoded_training_rows():
    given = problem()
    train = given.train
    fitted = preprocess(given.table.columns, None, None).fit(given.table.X[train], given.truth[train])
    fields_of_train = given.table.X[train][given.table.columns.metadata]
    f, p = f_classif(encoder(fitted).transform(fields_of_train), given.truth[train])
    names = encoder(fitted).get_feature_names_out()
    assert [row[0] for row in anova_scores(fitted)] == list(names)
    assert [row[1] for row in anova_scores(fitted)] == pytest.approx(f, rel=1e-4)
    assert [row[2] for row in anova_scores(fitted)] == pytest.approx(p, rel=1e-4)


def test_there_are_no_anova_scores_without_metadata():
    given = problem(metadata=False)
    assert anova_scores(preprocess(given.table.columns, None, None).fit(given.table.X, given.truth)) == []


def test_missing_numbers_become_the_training_median_and_are_flagged():
    train = ages(10, 20, 90, np.nan, 30, np.nan)
    truth = np.array([0, 0, 1, 1, 0, 1])
    fitted = preprocess(AGE_ONLY, None, 2).fit(train, truth)
    median, missing, present = fitted.transform(ages(25, np.nan, 90))
    assert median[0] == missing[0], "a missing age should look like the training rows' median, 25"
    assert missing[1] > median[1] == present[1], "the second column should flag what was missing"


def test_held_out_rows_do_not_move_the_median():
    fitted = preprocess(AGE_ONLY, None, 2).fit(ages(10, 20, 30, np.nan), np.array([0, 0, 1, 1]))
    alone = fitted.transform(ages(np.nan))
    assert np.array_equal(fitted.transform(ages(np.nan, 900, 950, 990))[:1], alone)


def test_an_age_missing_for_the_first_time_is_imputed_without_a_flag():
    fitted = preprocess(AGE_ONLY, None, 1).fit(ages(10, 20, 30, 40), np.array([0, 0, 1, 1]))
    assert np.array_equal(fitted.transform(ages(np.nan)), fitted.transform(ages(25)))


def test_a_missing_category_is_a_category_of_its_own():
    site = np.array(["back", "face", np.nan, np.nan] * 10, dtype=object)
    columns, X, _ = fields(site=site)
    truth = pd.isna(site) ^ (np.arange(40) % 10 == 0)
    fitted = preprocess(columns, None, None).fit(X, truth)
    f = {name: f for name, f, _, _ in anova_scores(fitted)}
    assert f["site_missing"] == max(f.values())


def test_an_unseen_category_is_all_zeros():
    columns, X, truth = fields()
    fitted = preprocess(columns, None, 3).fit(X, truth)
    strange = X.iloc[:1].assign(site="mars")
    names = list(encoder(fitted).get_feature_names_out())
    row = encoder(fitted).transform(strange)[0]
    assert [row[names.index(n)] for n in names if n.startswith("site_")] == [0, 0]
    assert np.isfinite(fitted.transform(strange)).all()


def test_columns_that_are_missing_everywhere_survive():
    with warnings.catch_warnings():
        # scikit-learn tells that the column says nothing, which is the point here.
        warnings.simplefilter("ignore")
        columns, X, truth = fields(age=np.full(40, np.nan), site=np.full(40, np.nan, dtype=object))
        X["age2"] = np.where(truth, 60, 40).astype(np.float32)
        columns = Columns({}, ["age", "age2"], ["site"])
        fitted = preprocess(columns, None, None).fit(X, truth)
        out = fitted.transform(X)
        known_now = fitted.transform(X.assign(age=np.float32(50), site="face"))
    assert {name for name, *_ in anova_scores(fitted)} >= {"age", "age2", "site_missing"}
    assert out.shape[1] >= 1 and np.isfinite(out).all() and np.isfinite(known_now).all()


def test_the_best_column_is_kept_where_none_passes_the_f_test():
    rng = np.random.default_rng(3)
    X = pd.DataFrame({f"m{i}": rng.normal(size=60).astype(np.float32) for i in range(3)})
    columns, truth = Columns({}, list(X), []), np.arange(60) % 2
    X -= X.groupby(truth).transform("mean") * np.float32([1, 0.9, 1])
    fitted = preprocess(columns, None, None).fit(X, truth)
    assert [bool(kept) for *_, kept in anova_scores(fitted)] == [False, True, False]
    assert fitted.transform(X).shape == (60, 1)


def test_a_column_that_never_varies_is_enough_to_go_on_with():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn tells that the column is constant
        out = preprocess(AGE_ONLY, None, None).fit_transform(ages(*[50] * 8), np.arange(8) % 2)
    assert out.shape == (8, 1) and np.isfinite(out).all()


def test_preprocessing_is_reproduced_by_cloning():
    given = problem(widths={"alpha": 12})
    made = preprocess(given.table.columns, 4, None)
    first, second = (clone(made).fit(given.table.X, given.truth).transform(given.table.X) for _ in range(2))
    assert np.array_equal(first, second)


def test_columns_are_found_by_name_and_not_by_place():
    given = problem()
    fitted = preprocess(given.table.columns, None, None).fit(given.table.X, given.truth)
    backwards = given.table.X[given.table.X.columns[::-1]]
    assert np.array_equal(fitted.transform(backwards), fitted.transform(given.table.X))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", ["b_c", "x"]), ("a_b", ["c", "y"])),
        (("a", ["a_b_c", "c"]), ("a_a", ["b_c", "c"])),
        (("site", ["face", "back"]), ("site_face", [1.0, 2.0])),
        (("age", [1.0, 2.0, np.nan]), ("missingindicator_age", [3.0, 4.0])),
    ],
    ids=lambda pair: pair[0],
)
def test_encoded_columns_of_fields_that_could_be_called_alike_have_names_of_their_own_in_every_fold(one, other):
    n = 24
    truth = np.arange(n) % 2
    X = pd.DataFrame({name: [values[i % len(values)] for i in range(n)] for name, values in (one, other)})
    kinds = {name: "categorical" if isinstance(values[0], str) else "numeric" for name, values in (one, other)}
    X = X.astype({name: np.float32 if kind == "numeric" else object for name, kind in kinds.items()})
    columns = Columns({}, *([name for name in X if kinds[name] == kind] for kind in ("numeric", "categorical")))
    names = [row[0] for row in anova_scores(preprocess(columns, None, None).fit(X, truth))]
    assert len(set(names)) == len(names) >= 3
    few = X[X[one[0]].eq(one[1][0]) | (np.arange(n) < 2)]  # where a value does not occur, the others are called alike
    some = [row[0] for row in anova_scores(preprocess(columns, None, None).fit(few, truth[few.index]))]
    assert set(some) <= set(names)
