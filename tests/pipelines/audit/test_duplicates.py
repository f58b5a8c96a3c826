"""Identical files: joined ones are told as joined, others as apart, and an empty file is no copy of another."""

from __future__ import annotations

from dataclasses import replace

from dermfuse.pipelines.audit.duplicates import check_files
from dermfuse.pipelines.evaluation.splits import EMPTY_FILE


def test_no_files_make_the_checks_not_applicable(clean):
    assert {check.state for check in check_files(replace(clean, keys=None))} == {"not applicable"}


def test_empty_and_unread_files_are_no_copies(clean):
    keys = [EMPTY_FILE, EMPTY_FILE, None, None, *clean.keys[4:]]
    assert {check.state for check in check_files(replace(clean, keys=keys))} == {"passed"}


def test_it_says_whether_groups_with_the_same_file_are_kept_together(clean):
    groups = clean.groups
    other = next(i for i in range(1, len(groups)) if groups[i] != groups[0])
    keys = list(clean.keys)
    keys[other] = keys[0]
    apart = check_files(replace(clean, keys=keys))[1]
    assert "they are not kept together" in apart.detail
    assert sorted(apart.rows["id"]) == sorted([clean.ids[0], clean.ids[other]])
    joined = clean.dataset.rows.assign(group=["x" if i in (0, other) else g for i, g in enumerate(groups)])
    together = check_files(replace(clean, keys=keys, dataset=replace(clean.dataset, rows=joined)))[1]
    assert "stay on one side" in together.detail
