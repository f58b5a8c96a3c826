"""Small makers and process helpers that the cache's tests share."""

from __future__ import annotations

import hashlib
import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dermfuse.cache.block import Block
from dermfuse.cache.store import Store

BLOCK_KEY = hashlib.sha256(b"recipe").hexdigest()


def row_keys(count: int, first: int = 0) -> list[str]:
    """Row keys of `count` made-up images."""
    return [hashlib.sha256(f"image {number}".encode()).hexdigest() for number in range(first, first + count)]


def embeddings(count: int, width: int = 5, dtype: str = "float16", seed: int = 0) -> np.ndarray:
    """A matrix whose every value is exact in float16 and whose rows all differ."""
    matrix = np.random.default_rng(seed).integers(-512, 512, (count, width)) / 64
    matrix[:, 0] = np.arange(count) % 2048
    return matrix.astype(dtype)


def append(block: Block, start: int, stop: int, damages: list | None = None) -> None:
    """Append rows `start` to `stop` of the one big matrix that the tests of blocks speak of."""
    with block.writer(on_damage=[].append if damages is None else damages.append):
        block.append(row_keys(stop)[start:], embeddings(100)[start:stop])


def assert_gathers(block: Block, count: int) -> None:
    """The first `count` rows of that matrix come back."""
    np.testing.assert_array_equal(block.gather(row_keys(count)), embeddings(100)[:count])


def shard_of(block: Block, row: int) -> Path:
    """The file that holds a row."""
    return block.folder / f"{block.row_keys[row_keys(row + 1)[-1]][0]}.h5"


def names_in(folder: Path) -> list[str]:
    """Names of all files below a folder, the lock aside."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))


def flip_byte(path: Path, keep_time: bool = False) -> None:
    """Change one byte in the middle of a file."""
    facts, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    if keep_time:
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def start_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked process that leaves with 0 on success, and return its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return child


def exit_code(child: int) -> int:
    """Wait for a child and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def leftovers(cache: Path) -> list[Path]:
    """Temporaries, and shards without a record, anywhere in a cache."""
    shards = [path for path in cache.rglob("shard-*.h5") if not path.with_suffix(".json").exists()]
    return [*cache.rglob(".tmp-*"), *shards]


def assert_same_rows(cache: Path, single: Path, name: str) -> None:
    """Of one extractor, a cache holds what another one holds: each row once, the same values, nothing left over."""
    [one], [other] = Store(single).blocks(name), Store(cache).blocks(name)
    assert one.key == other.key
    rows = [key for path in other.folder.glob("shard-*.json") for key in json.loads(path.read_text())["rows"]]
    assert sorted(rows) == sorted(one.row_keys)
    np.testing.assert_allclose(other.gather(rows), one.gather(rows), atol=1e-2, rtol=1e-3)
    assert leftovers(cache) == []
