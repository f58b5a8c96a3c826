"""Whether the files of a run folder are of one fit, and its predictions are probabilities of its classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dermfuse.cache.errors import UserError, listed
from dermfuse.pipelines.runs.modelcheck import is_probability
from dermfuse.pipelines.runs.opened import AGAIN

# Of probabilities that were written with two decimals.
ROUNDING = 0.005 + 1e-9


def check_predictions(folder: Path, predictions: pd.DataFrame, classes: list[str]) -> None:
    """Refuse a table of predictions that the classes and probabilities of its run do not allow.

    Raises
    ------
    UserError
        Another class, another order of classes, a row twice, or what is no probability.
    """
    path = folder / "predictions.parquet"
    columns = [name for name in predictions if str(name).startswith("p_")]
    if columns != [f"p_{name}" for name in classes]:
        raise UserError(f"{path} has other classes, or another order of them, than config.json. {AGAIN}.")
    p = predictions[columns].to_numpy(np.float64)
    sums_off = np.abs(p.sum(axis=1) - 1) > ROUNDING * len(classes)
    if not np.isfinite(p).all() or (p < 0).any() or (p > 1 + ROUNDING).any() or sums_off.any():
        raise UserError(f"{path} holds probabilities that are not numbers from 0 to 1 which add up to 1. {AGAIN}.")
    if predictions["id"].duplicated().any():
        raise UserError(f"{path} has more than one row for an id. {AGAIN}.")
    said = [column for column in ("truth", "decision") if column in predictions]
    strangers = sorted({str(name) for column in said for name in predictions[column].unique()} - set(classes))
    if strangers:
        raise UserError(f"{path} holds the classes {listed(strangers)}, which config.json does not name. {AGAIN}.")


def check_fits_together(folder: Path, config: dict, splits: pd.DataFrame, model) -> None:
    """Refuse a run whose files are not of one fit, as far as predictions rest on them.

    Raises
    ------
    UserError
        It says which two files disagree.
    """
    classes = config["dataset"]["classes"]
    shares = splits.loc[splits["split"] == "train", "label"].value_counts(normalize=True)
    told = dict(zip(classes, config["prevalence"], strict=True))
    if set(shares.index) != set(classes) or any(abs(shares[name] - told[name]) > 1e-6 for name in classes):
        other = "splits.parquet (classes and their prevalence)"
    elif len(model.classes_) != len(classes):
        other = f"model.skops ({len(model.classes_)} classes, and not {len(classes)})"
    else:
        return
    raise UserError(f"{folder / 'config.json'} is not of the same fit as {other}. {AGAIN}.")


def check_metrics(folder: Path, metrics: dict, classes: list[str]) -> None:
    """Refuse scores of other classes, or of another order of them.

    Raises
    ------
    UserError
        They are of another run.
    """
    for part, rows in metrics["per_class"].items():
        if [row["class"] for row in rows] != classes:
            path = folder / "metrics.json"
            raise UserError(f"{path}: per_class.{part} has other classes than config.json. {AGAIN}.")


def answers_of(model, X: pd.DataFrame, path: Path) -> np.ndarray:
    """What the model of the file `path` says of rows, (n, classes) float64.

    Its numbers were looked through when it was loaded; with other rows they may still run out of range.

    Raises
    ------
    UserError
        It cannot answer, or its answers are no probabilities.
    """
    try:
        answers = model.predict_proba(X)
    except (ValueError, ArithmeticError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} cannot score these rows ({reason}). {AGAIN}.") from error
    if not is_probability(answers).all():
        raise UserError(f"{path} answers with what are no probabilities. {AGAIN}.")
    return answers
