"""Garbage of a cache is found as often as wanted, and deleted only where that is asked for."""

from __future__ import annotations

import pytest

from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.pipelines.workflows.cache import collect_garbage
from tests.cache.conftest import RECIPE
from tests.cache.helpers import append, row_keys


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path / "cache")
    append(store.open_block("tiny", dict(RECIPE), 5), 0, 3)
    return store


def test_looking_changes_nothing_and_deleting_frees_what_was_found(store, tmp_path):
    (block,) = store.blocks()
    chosen = [f"{block.name}-{block.key[:8]}"]
    found = collect_garbage(store, tmp_path / "runs", chosen=chosen)
    assert not found.deleted and found.sweep.bytes > 0 and store.blocks()[0].missing(row_keys(3)) == []
    done = collect_garbage(store, tmp_path / "runs", chosen=chosen, delete=True)
    assert done.deleted and done.sweep.bytes == found.sweep.bytes and not done.sweep.left
    assert not store.blocks()


def test_a_block_by_name_and_all_that_are_unused_contradict_each_other(store, tmp_path):
    with pytest.raises(UserError, match="--block and --unused-days contradict each other") as caught:
        collect_garbage(store, tmp_path / "runs", unused_days=3, chosen=["tiny-0123"], delete=True)
    assert caught.value.exit_code == 2 and store.blocks()
