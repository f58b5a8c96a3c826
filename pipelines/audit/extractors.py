"""Extractors that learned from images of this dataset: none may have seen the locked test split."""

from __future__ import annotations

import numpy as np

from dermfuse.pipelines.audit.check import Check, Question, offending, plural
from dermfuse.pipelines.audit.given import AuditInput

TEST = Question(
    "EXTRACTOR_TEST",
    "No extractor learned from images of the locked test split",
    "error",
    "Extractors that learned from the locked test split",
)
FOLDS = Question(
    "EXTRACTOR_FOLDS",
    "No extractor learned from images that are scored out of fold",
    "note",
    "Extractors that learned from images that are scored out of fold",
)


def check_extractors(given: AuditInput) -> list[Check]:
    """All checks of learned extractors."""
    if given.table is None or given.keys is None or not given.learned:
        why = "no embeddings; run extract"
    elif given.fold is None:
        why = "there is no split: the classes are too small for one"
    else:
        return [_test(given), _folds(given)]
    return [TEST.not_applicable(why), FOLDS.not_applicable(why)]


def _test(given: AuditInput) -> Check:
    unknown = [name for name, learned in given.learned.items() if learned is None]
    if unknown:
        detail = f"The record of what {', '.join(unknown)} learned from is gone, so it may be the locked test split."
        return TEST.found(len(unknown), detail)
    seen = np.zeros(len(given.ids), bool)
    for learned in given.learned.values():
        seen |= _met(given, learned) & (given.fold < 0)
    if not seen.any():
        return TEST.passed()
    rows = offending(given.ids[seen], given.groups[seen], "an extractor learned from it")
    many = plural(int(seen.sum()), "image")
    detail = f"An extractor learned from {many} of the locked test split: the test is not unseen."
    return TEST.found(seen.sum(), detail, rows)


def _folds(given: AuditInput) -> Check:
    met = {
        name: int((_met(given, learned or set()) & (given.fold >= 0)).sum()) for name, learned in given.learned.items()
    }
    met = {name: n for name, n in met.items() if n}
    if not met:
        return FOLDS.passed()
    listed = ", ".join(f"{name} from {n:,}" for name, n in met.items())
    detail = (
        f"Learned from the pixels of training rows, without labels: {listed}. Out of fold, none of them is new to it."
    )
    return FOLDS.found(sum(met.values()), detail)


def _met(given: AuditInput, learned: set[str]) -> np.ndarray:
    return np.array([key in learned for key in given.keys], dtype=bool)
