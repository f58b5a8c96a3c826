"""Search for a model's settings inside one training part: nested, grouped, and blind to what is held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dermfuse.cache.errors import UserError
from dermfuse.pipelines.evaluation.splits import folds_of
from dermfuse.pipelines.model.balance import smote_neighbors
from dermfuse.pipelines.model.zoo import Range, model_named
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.statistics.metrics import macro_auc

INNER_FOLDS = 3
REDUCTION = 3
METRIC = "macro AUC"


@dataclass(frozen=True)
class Tuned:
    """What a search chose.

    Attributes
    ----------
    parameters : dict
        Of the pipeline, by the names of its ``set_params``; empty where the zoo's own settings were best.
    score, default_score : float
        Mean macro AUC over the inner folds, of these and of the zoo's own settings.
    trials, stopped : int
        Candidates tried, and how many of them were stopped after their first folds.
    """

    parameters: dict[str, float | int]
    score: float
    default_score: float
    trials: int
    stopped: int


def search(pipeline, X: pd.DataFrame, truth: np.ndarray, groups: np.ndarray, options: FitOptions) -> Tuned:
    """The best of ``options.tune`` candidates by grouped cross-validation over the rows that are given.

    Candidates are drawn by Optuna's tree-structured Parzen estimator (Bergstra et al., NIPS 2011); those that are
    behind after their first inner folds are stopped (asynchronous successive halving: Li et al., "A system for
    massively parallel hyperparameter tuning", MLSys 2020). The zoo's own settings are kept where none is better.

    Parameters
    ----------
    pipeline : unfitted pipeline
    X, truth, groups : DataFrame, ndarray, ndarray
        Training rows only.
    options : FitOptions

    Returns
    -------
    Tuned

    Raises
    ------
    UserError
        A class is too small to be divided once more.
    """
    import optuna
    from sklearn.base import clone

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if min(len(set(groups)), np.bincount(truth).min()) < INNER_FOLDS:
        raise UserError(
            f"a training part has a class with fewer than {INNER_FOLDS} rows, or as few groups, and --tune divides it "
            f"into {INNER_FOLDS} folds. Leave --tune out, or give more rows of the rare class."
        )
    fold = folds_of(truth, groups, options.seed, INNER_FOLDS)
    space = search_space(pipeline, X, fold, options)
    # What fits all training rows need not fit two thirds of them.
    given = pipeline.get_params()
    fixed = {name: min(given[name], int(r.high)) for name, r in space.items() if name.endswith("__n_components")}
    fixed |= _neighbors_inside(truth, fold, options)

    def score_of(parameters: dict, stop=lambda step, value: False) -> float | None:
        candidate = clone(pipeline).set_params(**{**fixed, **parameters})
        scores = []
        for number in range(INNER_FOLDS):
            held = fold == number
            fitted = clone(candidate).fit(X[~held], truth[~held])
            scores.append(macro_auc(truth[held], fitted.predict_proba(X[held])))
            if number + 1 < INNER_FOLDS and stop(number + 1, float(np.mean(scores))):
                return None
        return float(np.mean(scores))

    def objective(trial: optuna.Trial) -> float:
        def stop(step: int, value: float) -> bool:
            trial.report(value, step)
            return trial.should_prune()

        score = score_of(_drawn(trial, space), stop)
        if score is None:
            raise optuna.TrialPruned
        return score

    default = score_of({})
    sampler = optuna.samplers.TPESampler(seed=options.seed, n_startup_trials=min(10, max(1, options.tune // 2)))
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    study.optimize(objective, n_trials=options.tune)
    whole = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    best = max(whole, key=lambda trial: trial.value, default=None)
    stopped = len(study.trials) - len(whole)
    if best is None or best.value <= default:
        return Tuned({}, default, default, len(study.trials), stopped)
    return Tuned(dict(best.params), best.value, default, len(study.trials), stopped)


def search_space(pipeline, X: pd.DataFrame, fold: np.ndarray, options: FitOptions) -> dict[str, Range]:
    """What may be chosen, by the names of the pipeline's parameters; components fit every inner training part."""
    model = model_named(options.model)
    prefix = "model__estimator__" if options.balance == "weights" else "model__"
    space = {prefix + name: choice for name, choice in model.space.items()}
    fewest = min(int((fold != number).sum()) for number in range(INNER_FOLDS))
    for name, steps, columns in pipeline["preprocess"].transformers:
        if "pca" in getattr(steps, "named_steps", {}):
            most = min(model.components * 2, len(columns), fewest - 1)
            low = min(max(2, model.components // 4), most)
            space[f"preprocess__{name}__pca__n_components"] = Range(low, most, log=True, whole=True)
    return space


def _neighbors_inside(truth: np.ndarray, fold: np.ndarray, options: FitOptions) -> dict[str, int]:
    """SMOTE's neighbours for the inner folds, which must be large enough to learn from and to score."""
    classes = truth.max() + 1
    counts = [np.bincount(truth[fold != number], minlength=classes) for number in range(INNER_FOLDS)]
    smallest = int(np.min(counts))
    needed = 2 if options.balance == "smote" else 1
    if any(len(set(truth[fold == number])) < 2 for number in range(INNER_FOLDS)):
        raise UserError(
            f"an inner fold of --tune holds one class only, so nothing can be scored on it ({INNER_FOLDS} folds inside "
            "each training part). Leave --tune out, or give more rows of the rare class."
        )
    if smallest < needed:
        raise UserError(
            f"the rarest class has {smallest} of the {needed} rows that an inner fold of --tune needs. Leave --tune "
            "out, give --balance none, or merge or remove the class."
        )
    return {"smote__k_neighbors": smote_neighbors(smallest)} if options.balance == "smote" else {}


def _drawn(trial, space: dict[str, Range]) -> dict[str, float | int]:
    return {
        name: trial.suggest_int(name, int(r.low), int(r.high), log=r.log)
        if r.whole
        else trial.suggest_float(name, r.low, r.high, log=r.log)
        for name, r in space.items()
    }
