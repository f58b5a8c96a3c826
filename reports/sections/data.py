"""The facts of the data flow: from the table to the images used, what each split holds, and every notice."""

from __future__ import annotations

from dermfuse.reports.runfolder import RunFolder
from dermfuse.reports.wording import SPLIT_NAMES

_SPLIT_TITLES = {"train": "Training rows (out of fold)", "test": SPLIT_NAMES["test"]}


def data_facts(run: RunFolder) -> dict:
    """Return ``counts``, ``groups``, ``splits``, ``classes`` (one row a class), ``notices`` and ``noticed``."""
    counts, splits = run.data["counts"], run.data["splits"]
    largest = max((row["n"] for row in counts), default=0)
    return {
        "counts": [{**row, "share": row["n"] / largest if largest else 0.0} for row in counts],
        "groups": run.data["groups"],
        "splits": [{**row, "title": _SPLIT_TITLES[row["split"]]} for row in splits],
        "classes": [
            {"name": name, "cells": [counted(row["classes"].get(name, 0), row["images"]) for row in splits]}
            for name in run.classes
        ],
        "notices": run.data["notices"],
        "noticed": _noticed(run),
    }


def counted(n: int, total: int) -> dict:
    """Return a count with its share of the total."""
    return {"n": n, "share": n / total if total else None}


def _noticed(run: RunFolder) -> list[str]:
    """Return what was noticed when the run's embeddings were made and not again by the run itself."""
    texts = [text for block in run.config["blocks"] for text in block["noticed"]]
    return [text for text in dict.fromkeys(texts) if text not in run.data["notices"]]
