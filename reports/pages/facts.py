"""From a run folder to one dict of facts, which the templates render and do not add to."""

from __future__ import annotations

import math
import shlex

from dermfuse.reports import wording
from dermfuse.reports.drawing import curves
from dermfuse.reports.drawing.theme import class_style
from dermfuse.reports.runfolder import SPLIT_ROWS, SPLITS, RunFolder
from dermfuse.reports.sections import method
from dermfuse.reports.sections.audit import audit_facts
from dermfuse.reports.sections.importance import importance_facts
from dermfuse.reports.sections.missing import missing_facts
from dermfuse.reports.sections.reliability import calibration_facts, decision_facts, malignant_facts
from dermfuse.reports.sections.sets import set_facts
from dermfuse.reports.sections.subgroups import subgroup_facts
from dermfuse.reports.wording import SPLIT_NAMES, defined

HEADLINES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")
HEADLINES_OF_TWO = ("auc", "average_precision", "sensitivity_at_95_specificity", "balanced_accuracy")
MOST_CLASSES_DRAWN = 12
OPERATING_POINTS = {
    "accuracy_optimal": "the most probable class",
    "balanced": "the class that would be most probable if all were equally frequent",
}
_WHERE = {"out_of_fold": "out of fold", "test": "on the locked test split"}


def facts(run: RunFolder) -> dict:
    """Collect everything that the page shows.

    Returns
    -------
    dict
        One entry a section: ``page``, ``cards``, ``audit``, ``run``, ``data``, ``metrics``, ``classes``, ``curves``,
        ``calibration``, ``decision``, ``sets``, ``missing``, ``subgroups``, ``importance``, ``autoencoder``,
        ``method``, ``environment``. Numbers stay numbers; a value that is not defined is None.
    """
    return {
        "page": _page(run),
        "cards": _cards(run),
        "audit": audit_facts(run),
        "run": _what_was_run(run),
        "data": _data(run),
        "metrics": _metrics(run),
        "classes": _classes(run),
        "curves": _curves(run),
        "calibration": calibration_facts(run),
        "decision": decision_facts(run),
        "sets": set_facts(run),
        "missing": missing_facts(run),
        "subgroups": subgroup_facts(run),
        "importance": importance_facts(run),
        "autoencoder": _autoencoder(run),
        "method": method.method_facts(run),
        "environment": _environment(run),
    }


def _model_words(run: RunFolder) -> str:
    model = run.config["model"]
    return f"{wording.MODELS[model]} ({model})" if model in wording.MODELS else model


def _scope(run: RunFolder, split: str) -> str:
    row = next((row for row in run.data["splits"] if row["split"] == SPLIT_ROWS[split]), None)
    if row is None:
        return f"{len(run.rows(split)):,} images"
    groups = run.data["groups"]
    whole = " that no fold cuts" if split == "out_of_fold" else ""
    return f"{row['images']:,} images" + (f" of {row['groups']:,} {groups}{whole}" if groups else "")


def _page(run: RunFolder) -> dict:
    config = run.config
    verdicts, answers = [], []
    for split, subject in zip(SPLITS, (config["model"], "it"), strict=True):
        metrics, baseline = run.metrics[split], run.metrics["majority"][split]
        scope, rare = _scope(run, split), baselines(run, split).get("average_precision")
        answers.append(
            wording.answer(split, scope, subject, metrics, baseline, config["majority_class"], rare, run.positive)
        )
        metric, rival, floor = wording.rival(metrics, baseline)
        verdicts.append(wording.verdict(metrics.get(metric, {}), floor))
    return {
        "name": config["name"],
        "dataset": config["dataset"]["name"],
        "synthetic": config["dataset"]["synthetic"],
        "created": wording.moment(config["created"]),
        "majority": config["majority_class"],
        "positive": run.positive,
        "answers": answers,
        "rival": rival,
        "not_beaten": [
            _WHERE[split] for split, word in zip(SPLITS, verdicts, strict=True) if word in ("ties", "loses")
        ],
    }


