"""Learned extractors: images of the locked test split they learned from are an error, training images a note."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dermfuse.pipelines.audit.extractors import check_extractors
from dermfuse.pipelines.audit.given import AuditInput


def checked(given: AuditInput, **learned) -> dict:
    return {check.code: check for check in check_extractors(replace(given, learned=learned))}


def keys_of(given: AuditInput, rows) -> set[str]:
    return {given.keys[i] for i in np.flatnonzero(rows)}


def states(found: dict) -> dict:
    return {code: (check.state, check.count) for code, check in found.items()}


def test_extractors_that_learned_nothing_here_pass(clean):
    found = checked(clean, frozen=set(), elsewhere={"the key of an image of another dataset"})
    assert states(found) == {"EXTRACTOR_TEST": ("passed", 0), "EXTRACTOR_FOLDS": ("passed", 0)}


def test_one_image_of_the_locked_test_split_is_an_error_that_names_its_row(clean):
    first = np.flatnonzero(clean.fold < 0)[0]
    test = checked(clean, learned={clean.keys[first]})["EXTRACTOR_TEST"]
    assert (test.state, test.severity, test.count) == ("found", "error", 1)
    assert test.rows[["id", "group"]].to_numpy().tolist() == [[clean.ids[first], clean.groups[first]]]
    assert clean.ids[first] not in test.detail


def test_images_of_training_are_a_note_and_leave_the_test_unseen(clean):
    train = clean.fold >= 0
    found = checked(clean, learned=keys_of(clean, train), frozen=set())
    assert states(found) == {"EXTRACTOR_TEST": ("passed", 0), "EXTRACTOR_FOLDS": ("found", int(train.sum()))}
    assert found["EXTRACTOR_FOLDS"].severity == "note"
    assert f"learned from {train.sum():,}" in found["EXTRACTOR_FOLDS"].detail
    assert "frozen" not in found["EXTRACTOR_FOLDS"].detail


def test_an_image_that_several_extractors_saw_is_one_image_of_the_test(clean):
    test = clean.fold < 0
    found = checked(clean, one=keys_of(clean, test), other=keys_of(clean, test))
    assert states(found) == {"EXTRACTOR_TEST": ("found", int(test.sum())), "EXTRACTOR_FOLDS": ("passed", 0)}


def test_every_row_with_the_bytes_of_a_learned_image_counts(clean):
    first, second = np.flatnonzero(clean.fold < 0)[:2]
    keys = list(clean.keys)
    keys[second] = keys[first]
    assert checked(replace(clean, keys=keys), learned={keys[first]})["EXTRACTOR_TEST"].count == 2


def test_an_extractor_whose_record_is_gone_is_an_error_by_its_name(clean):
    test = checked(clean, cae=None, frozen=set())["EXTRACTOR_TEST"]
    assert (test.state, test.severity, test.count) == ("found", "error", 1)
    assert "what cae learned from is gone" in test.detail


@pytest.mark.parametrize(
    ("missing", "why"),
    [
        ({"table": None}, "no embeddings; run extract"),
        ({"keys": None}, "no embeddings; run extract"),
        ({"learned": {}}, "no embeddings; run extract"),
        ({"fold": None}, "there is no split: the classes are too small for one"),
    ],
)
def test_without_embeddings_or_a_split_it_does_not_apply(clean, missing, why):
    found = check_extractors(replace(clean, **missing))
    assert [(check.state, check.detail) for check in found] == [("not applicable", why)] * 2
