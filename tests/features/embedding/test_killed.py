"""Extractions that are killed at any moment, or run beside each other: nothing is lost, nothing is there twice."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest

from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.features.embedding import sink
from dermfuse.features.embedding.loop import Work, extract
from dermfuse.features.images.workers import start_early
from tests.cache.helpers import leftovers
from tests.features.toys import MeanColours, content_of, dataset_of, expected, pictures

pytestmark = pytest.mark.slow
# Children are forked from a process without threads that has the libraries loaded, so that 200 of them are quick.
CONTEXT = multiprocessing.get_context("forkserver")
NAMES = ("first", "second")
BEGUN = -1


class Unhurried(MeanColours):
    """Takes its time for a batch, so that there is a time to be killed in."""

    def __init__(self, name: str, seconds: float):
        super().__init__(name)
        self.seconds = seconds

    def forward(self, batch):
        time.sleep(self.seconds)
        return super().forward(batch)


def extract_as_a_process(
    data: Path, cache: Path, names: list[str], seconds: float, shard_seconds: float, workers: int, computed
):
    """One extraction with two extractors; puts how many rows it computed into `computed`."""
    sink.SHARD_SECONDS = shard_seconds
    computed.value = BEGUN
    dataset, console = dataset_of(data, names), Console(quiet=True)
    extractors = [Unhurried(name, seconds) for name in NAMES]
    work = Work(batch_size=2, workers=workers)
    summary = extract(dataset, content_of(dataset, console), extractors, Store(cache), console, work)
    computed.value = sum(block.computed for block in summary.blocks)


def start(data: Path, cache: Path, names: list[str], *how) -> tuple:
    start_early()
    dataset_of(data, names)  # its table is there before any process reads it
    computed = CONTEXT.Value("i", 0)
    process = CONTEXT.Process(target=extract_as_a_process, args=(data, cache, names, *how, computed))
    process.start()
    return process, computed


def held(cache: Path, name: str) -> set[str]:
    """Row keys that a block acknowledges."""
    blocks = Store(cache).blocks(name) if cache.is_dir() else []
    return set(blocks[0].row_keys) if blocks else set()


def assert_right(cache: Path, data: Path, names: list[str]) -> None:
    """Every row is held exactly once, with the values of an extraction that nothing disturbed."""
    dataset = dataset_of(data, names)
    keys = content_of(dataset, Console(quiet=True)).keys
    for name in NAMES:
        [block] = Store(cache).blocks(name)
        assert set(block.row_keys) == set(keys)
        assert sum(len(rows) for rows in shard_rows(block)) == len(set(keys))
        np.testing.assert_allclose(block.gather(keys), expected(MeanColours(), dataset), atol=1e-6)
        assert block.verify() == []
    assert leftovers(cache) == []


def shard_rows(block) -> list[list[str]]:
    import json

    return [json.loads(path.read_text())["rows"] for path in block.folder.glob("shard-*.json")]


def test_an_extraction_that_is_killed_again_and_again_ends_as_if_it_never_was(tmp_path, kills):
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    names = pictures(data, 36 * kills)
    old = time.time() - 3600
    for name in names:  # else the memo would not trust them yet
        os.utime(data / name, (old, old))
    draw, alive, acknowledged = random.Random(0), 0, {name: set() for name in NAMES}
    for number in range(kills):
        # Decoding processes take seconds to start beside this machine's other work, so not every extraction has some.
        workers = 1 if number % 8 == 7 else 0
        process, computed = start(data, cache, names, 0.03, 0.05, workers)
        while computed.value != BEGUN and process.is_alive():
            time.sleep(0.002)
        process.join(draw.uniform(0, 4.0 if workers else 0.6))
        alive += process.is_alive()
        process.kill()
        process.join()
        for name in NAMES:
            now = held(cache, name)
            assert acknowledged[name] <= now
            acknowledged[name] = now
    assert alive == kills  # every kill met an extraction at work
    before = sum(map(len, acknowledged.values()))
    assert 0 < before < 2 * len(names)
    process, computed = start(data, cache, names, 0, 5.0, 1)
    process.join()
    assert process.exitcode == 0
    assert computed.value == 2 * len(names) - before  # what was acknowledged is never computed again
    assert_right(cache, data, names)


@pytest.mark.parametrize("count", [2, 4])
def test_extractions_beside_each_other_give_one_right_result(tmp_path, count):
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    names = pictures(data, 60)
    processes = [start(data, cache, names, 0.005, 0.05, 1) for _ in range(count)]
    for process, _ in processes:
        process.join()
        assert process.exitcode == 0
    assert sum(computed.value for _, computed in processes) == 2 * len(names)
    assert_right(cache, data, names)


def test_extractions_of_overlapping_parts_give_one_right_result(tmp_path):
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    names = pictures(data, 60)
    parts = []
    for first in (0, 20):
        folder = tmp_path / f"part{first}"
        folder.mkdir()
        for name in names[first : first + 40]:
            os.link(data / name, folder / name)
        parts.append((folder, names[first : first + 40]))
    processes = [start(folder, cache, part, 0.005, 0.05, 0) for folder, part in parts]
    for process, _ in processes:
        process.join()
        assert process.exitcode == 0
    assert sum(computed.value for _, computed in processes) == 2 * len(names)
    assert_right(cache, data, names)
