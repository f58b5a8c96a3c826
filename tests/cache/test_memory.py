"""Writing needs the memory of one shard and of the keys, however many rows there are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW_MB = 1280 * 2 / 2**20
# A key is 64 letters and its place in a set; nothing else may be kept of a row.
KEY_MB = 400 / 2**20


def peak_mb(step: str, folder: Path, rows: int) -> float:
    """Peak resident memory of one step of the benchmark, in a process of its own."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.benchmarks.cache", "--step", step, "--folder", folder, "--rows", str(rows)]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["peak_mb"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory of one process is read from /proc")
def test_memory_does_not_grow_with_the_rows_that_are_written_or_verified(tmp_path):
    rows = 20_000
    for step in ("write", "verify", "writer"):
        less, more = (peak_mb(step, tmp_path / str(count), count) for count in (rows, 2 * rows))
        assert more - less < rows * KEY_MB + 10, step
    assert rows * ROW_MB > 2 * (rows * KEY_MB + 10)  # keeping the rows would be noticed


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory of one process is read from /proc")
def test_a_million_rows_are_written_and_gathered_within_a_gibibyte(tmp_path, long):
    """In the short form a fiftieth of them."""
    rows = 1_000_000 if long else 20_000
    try:
        for step in ("write", "gather", "missing", "writer"):
            assert peak_mb(step, tmp_path / "store", rows) < 1024, step
    finally:
        shutil.rmtree(tmp_path / "store")
