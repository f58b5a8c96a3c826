"""Measure the audit of large datasets: the search for near-copies, exact and in cells, and the audit as a whole.

    python -m tests.benchmarks.audit [--rows 12000,30000,100000] [--exact 30000] [--write]

Embeddings are drawn: 1,280 columns, heavy-tailed and clustered, with near-copies planted in other groups. Pictures are
not decoded and headers are read from a few small files, since disks and decoders are measured elsewhere. Every size is
a fresh process. ``--exact`` is the largest size that is also searched exactly; the recall beyond it is the one that
the audit itself measures. ``--write`` puts the tables into RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from dermfuse.features.console import Console
from dermfuse.features.data.dataset import Dataset
from dermfuse.features.tables.columns import Layout
from dermfuse.pipelines.audit import pictures
from dermfuse.pipelines.audit.given import AuditInput
from dermfuse.pipelines.audit.memo import Findings
from dermfuse.pipelines.audit.neighbours import neighbours
from dermfuse.pipelines.audit.whole import run_audit
from dermfuse.pipelines.evaluation import splits
from dermfuse.pipelines.model.table import Columns, Table, assemble, block_columns
from tests.benchmarks.measure import ROOT, machine, table, write_results

HEADER = ("rows", "exact s", "in cells s", "recall", "recall told", "copies found", "peak MB")
WHOLE = ("rows", "first audit s", "again, kept s", "peak MB")
WIDTH, COPIES, FILES = 1280, 500, 50
LABELS = {"nv": 0.6, "mel": 0.1, "bcc": 0.1, "bkl": 0.1, "ak": 0.05, "df": 0.03, "vasc": 0.02}


def main() -> None:
    """Run every size and print the tables, or run the one step that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="12000,30000,100000", help="sizes, by comma")
    parser.add_argument("--exact", type=int, default=30_000, help="the largest size that is also searched exactly")
    parser.add_argument("--write", action="store_true", help="put the tables into RESULTS.md")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = [int(size) for size in options.rows.split(",")]
    if options.step:
        print(json.dumps({**STEPS[options.step](sizes[0]), "peak": _peak_mb()}))
        return
    searched = [_search_row(size, size <= options.exact) for size in sizes]
    audited = [_audit_row(size) for size in sizes]
    text = (
        f"{WIDTH} columns; {COPIES} near-copies in other groups. Recall is of all rows against the exact search, and "
        "as the audit measures it on 1,000 rows. Peaks are of the process.\n\n"
        f"{table(HEADER, searched)}\n\nThe whole audit, without decoding pictures, embeddings and metadata as features:"
        f"\n\n{table(WHOLE, audited)}"
    )
    print(text)
    if options.write:
        write_results("The audit", "python -m tests.benchmarks.audit --write", machine(), text)


def _search_row(rows: int, compare: bool) -> tuple[str, ...]:
    cells = _run("cells", rows)
    exact = _run("exact", rows) if compare else None
    recall = "" if exact is None else f"{np.mean(np.array(cells['first']) >= np.array(exact['first']) - 1e-4):.4f}"
    seconds = "" if exact is None else f"{exact['seconds']:.1f}"
    told, found = f"{cells['recall']:.3f}", f"{cells['copies']} of {COPIES}"
    return f"{rows:,}", seconds, f"{cells['seconds']:.1f}", recall, told, found, f"{cells['peak']:.0f}"


def _audit_row(rows: int) -> tuple[str, ...]:
    found = _run("audit", rows)
    return f"{rows:,}", f"{found['first']:.1f}", f"{found['again']:.1f}", f"{found['peak']:.0f}"


