"""A factory of plausible run folders (schema 1), made from a seed, without a fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dermfuse.pipelines.audit.check import Check
from dermfuse.pipelines.runs import opened
from tests.reports import readings

HAM = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
HAM_SHARES = (0.033, 0.051, 0.11, 0.02, 0.111, 0.65, 0.025)
SCRIPT = "<script>alert(1)</script>"
BREAKOUT = '"><img src=x onerror=alert(2)>'
PATIENT_PATH = "/home/someone/scans/secret-patient.jpg"


@dataclass(frozen=True)
class Variant:
    """One kind of run; `write` makes its folder."""

    name: str = "ham-rf"
    dataset: str = "HAM10000"
    classes: tuple[str, ...] = HAM
    shares: tuple[float, ...] = HAM_SHARES
    blocks: tuple[str, ...] = ("mobilenet_v2", "cae")
    metadata: bool = True
    explained: bool = True
    grouped: bool = True
    synthetic: bool = False
    skill: float = 2.2
    images: int = 1400
    notices: tuple[str, ...] = ("12 images could not be decoded and were left out",)
    balance: str = "smote"
    malignant: tuple[str, ...] = ()
    seed: int = 0


VARIANTS = {
    "multiclass": Variant(malignant=("akiec", "bcc", "mel")),
    "binary": Variant(
        name="pad-logreg",
        classes=("benign", "malignant"),
        shares=(0.8, 0.2),
        blocks=("mobilenet_v2",),
        images=500,
    ),
    "no-metadata": Variant(name="images-only", metadata=False, synthetic=True, images=500, balance="weights"),
    "no-images": Variant(name="metadata-only", blocks=(), skill=0.6, images=500, grouped=False, balance="none"),
    "unexplained": Variant(name="no-shap", explained=False, images=400),
    "no-skill": Variant(name="noise", skill=0.0, images=300, notices=()),
    "hostile": Variant(
        name=SCRIPT,
        dataset=BREAKOUT,
        classes=("nv", SCRIPT, BREAKOUT, "a$b_{c}$ & 'd' {{ 7 * 7 }}", "Naevus, 良性"),
        shares=(0.4, 0.2, 0.2, 0.1, 0.1),
        images=400,
        malignant=(SCRIPT, BREAKOUT),
        notices=(SCRIPT, BREAKOUT, f"{PATIENT_PATH} could not be read", "-->", "]]>"),
    ),
}


def write(folder: Path, variant: Variant) -> Path:
    """Write the run folder of `variant` below `folder` and return it."""
    run = folder / "run"
    run.mkdir(parents=True)
    rng = np.random.default_rng(variant.seed)
    predictions = _predictions(variant, rng)
    hashes = [hashlib.sha256(name.encode()).hexdigest() if variant.blocks else "" for name in predictions["id"]]
    splits = predictions[["id", "group", "split", "fold"]].assign(label=predictions["truth"], content=hashes)
    predictions.to_parquet(run / "predictions.parquet")
    splits.to_parquet(run / "splits.parquet")
    _importance(variant, rng).to_parquet(run / "importance.parquet")
    if variant.explained:
        _shap(variant, rng).to_parquet(run / "shap.parquet")
    documents = {
        "config.json": _config(variant, splits),
        "data.json": _data(variant, splits),
        "environment.json": _environment(),
        "metrics.json": _metrics(variant, predictions),
        "prediction_sets.json": _prediction_sets(variant, predictions),
        "missing_fields.json": _missing_fields(variant, predictions),
        "audit.json": _audit(variant),
        "subgroups.json": _subgroups(variant, predictions),
    }
    if "cae" in variant.blocks:
        documents["autoencoder.json"] = _autoencoder(splits)
        images = rng.integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
        softened = (images // 2 + 64).astype(np.uint8)
        np.savez(run / "autoencoder_reconstructions.npz", originals=images, reconstructions=softened)
        np.savez(run / "audit_pairs.npz", left=images[:2], right=softened[:2], agreement=np.array([0.95, 0.91]))
    for name, document in documents.items():
        (run / name).write_text(json.dumps(document))
    return run


def edit(path: Path, change: Callable[[dict], object]) -> None:
    """Change one of a run's JSON documents by hand."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def trust_all(monkeypatch) -> None:
    """Have every run folder read as one that was written as it is now."""
    monkeypatch.setattr(opened, "compared", lambda folder: ({path.name for path in folder.iterdir()}, []))


