"""The facts of the prediction sets: how often they hold the true class, and how many classes they hold."""

from __future__ import annotations

from dermfuse.reports.runfolder import SPLITS, RunFolder
from dermfuse.reports.wording import SPLIT_PLACES, interval, number, percent, upper_first


def set_facts(run: RunFolder) -> dict:
    """Return what the section shows.

    Returns
    -------
    dict
        ``coverage`` (the stated one), ``method``, ``reason`` (why there are no sets, else None and then follow)
        ``sentences``, ``rows`` (all images, then a class each), ``sizes`` (share of each size by split) and ``scale``.
    """
    told = run.prediction_sets
    facts = {"coverage": told["coverage"], "method": told["method"], "reason": told["reason"]}
    if told["reason"] is not None:
        return facts
    refused = {row["class"]: row["reason"] for row in told["refused"]}
    rows = [{"class": None, "threshold": None, "refused": None, "cells": [_cell(told[split]) for split in SPLITS]}]
    for index, row in enumerate(told["by_class"]):
        cells = [_cell(told[split]["per_class"][index]) for split in SPLITS]
        threshold = None if row["class"] in refused else row["threshold"]
        rows.append({**row, "threshold": threshold, "refused": refused.get(row["class"]), "cells": cells})
    return {
        **facts,
        "groups": run.data["groups"] or "images",
        "sentences": [_sentence(split, told[split], told["coverage"]) for split in SPLITS],
        "rows": rows,
        "sizes": _sizes(told),
        "scale": _scale(rows),
    }


def _cell(entry: dict) -> dict:
    return {key: entry[key] for key in ("groups", "coverage", "mean_size")}


def _sizes(told: dict) -> list[dict]:
    """Return the share of each size, up to the largest that occurs."""
    shares = list(zip(*(told[split]["sizes"] for split in SPLITS), strict=True))
    last = max((size for size, pair in enumerate(shares) if any(pair)), default=0)
    return [{"size": size, "shares": shares[size]} for size in range(last + 1)]


def _scale(rows: list[dict]) -> tuple[float, float]:
    lows = [cell["coverage"]["low"] for row in rows for cell in row["cells"] if cell["coverage"]["low"] is not None]
    return max(int(10 * min(lows, default=0.0)) / 10, 0.0), 1.0


def _sentence(split: str, entry: dict, stated: float) -> str:
    where = upper_first(SPLIT_PLACES[split])
    if entry["coverage"]["value"] is None:
        return f"{where} there is no image."
    coverage = entry["coverage"]
    low, high = coverage["low"], coverage["high"]
    verdict = "as stated" if low <= stated <= high else "less than stated" if high < stated else "more than stated"
    alone = entry["sizes"][1] if len(entry["sizes"]) > 1 else 0.0
    return (
        f"{where}, {percent(coverage['value'])} of the sets hold the true class ({interval(coverage)}), "
        f"{verdict}; a set holds {number(entry['mean_size'], 2)} classes on average, and {percent(alone)} hold one."
    )
