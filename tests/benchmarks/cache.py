"""Measure the embedding cache: writing a large block, gathering random rows, looking everything over.

    python -m tests.benchmarks.cache [--rows 1000000] [--write]

Prints a table; ``--write`` puts it into RESULTS.md in place of the last one. Every step is a fresh process, with
its peak resident memory; what it reads is in the page cache, since it was written just before. Needs 5.3 GB of
disk for a million rows, below ``--folder`` or the system's temporary folder, and deletes them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from dermfuse.cache.block import Block
from dermfuse.cache.store import SHARD_ROWS, Store
from tests.benchmarks.measure import ROOT, machine, table, write_results

HEADER = ("step", "seconds", "rate", "peak MB", "result")
WIDTH, WANTED = 1280, 10_000
ROW_BYTES = 2 * WIDTH


def main() -> None:
    """Run all steps and print their table, or run the one step that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the temporary files go")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        times = STEPS[options.step](options.folder, options.rows)
        print(json.dumps({"times": times, "peak_mb": peak_mb()}))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = list(table_rows(folder, options.rows))
    text = (
        f"{options.rows:,} rows of {WIDTH} float16 in shards of {SHARD_ROWS}. Seconds are of the call itself, without "
        f"the start of Python, with the files in the page cache.\n\n{table(HEADER, rows)}"
    )
    print(text)
    if options.write:
        write_results("The embedding cache", "python -m tests.benchmarks.cache --write", machine(), text)


def table_rows(folder: str, rows: int) -> Iterator[tuple[str, ...]]:
    """Yield one row of the table a measurement."""
    size, few = rows * ROW_BYTES, min(WANTED, rows)

    def row(title: str, seconds: float, peak: float, result: str, moved: int = 0) -> tuple[str, ...]:
        rate = f"{moved / seconds / 1e6:,.0f} MB/s" if moved else ""
        return title, f"{seconds:.2f}", rate, f"{peak:.0f}", result

    (seconds,), peak = run("write", folder, rows)
    yield row(f"append {rows:,} rows, {SHARD_ROWS} a call", seconds, peak, "every shard synced and read back", size)
    (first, again), peak = run("gather", folder, rows)
    yield row(f"gather {few:,} random rows, fresh process", first, peak, "every value as written")
    yield row("the same again in that process", again, peak, "")
    (seconds,), peak = run("missing", folder, rows)
    yield row(f"`missing` of {rows:,} keys", seconds, peak, "0 missing")
    (seconds,), peak = run("verify", folder, rows)
    yield row("verify every shard", seconds, peak, "no damage", size)
    (seconds,), peak = run("writer", folder, rows)
    yield row("start of a writer (verifies every shard)", seconds, peak, "", size)
    (seconds,), peak = run("h5py_write", folder, rows)
    yield row("h5py alone: append to one file in place", seconds, peak, "synced once, never read back", size)
    (first, again), peak = run("h5py_gather", folder, rows)
    yield row(f"h5py alone: the same {few:,} rows, sorted, fresh process", first, peak, "no checksums")
    yield row("the same again in that process", again, peak, "")


def run(step: str, folder: str, rows: int) -> tuple[list[float], float]:
    """Run one step in a process of its own; its times in seconds and its peak memory in MB."""
    command = [sys.executable, "-m", __spec__.name, "--step", step, "--folder", folder, "--rows", str(rows)]
    done = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return done["times"], done["peak_mb"]


