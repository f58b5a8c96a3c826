"""Killed processes, full and read-only disks, missing locks, several writers: what was done stays done."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import io
import os
import re
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from dermfuse.cache import atomic as atomic_module
from dermfuse.cache import shard as shard_module
from dermfuse.cache.block import Block
from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.cache.upkeep import LOCK_FILE, QUARANTINE
from tests.cache.helpers import (
    append,
    assert_gathers,
    embeddings,
    exit_code,
    flip_byte,
    names_in,
    row_keys,
    shard_of,
    start_child,
)

# Killed processes


def kill_at(number: int) -> None:
    """End this process like a power cut at the n-th of these moments: before and after each step of writing a file."""
    moments = count(1)

    def moment():
        if next(moments) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def between(step):
        def call(*args, **kwargs):
            moment()
            result = step(*args, **kwargs)
            moment()
            return result

        return call

    class Slow(io.BufferedWriter):
        def write(self, data):
            super().write(data[: len(data) // 2])
            self.flush()
            moment()
            super().write(data[len(data) // 2 :])
            self.flush()
            moment()

    atomic_module.open = between(lambda path, mode: Slow(io.FileIO(path, mode.replace("b", ""))))
    os.fsync, os.replace = between(os.fsync), between(os.replace)
    shard_module._check_written = between(shard_module._check_written)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith(("shard", ".tmp"))}


def test_a_kill_at_any_moment_loses_nothing_that_was_done_and_resuming_gives_the_same_files(tmp_path, filled):
    codes, missing_after = [], set()
    keys, matrix = row_keys(18), embeddings(100)
    whole = Store(shutil.copytree(filled.folder.parents[1], tmp_path / "whole")).find("tiny", filled.key)
    append(whole, 10, 18)
    for number in range(1, 100):
        root = shutil.copytree(filled.folder.parents[1], tmp_path / f"copy-{number}")
        copy = Store(root).find("tiny", filled.key)

        def work(copy=copy, number=number):
            with copy.writer():
                kill_at(number)
                copy.append(keys[10:], matrix[10:18])

        codes.append(exit_code(start_child(work)))
        assert_gathers(copy, 10)
        assert copy.verify() == []
        damages = []
        with copy.writer(on_damage=damages.append):
            missing = copy.missing(keys)
            copy.append(missing, matrix[[keys.index(key) for key in missing]])
        missing_after.add(len(missing))
        assert damages == []
        assert contents(copy.folder) == contents(whole.folder)
        shutil.rmtree(root)
        if codes[-1] == 0:
            break
    # Two shards; of each the file and then its record: opened, half written, written, synced, renamed, folder synced,
    # and the file is verified in between.
    assert codes == [-signal.SIGKILL] * 2 * (12 + 10) + [0]
    assert missing_after == {0, 4, 8}


def test_a_kill_while_a_damaged_shard_is_set_aside_loses_neither_it_nor_its_rows(tmp_path, filled):
    path, codes = shard_of(filled, 0), []
    flip_byte(path)
    for number in range(1, 100):
        root = shutil.copytree(filled.folder.parents[1], tmp_path / f"copy-{number}")
        copy = Store(root).find("tiny", filled.key)

        def work(copy=copy, number=number):
            kill_at(number)
            with copy.writer(on_damage=lambda damage: None):
                pass

        codes.append(exit_code(start_child(work)))
        with copy.writer(on_damage=lambda damage: None):
            missing = copy.missing(row_keys(10))
            copy.append(missing, embeddings(100)[[row_keys(10).index(key) for key in missing]])
        assert_gathers(copy, 10)
        assert copy.verify() == []
        kept = [aside.read_bytes() for aside in (copy.folder / QUARANTINE).glob("*.h5")]
        assert kept == [path.read_bytes()]
        shutil.rmtree(root)
        if codes[-1] == 0:
            break
    assert codes[:-1] == [-signal.SIGKILL] * (len(codes) - 1)
    assert len(codes) > 8


# Full disks


def test_a_full_disk_keeps_the_shards_finished_before(filled, monkeypatch):
    replace, calls = os.replace, []

    def fill_up(old, new):
        calls.append(1)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        replace(old, new)

    with monkeypatch.context() as patched, filled.writer():
        patched.setattr(os, "replace", fill_up)
        with pytest.raises(UserError, match="No space left on device"):
            filled.append(row_keys(8, 10), embeddings(100)[10:18])
        assert len(filled.missing(row_keys(18))) == 4
    assert_gathers(filled, 14)
    assert len(names_in(filled.folder)) == 1 + 2 * 4


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file can become larger: for the writer much like a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def wide_block(root: Path) -> tuple[Block, list[str], np.ndarray]:
    """An empty block of wide rows, and 600 rows for it."""
    return Store(root).open_block("wide", {"views": 1}, 1280), row_keys(600), embeddings(600, 1280)


def assert_one_line(error: UserError, *parts: str) -> None:
    assert "\n" not in str(error)
    assert [part for part in parts if part not in str(error)] == []


def test_a_file_that_may_not_grow_is_one_line_and_after_that_was_mended_work_goes_on(tmp_path):
    block, keys, matrix = wide_block(tmp_path)
    with block.writer():
        block.append(keys[:10], matrix[:10])
    before = names_in(tmp_path)
    with block.writer():
        with file_size_limit(200_000):
            for _ in range(2):
                with pytest.raises(UserError) as caught:
                    block.append(keys[10:], matrix[10:])
                assert_one_line(
                    caught.value,
                    "cannot write shard-",
                    f"(1.6 MB) in {block.folder}: File too large; ",
                    "what was finished before is intact",
                )
                assert names_in(tmp_path) == before
                assert block.missing(keys) == keys[10:]
        block.append(keys[10:], matrix[10:])
    np.testing.assert_array_equal(block.gather(keys), matrix)


CLONE_NEWNS, MS_RDONLY, MS_REMOUNT, MS_REC, MS_PRIVATE = 0x20000, 1, 32, 0x4000, 1 << 18
NO_MOUNTS = 77


def mount(folder: Path, flags: int, options: str) -> None:
    done = ctypes.CDLL(None, use_errno=True).mount(b"tmpfs", bytes(folder), b"tmpfs", flags, options.encode())
    if done != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def on_a_small_disk(folder: Path, size: int, work: Callable[[], None]) -> None:
    """Run `work` in a process that alone sees a file system of `size` bytes on `folder`; skip where nobody may."""

    def alone():
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
                os._exit(NO_MOUNTS)
            mount(folder, 0, f"size={size}")
        except (OSError, AttributeError):
            os._exit(NO_MOUNTS)
        work()

    code = exit_code(start_child(alone))
    if code == NO_MOUNTS:
        pytest.skip("this user or system may not mount a file system")
    assert code == 0


def test_a_disk_that_fills_up_at_any_step_is_one_line_and_work_goes_on_after_room_was_made(tmp_path):
    def work():
        block, keys, matrix = wide_block(tmp_path)
        with block.writer():
            block.append(keys[:20], matrix[:20])
        done, refused, before = 20, 0, names_in(tmp_path)
        spare = tmp_path / "others"
        for free in range(0, 120_000, 4096):
            spare.write_bytes(bytes(max(0, shutil.disk_usage(tmp_path).free - free)))
            with block.writer():
                try:
                    block.append(keys[done : done + 20], matrix[done : done + 20])
                    done, before = done + 20, sorted({*names_in(tmp_path)} - {"others"})
                except UserError as error:
                    refused += 1
                    assert_one_line(error, "cannot write shard-", "No space left on device", "is intact")
                    assert sorted({*names_in(tmp_path)} - {"others"}) == before
                    assert block.missing(keys[: done + 20]) == keys[done : done + 20]
            np.testing.assert_array_equal(block.gather(keys[:done]), matrix[:done])
            spare.unlink()
        assert refused > 10  # the file, or its record only, found no room
        assert done > 40
        with block.writer():
            block.append(keys[done : done + 20], matrix[done : done + 20])
        assert block.verify() == []

    on_a_small_disk(tmp_path, 2_000_000, work)


# Disks that may only be read


def test_a_disk_that_turned_read_only_is_read_and_not_written(tmp_path):
    def work():
        block, keys, matrix = wide_block(tmp_path)
        with block.writer():
            block.append(keys[:20], matrix[:20])
        mount(tmp_path, MS_REMOUNT | MS_RDONLY, "")
        again = Store(tmp_path).find("wide", block.key)
        assert again.missing(keys) == keys[20:]
        np.testing.assert_array_equal(again.gather(keys[:20]), matrix[:20])
        assert Store(tmp_path).verify() == []
        for lock in (again.writer(), again.writer()):
            with pytest.raises(UserError) as caught, lock:
                pass
            assert_one_line(caught.value, f"cannot write {LOCK_FILE} in ", "Read-only file system", "then run again")
        with pytest.raises(UserError, match="Read-only file system"):
            Store(tmp_path).open_block("other", {"views": 1}, 5)

    on_a_small_disk(tmp_path, 2_000_000, work)


def test_a_block_that_may_only_be_read_is_read_and_not_written():
    # The folder lies outside of tmp_path, which only its owner may enter.
    root = Path(tempfile.mkdtemp(prefix="readonly-"))
    block = Store(root).open_block("tiny", {"views": 1}, 5)
    append(block, 0, 10)
    block.folder.joinpath(LOCK_FILE).unlink()
    for folder in (root, root / "blocks", block.folder):
        folder.chmod(0o555)

    def work():
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        assert_gathers(block, 10)
        with pytest.raises(UserError, match=f"cannot write {LOCK_FILE} in .*: Permission denied"):
            append(block, 10, 11)

    try:
        assert exit_code(start_child(work)) == 0
    finally:
        for folder in (root, root / "blocks", block.folder):
            folder.chmod(0o755)
        shutil.rmtree(root)


# Locks and other writers


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK], ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_told_at_once_and_nothing_is_written(filled, number):
    def no_locks(_handle, _how):
        raise OSError(number, os.strerror(number))

    def work():
        signal.alarm(20)  # it must never wait for a lock that cannot be had
        fcntl.flock = no_locks
        filled.folder.joinpath(LOCK_FILE).unlink()
        before = sorted(filled.folder.rglob("*"))
        for held in (False, True):  # without and with a lock file of earlier times
            if held:
                filled.folder.joinpath(LOCK_FILE).touch()
                before = sorted(filled.folder.rglob("*"))
            with pytest.raises(UserError) as caught:
                append(filled, 10, 12)
            assert_one_line(
                caught.value,
                f"cannot lock {LOCK_FILE} in {filled.folder}: {os.strerror(number)}",
                "This file system has no locks",
                "Choose a cache folder on a local disk",
            )
            assert sorted(filled.folder.rglob("*")) == before
            assert_gathers(filled, 10)
        with pytest.raises(UserError, match="has no locks"):
            Store(filled.folder.parents[1]).open_block("other", {"views": 1}, 5)

    assert exit_code(start_child(work)) == 0


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_append_the_same_rows_make_one_result(store, filled, processes):
    def work():
        block = store.open_block("tiny", filled.recipe, 5)
        for start in range(10, 58, 8):
            keys = row_keys(start + 8)[start:]
            with block.writer():
                missing = block.missing(keys)
                block.append(missing, embeddings(100)[[start + keys.index(key) for key in missing]])

    children = [start_child(work) for _ in range(processes)]
    assert [exit_code(child) for child in children] == [0] * processes
    assert_gathers(filled, 58)
    assert filled.verify() == []
    held = [key for record in filled._scan()[0] for key in record.rows]
    assert sorted(held) == sorted(row_keys(58))


def test_a_writer_waits_for_another_process_and_says_so_once(filled):
    ready, go = os.pipe(), os.pipe()

    def hold():
        with filled.writer():
            os.write(ready[1], b"r")
            os.read(go[0], 1)
            filled.append(row_keys(5, 10), embeddings(100)[10:15])

    child = start_child(hold)
    os.read(ready[0], 1)
    told = []

    def on_wait(message):
        told.append(message)
        os.write(go[1], b"g")

    with filled.writer(on_wait=on_wait):
        assert filled.missing(row_keys(15)) == []
    assert exit_code(child) == 0
    [line] = told
    assert re.fullmatch(
        rf"(another process|process \d+) is writing to {re.escape(str(filled.folder))}; waiting .*", line
    )


def test_a_free_block_is_taken_without_a_word(filled):
    told = []
    with filled.writer(on_wait=told.append):
        pass
    assert told == []


def test_several_processes_fill_one_block(store, filled):
    def work(first):
        for start in range(first, first + 8, 4):
            append(store.open_block("tiny", filled.recipe, 5), start, start + 4)

    children = [start_child(lambda first=first: work(first)) for first in (10, 18, 26)]
    assert [exit_code(child) for child in children] == [0, 0, 0]
    assert_gathers(filled, 34)
    assert filled.verify() == []
