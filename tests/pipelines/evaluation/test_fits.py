"""Fits in several processes find what fits in one find, and share one copy of the table."""

from __future__ import annotations

import numpy as np
import pytest

from dermfuse.features.console import Console
from dermfuse.pipelines.evaluation.fits import (
    CELLS_WORTH_A_PROCESS,
    FitPart,
    fit_part,
    fit_parts,
    kept,
    threads_for,
    workers_for,
)
from dermfuse.pipelines.evaluation.out_of_fold import build_pipeline, cross_validate
from dermfuse.pipelines.evaluation.splits import folds_of
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.runs.environment import Stopwatch
from dermfuse.pipelines.runs.run_folder import load_model, save_model
from tests.pipelines.tables import Problem, evidence_of, problem

FOLDS = 3


def parts_of(given: Problem) -> list[FitPart]:
    return [FitPart(f"fold {k}", given.train & (given.fold != k), given.fold == k) for k in range(FOLDS)]


def fits(given: Problem, model: str, jobs: int) -> list:
    options = FitOptions(model, folds=FOLDS, jobs=jobs)
    pipeline = build_pipeline(
        given.table.columns, FitOptions(model, folds=FOLDS, jobs=1), 2, int(given.train.sum()) // 2
    )
    arguments = (pipeline, given.table.X, given.truth, given.table.groups, parts_of(given), options)
    return fit_parts(*arguments, Console(quiet=True).progress)


@pytest.mark.parametrize("model", ["rf", "logreg", "xgb"])
def test_two_processes_find_what_one_finds(model):
    given = problem(groups=300, widths={"alpha": 300}, folds=FOLDS)
    for one, two in zip(fits(given, model, 1), fits(given, model, 2), strict=True):
        assert two.probabilities == pytest.approx(one.probabilities, abs=1e-9)
        assert [row[0] for row in two.anova] == [row[0] for row in one.anova]


def test_a_fit_keeps_its_pipeline_only_where_it_is_wanted():
    given = problem(folds=FOLDS)
    options = FitOptions("logreg", folds=FOLDS, jobs=1)
    pipeline = build_pipeline(given.table.columns, options, 2, 50)
    for keep in (False, True):
        part = FitPart("fold 1", given.train, ~given.train, keep)
        fitted = fit_part(pipeline, given.table.X, given.truth, given.table.groups, part, options)
        assert (fitted.pipeline is not None) is keep
        assert fitted.probabilities.shape == ((~given.train).sum(), 4)


def test_processes_are_started_only_for_large_tables():
    small, rows = problem(folds=FOLDS).table.X, CELLS_WORTH_A_PROCESS // 10 + 1
    large = np.broadcast_to(np.float32(0), (rows, 10))
    assert workers_for(small, 6, -1) == 1 and threads_for(small, 6, -1) == -1
    assert workers_for(large, 6, 3) == 3 and workers_for(large, 2, 3) == 2
    assert threads_for(large, 6, 10_000) == 1, "more processes than cores leave a thread each"


def test_repeats_divide_anew_and_share_the_locked_split():
    given = problem(folds=FOLDS)
    folds = [given.fold]
    for seed in (1, 2):
        fold = np.full(len(given.fold), -1)
        fold[given.train] = folds_of(given.table.labels[given.train], given.table.groups[given.train], seed, FOLDS)
        folds.append(fold)
    options = FitOptions("logreg", folds=FOLDS, jobs=1, repeats=3)
    evidence = cross_validate(given.table, given.truth, folds, options, 2, Console(quiet=True).progress, Stopwatch())
    assert len(evidence.repeats) == 2
    for repeat, fold in zip(evidence.repeats, folds[1:], strict=True):
        assert np.array_equal(repeat.fold, fold)
        assert np.isnan(repeat.probabilities[~given.train]).all()
        assert repeat.probabilities[given.train].sum(axis=1) == pytest.approx(1)
        assert not np.allclose(repeat.probabilities[given.train], evidence.probabilities[given.train])
    alone = cross_validate(given.table, given.truth, folds[:1], options, 2, Console(quiet=True).progress, Stopwatch())
    assert np.array_equal(alone.probabilities, evidence.probabilities)


@pytest.mark.parametrize("balance", ["smote", "weights"])
@pytest.mark.parametrize("model", ["rf", "xgb", "logreg"])
def test_a_kept_pipeline_predicts_the_same_without_smote_and_with_its_threads(model, balance):
    given = problem(folds=FOLDS)
    options = FitOptions(model, balance=balance, folds=FOLDS, jobs=1)
    pipeline = build_pipeline(given.table.columns, options, 2, 50)
    part = FitPart("all", given.train, ~given.train, keep=True)
    fitted = fit_part(pipeline, given.table.X, given.truth, given.table.groups, part, options)
    smaller = kept(fitted.pipeline, 3)
    assert "smote" not in smaller.named_steps
    # Threads add up the trees of a forest in another order.
    assert smaller.predict_proba(given.table.X[part.scored]) == pytest.approx(fitted.probabilities, abs=1e-12)
    classifier = getattr(smaller["model"], "estimator_", smaller["model"]) if balance == "weights" else smaller["model"]
    assert classifier.get_params().get("n_jobs") == (None if model == "logreg" else 3)


def test_a_model_of_few_columns_that_smote_balanced_is_loaded_again(tmp_path):
    """SMOTE's index of neighbours is a tree of another type there, and holds training rows."""
    given = problem(classes=2, groups=80, widths={}, folds=FOLDS)
    evidence = evidence_of(given, "logreg", "smote")
    save_model(tmp_path, evidence.model)
    again = load_model(tmp_path).predict_proba(given.table.X[~given.train])
    assert again == pytest.approx(evidence.probabilities[~given.train])
