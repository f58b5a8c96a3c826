"""One pipeline fitted to many training parts, several at a time."""

from __future__ import annotations

import multiprocessing
import signal
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dermfuse.features.console import Progress
from dermfuse.pipelines.evaluation.tune import Tuned, search
from dermfuse.pipelines.model.balance import ClassWeighted
from dermfuse.pipelines.model.preprocess import anova_scores
from dermfuse.pipelines.model.zoo import model_named, name_of
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.statistics.bootstrap import one_thread

# Starting worker processes takes seconds; fits of a table with fewer cells than this take less.
CELLS_WORTH_A_PROCESS = 2_000_000


@dataclass(frozen=True)
class FitPart:
    """One fit to make.

    Attributes
    ----------
    title : str
        ``fold 1``, ``repeat 2, fold 1`` or ``all training rows``.
    learned, scored : ndarray of bool, shape (n,)
        Rows that the pipeline learns from, and rows that it then scores; no row is both.
    keep : bool
        Whether the fitted pipeline is wanted too.
    """

    title: str
    learned: np.ndarray
    scored: np.ndarray
    keep: bool = False


@dataclass(frozen=True)
class Fitted:
    """What one fit found.

    Attributes
    ----------
    probabilities : ndarray, shape (scored rows, classes)
    anova : list of (column, F, p, kept)
    pipeline : fitted pipeline or None
        Where it was to be kept.
    tuned : Tuned or None
        What the search chose, where there was one.
    unfinished : bool
        The model stopped before it had converged.
    """

    probabilities: np.ndarray
    anova: list[tuple[str, float, float, bool]]
    pipeline: object | None
    tuned: Tuned | None
    unfinished: bool


def fit_part(pipeline, X: pd.DataFrame, truth: np.ndarray, groups: np.ndarray, part: FitPart, options: FitOptions):
    """Fit a clone of `pipeline` to a part's rows, with settings found on these rows alone where a search is asked for.

    Parameters
    ----------
    pipeline : unfitted pipeline
    X : DataFrame, shape (n, columns)
    truth : ndarray of int, shape (n,)
    groups : ndarray of str, shape (n,)
    part : FitPart
    options : FitOptions

    Returns
    -------
    Fitted
    """
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    learned, labels = X[part.learned], truth[part.learned]
    tuned = None
    # With other numbers of threads, sums of products differ in their last digits, which trees and SMOTE make more of.
    with one_thread(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        if options.tune:
            tuned = search(pipeline, learned, labels, groups[part.learned], options)
            pipeline = clone(pipeline).set_params(**tuned.parameters)
        caught.clear()  # a candidate that stopped early was judged as it is
        fitted = clone(pipeline).fit(learned, labels)
    unfinished = False
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif not model_named(options.model).fixed_passes:
            unfinished = True
    with one_thread():
        probabilities = scored(fitted, X[part.scored])
    anova = anova_scores(fitted["preprocess"])
    return Fitted(probabilities, anova, fitted if part.keep else None, tuned, unfinished)


def scored(fitted, X: pd.DataFrame) -> np.ndarray:
    """Probabilities (n, classes) of rows; there may be none, which scikit-learn refuses."""
    return fitted.predict_proba(X) if len(X) else np.empty((0, len(fitted.classes_)))


def fit_parts(
    pipeline,
    X: pd.DataFrame,
    truth: np.ndarray,
    groups: np.ndarray,
    parts: list[FitPart],
    options: FitOptions,
    progress: Progress,
    what: str = "",
) -> list[Fitted]:
    """Fit every part; through joblib, so that its backends (processes, Ray, Dask) serve.

    Worker processes share one copy of `X` in memory. The result does not depend on how many there are.

    `what` says in the progress bar which fits these are, where there are several kinds.

    Returns
    -------
    list of Fitted
        In the order of `parts`.
    """
    found: list[Fitted | None] = [None] * len(parts)
    title = " ".join(filter(None, ("tuning" if options.tune else "fitting", name_of(options.model), what)))
    with progress(title, len(parts), unit="fits") as advance:
        for number, fitted in _in_parallel(pipeline, X, truth, groups, parts, options):
            found[number] = fitted
            advance()
    return found


def workers_for(X: pd.DataFrame, parts: int, jobs: int) -> int:
    """Processes worth starting for so many fits of a table; `jobs` at most, -1 for one a core."""
    from joblib import effective_n_jobs

    if jobs == -1 and X.size < CELLS_WORTH_A_PROCESS:
        return 1
    return max(1, min(effective_n_jobs(jobs), parts))


def threads_for(X: pd.DataFrame, parts: int, jobs: int) -> int:
    """Threads that each model may use beside the others."""
    from joblib import cpu_count

    workers = workers_for(X, parts, jobs)
    return jobs if workers == 1 else max(1, cpu_count() // workers)


def kept(pipeline, threads: int):
    """A fitted pipeline as a run keeps it: with what predictions need, and so many threads for its classifier.

    SMOTE stays behind: it does nothing to new rows, and holds training rows in its index of neighbours.
    """
    from sklearn.pipeline import Pipeline

    model = pipeline["model"]
    classifier = model.estimator_ if isinstance(model, ClassWeighted) else model
    if classifier.get_params().get("n_jobs") is not None:
        classifier.set_params(n_jobs=threads)
    return Pipeline([(name, step) for name, step in pipeline.steps if name != "smote"])


def _in_parallel(pipeline, X, truth, groups, parts, options) -> Iterator[tuple[int, Fitted]]:
    from joblib import Parallel, delayed

    workers = workers_for(X, len(parts), options.jobs)
    order = list(range(len(parts)))
    if workers > 1:  # the largest first: otherwise the fit to all rows would run alone at the end
        order.sort(key=lambda number: -int(parts[number].learned.sum()))
    made = (delayed(_numbered)(number, pipeline, X, truth, groups, parts[number], options) for number in order)
    try:
        parallel = Parallel(n_jobs=workers, return_as="generator_unordered")
    except ValueError:  # Ray's backend gives its results only together
        parallel = Parallel(n_jobs=workers)
    yield from parallel(made)


def _numbered(number: int, *arguments) -> tuple[int, Fitted]:
    if multiprocessing.parent_process() is not None:
        # Ctrl-C reaches every process; the first one ends the others, which then have nothing to say.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return number, fit_part(*arguments)