def _predictions(variant: Variant, rng: np.random.Generator) -> pd.DataFrame:
    n, classes = variant.images, np.array(variant.classes)
    groups = np.sort(rng.integers(0, int(n * 0.75), n)) if variant.grouped else np.arange(n)
    # One label, split and fold a group, so that the page's own checks pass.
    label = rng.choice(len(classes), n, p=np.array(variant.shares) / sum(variant.shares))[groups]
    split = np.where(rng.random(n) < 0.15, "test", "train")[groups]
    fold = np.where(split == "test", -1, rng.integers(0, 5, n)[groups])
    score = rng.normal(size=(n, len(classes))) + np.log(np.array(variant.shares))
    score[np.arange(n), label] += variant.skill * rng.random(n)
    probability = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    # Forests give few distinct probabilities: ties are the normal case.
    probability = np.round(probability, 2)
    table = pd.DataFrame(
        {
            "id": [f"ISIC_{index:07d}" for index in range(n)],
            "group": [f"HAM_{index:07d}" for index in groups],
            "split": split,
            "fold": fold,
            "truth": classes[label],
            "decision": classes[probability.argmax(axis=1)],
        }
    )
    return table.assign(**{f"p_{name}": probability[:, index] for index, name in enumerate(variant.classes)})


def _config(variant: Variant, splits: pd.DataFrame) -> dict:
    return {
        "schema": 1,
        "name": variant.name,
        "created": "2025-03-04T15:06:07+00:00",
        "dataset": {
            "name": variant.dataset,
            "preset": "synthetic" if variant.synthetic else "ham10000",
            "synthetic": variant.synthetic,
            "label_column": "dx",
            "group_column": "lesion_id" if variant.grouped else None,
            "image_column": "image_id",
            "classes": list(variant.classes),
            "metadata": {
                "numeric": ["age"] if variant.metadata else [],
                "categorical": ["sex", "localization"] if variant.metadata else [],
            },
            "leak_columns": ["dx_type"],
            "malignant": list(variant.malignant),
            "subgroups": ["sex", "age"],
            "own_test_split": False,
        },
        "model": "rf",
        "model_title": "random forest",
        "model_parameters": {"n_estimators": 300, "max_features": "sqrt", "min_samples_leaf": 2},
        "balance": variant.balance,
        "smote_neighbors": 5 if variant.balance == "smote" else None,
        "features": list(variant.blocks),
        "use_metadata": variant.metadata,
        "select_k": None,
        "shuffles": 22 if variant.explained else None,
        "folds": 5,
        "repeats": 1,
        "tuning": None,
        "test_fraction": 0.15,
        "seed": variant.seed,
        "majority_class": splits["label"].value_counts().idxmax(),
        "prevalence": [float((splits["label"] == name).mean()) for name in variant.classes],
        "blocks": [_block(name, splits) for name in variant.blocks],
        "commands": _commands(variant),
    }


def _commands(variant: Variant) -> list[list[str]]:
    start, data, names = ["python", "cli.py"], ["--data", "DIR"], ",".join(variant.blocks)
    extract = [[*start, "extract", *data, "--features", names]] if names else []
    chosen = ["--features", names] if names else ["--no-images"]
    return [*extract, [*start, "fit", *data, "--model", "rf", *chosen, "--seed", str(variant.seed)]]


