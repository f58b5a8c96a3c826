"""What a fitted run writes down: its configuration, its data flow and its tables."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from dermfuse.cache.store import Block, Store
from dermfuse.features.data.dataset import Dataset
from dermfuse.features.embedding.noticed import noticed
from dermfuse.features.extractors import learned
from dermfuse.features.runtimes.choice import Choices
from dermfuse.pipelines.evaluation import explain, permutation, splits, tune
from dermfuse.pipelines.model.table import Table
from dermfuse.pipelines.model.zoo import MODELS, model_named
from dermfuse.pipelines.options.fit import KEPT
from dermfuse.pipelines.prediction.outside import ranges_of
from dermfuse.pipelines.runs import run_folder
from dermfuse.pipelines.runs.schema import SCHEMA


def config(dataset, table, blocks, learned_from, options, neighbors, classes, evidence) -> dict:
    """The content of ``config.json``: every choice, resolved."""
    layout = dataset.layout
    train = evidence.fold >= 0
    prevalence = np.array([(table.labels[train] == name).mean() for name in classes])
    calibrator = evidence.model.calibrator
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset": {
            "name": dataset.name,
            "preset": layout.preset,
            "synthetic": layout.synthetic,
            "fingerprint": dataset.fingerprint(),
            "image_column": layout.image,
            "label_column": layout.label,
            "group_column": layout.group,
            "classes": [str(c) for c in classes],
            "metadata": {"numeric": table.columns.numeric, "categorical": table.columns.categorical},
            "leak_columns": list(layout.leaks),
            "ranges": ranges_of(table.X.loc[train, table.columns.numeric]),
            "malignant": list(layout.malignant),
            "benign": list(layout.benign),
            "positive": layout.positive or None,
            "subgroups": list(layout.subgroups),
            "own_test_split": dataset.own_test is not None,
        },
        **{name: getattr(options, name) for name in KEPT},
        "model_title": MODELS[options.model].title,
        "model_parameters": _chosen_parameters(model_named(options.model).build(options.seed, options.jobs)),
        "components": MODELS[options.model].components,
        "smote_neighbors": neighbors,
        "features": [block.name for block in blocks],
        "use_metadata": options.use_metadata and bool(table.columns.metadata),
        "tuning": tuning(evidence, options),
        "test_fraction": float((evidence.fold < 0).mean()) if dataset.own_test is not None else splits.TEST_FRACTION,
        "majority_class": str(classes[prevalence.argmax()]),
        "prevalence": prevalence.tolist(),
        "calibration": {"method": options.calibration, **calibrator.parameters()},
        "shuffles": permutation.shuffles_for(int((~train).sum())) if options.explain else None,
        "blocks": [_block_facts(block, learned_from(block)) for block in blocks],
    }


def _chosen_parameters(classifier) -> dict:
    """The classifier's parameters that differ from its own defaults."""
    defaults = type(classifier)().get_params(deep=False)
    chosen = {k: v for k, v in classifier.get_params(deep=False).items() if v is not defaults[k] and v != defaults[k]}
    return {k: v if isinstance(v, bool | int | float | str | None) else str(v) for k, v in chosen.items()}


def _block_facts(block: Block, learned_rows: set[str]) -> dict:
    # The cache's folder holds one choice a machine for each network.
    choices = Choices(block.folder.parents[1]).of(block.recipe)
    # Of the extractors only the autoencoder learns here, and it sees no labels.
    learned_from = {"rows": len(learned_rows), "labels": False} if learned_rows else None
    return {
        "name": block.name,
        "key": block.key,
        "width": block.width,
        "recipe": block.recipe,
        "learned_from": learned_from,
        "runtimes": [asdict(choice) for choice in choices],
        "noticed": noticed(block.folder.parents[1], block.key),
    }


