"""The optimism gap: found where images of a group are alike, and nowhere else."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from dermfuse.features.console import Console
from dermfuse.pipelines.audit import optimism
from dermfuse.pipelines.audit.optimism import check_optimism
from dermfuse.pipelines.audit.whole import labels_of
from tests.pipelines.audit.planting import BLOCK

QUIET = Console(quiet=True)


def with_vectors(given, alike: float):
    """Three rows a group; embeddings that tell the group by `alike`, and nothing of the label."""
    rng = np.random.default_rng(0)
    groups = np.arange(len(given.ids)) // 3
    labels = rng.permutation(np.arange(groups.max() + 1) % 2)[groups]
    vectors = alike * rng.normal(size=(groups.max() + 1, 12))[groups] + rng.normal(size=(len(groups), 12))
    X = given.table.X.copy()
    X[given.table.columns.images[BLOCK][:12]] = vectors
    columns = replace(
        given.table.columns, images={BLOCK: given.table.columns.images[BLOCK][:12]}, numeric=[], categorical=[]
    )
    rows = given.dataset.rows.assign(label=labels.astype(str), group=groups.astype(str))
    dataset = replace(given.dataset, rows=rows)
    return replace(given, dataset=dataset, table=replace(given.table, X=X, columns=columns), fold=groups % 4)


def test_a_gap_is_found_where_images_of_a_group_are_alike_and_none_where_they_are_not(clean):
    alike, strangers = with_vectors(clean, 3.0), with_vectors(clean, 0.0)
    found = check_optimism(alike, labels_of(alike), QUIET)
    assert (found.state, found.severity) == ("found", "note")
    assert float(re.search(r"a gap of \+([\d.]+)", found.detail)[1]) > 0.1
    assert check_optimism(strangers, labels_of(strangers), QUIET).state == "passed"


def test_groups_of_one_row_have_no_gap(clean):
    rows = clean.dataset.rows.assign(group=clean.ids)
    given = replace(clean, dataset=replace(clean.dataset, rows=rows))
    assert check_optimism(given, labels_of(given), QUIET).state == "not applicable"


def test_a_large_dataset_is_subsampled_by_groups_and_that_is_told(clean, monkeypatch):
    monkeypatch.setattr(optimism, "MOST_ROWS", 80)
    console = Console(quiet=True)
    assert check_optimism(clean, labels_of(clean), console).state != "not applicable"
    assert re.search(r"of \d+ of \d+ training rows, whole groups", console.notices[0])