def _block(name: str, splits: pd.DataFrame) -> dict:
    learned = name == "cae"
    return {
        "name": name,
        "key": hashlib.sha256(name.encode()).hexdigest(),
        "width": 128 if learned else 1280,
        "recipe": {
            "schema": 1,
            "architecture": {"name": name, "levels": ["last"], "pooling": "mean"},
            "weights": hashlib.sha256(b"weights" + name.encode()).hexdigest(),
            "input": {"size": 224, "resize": 256, "interpolation": "bilinear", "antialias": True},
            "normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
            "views": 1,
            "dtype": "float32",
        },
        "learned_from": {"rows": int((splits["split"] == "train").sum()), "labels": False} if learned else None,
        "runtimes": [] if learned else [_runtime(name)],
        "noticed": [],
    }


def _runtime(name: str) -> dict:
    """A choice of runtime, with a candidate that was not tried and one whose driver says something hostile."""
    fast = {"images_per_second": 450.2, "build_seconds": 2.1, "lowest_cosine": 0.9999997, "largest_error": 5.1e-6}
    none = dict.fromkeys(fast)
    trials = [
        {"name": "reference", "precision": "float32", "outcome": "slower", **none, "images_per_second": 58.0},
        {"name": "OpenVINO", "precision": "float32", "outcome": "chosen", **fast},
        {"name": "compiled", "precision": "float32", "outcome": f"dropped: it cannot run here ({SCRIPT})", **none},
    ]
    return {
        "extractor": name,
        "machine": "AMD EPYC, 2 threads",
        "network": "ab" * 32,
        "chosen": "OpenVINO",
        "precision": "float32",
        "why": "450 images/s, 7.8 times the reference",
        "batch": 16,
        "probe": 32,
        "images_left": 1400,
        "trials": trials,
    }


def _data(variant: Variant, splits: pd.DataFrame) -> dict:
    n = len(splits)
    rows = []
    for split in ("train", "test"):
        part = splits[splits["split"] == split]
        counts = {name: int((part["label"] == name).sum()) for name in variant.classes}
        rows.append({"split": split, "images": len(part), "groups": part["group"].nunique(), "classes": counts})
    return {
        "counts": [
            {"what": "rows in the table", "n": n + 60},
            {"what": "images found", "n": n + 12},
            {"what": "images decoded", "n": n},
            {"what": "images used", "n": n},
        ],
        "groups": "lesions" if variant.grouped else None,
        "splits": rows,
        "notices": list(variant.notices),
        "openings": [variant.name],
    }


def _environment() -> dict:
    return {
        "python": "3.11.9",
        "platform": "Linux-6.1-x86_64",
        "cpus": 8,
        "device": "cpu",
        "packages": {"numpy": "2.4.6", "scikit-learn": "1.9.1", "torch": "2.10.0", "xgboost": "3.2.0"},
        "seconds": {"extract": 412.4, "fit": 38.25, "explain": 12.04, "report": 0.9},
        "peak_memory_mb": 1843.2,
        "peak_memory_workers_mb": 0.0,
    }