def _run(step: str, rows: int) -> dict:
    command = [sys.executable, "-m", "tests.benchmarks.audit", "--step", step, "--rows", str(rows)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def _embeddings(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Drawn embeddings (rows, width), and pairs of rows that are near-copies (copies, 2).

    A row is a mixture of 60 directions, as pooled activations are, around one of some hundred centres, and noise.
    """
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(60, WIDTH)).astype(np.float32)
    centres = rng.normal(size=(300, 60)).astype(np.float32)
    matrix = np.empty((rows, WIDTH), np.float32)
    for start in range(0, rows, 4096):
        some = matrix[start : start + 4096]
        hidden = centres[rng.integers(0, 300, len(some))] + 0.8 * rng.normal(size=(len(some), 60))
        some[:] = np.maximum(hidden.astype(np.float32) @ directions + 4 * rng.normal(size=some.shape), 0)
    pairs = rng.choice(rows, (COPIES, 2), replace=False)
    noise = rng.normal(size=(COPIES, WIDTH)).astype(np.float32)
    matrix[pairs[:, 1]] = np.maximum(matrix[pairs[:, 0]] + 1.5 * noise, 0)
    return matrix, pairs


def _search(rows: int, exact_rows: int) -> dict:
    matrix, pairs = _embeddings(rows)
    started = time.perf_counter()
    found = neighbours(matrix, np.arange(rows).astype(str), 0, exact_rows)
    seconds = time.perf_counter() - started
    copies = int((found.nearest[pairs[:, 0]] == pairs[:, 1]).sum())
    first = np.round(found.first, 5).tolist()
    return {"seconds": seconds, "recall": found.recall, "copies": copies, "first": first}


def _audit(rows: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        given = _given(rows, Path(folder))
        pictures.Pictures.agreement = lambda self, a, b: 0.5
        pictures.Pictures._grey = lambda self, row: None
        (Path(folder) / "cache").mkdir()
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            # A new one each time: nothing is shared in memory.
            run_audit(replace(given), Console(quiet=True), Findings(Path(folder) / "cache"))
            seconds.append(time.perf_counter() - started)
    return {"first": seconds[0], "again": seconds[1]}


def _given(rows: int, folder: Path) -> AuditInput:
    rng = np.random.default_rng(0)
    for i in range(FILES):
        Image.effect_noise((64, 64), 50).convert("RGB").save(folder / f"{i}.jpg")
    owner = rng.integers(0, rows // 2, rows)
    labels = rng.choice(list(LABELS), rows // 2, p=list(LABELS.values()))[owner]
    facts = pd.DataFrame({"id": [f"ISIC_{i:07d}" for i in range(rows)]})
    facts["path"] = [str(folder / f"{i % FILES}.jpg") for i in range(rows)]
    facts["label"], facts["group"] = labels, [f"L{number:06d}" for number in owner]
    facts["age"] = np.where(rng.random(rows) < 0.1, np.nan, rng.integers(1, 90, rows))
    facts["sex"], facts["site"] = rng.choice(["male", "female"], rows), rng.choice(list("abcdefgh"), rows)
    unused = pd.DataFrame({"note": [f"free text {i}" for i in range(rows)], "clinic": rng.choice(list("xyz"), rows)})
    layout = Layout(image="image", label="dx", group="lesion", numeric=("age",), categorical=("sex", "site"))
    dataset = Dataset("drawn", folder, layout, facts, unused=unused.astype(object))
    groups = facts["group"].to_numpy(str)
    fold, test = np.full(rows, -1), splits.locked_test(labels, groups, 0)
    fold[~test] = splits.folds_of(labels[~test], groups[~test], 0)
    columns = Columns({"drawn": block_columns("drawn", WIDTH)}, ["age"], ["sex", "site"])
    X = assemble(columns, {"drawn": _embeddings(rows)[0]}, facts[columns.metadata])
    keys = [f"{i:064x}" for i in range(rows)]
    drawn = Table(X, labels, groups, facts["id"].to_numpy(str), np.array(keys), columns)
    return AuditInput(dataset, dataset, fold, keys, drawn, {"drawn": set()}, tuple(dataset.metadata_fields), 0)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


STEPS = {
    "cells": lambda rows: _search(rows, 0),
    "exact": lambda rows: _search(rows, rows),
    "audit": _audit,
}


if __name__ == "__main__":
    main()
