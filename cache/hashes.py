"""SHA-256 of image files, with a memo that spares hashing a file again that has not changed."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dermfuse.cache.notices import warn
from dermfuse.cache.record import is_key
from dermfuse.cache.waiting import holder

T = TypeVar("T")

_BATCH = 256
_BUSY_SECONDS = 30.0
# A transaction of another process takes moments; a wait is told after this.
_PATIENCE_SECONDS = 1.0
# A file changed twice within one tick of a coarse clock keeps its time; FAT ticks every two seconds.
_RACY_NS = 2_000_000_000
_TABLE = (
    "CREATE TABLE IF NOT EXISTS content (path BLOB PRIMARY KEY, size INTEGER NOT NULL, "
    "mtime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID"
)
_LOOK_UP = "SELECT size, mtime_ns, sha256 FROM content WHERE path = ?"
_STORE = "INSERT OR REPLACE INTO content VALUES (?, ?, ?, ?)"


class ContentIndex:
    """Memo (absolute path, size, time of change) -> SHA-256 of the file's bytes, in SQLite.

    Several threads may share one index; several processes open one each on the same file. Without a usable
    memo, files are hashed every time, and that is told once. Use it as a context manager, or call
    :meth:`close`.

    Parameters
    ----------
    path : path-like or None
        The database; it and its folder are created when needed. None keeps no memo.
    on_problem : callable, optional
        Called once with a line of text when the memo cannot be used, and once where another process keeps it waiting.
        Warns by default.
    """

    def __init__(self, path: str | os.PathLike | None, on_problem: Callable[[str], None] = warn):
        self.path = None if path is None else Path(path)
        self._on_problem = on_problem
        self._lock = threading.Lock()
        self._pending: dict[bytes, tuple[int, int, str]] = {}
        self._database: sqlite3.Connection | None = None
        self._usable = path is not None
        self._wait_seconds = _PATIENCE_SECONDS

    def __enter__(self) -> ContentIndex:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def sha256_of(self, path: str | os.PathLike, verify: bool = False) -> str:
        """SHA-256 of a file's bytes.

        Parameters
        ----------
        path : path-like
            Of a regular file; names that are not valid UTF-8 work.
        verify : bool, default=False
            Read the file even if the memo knows it.

        Returns
        -------
        str
            64 hexadecimal digits.

        Raises
        ------
        OSError
            If the file cannot be read, or is no regular file.
        """
        name = os.path.abspath(os.fsencode(path))
        seal = _seal(os.stat(name), name)
        if not verify:
            known = self._known(name, seal)
            if known is not None:
                return known
        # A file being changed right now gets the digest of what was read, which no memo may promise again.
        with open(name, "rb") as file:
            before = _seal(os.fstat(file.fileno()), name)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            settled = before == _seal(os.fstat(file.fileno()), name)
        if settled and time.time_ns() - before[1] > _RACY_NS:
            self._remember(name, before, digest)
        return digest

    def flush(self) -> None:
        """Commit what is remembered but not written yet; done by itself every 256 files and on closing."""
        with self._lock:
            self._flush()

    def close(self) -> None:
        """Commit and close; the index may be used again and then opens anew."""
        with self._lock:
            self._flush()
            if self._database is not None:
                self._database.close()
                self._database = None

    def _known(self, name: bytes, seal: tuple[int, int]) -> str | None:
        with self._lock:
            row = self._pending.get(name) or self._look_up(name)
        if row is None or row[:2] != seal or not is_key(row[2]):
            return None
        return row[2]

    def _remember(self, name: bytes, seal: tuple[int, int], digest: str) -> None:
        with self._lock:
            if self._usable:
                self._pending[name] = (*seal, digest)
                if len(self._pending) >= _BATCH:
                    self._flush()

    def _look_up(self, name: bytes) -> tuple[int, int, str] | None:
        if not self._usable:
            return None
        try:
            return self._patiently(lambda: self._connected().execute(_LOOK_UP, (name,)).fetchone())
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
            return None

    def _flush(self) -> None:
        """Write all pending rows in one short transaction, so that other processes wait little."""
        if not (self._usable and self._pending):
            return
        try:
            self._patiently(self._write_pending)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
        self._pending.clear()

    def _write_pending(self) -> None:
        with self._connected() as database:
            database.executemany(_STORE, [(name, *row) for name, row in self._pending.items()])

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do `work`; where another process keeps it waiting, say so and wait on."""
        try:
            return work()
        except sqlite3.OperationalError as error:
            # Errors that the database itself did not raise have no code.
            busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            if not busy or self._wait_seconds == _BUSY_SECONDS:
                raise
            self._on_problem(
                f"{holder(self.path)} is writing to {self.path}; waiting for it, up to {_BUSY_SECONDS:.0f} s"
            )
            self._wait_seconds = _BUSY_SECONDS
            if self._database is not None:
                self._database.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000:.0f}")
            return work()

    def _connected(self) -> sqlite3.Connection:
        if self._database is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self.path, timeout=self._wait_seconds, check_same_thread=False)
            try:
                database.execute(_TABLE)
            except BaseException:
                database.close()
                raise
            self._database = database
        return self._database

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        self._pending.clear()
        if self._database is not None:
            self._database.close()
            self._database = None
        self._on_problem(
            f"the memo of file digests {self.path} cannot be used ({error}): every image is read and hashed "
            "again. Delete the file if it is damaged"
        )


def _seal(facts: os.stat_result, name: bytes) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds."""
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(name))
    return facts.st_size, facts.st_mtime_ns
