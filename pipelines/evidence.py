"""From a table to evidence: out-of-fold predictions and the final calibrated model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from pipelines import explain
from pipelines.balance import ClassWeighted, smote
from pipelines.calibration import CalibratedPipeline, calibrator_named, cross_fitted
from pipelines.fitting import Fitted, Part, fit_parts, kept, threads_for
from pipelines.models import model_named
from pipelines.options import FitOptions
from pipelines.preprocess import preprocess
from pipelines.table import Table
from pipelines.tune import Tuned


@dataclass(frozen=True)
class Repeat:
    """Out-of-fold predictions of the training rows from one more division into folds.

    Attributes
    ----------
    fold : ndarray of int, shape (n,)
        -1 in the locked test split, whose probabilities are NaN.
    probabilities, uncalibrated : ndarray, shape (n, classes)
    """

    fold: np.ndarray
    probabilities: np.ndarray
    uncalibrated: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """Predictions of one run: out of fold for training rows, from the final model for test rows.

    Attributes
    ----------
    fold : ndarray of int, shape (n,)
    probabilities, uncalibrated : ndarray, shape (n, classes)
    model : CalibratedPipeline
        The final model, fitted to all training rows.
    anova : list
        Of each fit, the final one last.
    repeats : list of Repeat
        Of further divisions into folds.
    tuned : list of (str, Tuned)
        What was chosen in each fit, by its title; empty without a search.
    """

    fold: np.ndarray
    probabilities: np.ndarray
    uncalibrated: np.ndarray
    model: CalibratedPipeline
    anova: list[list[tuple[str, float, float, bool]]]
    repeats: list[Repeat] = field(default_factory=list)
    tuned: list[tuple[str, Tuned]] = field(default_factory=list)


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
    table: Table, truth: np.ndarray, folds: list[np.ndarray], options: FitOptions, neighbors, console, watch
) -> Evidence:
    """Out-of-fold probabilities of the training rows, and the final model on all of them.

    Everything that learns (imputation, scaling, PCA, ANOVA, SMOTE, classifier, the search for settings) learns inside
    the pipeline, from the fold's training part; calibrators learn from out-of-fold probabilities, those of other folds
    for a fold's own.

    Parameters
    ----------
    table : Table
    truth : ndarray of int, shape (n,)
    folds : list of ndarray of int, shape (n,)
        Fold of each row in each division into folds, -1 in the locked test split, which is the same in all.
    options : FitOptions
    neighbors : int or None
        Of SMOTE.
    console : Console
    watch : Stopwatch
    """
    train = folds[0] >= 0
    parts = [part for number, fold in enumerate(folds) for part in _parts(fold, number, len(folds))]
    parts.append(Part("all training rows", train, ~train, keep=True))
    smallest = min(int(part.learned.sum()) for part in parts)
    with watch.stage("cross-validation and final model"):
        jobs = threads_for(table.X, len(parts), options.jobs)
        pipeline = build_pipeline(table, replace(options, jobs=jobs), neighbors, smallest)
        fits = fit_parts(pipeline, table.X, truth, table.groups, parts, options, console)
        final = fits[-1]
        repeats, first = [], options.folds
        for number, fold in enumerate(folds):
            some = slice(number * first, (number + 1) * first)
            repeats.append(_repeat(fold, truth, parts[some], fits[some], options))
        raw, probabilities = repeats[0].uncalibrated, repeats[0].probabilities
        calibrator = calibrator_named(options.calibration).fit(raw[train], truth[train])
        raw[~train] = final.probabilities
        probabilities[~train] = calibrator.transform(raw[~train])
    anova = [fitted.anova for fitted in (*fits[:first], final)]
    tuned = [(part.title, fitted.tuned) for part, fitted in zip(parts, fits, strict=True) if fitted.tuned is not None]
    model = CalibratedPipeline(kept(final.pipeline, options.jobs), calibrator)
    return Evidence(folds[0], probabilities, raw, model, anova, repeats[1:], tuned)


def _parts(fold: np.ndarray, number: int, repeats: int) -> list[Part]:
    """The fits of one division into folds."""
    before = f"repeat {number + 1}, " if repeats > 1 else ""
    return [Part(f"{before}fold {k + 1}", (fold >= 0) & (fold != k), fold == k) for k in range(int(fold.max()) + 1)]


def _repeat(fold: np.ndarray, truth: np.ndarray, parts: list[Part], fits: list[Fitted], options: FitOptions) -> Repeat:
    """Out-of-fold probabilities put together, and calibrated across the folds."""
    raw = np.full((len(truth), truth.max() + 1), np.nan)
    for part, fitted in zip(parts, fits, strict=True):
        raw[part.scored] = fitted.probabilities
    train = fold >= 0
    probabilities = np.full_like(raw, np.nan)
    probabilities[train] = cross_fitted(raw[train], truth[train], fold[train], options.calibration)
    return Repeat(fold, probabilities, raw)


def anova_rows(by_fit: list[list[tuple[str, float, float, bool]]]) -> list[dict]:
    """F and p from the final fit, and the share of folds in which a column was kept."""
    *folds, final = by_fit
    chosen: dict[str, list[bool]] = {}
    for scores in folds:
        for column, _, _, support in scores:
            chosen.setdefault(column, []).append(support)
    rows = []
    for column, f, p, _ in final:
        share = sum(chosen.get(column, [])) / len(folds)
        rows.append(explain.importance_row("anova", column, "metadata", f, p=p, selected=share))
    return rows
