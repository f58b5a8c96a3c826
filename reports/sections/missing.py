"""The facts of the section on missing metadata: what an answer is worth for every pattern of missing fields."""

from __future__ import annotations

from dermfuse.reports.runfolder import SPLITS, RunFolder
from dermfuse.reports.wording import SPLIT_NAMES, defined, listed, metric_name, number

COLUMNS = ("accuracy", "balanced_accuracy", "macro_auc", "ece", "coverage")
COLUMNS_OF_TWO = ("accuracy", "balanced_accuracy", "auc", "ece", "coverage")


def missing_facts(run: RunFolder) -> dict | None:
    """Return what the section shows; None where the run used no metadata.

    Returns
    -------
    dict or None
        ``sentence``; ``columns`` (names of metrics) and their ``titles``; ``splits``, each with ``title`` and
        ``rows``: ``name`` of the pattern and ``cells``, a metric's entry each.
    """
    told = run.missing_fields
    if not told["fields"]:
        return None
    columns = COLUMNS if run.positive is None else COLUMNS_OF_TWO
    return {
        "sentence": _sentence(told, columns[2], bool(run.config["blocks"])),
        "columns": columns,
        "titles": ["Coverage of the sets" if name == "coverage" else metric_name(name) for name in columns],
        "splits": [
            {"title": SPLIT_NAMES[split], "rows": [_row(entry, split, columns, told) for entry in told["patterns"]]}
            for split in SPLITS
        ],
    }


def _row(entry: dict, split: str, columns: tuple[str, ...], told: dict) -> dict:
    return {"name": _name(entry["missing"], told["fields"]), "cells": [entry[split].get(name) for name in columns]}


def _name(missing: list[str], fields: list[str]) -> str:
    if not missing:
        return "none taken away"
    return f"all: {listed(missing)}" if len(missing) == len(fields) else listed(missing)


def _sentence(told: dict, area: str, images: bool) -> str:
    """Say what the metadata is worth, and which field is missed most."""
    whole, *single, last = (entry["out_of_fold"][area]["value"] for entry in told["patterns"])
    alone = "images alone" if images else "class frequencies alone"
    if not defined(whole) or not defined(last):
        return f"Without any field, {alone} answer."
    text = (
        f"Without any field, {alone} answer, with an area under the curve of {number(last)} instead of {number(whole)}."
    )
    losses = {
        entry["missing"][0]: whole - value
        for entry, value in zip(told["patterns"][1:], single, strict=False)
        if len(entry["missing"]) == 1 and defined(value)
    }
    if losses:
        worst = max(losses, key=losses.get)
        text += f" Of single fields, {worst} is missed most ({number(losses[worst])})."
    return text
