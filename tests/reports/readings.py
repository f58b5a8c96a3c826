"""Calibration, malignant against benign, and decision curves for the synthetic run folders."""

from __future__ import annotations

import numpy as np
import pandas as pd

METHODS = ("none", "temperature", "bias_corrected", "isotonic", "dirichlet")
THRESHOLDS = np.arange(1, 100) / 100
SPLITS = {"out_of_fold": "train", "test": "test"}


def measured(value: float, width: float = 0.03) -> dict:
    """A value with its interval."""
    return {"value": float(value), "low": float(value - width), "high": float(value + width)}


def calibration(predictions: pd.DataFrame, classes: tuple[str, ...]) -> dict:
    """The entry ``calibration`` of a run whose calibration helped."""
    out: dict = {"used": "bias_corrected", "methods": {}, "reliability": {}, "means": {}}
    names = ("ece", "ece_positive", "log_loss", "brier", "macro_auc")
    names = names if len(classes) == 2 else tuple(name for name in names if name != "ece_positive")
    for key, split in SPLITS.items():
        rows = predictions[predictions["split"] == split]
        out["methods"][key] = {
            method: {name: 0.84 if name == "macro_auc" else round(0.12 / (place + 1), 4) for name in names}
            for place, method in enumerate(METHODS)
        }
        said = np.linspace(0.3, 0.98, 15)
        diagrams = {"before": said**1.6, "after": np.clip(said + 0.02 * np.sin(9 * said), 0, 1)}
        out["reliability"][key] = {
            when: [
                {"n": len(rows) // 15, "said": float(s), "right": float(r)} for s, r in zip(said, right, strict=True)
            ]
            for when, right in diagrams.items()
        }
        shares = [float((rows["truth"] == name).mean()) for name in classes]
        out["means"][key] = [
            {"prevalence": share, "before": 0.5 * share + 0.5 / len(classes), "after": share} for share in shares
        ]
    return out


def malignant(predictions: pd.DataFrame, classes: tuple[str, ...]) -> dict:
    """The entry ``malignant``; `classes` are the malignant ones."""
    shares = {name: measured(0.7) for name in ("sensitivity", "specificity", "precision")}
    out: dict = {"classes": list(classes)}
    for key, split in SPLITS.items():
        hit = predictions[predictions["split"] == split]["truth"].isin(classes)
        prevalence = float(hit.mean())
        out[key] = {
            "n": int(hit.sum()),
            "prevalence": prevalence,
            "auc": measured(0.9),
            "average_precision": measured(0.7),
            "sensitivity_at_95_specificity": measured(0.6),
            "partial_auc": measured(0.13),
            "ece": measured(0.03),
            "operating_points": {
                "accuracy_optimal": {"threshold": 0.5, **shares},
                "balanced": {"threshold": prevalence, **shares},
            },
        }
    return out


def decision_curve(predictions: pd.DataFrame, classes: tuple[str, ...]) -> dict:
    """The entry ``decision_curve``, computed from the predictions; its band is made up."""
    out: dict = {"classes": list(classes)}
    odds = THRESHOLDS / (1 - THRESHOLDS)
    for key, split in SPLITS.items():
        rows = predictions[predictions["split"] == split]
        hit = rows["truth"].isin(classes).to_numpy()
        risk = rows[[f"p_{name}" for name in classes]].sum(axis=1).to_numpy()
        said = risk[:, None] >= THRESHOLDS
        benefit = (said & hit[:, None]).mean(axis=0) - (said & ~hit[:, None]).mean(axis=0) * odds
        everyone = hit.mean() - (1 - hit.mean()) * odds
        gain = benefit - np.maximum(everyone, 0)
        columns = {
            "threshold": THRESHOLDS,
            "net_benefit": benefit,
            "low": benefit - 0.02,
            "high": benefit + 0.02,
            "treat_all": everyone,
            "gain_low": gain - 0.01,
            "gain_high": gain + 0.01,
        }
        out[key] = {"prevalence": float(hit.mean()), **{name: values.tolist() for name, values in columns.items()}}
    return out
