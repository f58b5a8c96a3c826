"""From a table to evidence: out-of-fold predictions and the final calibrated model."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipelines import explain
from pipelines.balance import ClassWeighted, smote
from pipelines.calibration import BiasCorrectedTemperature, CalibratedPipeline, cross_fitted
from pipelines.models import model_named
from pipelines.options import FitOptions
from pipelines.preprocess import anova_scores, preprocess
from pipelines.table import Table


@dataclass(frozen=True)
class Evidence:
    """Predictions of one run: out of fold for training rows, from the final model for test rows."""

    fold: np.ndarray
    probabilities: np.ndarray
    uncalibrated: np.ndarray
    model: CalibratedPipeline
    anova: list[list[tuple[str, float, float, bool]]]


def build_pipeline(table: Table, options: FitOptions, neighbors: int | None, training_rows: int):
    """The unfitted pipeline: preprocessing, balancing, classifier."""
    from imblearn.pipeline import Pipeline

    model = model_named(options.model)
    components = model.components and min(model.components, training_rows - 1)
    classifier = model.build(options.seed, options.jobs)
    steps = [("preprocess", preprocess(table.columns, components, options.select_k, options.seed))]
    if options.balance == "smote":
        steps.append(("smote", smote(neighbors, options.seed)))
    steps.append(("model", ClassWeighted(classifier) if options.balance == "weights" else classifier))
    return Pipeline(steps)


def cross_validate(
    table: Table, truth: np.ndarray, fold: np.ndarray, options: FitOptions, neighbors, console, watch
) -> Evidence:
    """Out-of-fold probabilities of the training rows, then the final model on all of them.

    Everything that learns (imputation, scaling, PCA, ANOVA, SMOTE, classifier) learns inside the pipeline, from the
    fold's training part; calibrators learn from out-of-fold probabilities, those of other folds for a fold's own.
    """
    train = fold >= 0
    classes = truth.max() + 1
    raw = np.zeros((len(truth), classes))
    anova = []
    smallest = min(int((fold != k)[train].sum()) for k in range(options.folds))
    pipeline = build_pipeline(table, options, neighbors, smallest)
    with console.progress(f"fitting {options.model}", options.folds + 1, unit="fits") as advance:
        for number in range(options.folds):
            with watch.stage("cross-validation"):
                part, held = train & (fold != number), fold == number
                fitted = _fitted(pipeline, table.X[part], truth[part], options, console)
                raw[held] = fitted.predict_proba(table.X[held])
                anova.append(anova_scores(fitted["preprocess"]))
            advance()
        with watch.stage("final model"):
            final = _fitted(pipeline, table.X[train], truth[train], options, console)
            raw[~train] = final.predict_proba(table.X[~train])
            calibrator = BiasCorrectedTemperature().fit(raw[train], truth[train])
        advance()
    probabilities = np.empty_like(raw)
    probabilities[train] = cross_fitted(raw[train], truth[train], fold[train])
    probabilities[~train] = calibrator.transform(raw[~train])
    anova.append(anova_scores(final["preprocess"]))
    return Evidence(fold, probabilities, raw, CalibratedPipeline(final, calibrator), anova)


def _fitted(pipeline, X: pd.DataFrame, truth: np.ndarray, options: FitOptions, console):
    """A fitted clone; a model that stopped before it converged is told, unless it is meant to."""
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        fitted = clone(pipeline).fit(X, truth)
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif not model_named(options.model).fixed_passes:
            console.notice(f"{options.model} stopped before it had converged in at least one fit")
    return fitted


def anova_rows(by_fit: list[list[tuple[str, float, float, bool]]]) -> list[dict]:
    """F and p from the final fit, and the share of folds in which a column was kept."""
    *folds, final = by_fit
    kept: dict[str, list[bool]] = {}
    for scores in folds:
        for column, _, _, support in scores:
            kept.setdefault(column, []).append(support)
    rows = []
    for column, f, p, _ in final:
        share = sum(kept.get(column, [])) / len(folds)
        rows.append(explain.importance_row("anova", column, "metadata", f, p=p, selected=share))
    return rows
