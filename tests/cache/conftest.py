"""Fixtures of the cache's tests."""

from __future__ import annotations

import pytest

from dermfuse.cache import block as block_module
from dermfuse.cache.block import Block
from dermfuse.cache.store import Store
from tests.cache.helpers import append

RECIPE = {"schema": 1, "architecture": "tiny", "views": 1, "mean": (0.5, 0.25), "dtype": "float16"}


@pytest.fixture
def problems() -> list[str]:
    """What the store told."""
    return []


@pytest.fixture
def store(tmp_path, problems) -> Store:
    return Store(tmp_path / "cache", problems.append)


@pytest.fixture
def block(store) -> Block:
    """An empty block of width 5, float16."""
    return store.open_block("tiny", dict(RECIPE), 5)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(block_module, "SHARD_ROWS", 4)


@pytest.fixture
def filled(block, small_shards) -> Block:
    """A block of 10 rows in shards of 4, 4 and 2."""
    append(block, 0, 10)
    return block
