"""The audit before any fit: with the embeddings of a cache, without any, and without splits where classes are small."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.pipelines.workflows.audit import audit_dataset
from tests.pipelines.conftest import FOLDS

BY_PIXELS = ("NEAR_DUPLICATE", "EXTRACTOR_TEST", "EXTRACTOR_FOLDS")


def audited(demo, store=None, features=None, console=None, dataset=None, folds=FOLDS, seed=0):
    given = dataset or demo.dataset
    return audit_dataset(given, store or demo.store, features, seed, folds, console or Console(quiet=True))


def test_embeddings_of_the_cache_are_used_and_a_clean_dataset_raises_no_alarm(demo):
    audit = audited(demo)
    assert audit.alarms == []
    assert [audit[code].state for code in BY_PIXELS] == ["passed", "passed", "found"]
    assert "cae from" in audit["EXTRACTOR_FOLDS"].detail


def test_without_embeddings_what_needs_them_does_not_apply(demo, tmp_path):
    audit = audited(demo, Store(tmp_path / "cache"))
    assert [audit[code].detail for code in BY_PIXELS] == ["no embeddings; run extract"] * 3
    assert audit["COLUMN_VALUES"].state == "passed"
    assert "Logistic regression on metadata" in audit["OPTIMISM_GAP"].detail


def test_an_autoencoder_that_saw_another_seed_s_test_split_is_found(demo):
    assert audited(demo, features=["cae"], seed=1)["EXTRACTOR_TEST"].state == "found"


def test_classes_too_small_for_a_split_are_told_and_the_rest_is_audited(demo):
    console = Console(quiet=True)
    audit = audited(demo, console=console, folds=40)
    assert audit["GROUP_SPLIT"].state == audit["COLUMN_VALUES"].state == "not applicable"
    assert audit["GROUP_LABELS"].state == "passed"
    assert any("audited without splits" in notice for notice in console.notices)


def test_a_feature_that_was_not_extracted_is_refused(demo, tmp_path):
    with pytest.raises(UserError, match="mobilenet_v2"):
        audited(demo, features=["mobilenet_v2"])
    without = replace(demo.dataset, rows=demo.dataset.rows.assign(path=None))
    with pytest.raises(UserError, match="no image files"):
        audited(demo, features=["cae"], dataset=without)
