"""Reading a run folder (schema 1) and refusing, in one line, what is not one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from dermfuse.pipelines.runs.agreement import check_metrics, check_predictions
from dermfuse.pipelines.runs.opened import OpenRun, open_run

SPLIT_ROWS = {"out_of_fold": "train", "test": "test"}
SPLITS = tuple(SPLIT_ROWS)
_COLUMNS = {
    "splits.parquet": "id group label content split fold",
    "predictions.parquet": "id group split fold truth decision",
    "importance.parquet": "kind feature block class value low high p_value selected",
    "shap.parquet": "sample class feature block shap_value feature_value feature_text",
}
_A_PATH = re.compile(r"(?<![\w/.:])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\,;:'\"()<>]+){2,}|\bfile:\S+")


@dataclass(frozen=True)
class RunFolder:
    """What one run left behind, checked as far as the report relies on it.

    Attributes
    ----------
    config, data, environment, metrics : dict
        The JSON documents. Texts in them are freed of paths and of image and group ids.
    splits, predictions, importance : pandas.DataFrame
        The tables, one row a sample (`importance`: one row a feature and kind).
    shap : pandas.DataFrame or None
        SHAP values in long form; None when the explanation was switched off.
    autoencoder : dict or None
        The training history of the autoencoder block.
    reconstructions : tuple of ndarray or None
        Originals and reconstructions, uint8, each of shape (n, height, width, 3).
    prediction_sets, subgroups, missing_fields, audit : dict
        Thresholds and coverage of the prediction sets; results by subgroup; metrics for every pattern of missing
        metadata fields; what the leakage audit found.
    audit_pairs : tuple of ndarray or None
        The near-copies it found, uint8, each of shape (n, height, width, 3), and their agreement (n,).
    changed : list of str
        What was changed after the fit and is trusted all the same.
    """

    config: dict
    data: dict
    environment: dict
    metrics: dict
    splits: pd.DataFrame
    predictions: pd.DataFrame
    importance: pd.DataFrame
    shap: pd.DataFrame | None
    autoencoder: dict | None
    reconstructions: tuple[np.ndarray, np.ndarray] | None
    prediction_sets: dict
    subgroups: dict
    missing_fields: dict
    audit: dict
    audit_pairs: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    changed: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the confusion matrices."""
        return self.config["dataset"]["classes"]

    @property
    def positive(self) -> str | None:
        """The positive one of two classes; None where there are more."""
        return self.metrics["positive"] if len(self.classes) == 2 else None

    def rows(self, split: str) -> pd.DataFrame:
        """Return the predictions of `split`, which is ``"out_of_fold"`` or ``"test"``."""
        return self.predictions[self.predictions["split"] == SPLIT_ROWS[split]]

    def importance_of(self, kind: str) -> pd.DataFrame:
        """Return the importance rows of one kind, the most important first."""
        rows = self.importance[self.importance["kind"] == kind]
        return rows.sort_values(["value", "feature"], ascending=[False, True], kind="stable")


def read_run(run: Path, trust: bool = False, notice: Callable[[str], None] | None = None) -> RunFolder:
    """Read the run folder `run`; `trust` and `notice` as of :func:`dermfuse.pipelines.runs.opened.open_run`.

    Raises
    ------
    UserError
        When the folder, one of its files, a key or a column is missing or was changed, or the schema is another one.
    """
    opened = open_run(Path(run), trust, notice)
    config, metrics = opened.json("config.json"), opened.json("metrics.json")
    classes = config["dataset"]["classes"]
    splits = _table(opened, "splits.parquet")
    predictions = _table(opened, "predictions.parquet", [f"p_{name}" for name in classes])
    check_predictions(opened.folder, predictions, classes)
    check_metrics(opened.folder, metrics, classes)
    private, data = _Privacy(splits), opened.json("data.json")
    changed = [sentence.removeprefix(f"{opened.folder}{os.sep}") for sentence in opened.changed]
    return RunFolder(
        config=config | {key: private(config[key]) for key in ("blocks", "model_parameters")},
        data=private(data | {"notices": [*data["notices"], *changed]}),
        environment=private(opened.json("environment.json")),
        metrics=metrics | {"intervals": private(metrics["intervals"])},
        splits=splits,
        predictions=predictions,
        importance=_table(opened, "importance.parquet"),
        shap=_table(opened, "shap.parquet") if "shap.parquet" in opened else None,
        autoencoder=opened.json("autoencoder.json") if "autoencoder.json" in opened else None,
        reconstructions=_arrays(opened, "autoencoder_reconstructions.npz", "originals", "reconstructions"),
        prediction_sets=opened.json("prediction_sets.json"),
        subgroups=private(opened.json("subgroups.json")),
        missing_fields=opened.json("missing_fields.json"),
        audit=private(opened.json("audit.json")),
        audit_pairs=_arrays(opened, "audit_pairs.npz", "left", "right", "agreement"),
        changed=opened.changed,
    )


def _table(opened: OpenRun, name: str, more: Sequence[str] = ()) -> pd.DataFrame:
    return opened.table(name, [*_COLUMNS[name].split(), *more])


def _arrays(opened: OpenRun, name: str, *names: str) -> tuple[np.ndarray, ...] | None:
    return opened.arrays(name, *names) if name in opened else None


class _Privacy:
    """Take paths and the ids of images and groups out of texts; something visible stays in their place."""

    def __init__(self, splits: pd.DataFrame):
        names = set(splits["id"].astype(str)) | set(splits["group"].astype(str))
        # A bare number or word may be an id, but also a count or a class: only mixed names are safe.
        self._names = {name for name in names if re.search(r"\d", name) and re.search(r"\D", name)}

    def __call__(self, thing):
        if isinstance(thing, str):
            text = _A_PATH.sub("[path]", thing)
            return re.sub(r"[\w-]+", lambda word: "[id]" if word[0] in self._names else word[0], text)
        if isinstance(thing, dict):
            return {key: self(value) for key, value in thing.items()}
        if isinstance(thing, list):
            return [self(value) for value in thing]
        return thing
