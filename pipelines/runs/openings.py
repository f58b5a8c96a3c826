"""How often a locked test split has been opened: a line for each run that was scored on it, in the folder of runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from dermfuse.cache.atomic import disk_errors_told, lock_errors_told
from dermfuse.cache.waiting import acquire
from dermfuse.features.data.dataset import Dataset

FILE = ".openings.jsonl"
_LOCK = ".openings.lock"
PATIENCE = 2.0  # seconds: a line is written in a moment


def split_key(whole: Dataset, seed: int) -> str:
    """SHA-256 that names a locked split: over the ids of the whole table, and the seed, or the dataset's own split.

    Features, models and columns do not change which rows are locked, and so not the key; ids cannot be read from it.
    """
    digest = hashlib.sha256(b"own split" if whole.own_test is not None else f"seed {seed}".encode())
    rows = whole.rows["id"].astype(str)
    own = whole.own_test if whole.own_test is not None else [False] * len(rows)
    for name, locked in sorted(zip(rows, own, strict=True)):
        digest.update(f"\0{name}\0{int(locked)}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def note_opening(runs: Path, key: str, name: str, on_wait: Callable[[str], None] | None = None) -> list[str]:
    """Note that a run is scored on a locked split, and return the names of all runs that were, this one last.

    Lines are only ever added, under a lock and onto the disk before the run is finished. A line that a crash cut off
    counts nothing and takes no other line with it.

    Parameters
    ----------
    runs : Path
        Where runs are kept; must exist.
    key : str
        From :func:`split_key`.
    name : str
        Of the run.
    on_wait : callable, optional
        Given a line of text where another process holds the lock.

    Raises
    ------
    UserError
        The disk is full, or the file cannot be written.
    """
    path, lock = runs / FILE, runs / _LOCK
    line = json.dumps({"split": key, "run": name, "opened": datetime.now(UTC).isoformat(timespec="seconds")})
    held = FileLock(lock)
    with disk_errors_told(path), lock_errors_told(lock), ExitStack() as until:
        acquire(held, path, on_wait, PATIENCE)
        until.callback(held.release)
        before = path.read_bytes() if path.exists() else b""
        torn = before and not before.endswith(b"\n")
        with open(path, "ab") as file:
            file.write((b"\n" if torn else b"") + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    return [*_names(before, key), name]


def _names(content: bytes, key: str) -> list[str]:
    names = []
    for line in content.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("split") == key:
            names.append(str(entry.get("run")))
    return names