def peak_mb() -> float:
    """Peak resident memory of this process since it began, which on Linux ``getrusage`` takes over from its parent."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 1024)


def key_of(row: int) -> str:
    """A made-up row key."""
    return hashlib.sha256(f"image {row}".encode()).hexdigest()


def batches(rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """First row and matrix of each batch: random bits, one bit of each exponent cleared, so that all are finite."""
    for start in range(0, rows, SHARD_ROWS):
        count = min(SHARD_ROWS, rows - start)
        bits = np.frombuffer(np.random.default_rng(start).bytes(count * ROW_BYTES), np.uint16)
        yield start, (bits & 0xBFFF).view(np.float16).reshape(count, WIDTH)


def chosen(rows: int) -> np.ndarray:
    """The random rows that are gathered."""
    return np.random.default_rng(0).choice(rows, min(WANTED, rows), replace=False)


def as_written(rows: int, wanted: np.ndarray) -> np.ndarray:
    """What gathering `wanted` must give."""
    values = np.empty((len(wanted), WIDTH), np.float32)
    for start, matrix in batches(rows):
        here = np.flatnonzero((wanted >= start) & (wanted < start + len(matrix)))
        values[here] = matrix[wanted[here] - start]
    return values


def block_in(folder: Path) -> Block:
    """The block of this benchmark."""
    return Store(folder / "store").open_block("benchmark", {"width": WIDTH}, WIDTH)


@contextmanager
def clock(times: list[float]) -> Iterator[None]:
    """Note the seconds that the context takes."""
    started = time.perf_counter()
    yield
    times.append(time.perf_counter() - started)


def write(folder: Path, rows: int) -> list[float]:
    """Append all rows; making up keys and values is not counted."""
    times: list[float] = []
    with block_in(folder).writer() as block:
        for start, matrix in batches(rows):
            keys = [key_of(row) for row in range(start, start + len(matrix))]
            with clock(times):
                block.append(keys, matrix)
    return [sum(times)]


def gather(folder: Path, rows: int) -> list[float]:
    """Gather random rows twice and compare them with what was written."""
    wanted, times = chosen(rows), []
    keys = [key_of(row) for row in wanted]
    with clock(times):
        block = block_in(folder)
        values = block.gather(keys)
    with clock(times):
        block.gather(keys)
    if not np.array_equal(values, as_written(rows, wanted)):
        raise AssertionError("gathered other values than were written")
    return times


def missing(folder: Path, rows: int) -> list[float]:
    """Ask for all keys."""
    keys, times = [key_of(row) for row in range(rows)], []
    with clock(times):
        absent = block_in(folder).missing(keys)
    if absent:
        raise AssertionError(f"{len(absent)} rows are missing")
    return times


def verify(folder: Path, rows: int) -> list[float]:
    """Hash everything."""
    times: list[float] = []
    with clock(times):
        damages = Store(folder / "store").verify()
    if damages:
        raise AssertionError(str(damages[0]))
    return times


def writer(folder: Path, rows: int) -> list[float]:
    """Take the lock, as `extract` does."""
    times: list[float] = []
    with clock(times), block_in(folder).writer():
        pass
    return times


def h5py_write(folder: Path, rows: int) -> list[float]:
    """Append to one dataset, as people do without a cache."""
    times: list[float] = []
    with h5py.File(folder / "alone.h5", "w") as file:
        dataset = file.create_dataset("x", (0, WIDTH), "f2", maxshape=(None, WIDTH), chunks=(256, WIDTH))
        for start, matrix in batches(rows):
            with clock(times):
                dataset.resize(start + len(matrix), axis=0)
                dataset[start:] = matrix
        with clock(times):
            file.flush()
            os.fsync(file.id.get_vfd_handle())
    return [sum(times)]


def h5py_gather(folder: Path, rows: int) -> list[float]:
    """The same rows by h5py's own indexing, which wants them sorted."""
    wanted, times = np.sort(chosen(rows)), []
    with clock(times), h5py.File(folder / "alone.h5") as file:
        values = file["x"][wanted].astype(np.float32)
    with h5py.File(folder / "alone.h5") as file, clock(times):
        file["x"][wanted].astype(np.float32)
    if not np.array_equal(values, as_written(rows, wanted)):
        raise AssertionError("gathered other values than were written")
    return times


STEPS = {step.__name__: step for step in (write, gather, missing, verify, writer, h5py_write, h5py_gather)}


if __name__ == "__main__":
    sys.exit(main())
