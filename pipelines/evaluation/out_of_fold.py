"""From a table to evidence: out-of-fold predictions and the final calibrated model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier

from dermfuse.features.console import Progress
from dermfuse.pipelines.evaluation import explain
from dermfuse.pipelines.evaluation.answers import Answers, Scores, fusions_of
from dermfuse.pipelines.evaluation.fits import FitPart, Fitted, fit_parts, kept, scored, threads_for
from dermfuse.pipelines.evaluation.tune import Tuned
from dermfuse.pipelines.model.balance import ClassWeighted, smote
from dermfuse.pipelines.model.calibration import CalibratedPipeline, calibrator_named, cross_fitted
from dermfuse.pipelines.model.fieldwise import FieldwiseModel
from dermfuse.pipelines.model.fusion import LateFusion
from dermfuse.pipelines.model.preprocess import preprocess
from dermfuse.pipelines.model.table import Columns, Table
from dermfuse.pipelines.model.zoo import model_named, name_of
from dermfuse.pipelines.options.fit import FitOptions


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
    model : FieldwiseModel
        The final model, fitted to all training rows.
    answers : Answers
        The same predictions for any pattern of missing metadata.
    anova : list
        Of each fit, the final one last.
    repeats : list of Repeat
        Of further divisions into folds.
    tuned : list of (str, Tuned)
        What was chosen in each fit, by its title; empty without a search.
    noticed : list of str
        What went otherwise than planned, a line each.
    """

    fold: np.ndarray
    probabilities: np.ndarray
    uncalibrated: np.ndarray
    model: FieldwiseModel
    answers: Answers
    anova: list[list[tuple[str, float, float, bool]]]
    repeats: list[Repeat] = field(default_factory=list)
    tuned: list[tuple[str, Tuned]] = field(default_factory=list)
    noticed: list[str] = field(default_factory=list)


def build_pipeline(columns: Columns, options: FitOptions, neighbors: int | None, training_rows: int):
    """The unfitted pipeline over these columns of a table: preprocessing, balancing, classifier."""
    from imblearn.pipeline import Pipeline

    model = model_named(options.model)
    components = model.components and min(model.components, training_rows - 1)
    classifier = model.build(options.seed, options.jobs)
    steps = [("preprocess", preprocess(columns, components, options.select_k))]
    if options.balance == "smote":
        steps.append(("smote", smote(neighbors, options.seed)))
    steps.append(("model", ClassWeighted(classifier) if options.balance == "weights" else classifier))
    return Pipeline(steps)


def cross_validate(
    table: Table, truth: np.ndarray, folds: list[np.ndarray], options: FitOptions, neighbors, progress: Progress, watch
) -> Evidence:
    """Out-of-fold probabilities of the training rows, and the final model on all of them.

    Everything that learns (imputation, scaling, PCA, ANOVA, SMOTE, classifier, the search for settings) learns inside
    the pipeline, from the fold's training part; calibrators learn from out-of-fold probabilities, those of other folds
    for a fold's own. Where there is metadata, the same is done once more without it: see
    :class:`dermfuse.pipelines.model.fieldwise.FieldwiseModel`.

    Parameters
    ----------
    table : Table
    truth : ndarray of int, shape (n,)
    folds : list of ndarray of int, shape (n,)
        Fold of each row in each division into folds, -1 in the locked test split, which is the same in all and may be
        empty.
    options : FitOptions
    neighbors : int or None
        Of SMOTE.
    progress : callable
        Shows a bar, as `Console.progress`.
    watch : Stopwatch
    """
    train = folds[0] >= 0
    parts = [part for number, fold in enumerate(folds) for part in _parts(fold, number, len(folds))]
    parts.append(FitPart("all training rows", train, ~train, keep=True))
    metadata = table.X[table.columns.metadata]
    with watch.stage("cross-validation and final model"):
        whole = _fit_all(table.columns, table, truth, parts, options, neighbors, progress)
        without = None
        if table.columns.metadata:
            images = Columns(table.columns.images, [], [])
            without = _fit_all(images, table, truth, parts, options, neighbors, progress, "without metadata")
        divisions = []
        for number, fold in enumerate(folds):
            some = slice(number * options.folds, (number + 1) * options.folds)
            scores = [fits and _scores(fold, truth, parts[some], fits[some], options) for fits in (whole, without)]
            divisions.append(_answers(fold, metadata, truth, *scores, table.columns, options))
        first = divisions[0]
        model = FieldwiseModel(_final(whole[-1], first.whole, truth, train, options), fields=table.columns.metadata)
        if without:
            model.without = _final(without[-1], first.without, truth, train, options)
            model.fusion = first.fusions.get(-1)
    anova = [fitted.anova for fitted in (*whole[: options.folds], whole[-1])]
    tuned = _chosen(parts, whole) + _chosen(parts, without or [], ", without metadata")
    found = [division.scored() for division in divisions]
    repeats = [Repeat(fold, s.calibrated, s.raw) for fold, s in zip(folds[1:], found[1:], strict=True)]
    noticed = []
    if any(fitted.unfinished for fitted in (*whole, *(without or []))):
        noticed.append(f"{name_of(options.model)} stopped before it had converged in at least one fit")
    return Evidence(folds[0], found[0].calibrated, found[0].raw, model, first, anova, repeats, tuned, noticed)


