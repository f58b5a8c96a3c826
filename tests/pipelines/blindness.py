"""Whether a fit has seen rows that it should not: what it learned must not change when those rows do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline

from dermfuse.pipelines.model.preprocess import anova_scores
from dermfuse.pipelines.model.table import METADATA
from tests.pipelines.tables import Problem, evidence_of, problem

FOLDS = 3


@dataclass(frozen=True)
class Fit:
    """One fitted pipeline, and the rows that SMOTE handed to its classifier."""

    pipeline: Pipeline
    X: np.ndarray
    y: np.ndarray

    def learned(self) -> dict[str, np.ndarray]:
        """What every step has learned, by name."""
        parts = self.pipeline["preprocess"].named_transformers_
        return {
            "scaler mean": parts["alpha"]["scale"].mean_,
            "scaler variance": parts["alpha"]["scale"].var_,
            "components": parts["alpha"]["pca"].components_ if "pca" in parts["alpha"].named_steps else np.empty(0),
            "block weight": parts["alpha"]["weight"].weight_,
            "SMOTE rows": self.X,
            "SMOTE classes": self.y,
            "coefficients": self.pipeline["model"].coef_,
            **(self._learned_of_metadata() if METADATA in parts else {}),
        }

    def _learned_of_metadata(self) -> dict[str, np.ndarray]:
        encode = self.pipeline["preprocess"].named_transformers_[METADATA]["encode"].named_transformers_
        scores = anova_scores(self.pipeline["preprocess"])
        return {
            "median age": encode["numeric"]["impute"].statistics_,
            "mean age": encode["numeric"]["scale"].mean_,
            "categories": np.concatenate(encode["categorical"]["encode"].categories_).astype(str),
            "ANOVA F": np.array([f for _, f, _, _ in scores]),
            "ANOVA choice": np.array([kept for *_, kept in scores]),
        }


def differing(first: Fit, second: Fit) -> set[str]:
    """Names of what the two fits learned differently."""
    one, other = first.learned(), second.learned()
    return {name for name in one if not np.array_equal(one[name], other[name])}


@dataclass(frozen=True)
class Fits:
    """Every fit of a cross-validation, with all metadata and without; the folds first and the final one last."""

    whole: list[Fit]
    without: list[Fit]


def fits_of(given: Problem) -> Fits:
    """Every fit of a cross-validation."""
    pipelines, resampled = [], []
    fit, resample = Pipeline.fit, SMOTE.fit_resample

    def recorded_fit(self, *args, **parameters):
        pipelines.append(self)
        return fit(self, *args, **parameters)

    def recorded_resample(self, *args, **parameters):
        resampled.append(resample(self, *args, **parameters))
        return resampled[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "fit", recorded_fit)
        patch.setattr(SMOTE, "fit_resample", recorded_resample)
        evidence_of(given, "logreg")
    many = int(given.fold.max()) + 2
    assert len(pipelines) == len(resampled) == 2 * many
    fits = [Fit(pipeline, *rows) for pipeline, rows in zip(pipelines, resampled, strict=True)]
    return Fits(fits[:many], fits[many:])


@cache
def wide_problem() -> Problem:
    """One block, wider than its training rows, so that PCA takes part."""
    return problem(widths={"alpha": 150}, folds=FOLDS)


@cache
def fits_of_wide_problem() -> Fits:
    return fits_of(wide_problem())


def with_other_values(given: Problem, rows: np.ndarray) -> Problem:
    """The same problem with wild values in `rows`: far numbers, missing ones, another category."""
    X = given.table.X.copy()
    rng = np.random.default_rng(99)
    images = [name for names in given.table.columns.images.values() for name in names]
    X.loc[rows, images] = (50 * rng.normal(size=(int(rows.sum()), len(images)))).astype(np.float32)
    X.loc[rows, "age"], X.loc[rows, "site"], X.loc[rows, "sex"] = np.float32(500), "mars", np.nan
    return given.with_x(X)


def with_other_labels(given: Problem, rows: np.ndarray) -> Problem:
    """The same problem with every label in `rows` moved to the next class."""
    classes = given.truth.max() + 1
    truth = np.where(rows, (given.truth + 1) % classes, given.truth)
    return Problem(replace(given.table, labels=np.array([f"class{k}" for k in truth])), truth, given.fold)
