"""Fixtures of stage 1's tests."""

from __future__ import annotations

import pytest
import torch

from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from tests.features.folders import NAMES
from tests.features.pictures import write_ham


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """One thread: the networks here are small or fed two images, and other work shares the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def console() -> Console:
    """Silent; what was told is in ``notices``."""
    return Console(quiet=True)


@pytest.fixture
def ham(tmp_path):
    """A small folder as HAM10000 is published."""
    return write_ham(tmp_path / "ham", NAMES)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "cache")