def _fit_all(columns: Columns, table: Table, truth, parts, options, neighbors, progress, what="") -> list[Fitted]:
    """The pipeline over some columns, fitted to every part; class frequencies where there are no columns."""
    if not columns.players():
        return [_prior(table.X, truth, part) for part in parts]
    smallest = min(int(part.learned.sum()) for part in parts)
    jobs = threads_for(table.X, len(parts), options.jobs)
    pipeline = build_pipeline(columns, replace(options, jobs=jobs), neighbors, smallest)
    return fit_parts(pipeline, table.X, truth, table.groups, parts, options, progress, what)


def _chosen(parts: list[FitPart], fits: list[Fitted], what: str = "") -> list[tuple[str, Tuned]]:
    """What the search for settings chose in each fit."""
    searched = [(part.title + what, fitted.tuned) for part, fitted in zip(parts, fits, strict=False)]
    return [(title, tuned) for title, tuned in searched if tuned is not None]


def _prior(X: pd.DataFrame, truth: np.ndarray, part: FitPart) -> Fitted:
    """What is known of a row of which nothing is known."""
    from sklearn.pipeline import Pipeline

    fitted = Pipeline([("model", DummyClassifier(strategy="prior"))]).fit(X[part.learned], truth[part.learned])
    return Fitted(scored(fitted, X[part.scored]), [], fitted if part.keep else None, None, False)


def _parts(fold: np.ndarray, number: int, repeats: int) -> list[FitPart]:
    """The fits of one division into folds."""
    before = f"repeat {number + 1}, " if repeats > 1 else ""
    return [FitPart(f"{before}fold {k + 1}", (fold >= 0) & (fold != k), fold == k) for k in range(int(fold.max()) + 1)]


def _scores(
    fold: np.ndarray, truth: np.ndarray, parts: list[FitPart], fits: list[Fitted], options: FitOptions
) -> Scores:
    """Out-of-fold probabilities put together, and calibrated across the folds."""
    raw = np.full((len(truth), truth.max() + 1), np.nan)
    for part, fitted in zip(parts, fits, strict=True):
        raw[part.scored] = fitted.probabilities
    train = fold >= 0
    calibrated = np.full_like(raw, np.nan)
    calibrated[train] = cross_fitted(raw[train], truth[train], fold[train], options.calibration)
    return Scores(raw, calibrated)


def _answers(fold, metadata: pd.DataFrame, truth, whole: Scores, without: Scores | None, columns, options) -> Answers:
    """All parts of the model in one division, the late fusions learned across its folds."""
    if len(columns.metadata) < 2:
        return Answers(fold, metadata, whole, without)
    fields = LateFusion(columns.numeric, columns.categorical, options.seed)
    return Answers(fold, metadata, whole, without, fusions_of(fold, without.raw, metadata, truth, fields))


def _final(fitted: Fitted, scores: Scores, truth: np.ndarray, train: np.ndarray, options: FitOptions):
    """The fit to all training rows with its calibrator; what it says of the other rows goes into `scores`."""
    calibrator = calibrator_named(options.calibration).fit(scores.raw[train], truth[train])
    scores.raw[~train] = fitted.probabilities
    scores.calibrated[~train] = calibrator.transform(fitted.probabilities)
    return CalibratedPipeline(kept(fitted.pipeline, options.jobs), calibrator)


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