def _interval(value: float, width: float) -> dict:
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None}
    return {"value": float(value), "low": float(value - width), "high": float(value + width)}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _auc(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve as the Mann-Whitney statistic, by ranks."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    ranks = pd.Series(score).rank().to_numpy()
    return _ratio(ranks[truth].sum() - positives * (positives + 1) / 2, positives * negatives)


def _per_class(variant: Variant, rows: pd.DataFrame) -> list[dict]:
    entries = []
    for name in variant.classes:
        truth, said = (rows["truth"] == name).to_numpy(), (rows["decision"] == name).to_numpy()
        hits, width = int((truth & said).sum()), 0.4 / np.sqrt(max(truth.sum(), 1))
        sensitivity, precision = _ratio(hits, truth.sum()), _ratio(hits, said.sum())
        values = {
            "sensitivity": sensitivity,
            "specificity": _ratio((~truth & ~said).sum(), (~truth).sum()),
            "precision": precision,
            "f1": _ratio(2 * hits, truth.sum() + said.sum()),
            "auc": _auc(truth, rows[f"p_{name}"].to_numpy()),
            "average_precision": 0.9 * precision,
        }
        measured = {metric: _interval(value, width) for metric, value in values.items()}
        entries.append({"class": name, "n": int(truth.sum()), "prevalence": float(truth.mean()), **measured})
    return entries


def _summary(variant: Variant, rows: pd.DataFrame, per_class: list[dict]) -> dict:
    def mean(metric: str) -> float:
        values = [entry[metric]["value"] for entry in per_class if entry[metric]["value"] is not None]
        return float(np.mean(values)) if values else float("nan")

    values = {
        "accuracy": float((rows["truth"] == rows["decision"]).mean()),
        "balanced_accuracy": mean("sensitivity"),
        "macro_f1": mean("f1"),
        "weighted_f1": mean("f1") + 0.05,
        "macro_auc": mean("auc"),
        "macro_average_precision": mean("average_precision"),
        "log_loss": 0.71,
        "brier": 0.31,
        "ece": 0.04,
    }
    if len(variant.classes) == 2:
        values |= {"auc": per_class[1]["auc"]["value"], "average_precision": mean("average_precision")}
        values |= {"ece_positive": 0.05, "sensitivity_at_95_specificity": 0.6, "partial_auc": 0.13}
    return {metric: _interval(value, 0.6 / np.sqrt(len(rows))) for metric, value in values.items()}


def _metrics(variant: Variant, predictions: pd.DataFrame) -> dict:
    metrics = {
        "schema": 1,
        "majority": {},
        "per_class": {},
        "confusion": {},
        "operating_points": {},
        "uncalibrated": {},
        "intervals": "95 % percentile bootstrap, 1,000 resamples of whole groups",
    }
    majority = predictions["truth"].value_counts().idxmax()
    for key, split in (("out_of_fold", "train"), ("test", "test")):
        rows = predictions[predictions["split"] == split]
        metrics["per_class"][key] = _per_class(variant, rows)
        metrics[key] = _summary(variant, rows, metrics["per_class"][key])
        metrics["majority"][key] = float((rows["truth"] == majority).mean())
        table = pd.crosstab(rows["truth"], rows["decision"])
        table = table.reindex(index=variant.classes, columns=variant.classes, fill_value=0)
        metrics["confusion"][key] = table.to_numpy().tolist()
        point = {name: metrics[key][name] for name in ("accuracy", "balanced_accuracy", "macro_f1")}
        metrics["operating_points"][key] = {"accuracy_optimal": point, "balanced": point}
        metrics["uncalibrated"][key] = {name: entry["value"] for name, entry in metrics[key].items()}
    metrics["folds"] = [
        {"fold": fold} | {name: entry["value"] for name, entry in _fold(variant, rows).items()}
        for fold, rows in predictions[predictions["fold"] >= 0].groupby("fold")
    ]
    return metrics | _readings(variant, predictions)


def _readings(variant: Variant, predictions: pd.DataFrame) -> dict:
    out = {"calibration": readings.calibration(predictions, variant.classes)}
    if len(variant.classes) == 2:
        positive = variant.classes[1]
        out |= {"positive": positive, "decision_curve": readings.decision_curve(predictions, (positive,))}
    elif variant.malignant:
        out["malignant"] = readings.malignant(predictions, variant.malignant)
        out["decision_curve"] = readings.decision_curve(predictions, variant.malignant)
    return out


def _fold(variant: Variant, rows: pd.DataFrame) -> dict:
    summary = _summary(variant, rows, _per_class(variant, rows))
    return {name: summary[name] for name in ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")}


def _prediction_sets(variant: Variant, predictions: pd.DataFrame) -> dict:
    """Sets by one threshold; the last class has too few groups and is in every set."""
    classes, last = list(variant.classes), variant.classes[-1]
    out = {"schema": 1, "coverage": 0.9, "method": f"least ambiguous sets ({SCRIPT})", "reason": None}
    if not variant.grouped:
        return out | {"reason": "no class has 10 groups outside each fold"}
    thresholds = [0.0 if name == last else 0.05 for name in classes]
    out["by_class"] = [
        {"class": name, "groups": 40, "threshold": threshold, "low": 0.8, "high": 0.97}
        for name, threshold in zip(classes, thresholds, strict=True)
    ]
    out["refused"] = [{"class": last, "groups": 4, "needed": 10, "reason": "4 groups outside a fold; 10 are needed"}]
    for key, split in (("out_of_fold", "train"), ("test", "test")):
        rows = predictions[predictions["split"] == split]
        inside = rows[[f"p_{name}" for name in classes]].to_numpy() >= np.array(thresholds)
        true = rows["truth"].to_numpy()[:, None] == np.array(classes)
        parts = {name: (rows["truth"] == name).to_numpy() for name in classes}
        out[key] = {
            **_set_summary(rows, inside, true, np.ones(len(rows), bool)),
            "sizes": [float((inside.sum(axis=1) == size).mean()) for size in range(len(classes) + 1)],
            "per_class": [{"class": name, **_set_summary(rows, inside, true, part)} for name, part in parts.items()],
        }
    return out


def _set_summary(rows: pd.DataFrame, inside: np.ndarray, true: np.ndarray, part: np.ndarray) -> dict:
    hit, width = (inside & true).any(axis=1)[part], 0.5 / np.sqrt(max(part.sum(), 1))
    covered = _interval(hit.mean() if part.any() else float("nan"), width)
    size = float(inside[part].sum(axis=1).mean()) if part.any() else None
    groups = int(rows["group"][part].nunique())
    return {"images": int(part.sum()), "groups": groups, "coverage": covered, "mean_size": size}


def _missing_fields(variant: Variant, predictions: pd.DataFrame) -> dict:
    """Each field alone and all together; every one that is missing costs a little."""
    fields = ["age", "sex", "localization"] if variant.metadata else []
    out = {"schema": 1, "fields": fields, "patterns": []}
    for missing in [[], *([field] for field in fields), *([fields] if fields else [])]:
        entry = {"missing": missing, "answered_by": "known fields", "thresholds": None}
        for key, split in (("out_of_fold", "train"), ("test", "test")):
            rows = predictions[predictions["split"] == split]
            summary = _summary(variant, rows, _per_class(variant, rows))
            names = ("accuracy", "balanced_accuracy", "macro_auc", "auc", "ece")
            entry[key] = {name: _less(summary[name], 0.01 * len(missing)) for name in names if name in summary}
            if variant.grouped:
                entry[key] |= {"coverage": _interval(0.9, 0.02), "mean_size": 1.7}
        out["patterns"].append(entry)
    return out


def _less(entry: dict, loss: float) -> dict:
    return {name: None if value is None else value - loss for name, value in entry.items()}


def _subgroups(variant: Variant, predictions: pd.DataFrame) -> dict:
    """A withheld cell, a gap that is told apart, one that is not, and a cell too small for an AUC."""
    hostile = variant.name == SCRIPT
    values = {
        "sex": [SCRIPT if hostile else "female", "male", "missing"],
        "age": ["under 30", "30 to 49", "70 and over"],
    }
    out = {
        "schema": 1,
        "smallest_cell": 20,
        "fewest_of_class": 10,
        "area": "auc" if len(variant.classes) == 2 else "malignant_auc",
        "malignant": [name for name in variant.classes if name in ("mel", "bcc", SCRIPT)],
        "how": "a gap is the cell less all other rows of its split",
        "left_out": [{"column": BREAKOUT if hostile else "camera", "reason": "more than 50 different values"}],
    }
    nothing = {"value": None, "low": None, "high": None}
    for key in ("out_of_fold", "test"):
        out[key] = [{"column": name, "rounded": name == "sex", "cells": []} for name in values]
        for column, names in zip(out[key], values.values(), strict=True):
            for index, name in enumerate(names):
                cell = {"value": name, "withheld": name == "missing", "images": None, "groups": None}
                cell |= {"metrics": {}, "gaps": {}}
                column["cells"].append(cell)
                if cell["withheld"]:
                    continue
                cell |= {"images": 120, "groups": 100}
                for measure in ("accuracy", "balanced_accuracy", "area"):
                    absent = name == "70 and over" and measure == "area"
                    gap = nothing if absent else _interval(-0.11 + 0.1 * index, 0.04)
                    cell["metrics"][measure] = nothing if absent else _interval(0.8 + 0.05 * index, 0.04)
                    told = {"p_value": None if absent else 0.01 + 0.4 * index, "told_apart": index == 0 and not absent}
                    cell["gaps"][measure] = gap | told
    return out


def _fields(variant: Variant) -> list[tuple[str, str]]:
    metadata = [(field, "metadata") for field in ("age", "localization", "sex")] if variant.metadata else []
    return [(block, block) for block in variant.blocks] + metadata


def _importance(variant: Variant, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    places = [
        "age",
        "sex=female",
        "sex=male",
        *(f"localization={place}" for place in ("face", "back", "trunk", "ear")),
    ]
    for index, column in enumerate(places if variant.metadata else []):
        f = 180 / (index + 1) ** 2
        kept = max(0.0, 1 - 0.2 * max(index - 3, 0))
        rows.append(("anova", column, "metadata", None, f, np.nan, np.nan, 10.0 ** (-f / 9), kept))
    for feature, block in _fields(variant):
        drop = (0.12 if block != "metadata" else 0.02) * rng.random() - 0.002
        rows.append(("permutation", feature, block, None, drop, drop - 0.01, drop + 0.01, 0.02 + drop / 2, np.nan))
    for name in variant.classes if variant.explained else ():
        for feature, block in _fields(variant):
            mean = (0.06 if block != "metadata" else 0.02) * rng.random()
            rows.append(("shap", feature, block, name, mean, np.nan, np.nan, np.nan, np.nan))
    columns = ["kind", "feature", "block", "class", "value", "low", "high", "p_value", "selected"]
    return pd.DataFrame(rows, columns=columns)


def _shap(variant: Variant, rng: np.random.Generator) -> pd.DataFrame:
    frames = []
    samples = 200
    for name in variant.classes:
        for feature, block in _fields(variant):
            scaled = rng.random(samples) if block == "metadata" else np.full(samples, np.nan)
            value = rng.normal(0, 0.04, samples)
            text = [""] * samples
            if feature == "age":
                value, text = value + 0.2 * (scaled - 0.5), [f"{90 * share:.0f}" for share in scaled]
            elif block == "metadata":
                codes = (scaled > 0.5).astype(int)
                scaled, text = codes.astype(float), [f"{feature}-{code}" for code in codes]
            frames.append(
                pd.DataFrame(
                    {
                        "sample": np.arange(samples),
                        "class": name,
                        "feature": feature,
                        "block": block,
                        "shap_value": value,
                        "feature_value": scaled,
                        "feature_text": text,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def _audit(variant: Variant) -> dict:
    """An audit with every state and severity; one sentence holds what a hostile table may bring."""
    found = [
        ("LEAK_COLUMN", "No column of the table is known to be made from the diagnosis", "warning", "found"),
        ("GROUP_SPLIT", "No group stands in two splits or folds", "error", "found"),
        ("IMAGE_SPLIT", "A split by images instead of groups would leak nothing", "note", "found"),
        ("FILE_SIZE", "The size of the files in bytes does not give the label away", "warning", "passed"),
        ("OPTIMISM_GAP", "No gain by folds by images can be told from chance", "note", "not applicable"),
    ]
    checks = []
    for code, title, severity, state in found:
        detail = f"About {variant.classes[-1]}" + ("." if state == "found" else "")
        check = Check(code, title, severity, state, detail, 3, topic=f"What {code} looks for")
        checks.append(check.as_json())
    return {"schema": 1, "rows": variant.images, "errors": 1, "warnings": 1, "notes": 1, "checks": checks}


def _autoencoder(splits: pd.DataFrame) -> dict:
    epochs = np.arange(30)
    return {
        "train_loss": (0.02 + 0.1 * np.exp(-epochs / 5)).tolist(),
        "validation_loss": (0.024 + 0.1 * np.exp(-epochs / 4.5) + 0.0001 * epochs).tolist(),
        "best_epoch": 21,
        "rows": {"train": int((splits["split"] == "train").sum()), "validation": 120},
        "image_size": 64,
        "latent": 128,
    }
