"""A wait for another process is told at once, with who keeps it waiting, and again while it lasts."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from dermfuse.cache import hashes, waiting
from dermfuse.cache.hashes import ContentIndex
from dermfuse.cache.waiting import acquire, holder

HOLD = "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); input()"


@pytest.fixture
def held(tmp_path):
    """A lock file, and the process that holds it until a line is written to it."""
    path = tmp_path / "writer.lock"
    command = [sys.executable, "-c", HOLD, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"held\n"
        yield path, child
        child.kill()


def told_pids() -> bool:
    return Path("/proc/locks").is_file() and ":" in Path("/proc/locks").read_text()


def test_a_wait_is_told_at_once_and_again_and_ends_with_the_lock(held, monkeypatch):
    path, child = held
    monkeypatch.setattr(waiting, "LINE_SECONDS", 0.2)
    told = []

    def on_wait(line):
        told.append(line)
        if len(told) == 3:
            child.stdin.write(b"\n")
            child.stdin.flush()

    lock = filelock.FileLock(path)
    acquire(lock, path.parent, on_wait)
    assert lock.is_locked
    lock.release()
    who = r"(another process|process \d+)"
    assert re.fullmatch(rf"{who} is writing to {re.escape(str(path.parent))}; waiting until it is done", told[0])
    assert re.fullmatch(rf"still waiting, for \d+ s: {who} is writing to .*", told[1])


@pytest.mark.skipif(not told_pids(), reason="this system does not tell who holds a lock")
def test_the_process_that_holds_a_lock_is_named(held):
    path, child = held
    assert holder(path) in (f"process {child.pid}", "another process")
    found = [line for line in Path("/proc/locks").read_text().splitlines() if str(child.pid) in line.split()]
    if found:  # where processes have other numbers outside, as in a container, nothing is to be told
        assert holder(path) == f"process {child.pid}"


def test_a_lock_that_is_free_or_not_there_has_no_holder_by_name(tmp_path):
    (tmp_path / "free").touch()
    assert holder(tmp_path / "free") == holder(tmp_path / "absent") == "another process"


def test_a_memo_that_another_process_writes_is_waited_for_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "_PATIENCE_SECONDS", 0.05)
    (tmp_path / "image.jpg").write_bytes(b"x")
    path = tmp_path / "files.sqlite"
    with ContentIndex(path, pytest.fail) as index:
        digest = index.sha256_of(tmp_path / "image.jpg")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    told = []

    def on_problem(line):
        told.append(line)
        other.execute("COMMIT")

    with ContentIndex(path, on_problem) as index:
        assert index.sha256_of(tmp_path / "image.jpg") == digest
    other.close()
    assert len(told) == 1 and told[0].endswith(f"is writing to {path}; waiting for it, up to 30 s")
