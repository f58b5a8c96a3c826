"""Waiting for a lock that another process holds: told at once, with who holds it, and again while it goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import filelock

# Most waits are over before anybody could read of them.
UNTOLD_SECONDS = 0.5
# Between one line of a wait and the next.
LINE_SECONDS = 30.0
_LOCKS = Path("/proc/locks")


def acquire(
    lock: filelock.BaseFileLock,
    place: Path,
    on_wait: Callable[[str], None] | None = None,
    patience: float = UNTOLD_SECONDS,
) -> None:
    """Take a lock, however long another process holds it.

    Parameters
    ----------
    lock : FileLock
    place : Path
        What is written under the lock, as it is told.
    on_wait : callable, optional
        Called with a line of text before waiting, and every half minute while it lasts.
    patience : float, default=0.5
        Seconds that may pass before `on_wait` is called.
    """
    started = time.monotonic()
    try:
        lock.acquire(timeout=patience)
        return
    except filelock.Timeout:
        if on_wait is None:
            lock.acquire()
            return
    on_wait(f"{holder(Path(lock.lock_file))} is writing to {place}; waiting until it is done")
    while True:
        try:
            lock.acquire(timeout=LINE_SECONDS)
            return
        except filelock.Timeout:
            waited = time.monotonic() - started
            on_wait(f"still waiting, for {waited:.0f} s: {holder(Path(lock.lock_file))} is writing to {place}")


def holder(path: Path) -> str:
    """In words, which process holds a lock on a file: ``process 123`` where the system tells, or ``another process``.

    Linux lists the locks of a machine; a file is one by its number alone there, since file systems that are put
    together of others say their device in two ways.
    """
    try:
        number = os.stat(path).st_ino
        lines = _LOCKS.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return "another process"
    # 1: FLOCK  ADVISORY  WRITE 17045 fe:00:2146378 0 EOF; those with an arrow only wait.
    fields = [line.split() for line in lines if " -> " not in line]
    pids = {f[4] for f in fields if len(f) > 5 and f[5].rpartition(":")[2] == str(number) and f[3] == "WRITE"}
    pids -= {str(os.getpid()), "-1", "0"}
    return f"process {pids.pop()}" if len(pids) == 1 else "another process"
