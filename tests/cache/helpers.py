"""Small makers and process helpers that the cache's tests share."""

from __future__ import annotations

import hashlib
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

BLOCK_KEY = hashlib.sha256(b"recipe").hexdigest()


def row_keys(count: int, first: int = 0) -> list[str]:
    """Row keys of `count` made-up images."""
    return [hashlib.sha256(f"image {number}".encode()).hexdigest() for number in range(first, first + count)]


def embeddings(count: int, width: int = 5, dtype: str = "float16", seed: int = 0) -> np.ndarray:
    """A matrix whose every value is exact in float16 and whose rows all differ."""
    matrix = np.random.default_rng(seed).integers(-512, 512, (count, width)) / 64
    matrix[:, 0] = np.arange(count) % 2048
    return matrix.astype(dtype)


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
