"""Facts on what the model used: permutation importance, SHAP values and the ANOVA of the metadata."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dermfuse.pipelines.statistics.paired import ALPHA
from dermfuse.reports.runfolder import RunFolder
from dermfuse.reports.wording import defined

METADATA = "metadata"
MOST_BARS = 24
MOST_FEATURES = 8
MOST_POINTS = 250
FEWEST_IN_MEAN = 5
MOST_TEXTS = 6


def importance_facts(run: RunFolder) -> dict:
    """Return ``permutation``, ``shap``, ``swarms`` and ``anova``; each is empty where the run holds none."""
    swarms = _swarms(run)
    drawn = [feature["shap"] for swarm in swarms for feature in swarm["features"] if feature["shap"].size]
    return {
        "permutation": _permutation(run),
        "shap": _shap_means(run),
        "swarms": swarms,
        "limits": (min([-1e-6, *map(np.min, drawn)]), max([1e-6, *map(np.max, drawn)])),
        "mirrored": len(run.classes) == 2 and run.shap is not None,
        "sampled": int(run.shap["sample"].nunique()) if run.shap is not None else 0,
        "most_points": MOST_POINTS,
        "anova": [_anova_row(row) for row in _records(run.importance_of("anova"))],
    }


def _records(table: pd.DataFrame) -> list[dict]:
    """Return the rows as plain values, None in the place of NaN."""
    return [{key: None if pd.isna(value) else value for key, value in row.items()} for row in table.to_dict("records")]


def _permutation(run: RunFolder) -> dict | None:
    rows = _records(run.importance_of("permutation"))
    if not rows:
        return None
    shown = [{**row, "image": row["block"] != METADATA} for row in rows[:MOST_BARS]]
    ends = [value for row in shown for value in (row["value"], row["low"], row["high"]) if defined(value)]
    fields = [row for row in rows if row["block"] == METADATA]
    return {
        "rows": shown,
        "left_out": len(rows) - len(shown),
        "scale": (min([0.0, *ends]), max([1e-6, *ends])),
        "fields": len(fields),
        "important": sum(row["p_value"] <= ALPHA for row in fields),
        "level": ALPHA,
        "shuffles": run.config["shuffles"],
        "groups": run.data["groups"] or "images",
    }


def _anova_row(row: dict) -> dict:
    return {"feature": row["feature"], "f": row["value"], "p": row["p_value"], "kept": row["selected"]}


def _shap_means(run: RunFolder) -> dict | None:
    table = run.importance_of("shap")
    if table.empty:
        return None
    wide = table.pivot_table(index=["feature", "block"], columns="class", values="value", aggfunc="sum")
    wide = wide.reindex(columns=[name for name in run.classes if name in wide.columns])
    wide = wide.assign(total=wide.sum(axis=1)).sort_values("total", ascending=False, kind="stable")
    names = list(wide.columns[:-1])
    rows = [
        {
            "feature": feature,
            "image": block != METADATA,
            "values": [float(values[name]) if pd.notna(values[name]) else None for name in names],
            "total": float(values["total"]),
        }
        for (feature, block), values in wide.head(MOST_BARS).iterrows()
    ]
    return {
        "classes": names,
        "rows": rows,
        "left_out": len(wide) - len(rows),
        "largest": max([1e-12, *(value for row in rows for value in row["values"] if value is not None)]),
        "largest_total": max([1e-12, *(row["total"] for row in rows)]),
    }


def _swarms(run: RunFolder) -> list[dict]:
    """Return one entry a class: the features that move its probability most, with their points and means."""
    if run.shap is None or run.shap.empty:
        return []
    classes = [name for name in run.classes if (run.shap["class"] == name).any()]
    if len(run.classes) == 2:
        # The probabilities sum to one, so one class mirrors the other.
        classes = [name for name in classes if name == run.positive] or classes[:1]
    numeric = set(run.config["dataset"]["metadata"]["numeric"])
    return [{"class": name, **_swarm(run.shap[run.shap["class"] == name], numeric)} for name in classes]


def _swarm(table: pd.DataFrame, numeric: set[str]) -> dict:
    strength = table["shap_value"].abs().groupby(table["feature"]).mean()
    order = strength.reset_index().sort_values(["shap_value", "feature"], ascending=[False, True])
    names = list(order["feature"][:MOST_FEATURES])
    features = [_swarm_feature(name, table[table["feature"] == name], name in numeric) for name in names]
    return {"features": features, "left_out": len(strength) - len(names)}


def _swarm_feature(name: str, rows: pd.DataFrame, numeric: bool) -> dict:
    # Evenly spaced by value, so that thinning keeps the shape and both ends.
    ordered = rows.sort_values("shap_value", kind="stable")
    picks = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), MOST_POINTS)).astype(int))
    drawn = ordered.iloc[picks]
    return {
        "feature": name,
        "image": bool((rows["block"] != METADATA).all()),
        "shap": drawn["shap_value"].to_numpy(float),
        "color": drawn["feature_value"].to_numpy(float),
        "means": _means(rows, numeric),
    }


def _means(rows: pd.DataFrame, numeric: bool) -> list[dict]:
    """Return the mean SHAP value by value of the feature: a number by thirds of its range, else by text."""
    texts = rows["feature_text"].fillna("").astype(str).to_numpy(dtype=object)
    if numeric:
        value = rows["feature_value"].to_numpy(float)
        thirds = [value < 1 / 3, value <= 2 / 3, value > 2 / 3]
        texts = np.select(thirds, ["lowest third of the range", "middle third", "highest third"], "")
    means = rows["shap_value"].groupby(texts).agg(["mean", "size"])
    # A mean over a handful of rows would speak of persons, not of the model.
    means = means[(means["size"] >= FEWEST_IN_MEAN) & (means.index != "")].sort_values("mean", ascending=False)
    if len(means) > MOST_TEXTS:
        means = pd.concat([means.head(MOST_TEXTS // 2), means.tail(MOST_TEXTS // 2)])
    return [{"text": text, "mean": float(row["mean"]), "n": int(row["size"])} for text, row in means.iterrows()]
