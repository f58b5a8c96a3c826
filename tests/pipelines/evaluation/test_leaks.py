"""Nothing that learns sees a row that it is scored on; and a leak that is planted at any step does not go unnoticed.

An autoencoder that learned from the locked test split is refused: ``test_fit.py``, TestLearnedExtractors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from imblearn.over_sampling import SMOTE
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest
from sklearn.preprocessing import StandardScaler

from dermfuse.pipelines.model.calibration import BiasCorrectedTemperature, cross_fitted
from dermfuse.pipelines.model.table import Columns
from tests.pipelines.blindness import (
    FOLDS,
    differing,
    fits_of,
    fits_of_wide_problem,
    wide_problem,
    with_other_labels,
    with_other_values,
)
from tests.pipelines.tables import Problem, evidence_of, problem


@pytest.mark.parametrize("changed", [with_other_values, with_other_labels])
@pytest.mark.parametrize("number", range(FOLDS))
def test_no_step_of_a_fold_learns_from_the_rows_it_holds_out(number, changed):
    given = wide_problem()
    before, after = fits_of_wide_problem(), fits_of(changed(given, given.fold == number))
    other = (number + 1) % FOLDS
    assert differing(before.whole[number], after.whole[number]) == set()
    assert differing(before.without[number], after.without[number]) == set()
    elsewhere = differing(before.whole[other], after.whole[other])
    assert {"SMOTE rows", "ANOVA F", "coefficients"} <= elsewhere, "the other folds should learn from them"
    assert {"SMOTE rows", "coefficients"} <= differing(before.without[other], after.without[other])


@pytest.mark.parametrize("changed", [with_other_values, with_other_labels])
def test_nothing_learns_from_the_locked_test_split(changed):
    given = wide_problem()
    after = fits_of(changed(given, ~given.train))
    before, nothing = fits_of_wide_problem(), [set()] * (FOLDS + 1)
    assert [differing(*pair) for pair in zip(before.whole, after.whole, strict=True)] == nothing
    assert [differing(*pair) for pair in zip(before.without, after.without, strict=True)] == nothing


def test_the_final_model_learns_from_every_training_row():
    given = wide_problem()
    for number in range(FOLDS):
        after = fits_of(with_other_values(given, given.fold == number))
        assert "coefficients" in differing(fits_of_wide_problem().whole[-1], after.whole[-1])


def test_the_scalers_mean_is_that_of_the_training_rows():
    given = wide_problem()
    roots = given.table.X[given.table.columns.images["alpha"]].to_numpy(float)
    roots = np.sign(roots) * np.sqrt(np.abs(roots))
    for number, fit in enumerate(fits_of_wide_problem().whole):
        rows = given.train & (given.fold != number)
        assert fit.learned()["scaler mean"] == pytest.approx(roots[rows].mean(axis=0), abs=1e-5)


def scaled_before_the_split(given: Problem) -> Problem:
    """The scaler leak."""
    names, X = given.table.columns.images["alpha"], given.table.X.copy()
    X[names] = StandardScaler().fit_transform(X[names]).astype(np.float32)
    return given.with_x(X)


def compressed_before_the_split(given: Problem) -> Problem:
    """The PCA leak: the block becomes its components over all rows."""
    names, X = given.table.columns.images["alpha"], given.table.X.copy()
    parts = PCA(len(names) // 2, svd_solver="covariance_eigh").fit_transform(X[names])
    return with_block(given, [f"alpha:{i:04d}" for i in range(parts.shape[1])], parts)


def selected_before_the_split(given: Problem) -> Problem:
    """The ANOVA leak: the columns that differ most between the classes over all rows."""
    names, X = given.table.columns.images["alpha"], given.table.X
    kept = SelectKBest(k=len(names) // 2).fit(X[names], given.truth).get_support()
    return with_block(
        given, [name for name, keep in zip(names, kept, strict=True) if keep], X[names].to_numpy()[:, kept]
    )


def oversampled_before_the_split(given: Problem) -> Problem:
    """The SMOTE leak: new rows lie between neighbours that fall on both sides of the split."""
    names = given.table.columns.images["alpha"]
    whole, truth = SMOTE(k_neighbors=2, random_state=0).fit_resample(given.table.X[names], given.truth)
    new = len(truth) - len(given.truth)
    drawn = np.random.default_rng(0).integers(0, len(given.truth), new)
    rows = np.r_[np.arange(len(given.truth)), drawn]
    X = given.table.X.iloc[rows].reset_index(drop=True)
    X[names] = whole.to_numpy(np.float32)
    fold = np.r_[given.fold, np.random.default_rng(0).integers(0, FOLDS, new)]
    table = replace(
        given.table, X=X, **{n: getattr(given.table, n)[rows] for n in ("labels", "groups", "ids", "content")}
    )
    return Problem(table, truth, fold)


def with_block(given: Problem, names: list[str], values: np.ndarray) -> Problem:
    """The same problem with other columns in place of its only block."""
    columns = given.table.columns
    metadata = given.table.X[columns.metadata]
    X = pd.concat([pd.DataFrame(values.astype(np.float32), columns=names, index=metadata.index), metadata], axis=1)
    columns = Columns({"alpha": names}, columns.numeric, columns.categorical)
    return replace(given, table=replace(given.table, X=X, columns=columns))


def noticed(leak: Callable[[Problem], Problem], number: int = 1) -> set[str]:
    """What fold `number` learned otherwise once the rows that it holds out had changed."""
    given = wide_problem()
    before = fits_of(leak(given)).whole[number]
    held = given.fold == number
    changes = (with_other_values(given, held), with_other_labels(given, held))
    return set().union(*(differing(before, fits_of(leak(changed)).whole[number]) for changed in changes))


@pytest.mark.parametrize(
    ("leak", "shows_in"),
    [
        (scaled_before_the_split, "scaler mean"),
        (compressed_before_the_split, "coefficients"),
        (selected_before_the_split, "coefficients"),
        (oversampled_before_the_split, "SMOTE rows"),
    ],
    ids=["scaler", "PCA", "ANOVA", "SMOTE"],
)
def test_a_leak_planted_before_the_split_is_noticed(leak, shows_in):
    assert shows_in in noticed(leak)


def test_without_a_planted_leak_nothing_is_noticed():
    assert noticed(lambda given: given) == set()


def calibrated_on_all(probabilities: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The calibration leak: one calibrator from all rows, those that it then calibrates among them."""
    return BiasCorrectedTemperature().fit(probabilities, truth).transform(probabilities)


@pytest.mark.parametrize(("calibrate", "leaks"), [(cross_fitted, False), (calibrated_on_all, True)])
def test_a_leak_of_the_calibration_is_noticed(calibrate, leaks):
    given = problem(folds=FOLDS)
    evidence, rows = evidence_of(given), given.train
    raw, truth, fold = evidence.uncalibrated[rows], given.truth[rows], given.fold[rows]
    held = fold == 1
    other = np.where(held, (truth + 1) % (truth.max() + 1), truth)
    same = np.array_equal(calibrate(raw, truth, fold)[held], calibrate(raw, other, fold)[held])
    assert same is not leaks