def baselines(run: RunFolder, split: str) -> dict[str, float]:
    """Return what always answering the majority class gives, where that is a matter of counting.

    A constant answer ranks nobody, so its AUC is 1/2 and its average precision the prevalence; with K classes
    present, the mean of recall is 1/K, and of the F1 scores only one, 2p / (1 + p), is not zero.
    """
    share = run.metrics["majority"][split]
    present = sum(entry["n"] > 0 for entry in run.metrics["per_class"][split])
    if not defined(share) or not present:
        return {}
    f1 = 2 * share / (1 + share)
    return {
        "accuracy": share,
        "balanced_accuracy": 1 / present,
        "macro_f1": f1 / present,
        "weighted_f1": f1 * share,
        "auc": 0.5,
        "macro_auc": 0.5,
        "macro_average_precision": 1 / present,
        **_constant_risk(run, split),
    }


def _constant_risk(run: RunFolder, split: str) -> dict[str, float]:
    """Return what one and the same risk for all gives of two classes; the ROC curve is then its diagonal."""
    if run.positive is None:
        return {}
    prevalence = run.metrics["per_class"][split][run.classes.index(run.positive)]["prevalence"]
    return {"average_precision": prevalence, "sensitivity_at_95_specificity": 0.0, "partial_auc": 0.02}


def _cards(run: RunFolder) -> list[dict]:
    names = HEADLINES_OF_TWO if "auc" in run.metrics["out_of_fold"] else HEADLINES
    return [_card(run, name) for name in names if name in run.metrics["out_of_fold"]]


def _card(run: RunFolder, metric: str) -> dict:
    rows = []
    for split in SPLITS:
        entry = run.metrics[split].get(metric, {})
        rows.append({"split": split, "entry": entry, "baseline": baselines(run, split).get(metric)})
    seen = [value for row in rows for value in (*row["entry"].values(), row["baseline"]) if defined(value)]
    # An axis from zero would hide the intervals; its ends are printed below it.
    floor = math.floor(10 * min(seen, default=0.0) - 1e-9) / 10
    return {
        "metric": metric,
        "rows": rows,
        "scale": (max(floor, 0.0), 1.0),
        "baseline_name": f"always {run.config['majority_class']}" if len(run.classes) > 2 else "one risk for all",
    }


def _what_was_run(run: RunFolder) -> dict:
    config = run.config
    dataset = config["dataset"]
    return {
        "model": _model_words(run),
        "parameters": sorted(config["model_parameters"].items()),
        "balance": method.balance_words(config),
        "features": config["features"],
        "metadata": dataset["metadata"],
        "use_metadata": config["use_metadata"],
        "selection": method.selection_words(config),
        "label_column": dataset["label_column"],
        "group_column": dataset["group_column"],
        "leak_columns": dataset["leak_columns"],
        "preset": dataset["preset"],
        "folds": config["folds"],
        "repeats": config.get("repeats", 1),
        "tuning": _tuning(config.get("tuning")),
        "test_fraction": config["test_fraction"],
        "own_test_split": dataset.get("own_test_split", False),
        "seed": config["seed"],
        "commands": _commands(config),
        "own_weights": any("WEIGHTS" in words for words in config.get("commands", [])),
        "blocks": [_block(block) for block in config["blocks"]],
    }


def _tuning(tuning: dict | None) -> dict | None:
    """Return what the search for settings chose in each fit, the parameters by their last names."""
    if tuning is None:
        return None
    rows = [
        {**row, "parameters": [(_short(name), f"{value:.3g}") for name, value in sorted(row["parameters"].items())]}
        for row in tuning["chosen"]
    ]
    return {**tuning, "chosen": rows}


def _short(parameter: str) -> str:
    """Return a pipeline's parameter without the steps before it; components keep their block."""
    *steps, name = parameter.split("__")
    return f"components of {steps[1]}" if name == "n_components" else name


