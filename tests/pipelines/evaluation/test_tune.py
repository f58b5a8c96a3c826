"""The search for settings: nested, grouped, never worse by its own score, and told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from dermfuse.cache.errors import UserError
from dermfuse.pipelines.evaluation.out_of_fold import build_pipeline
from dermfuse.pipelines.evaluation.splits import folds_of
from dermfuse.pipelines.evaluation.tune import INNER_FOLDS, search, search_space
from dermfuse.pipelines.model.zoo import MODELS
from dermfuse.pipelines.options.fit import FitOptions
from tests.pipelines.blindness import with_other_labels, with_other_values
from tests.pipelines.tables import Problem, evidence_of, problem

FOLDS = 3


def searched(given: Problem, model: str, trials: int, balance: str = "smote", seed: int = 0):
    options = FitOptions(model, balance=balance, folds=FOLDS, tune=trials, jobs=1, seed=seed)
    pipeline = build_pipeline(
        given.table.columns, options, 2 if balance == "smote" else None, int(given.train.sum()) // 2
    )
    rows = given.train
    found = search(pipeline, given.table.X[rows], given.truth[rows], given.table.groups[rows], options)
    return pipeline, found


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("balance", ["smote", "weights"])
def test_every_models_space_names_parameters_of_its_pipeline(model, balance):
    given = problem(widths={"alpha": 150}, folds=FOLDS)
    options = FitOptions(model, balance=balance, folds=FOLDS, tune=1, jobs=1)
    pipeline = build_pipeline(given.table.columns, options, 2, int(given.train.sum()) // 2)
    rows = given.train
    fold = folds_of(given.truth[rows], given.table.groups[rows], 0, INNER_FOLDS)
    space = search_space(pipeline, given.table.X[rows], fold, options)
    assert "preprocess__alpha__pca__n_components" in space and len(space) == len(MODELS[model].space) + 1
    for end in ("low", "high"):
        values = {name: getattr(r, end) for name, r in space.items()}
        clone(pipeline).set_params(**{name: int(v) if space[name].whole else v for name, v in values.items()})


def test_a_bad_setting_is_mended(monkeypatch):
    poor = replace(MODELS["logreg"], build=lambda seed, jobs: LogisticRegression(C=1e-9, max_iter=500))
    monkeypatch.setitem(MODELS, "logreg", poor)
    _, found = searched(problem(folds=FOLDS, signal=1.0), "logreg", 8, balance="none")
    assert found.score > found.default_score
    assert found.parameters["model__C"] > 1e-5
    assert found.trials == 8


def test_the_zoos_own_settings_stay_where_none_is_better(monkeypatch):
    monkeypatch.setattr("dermfuse.pipelines.evaluation.tune.macro_auc", lambda truth, probabilities: 0.5)
    _, found = searched(problem(folds=FOLDS), "logreg", 3)
    assert found.parameters == {} and found.score == found.default_score == 0.5


def test_candidates_that_are_behind_are_stopped():
    _, found = searched(problem(folds=FOLDS, signal=0.4), "logreg", 12, balance="none")
    assert 0 < found.stopped < found.trials == 12


def test_a_search_is_reproduced_by_its_seed():
    given = problem(folds=FOLDS)
    assert searched(given, "logreg", 4)[1] == searched(given, "logreg", 4)[1]


@pytest.mark.parametrize("changed", [with_other_values, with_other_labels])
def test_what_a_fold_chooses_does_not_depend_on_the_rows_it_holds_out(changed):
    given = problem(folds=FOLDS)
    before = evidence_of(given, "logreg", tune=4)
    fits = ["fold 1", "fold 2", "fold 3", "all training rows"]
    assert [title for title, _ in before.tuned] == [*fits, *(f"{fit}, without metadata" for fit in fits)]
    after = evidence_of(changed(given, given.fold == 1), "logreg", tune=4)
    assert dict(after.tuned)["fold 2"] == dict(before.tuned)["fold 2"]
    assert dict(after.tuned)["fold 1"] != dict(before.tuned)["fold 1"], "the other folds learn from these rows"


def test_inner_folds_keep_groups_whole(monkeypatch):
    seen = []

    def recorded(truth, groups, seed, folds):
        fold = folds_of(truth, groups, seed, folds)
        seen.append((np.asarray(groups), fold))
        return fold

    monkeypatch.setattr("dermfuse.pipelines.evaluation.tune.folds_of", recorded)
    searched(problem(folds=FOLDS), "logreg", 1)
    for groups, fold in seen:
        assert all(len(set(fold[groups == group])) == 1 for group in set(groups))


def test_a_class_too_small_to_be_divided_again_is_told():
    given = problem(folds=FOLDS)
    rare = given.table.groups[given.truth == 0]
    keep = ~np.isin(given.table.groups, np.unique(rare)[1:])
    options = FitOptions("logreg", balance="smote", folds=FOLDS, tune=2, jobs=1)
    pipeline = build_pipeline(given.table.columns, options, 1, 40)
    with pytest.raises(UserError, match="inner fold of --tune.*Leave --tune out"):
        search(pipeline, given.table.X[keep], given.truth[keep], given.table.groups[keep], options)


def test_components_fit_the_inner_training_parts():
    """480 training rows allow 400 components, two thirds of them do not."""
    given = problem(classes=2, groups=150, widths={"alpha": 400}, folds=FOLDS)
    rows = given.train
    options = FitOptions("logreg", balance="none", folds=FOLDS, tune=1, jobs=1)
    pipeline = build_pipeline(given.table.columns, options, None, int(rows.sum()))
    assert pipeline.get_params()["preprocess__alpha__pca__n_components"] > 2 * rows.sum() / 3
    found = search(pipeline, given.table.X[rows], given.truth[rows], given.table.groups[rows], options)
    assert np.isfinite(found.default_score)


def test_an_inner_fold_of_one_class_is_told():
    given = problem(classes=2, groups=60, folds=FOLDS)
    rare = np.unique(given.table.groups[given.truth == 0])
    keep = ~np.isin(given.table.groups, rare[2:])
    options = FitOptions("logreg", balance="none", folds=FOLDS, tune=2, jobs=1)
    pipeline = build_pipeline(given.table.columns, options, None, 30)
    with pytest.raises(UserError, match="inner fold of --tune holds one class only.*Leave --tune out"):
        search(pipeline, given.table.X[keep], given.truth[keep], given.table.groups[keep], options)
