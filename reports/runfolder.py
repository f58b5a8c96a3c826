"""Reading a run folder (schema 1) and refusing, in one line, what is not one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cache.errors import UserError

SCHEMA = 1
SPLITS = ("out_of_fold", "test")
SPLIT_ROWS = {"out_of_fold": "train", "test": "test"}
AGAIN = "run `python cli.py fit` again to write a complete one"

_JSON_KEYS = {
    "config.json": (
        "schema name created dataset model model_parameters balance smote_neighbors features use_metadata "
        "select_k folds test_fraction seed majority_class blocks"
    ),
    "data.json": "counts groups splits notices",
    "environment.json": "python platform cpus device packages seconds peak_memory_mb",
    "metrics.json": (
        "schema out_of_fold test majority folds per_class confusion operating_points uncalibrated intervals"
    ),
    "prediction_sets.json": "coverage method reason",
    "audit.json": "schema rows errors warnings notes checks",
    "missing_fields.json": "fields patterns",
    "subgroups.json": "area malignant smallest_cell fewest_of_class how left_out out_of_fold test",
    "autoencoder.json": "train_loss validation_loss best_epoch rows image_size latent",
}
_DATASET_KEYS = "name preset synthetic label_column group_column classes metadata leak_columns"
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
    prediction_sets, subgroups : dict or None
        Thresholds and coverage of the prediction sets; results by subgroup. None in runs of older versions.
    missing_fields : dict or None
        Metrics for every pattern of missing metadata fields. None in runs of older versions.
    audit : dict or None
        What the leakage audit found; None in runs of older versions.
    audit_pairs : tuple of ndarray or None
        The near-copies it found, uint8, each of shape (n, height, width, 3), and their agreement (n,).
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
    prediction_sets: dict | None = None
    audit: dict | None = None
    audit_pairs: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    subgroups: dict | None = None
    missing_fields: dict | None = None

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the confusion matrices."""
        return self.config["dataset"]["classes"]

    @property
    def positive(self) -> str | None:
        """The positive one of two classes; None where there are more."""
        return self.metrics.get("positive", self.classes[-1]) if len(self.classes) == 2 else None

    def rows(self, split: str) -> pd.DataFrame:
        """Return the predictions of `split`, which is ``"out_of_fold"`` or ``"test"``."""
        return self.predictions[self.predictions["split"] == SPLIT_ROWS[split]]

    def importance_of(self, kind: str) -> pd.DataFrame:
        """Return the importance rows of one kind, the most important first."""
        rows = self.importance[self.importance["kind"] == kind]
        return rows.sort_values(["value", "feature"], ascending=[False, True], kind="stable")


def read_run(run: Path) -> RunFolder:
    """Read the run folder `run`.

    Raises
    ------
    UserError
        When the folder, one of its files, a key or a column is missing, or the schema is another one.
    """
    run = Path(run)
    _check_folder(run)
    config = _json(run, "config.json")
    _check_schema(run, "config.json", config)
    _check_keys(run / "config.json", config["dataset"], _DATASET_KEYS, "dataset.")
    metrics = _json(run, "metrics.json")
    _check_schema(run, "metrics.json", metrics)
    splits = _table(run, "splits.parquet")
    predictions = _predictions(run, config["dataset"]["classes"])
    private = _Privacy(splits)
    return RunFolder(
        config=config | {key: private(config[key]) for key in ("blocks", "model_parameters")},
        data=private(_json(run, "data.json")),
        environment=private(_json(run, "environment.json")),
        metrics=metrics | {"intervals": private(metrics["intervals"])},
        splits=splits,
        predictions=predictions,
        importance=_table(run, "importance.parquet"),
        shap=_table(run, "shap.parquet") if (run / "shap.parquet").exists() else None,
        autoencoder=_json(run, "autoencoder.json") if (run / "autoencoder.json").exists() else None,
        reconstructions=_arrays(run / "autoencoder_reconstructions.npz", "originals", "reconstructions"),
        audit=private(_json(run, "audit.json")) if (run / "audit.json").exists() else None,
        audit_pairs=_arrays(run / "audit_pairs.npz", "left", "right", "agreement"),
        prediction_sets=_json(run, "prediction_sets.json") if (run / "prediction_sets.json").exists() else None,
        missing_fields=_json(run, "missing_fields.json") if (run / "missing_fields.json").exists() else None,
        subgroups=private(_json(run, "subgroups.json")) if (run / "subgroups.json").exists() else None,
    )


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


def _check_folder(run: Path) -> None:
    if not run.exists():
        raise UserError(f"{run}: no such run folder; give a folder that `python cli.py fit` wrote, such as runs/NAME")
    if not run.is_dir():
        raise UserError(f"{run}: is a file; a run folder is expected, such as runs/NAME")
    if not (run / "config.json").exists():
        raise UserError(f"{run}: is not a run folder (it holds no config.json); give one that `cli.py fit` wrote")


def _check_schema(run: Path, name: str, document: dict) -> None:
    if document["schema"] != SCHEMA:
        raise UserError(
            f"{run / name}: has schema {document['schema']!r}, but this version reads schema {SCHEMA}; "
            "fit again, or use the version that wrote it"
        )


def _check_keys(path: Path, document: object, keys: str, prefix: str = "") -> None:
    if not isinstance(document, dict):
        raise UserError(f"{path}: {prefix.rstrip('.') or 'the file'} must be a JSON object; {AGAIN}")
    missing = [prefix + key for key in keys.split() if key not in document]
    if missing:
        raise UserError(f"{path}: lacks {', '.join(missing)}, which schema {SCHEMA} expects; {AGAIN}")


def _json(run: Path, name: str) -> dict:
    path = run / name
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: is missing from the run folder; {AGAIN}") from None
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}); {AGAIN}") from None
    # The schema is judged before the keys: another version's keys are not mistakes.
    if isinstance(document, dict) and "schema" in document:
        _check_schema(run, name, document)
    _check_keys(path, document, _JSON_KEYS[name])
    return document


def _table(run: Path, name: str, extra: tuple[str, ...] = ()) -> pd.DataFrame:
    path = run / name
    try:
        table = pd.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"{path}: is missing from the run folder; {AGAIN}") from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as a Parquet table ({reason}); {AGAIN}") from None
    missing = [column for column in (*_COLUMNS[name].split(), *extra) if column not in table.columns]
    if missing:
        raise UserError(f"{path}: lacks the columns {', '.join(missing)}; {AGAIN}")
    return table


def _predictions(run: Path, classes: list[str]) -> pd.DataFrame:
    columns = tuple(f"p_{name}" for name in classes)
    table = _table(run, "predictions.parquet", columns)
    strangers = sorted((set(table["truth"].astype(str)) | set(table["decision"].astype(str))) - set(classes))
    if strangers:
        raise UserError(
            f"{run / 'predictions.parquet'}: holds the classes {', '.join(strangers)}, "
            f"but config.json names only {', '.join(classes)}; {AGAIN}"
        )
    if not np.isfinite(table[list(columns)].to_numpy(dtype=float)).all():
        raise UserError(f"{run / 'predictions.parquet'}: holds probabilities that are not numbers; {AGAIN}")
    return table


def _arrays(path: Path, *names: str) -> tuple[np.ndarray, ...] | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return tuple(arrays[name] for name in names)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {AGAIN}") from None
