"""Identical image files: across splits, in several groups, under different labels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dermfuse.pipelines.audit.check import Check, Question, doing, offending
from dermfuse.pipelines.audit.given import AuditInput
from dermfuse.pipelines.audit.groups import sides, units_on_two_sides
from dermfuse.pipelines.evaluation.splits import EMPTY_FILE

ACROSS = Question(
    "SAME_FILE_SPLIT",
    "No image file stands, byte for byte, in two splits or folds",
    "error",
    "Identical image files in two splits or folds",
)
GROUPS = Question(
    "SAME_FILE_GROUPS",
    "No image file stands, byte for byte, in two groups",
    "warning",
    "Identical image files in two groups",
)
LABELS = Question(
    "SAME_FILE_LABELS",
    "No image file stands, byte for byte, under two labels",
    "error",
    "Identical image files under two labels",
    True,
)


def check_files(given: AuditInput) -> list[Check]:
    """All checks of identical files."""
    if given.keys is None:
        return [question.not_applicable("no image files are used") for question in (ACROSS, GROUPS, LABELS)]
    keys = pd.Series([None if key == EMPTY_FILE else key for key in given.keys], dtype=object)
    return [_across(given, keys), _groups(given, keys), _labels(given, keys)]


def _across(given: AuditInput, keys: pd.Series) -> Check:
    if given.fold is None:
        return ACROSS.not_applicable("there is no split: the classes are too small for one")
    across = units_on_two_sides(keys, given.fold)
    if not across.any():
        return ACROSS.passed()
    many = keys[across].nunique()
    rows = offending(given.ids[across], given.groups[across], sides(given.fold[across]))
    return ACROSS.found(
        many, f"{doing(many, 'file', 'stand')} on two sides of a split, so the scores are too good.", rows
    )


def _groups(given: AuditInput, keys: pd.Series) -> Check:
    several = _differing(keys, given.table_groups)
    if not several.any():
        return GROUPS.passed()
    many = keys[several].nunique()
    rows = offending(given.ids[several], given.table_groups[several], "the same file as in another group")
    apart = _differing(keys, given.groups).any()
    what = "they are not kept together" if apart else "their groups were joined, so that they stay on one side"
    return GROUPS.found(many, f"{doing(many, 'file', 'stand')} in two groups or more; {what}.", rows)


def _labels(given: AuditInput, keys: pd.Series) -> Check:
    mixed = _differing(keys, given.labels)
    if not mixed.any():
        return LABELS.passed()
    many = keys[mixed].nunique()
    rows = offending(given.ids[mixed], given.table_groups[mixed], given.labels[mixed])
    return LABELS.found(
        many, f"{doing(many, 'file', 'stand')} under two labels or more: at least one of them is wrong.", rows
    )


def _differing(keys: pd.Series, values: np.ndarray) -> np.ndarray:
    """Rows whose file stands with several `values`, (n,) bool."""
    return units_on_two_sides(keys, pd.factorize(values)[0])
