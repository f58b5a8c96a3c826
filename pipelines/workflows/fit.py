"""Stage 2 from end to end: table -> locked split -> folds -> calibrated model -> evidence -> run folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.features.data.content import content_of
from dermfuse.features.data.dataset import Dataset
from dermfuse.pipelines.audit.given import AuditInput
from dermfuse.pipelines.audit.memo import findings_of
from dermfuse.pipelines.audit.outputs import keep_audit
from dermfuse.pipelines.audit.whole import run_audit
from dermfuse.pipelines.evaluation import explain, missing, permutation, sets, subgroups
from dermfuse.pipelines.evaluation.out_of_fold import anova_rows, cross_validate
from dermfuse.pipelines.evaluation.scoring import score
from dermfuse.pipelines.model.balance import smote_neighbors
from dermfuse.pipelines.model.table import build_table
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.runs import run_folder
from dermfuse.pipelines.runs.drafts import clear_abandoned
from dermfuse.pipelines.runs.environment import Stopwatch, environment
from dermfuse.pipelines.runs.openings import note_opening, split_key
from dermfuse.pipelines.workflows import documents, repeat
from dermfuse.pipelines.workflows.inputs import Inputs, inputs_of, learned_from


def fit_dataset(
    dataset: Dataset,
    store: Store,
    options: FitOptions,
    runs: Path,
    name: str | None,
    console,
) -> Path:
    """Find a dataset's embeddings by the content of its images, then :func:`fit`, which describes the parameters.

    Raises
    ------
    UserError
        As :func:`fit`; or images are to be used and there are none.
    """
    content = None
    options.check()
    run_folder.check_place(runs, name)  # before all files are hashed
    if options.use_images:
        if not dataset.has_images:
            raise UserError(f"no image files below {dataset.folder}. Give --no-images to fit on metadata alone.")
        content = content_of(dataset, store, console.progress)
    inputs = inputs_of(dataset, content, store, options.seed, console).for_fit(store, options, console)
    return fit(inputs, store, options, runs, name, console)


def fit(
    inputs: Inputs,
    store: Store,
    options: FitOptions,
    runs: Path,
    name: str | None,
    console,
    commands: list[list[str]] | None = None,
) -> Path:
    """Fit one model and keep everything that its report and its predictions need.

    Parameters
    ----------
    inputs : Inputs
        As `for_fit` returns them.
    store : Store
    options : FitOptions
    runs : Path
        Where the run folder goes.
    name : str or None
        Its name; None makes one up.
    console : Console
    commands : list of list of str, optional
        What repeats the run, where that is no ``fit`` of these options.

    Returns
    -------
    Path
        The run folder.

    Raises
    ------
    UserError
        Features that were not extracted, classes too small, a name that is taken.
    """
    options.check()
    run_folder.check_place(runs, name)
    dataset, keys, blocks = inputs.dataset, inputs.keys, inputs.blocks
    run_folder.check_space(runs, len(dataset.rows))
    watch = Stopwatch()
    with watch.stage("table"):
        table = build_table(dataset, keys, blocks, options.use_metadata)
        classes, truth = np.unique(table.labels, return_inverse=True)
        folds = _folds(inputs, options)
        for fold in folds:
            check_folds(fold, truth, classes)
    with watch.stage("audit"):
        learned, used = {block.name: learned_from(store)(block) for block in blocks}, tuple(table.columns.metadata)
        given = AuditInput(dataset, dataset.whole, folds[0], keys, table, learned, used, options.seed)
        audit = run_audit(given, console, findings_of(store, console.say))
    neighbors = neighbors_for(options, folds, truth, classes, console)
    clear_abandoned(runs, console.say)
    evidence = cross_validate(table, truth, folds, options, neighbors, console.progress, watch)
    console.notice(*evidence.noticed)
    importance, shap_table = _explain(table, truth, evidence, list(classes), options, console, watch)
    with watch.stage("metrics"):
        layout = dataset.layout
        scores = score(table, truth, evidence, options.seed, layout.malignant, layout.positive)
        told = (truth, evidence.probabilities, table.groups, folds[0], [str(name) for name in classes])
        set_facts = sets.prediction_sets(told[0], told[1], told[3], told[2], told[4], options.seed)
        malignant = list(layout.malignant)
        by_subgroup = subgroups.by_subgroup(dataset.context, *told, malignant, options.seed)
    by_pattern = _missing_fields(evidence, truth, table, told[4], scores, options, console, watch)

    default = f"{dataset.name}-{options.model}"

    def write(folder: Path) -> None:
        facts = documents.config(dataset, table, blocks, learned_from(store), options, neighbors, classes, evidence)
        facts["commands"] = repeat.commands(dataset, blocks, options, store) if commands is None else commands
        with watch.stage("writing"):
            run_folder.write_json(folder, "config.json", facts)
            # An ablation's arms are noted beside it, where all others are.
            place, within = (runs, "") if commands is None else (runs.parent, f"{runs.name}/")
            called = within + (name or default)
            opened = note_opening(place, split_key(dataset.whole, options.seed), called, console.say)
            facts = documents.data(dataset, table, folds[0], classes, console) | {"openings": opened}
            run_folder.write_json(folder, "data.json", facts)
            run_folder.write_json(folder, "metrics.json", scores)
            keep_audit(folder, audit)
            run_folder.write_json(folder, sets.FILE, set_facts)
            run_folder.write_json(folder, missing.FILE, by_pattern)
            run_folder.write_json(folder, subgroups.FILE, by_subgroup)
            run_folder.write_table(folder, "splits.parquet", documents.splits_table(table, folds[0]))
            run_folder.write_table(folder, "predictions.parquet", documents.predictions_table(table, evidence, classes))
            if evidence.repeats:
                run_folder.write_table(folder, "repeats.parquet", documents.repeats_table(table, evidence, classes))
            run_folder.write_table(folder, "importance.parquet", documents.importance_table(importance))
            if shap_table is not None:
                run_folder.write_table(folder, "shap.parquet", shap_table)
            documents.keep_autoencoder(folder, store, blocks)
            run_folder.save_model(folder, evidence.model)
        run_folder.write_json(folder, "environment.json", environment("cpu", watch.seconds))

    return run_folder.create_run(runs, name, default, write, console.notice)


def _folds(inputs: Inputs, options: FitOptions) -> list[np.ndarray]:
    """Each division into folds, (n,) int; -1 in the locked test split."""
    return [inputs.folds((options.seed + number) % 2**32, options.folds) for number in range(options.repeats)]


def check_folds(fold: np.ndarray, truth: np.ndarray, classes: np.ndarray) -> None:
    """Refuse a division in which a fold's training part lacks a class.

    Raises
    ------
    UserError
        With the class and the fold.
    """
    for number in range(fold.max() + 1):
        training = truth[(fold >= 0) & (fold != number)]
        absent = np.setdiff1d(np.arange(len(classes)), training)
        if len(absent):
            raise UserError(
                f"class {str(classes[absent[0]])!r} has no training row in fold {number}: its groups fell together. "
                "Give fewer --folds or another --seed, or merge the class."
            )


def neighbors_for(options: FitOptions, folds, truth, classes, console) -> int | None:
    """Neighbours of SMOTE that the smallest training part allows; None without SMOTE.

    Raises
    ------
    UserError
        A training part holds fewer than two rows of a class.
    """
    if options.balance != "smote":
        return None
    smallest = min(
        np.bincount(truth[(fold >= 0) & (fold != k)], minlength=len(classes)).min()
        for fold in folds
        for k in range(fold.max() + 1)
    )
    neighbors = smote_neighbors(int(smallest))
    if smallest < 2:
        raise UserError(
            "SMOTE needs two rows of every class in each fold's training part. Give --balance weights or none."
        )
    if neighbors < 5:
        console.notice(
            f"SMOTE uses {neighbors} neighbours in place of 5: the smallest training class has {smallest} rows"
        )
    return neighbors


def _missing_fields(evidence, truth, table, classes, scores, options, console, watch) -> dict:
    positive = classes.index(scores["positive"]) if "positive" in scores else 1
    many = len(missing.patterns(table.columns.metadata))
    with (
        watch.stage("missing fields"),
        console.progress("scoring with fields missing", many, unit="patterns") as advance,
    ):
        told = (evidence.answers, truth, table.groups, classes, options.seed, positive)
        return missing.missing_fields(*told, advance)


def _explain(table, truth, evidence, classes, options, console, watch) -> tuple[list[dict], pd.DataFrame | None]:
    importance = anova_rows(evidence.anova)
    if not options.explain:
        console.notice("SHAP values and permutation importance were switched off")
        return importance, None
    test = evidence.fold < 0
    X, train = table.X[test], table.X[~test]
    predict = evidence.model.predict_proba
    shuffles = len(table.columns.players()) * permutation.shuffles_for(len(X))
    if len(set(truth[test])) < 2:
        console.notice("no permutation importance: the locked test split holds one class only, so there is no AUC")
    with watch.stage("explanation"):
        with console.progress("permutation importance", shuffles, unit="shuffles") as advance:
            told = (truth[test], table.groups[test], table.columns, options.seed, advance)
            importance += permutation.permutation_importance(predict, X, *told)
        with console.progress("SHAP values", min(len(X), explain.SHOWN_ROWS)) as advance:
            found = explain.shapley(predict, train, X, classes, table.columns, options.seed, advance)
    if found.shown < len(X):
        console.notice(f"SHAP values are of {found.shown} of the {len(X):,} locked test images, drawn by seed")
    return importance + found.importance, found.shap