def _commands(config: dict) -> list[str]:
    """Return the commands that repeat the run on one's own copy of the data; none where an older run noted none."""
    return [
        shlex.join([*words, *(["--name", config["name"]] if words[2] == "fit" else [])])
        for words in config.get("commands", [])
    ]


def _block(block: dict) -> dict:
    return {
        "name": block["name"],
        "key": block["key"],
        "width": block["width"],
        "learned": method.learned_words(block),
        "recipe": list(_flat(block["recipe"])),
        "runtimes": block.get("runtimes", []),
    }


def _flat(tree: dict, prefix: str = ""):
    """Yield (name, text) for the leaves of a recipe, the names worded."""
    for key, value in tree.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}, ")
        else:
            yield name, _leaf(value)


def _leaf(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ({}, []):
        return "none"
    return ", ".join(_leaf(item) for item in value) if isinstance(value, list) else str(value)


def _data(run: RunFolder) -> dict:
    counts = run.data["counts"]
    largest = max((row["n"] for row in counts), default=0)
    return {
        "counts": [{**row, "share": row["n"] / largest if largest else 0.0} for row in counts],
        "groups": run.data["groups"],
        "splits": [{**row, "title": _split_title(row["split"])} for row in run.data["splits"]],
        "classes": [
            {
                "name": name,
                "cells": [_cell(row["classes"].get(name, 0), row["images"]) for row in run.data["splits"]],
            }
            for name in run.classes
        ],
        "notices": run.data["notices"],
        "noticed": _noticed(run),
    }


def _noticed(run: RunFolder) -> list[str]:
    """Return what was noticed when the run's embeddings were made and not again by the run itself."""
    texts = [text for block in run.config["blocks"] for text in block.get("noticed", [])]
    return [text for text in dict.fromkeys(texts) if text not in run.data["notices"]]


def _split_title(split: str) -> str:
    return {"train": "Training rows (out of fold)", "test": "Locked test"}.get(split, split)


def _cell(n: int, total: int) -> dict:
    return {"n": n, "share": n / total if total else None}


def _metrics(run: RunFolder) -> dict:
    names = list(dict.fromkeys([*run.metrics["out_of_fold"], *run.metrics["test"]]))
    rows = [
        {
            "metric": name,
            "lower_is_better": name in wording.LOWER_IS_BETTER,
            "cells": [
                {"entry": run.metrics[split].get(name, {}), "baseline": baselines(run, split).get(name)}
                for split in SPLITS
            ],
        }
        for name in names
    ]
    return {
        "rows": rows,
        "folds": _folds(run),
        "points": _operating_points(run),
        "malignant": malignant_facts(run),
        "repeated": _repeated(run),
        "intervals": run.metrics["intervals"],
        "opened": method.openings_words(run) if len(run.data.get("openings", [])) > 1 else None,
    }


def _operating_points(run: RunFolder) -> list[dict]:
    """Return the two decision rules, each with its values out of fold and on the locked test split."""
    points = run.metrics["operating_points"]
    names = ("accuracy", "balanced_accuracy", "macro_f1")
    return [
        {"title": title, "cells": [_entry(points[split][rule][name]) for split in SPLITS for name in names]}
        for rule, title in OPERATING_POINTS.items()
    ]


def _entry(value: dict | float | None) -> dict:
    """Return a value with its interval; runs of older versions hold bare numbers."""
    return value if isinstance(value, dict) else {"value": value, "low": None, "high": None}


def _repeated(run: RunFolder) -> dict | None:
    """Return what further divisions into folds gave, a row a metric; None where there was one."""
    told = run.metrics.get("repeated")
    if told is None:
        return None
    rows = []
    for metric, entry in told["mean"].items():
        seen = [each[metric] for each in told["each"] if defined(each[metric])]
        rows.append({"metric": metric, "entry": entry, "low": min(seen, default=None), "high": max(seen, default=None)})
    return {"repeats": told["repeats"], "rows": rows}


def _folds(run: RunFolder) -> list[dict]:
    rows = []
    names = [name for name in run.metrics["folds"][0] if name != "fold"] if run.metrics["folds"] else []
    for metric in names:
        values = [fold.get(metric) for fold in run.metrics["folds"]]
        seen = [value for value in values if defined(value)]
        if seen:
            mean = sum(seen) / len(seen)
            rows.append({"metric": metric, "values": values, "low": min(seen), "high": max(seen), "mean": mean})
    return rows


def _classes(run: RunFolder) -> list[dict]:
    """Return one entry a split: the table by class and the confusion matrix."""
    return [
        {
            "split": split,
            "title": SPLIT_NAMES[split],
            "rows": [
                {**entry, **class_style(run.classes.index(entry["class"]))} for entry in run.metrics["per_class"][split]
            ],
            "confusion": _confusion(run.classes, run.metrics["confusion"][split]),
        }
        for split in SPLITS
    ]


def _confusion(classes: list[str], matrix: list[list[int]]) -> list[dict]:
    return [
        {
            "class": name,
            "n": sum(row),
            "cells": [{**_cell(n, sum(row)), "hit": i == j} for j, n in enumerate(row)],
        }
        for i, (name, row) in enumerate(zip(classes, matrix, strict=True))
    ]


def _curves(run: RunFolder) -> dict:
    frequent = sorted(run.metrics["per_class"]["out_of_fold"], key=lambda entry: -entry["n"])
    drawn = {entry["class"] for entry in frequent[:MOST_CLASSES_DRAWN]}
    return {
        "splits": [
            {
                "split": split,
                "title": SPLIT_NAMES[split],
                "images": len(run.rows(split)),
                "classes": [
                    _class_curves(run, split, entry)
                    for entry in run.metrics["per_class"][split]
                    if entry["class"] in drawn
                ],
            }
            for split in SPLITS
        ],
        "left_out": [name for name in run.classes if name not in drawn],
        "positive": run.positive,
    }


def _class_curves(run: RunFolder, split: str, entry: dict) -> dict:
    rows = run.rows(split)
    truth = (rows["truth"] == entry["class"]).to_numpy()
    score = rows[f"p_{entry['class']}"].to_numpy()
    return {
        **entry,
        **class_style(run.classes.index(entry["class"])),
        "roc": curves.roc_curve(truth, score),
        "precision_recall": curves.precision_recall_curve(truth, score),
    }


def _autoencoder(run: RunFolder) -> dict | None:
    if run.autoencoder is None:
        return None
    history = run.autoencoder
    losses, best = history["validation_loss"], history["best_epoch"]
    # Whether epochs count from 0 or 1 shows in where the smallest loss stands.
    first = 1 if losses and min(losses) in losses[max(best - 1, 0) : best] else 0
    return {
        **{key: history[key] for key in ("train_loss", "validation_loss", "rows", "image_size", "latent")},
        "first": first,
        "best": best,
        "best_loss": losses[best - first] if 0 <= best - first < len(losses) else None,
        "has_reconstructions": run.reconstructions is not None,
    }


def _environment(run: RunFolder) -> dict:
    seconds = {stage: value for stage, value in run.environment["seconds"].items() if defined(value)}
    longest = max(seconds.values(), default=0.0)
    return {
        **{key: run.environment[key] for key in ("python", "platform", "cpus", "device")},
        "packages": sorted(run.environment["packages"].items()),
        "seconds": [(stage, value, value / longest if longest else 0.0) for stage, value in seconds.items()],
        "total_seconds": sum(seconds.values()),
        "peak_memory_mb": run.environment["peak_memory_mb"],
        "peak_memory_workers_mb": run.environment.get("peak_memory_workers_mb"),
    }
