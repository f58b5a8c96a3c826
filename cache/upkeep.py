"""What keeps a block's folder in order: its lock, unfinished work, damaged shards, the stamp of its last use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import filelock

from dermfuse.cache.atomic import disk_errors_told, lock_errors_told, make_folder, sync_folder
from dermfuse.cache.waiting import UNTOLD_SECONDS, acquire

LOCK_FILE = "writer.lock"
QUARANTINE = "quarantine"
USED_FILE = "last-used"


@contextmanager
def locked(
    folder: Path, on_wait: Callable[[str], None] | None = None, patience: float = UNTOLD_SECONDS
) -> Iterator[None]:
    """Hold the one lock of a block's folder, waiting for another writer if need be.

    Parameters
    ----------
    folder : Path
        Must exist.
    on_wait : callable, optional
        Called with a line of text before waiting, and now and then while it lasts.
    patience : float, default=0.5
        Seconds that may pass before `on_wait` is called.

    Raises
    ------
    UserError
        If the lock file cannot be created, or the file system has no locks.
    RuntimeError
        If this thread holds the lock already.
    """
    lock = _lock_of(folder)
    with disk_errors_told(folder / LOCK_FILE), lock_errors_told(folder / LOCK_FILE):
        acquire(lock, folder, on_wait, patience)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def locked_now(folder: Path) -> Iterator[bool]:
    """Hold the lock of a block's folder unless another holds it; never wait.

    Parameters
    ----------
    folder : Path
        Must exist.

    Yields
    ------
    bool
        Whether the lock is held here; when not, the folder is another writer's.

    Raises
    ------
    UserError
        If the lock file cannot be created, or the file system has no locks.
    """
    lock = _lock_of(folder)
    with disk_errors_told(folder / LOCK_FILE), lock_errors_told(folder / LOCK_FILE):
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            held = False
        else:
            held = True
    try:
        yield held
    finally:
        if held:
            lock.release()


def mark_used(folder: Path) -> None:
    """Stamp a block as used now; where nothing can be written, as in a read-only cache, nothing is stamped.

    Parameters
    ----------
    folder : Path
        The block's folder.
    """
    with suppress(OSError):
        (folder / USED_FILE).touch()


def last_used(folder: Path) -> datetime | None:
    """When a block was last stamped by :func:`mark_used`, in UTC, or None if it never was.

    Parameters
    ----------
    folder : Path
        The block's folder.
    """
    try:
        return datetime.fromtimestamp((folder / USED_FILE).stat().st_mtime, UTC)
    except OSError:
        return None


def unfinished(folder: Path) -> list[Path]:
    """Shard files without a record: they were never done, or their writer is still at work.

    Parameters
    ----------
    folder : Path
        The block's folder.
    """
    return sorted(path for path in folder.glob("shard-*.h5") if not path.with_suffix(".json").exists())


def remove_unfinished(folder: Path) -> int:
    """Delete shard files without a record: they were never done.

    Parameters
    ----------
    folder : Path
        The block's folder; the caller holds its lock.

    Returns
    -------
    int
        How many files were deleted.

    Raises
    ------
    UserError
        If the folder cannot be written to.
    """
    leftovers = unfinished(folder)
    with disk_errors_told(folder):
        for path in leftovers:
            path.unlink()
    return len(leftovers)


def set_aside(folder: Path, shard: str) -> None:
    """Move a shard's file and record into ``quarantine/``, under a name that is free there.

    Parameters
    ----------
    folder : Path
        The block's folder; the caller holds its lock.
    shard : str
        The shard's name. One of its two files may be missing.

    Raises
    ------
    UserError
        If the folder cannot be written to.
    """
    aside = make_folder(folder / QUARANTINE)
    free = _free_name(aside, shard)
    with disk_errors_told(aside / shard):
        # The record goes last: after a crash in between, the shard still reads as damaged and not as
        # unfinished.
        for suffix in (".h5", ".json"):
            if (folder / f"{shard}{suffix}").exists():
                os.replace(folder / f"{shard}{suffix}", aside / f"{free}{suffix}")
        sync_folder(aside)
        sync_folder(folder)


def _lock_of(folder: Path) -> filelock.BaseFileLock:
    # Without the kernel's locks filelock would take a marker file instead, which outlives a killed process.
    return filelock.FileLock(folder / LOCK_FILE, fallback_to_soft=False)


def _free_name(folder: Path, shard: str) -> str:
    for number in count():
        name = f"{shard}.{number}" if number else shard
        if not any((folder / f"{name}{suffix}").exists() for suffix in (".h5", ".json")):
            return name
    raise AssertionError("unreachable: numbers do not end")