def data(dataset: Dataset, table: Table, fold: np.ndarray, classes: np.ndarray, console) -> dict:
    """The content of ``data.json``: what was counted on the way from the table to the splits, and every notice."""
    rows = []
    for split, chosen in (("train", fold >= 0), ("test", fold < 0)):
        counts = {str(c): int((table.labels[chosen] == c).sum()) for c in classes}
        rows.append(
            {
                "split": split,
                "images": int(chosen.sum()),
                "groups": len(set(table.groups[chosen])),
                "classes": counts,
            }
        )
    counts = [{"what": what, "n": n} for what, n in dataset.counts]
    left_out = dataset.counts[-1][1] - len(table.labels)
    if left_out:
        counts.append({"what": "images that could not be read, left out", "n": left_out})
    counts.append({"what": "images in this run", "n": len(table.labels)})
    word = dataset.layout.group_word if dataset.layout.group else None
    return {"counts": counts, "groups": word, "splits": rows, "notices": list(console.notices)}


def splits_table(table: Table, fold: np.ndarray) -> pd.DataFrame:
    """``splits.parquet``: a row a sample; fold is -1 in the locked test split."""
    return pd.DataFrame(
        {
            "id": table.ids,
            "group": table.groups,
            "label": table.labels,
            "content": table.content,
            "split": np.where(fold < 0, "test", "train"),
            "fold": fold,
        }
    )


def predictions_table(table: Table, evidence, classes: np.ndarray) -> pd.DataFrame:
    """``predictions.parquet``: out of fold for training rows, from the final model for test rows."""
    out = splits_table(table, evidence.fold)[["id", "group", "split", "fold"]]
    out["truth"] = table.labels
    out["decision"] = classes[evidence.probabilities.argmax(axis=1)]
    return _with_probabilities(out, evidence.probabilities, classes)


def repeats_table(table: Table, evidence, classes: np.ndarray) -> pd.DataFrame:
    """``repeats.parquet``: calibrated out-of-fold probabilities from each further division into folds."""
    train, parts = evidence.fold >= 0, []
    for number, repeat in enumerate(evidence.repeats, start=2):
        part = pd.DataFrame({"repeat": number, "id": table.ids[train], "fold": repeat.fold[train]})
        parts.append(_with_probabilities(part, repeat.probabilities[train], classes))
    return pd.concat(parts, ignore_index=True)


def _with_probabilities(rows: pd.DataFrame, probabilities: np.ndarray, classes: np.ndarray) -> pd.DataFrame:
    """Rows with a column a class, ``p_NAME``, joined at once: one by one, a hundred classes would take long."""
    return pd.concat([rows, pd.DataFrame(probabilities, rows.index, [f"p_{name}" for name in classes])], axis=1)


def tuning(evidence, options) -> dict | None:
    """What the search for settings chose in each fit; None without one."""
    if not options.tune:
        return None
    chosen = [{"fit": title, **asdict(tuned)} for title, tuned in evidence.tuned]
    return {"candidates": options.tune, "inner_folds": tune.INNER_FOLDS, "metric": tune.METRIC, "chosen": chosen}


def keep_autoencoder(folder: Path, store: Store, blocks: list[Block]) -> None:
    """Copy the learning curve and a few reconstructions of the run's autoencoder into the run folder."""
    for block in blocks:
        if block.recipe.get("extractor") != "autoencoder":
            continue
        record = learned.learning_record(store, block.recipe["weights"])
        held = record["rows_held_back"]
        facts = {
            **record["curve"],
            "rows": {"train": len(record["rows"]) - held, "validation": held},
            "image_size": record["config"]["size"],
            "latent": record["config"]["latent"],
            "seconds": record["seconds"],
        }
        run_folder.write_json(folder, "autoencoder.json", facts)
        pictures = learned.reconstructions(store, block.recipe["weights"])
        if pictures.is_file():
            shutil.copyfile(pictures, folder / "autoencoder_reconstructions.npz")


def importance_table(rows: list[dict]) -> pd.DataFrame:
    """``importance.parquet``, with its columns also when there are no rows."""
    columns = list(explain.importance_row("", "", "", 0))
    return pd.DataFrame(rows, columns=columns).astype({"class": object})
