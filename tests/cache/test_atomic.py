"""A file appears whole or not at all, and a disk error that a user can mend is told in one line."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from dermfuse.cache import atomic
from dermfuse.cache.atomic import (
    atomic_write,
    check_room,
    check_target,
    disk_errors_told,
    lock_errors_told,
    make_folder,
    remove_temporaries,
)
from dermfuse.cache.errors import UserError
from tests.cache.helpers import exit_code, names_in, start_child


def failing(number: int):
    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_target_that_can_be_written_passes_and_nothing_is_left_of_the_trial(tmp_path):
    (tmp_path / "old.csv").write_text("kept")
    check_target(tmp_path / "new.csv")
    check_target(tmp_path / "old.csv")
    assert names_in(tmp_path) == ["old.csv"] and (tmp_path / "old.csv").read_text() == "kept"


@pytest.mark.parametrize(
    ("name", "said"), [("no/x.csv", "no such folder"), ("folder", "is a folder"), ("pipe", "no regular file")]
)
def test_a_target_that_cannot_be_written_is_refused_before_the_work(tmp_path, name, said):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=said) as caught:
        check_target(tmp_path / name)
    assert caught.value.exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


def test_a_target_where_nothing_may_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "touch", failing(errno.EROFS))
    with pytest.raises(UserError, match="cannot write x.csv"):
        check_target(tmp_path / "x.csv")


def test_a_file_is_created_then_replaced(tmp_path):
    atomic_write(tmp_path / "a.json", b"old")
    atomic_write(str(tmp_path / "a.json"), b"new")
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert names_in(tmp_path) == ["a.json"]


def test_the_order_is_sync_verify_rename_sync_folder(tmp_path, monkeypatch):
    steps = []
    sync, replace = os.fsync, os.replace

    def noted_sync(handle):
        target = Path(os.readlink(f"/proc/self/fd/{handle}"))
        steps.append("sync folder" if target == tmp_path.resolve() else "sync file")
        sync(handle)

    def noted_replace(old, new):
        steps.append("rename")
        replace(old, new)

    def verify(temporary):
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(f".tmp-{os.getpid()}-")
        assert temporary.read_bytes() == b"data"
        steps.append("verify")

    if not os.path.exists("/proc/self/fd"):
        pytest.skip("tells files from folders by /proc")
    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    atomic_write(tmp_path / "a", b"data", verify)
    assert steps == ["sync file", "verify", "rename", "sync folder"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_an_interrupted_write_keeps_the_old_file_and_no_temporary(tmp_path, monkeypatch, step, error):
    def fail(*_args):
        raise error

    atomic_write(tmp_path / "a", b"old")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names_in(tmp_path) == ["a"]


def test_a_file_that_fails_verification_never_appears(tmp_path):
    def verify(_temporary):
        raise ValueError("differs")

    with pytest.raises(ValueError, match="differs"):
        atomic_write(tmp_path / "a", b"data", verify)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_disk_errors_say_what_where_how_much_is_free_and_what_to_do(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(UserError) as caught:
        atomic_write(tmp_path / "a.json", b"x" * 5000)
    message = str(caught.value)
    assert message.startswith(f"cannot write a.json (5.0 kB) in {tmp_path}: {os.strerror(number)}; ")
    assert "B free there. " in message
    assert message.endswith("then run again") or message.endswith("what was finished before is intact")
    assert "\n" not in message
    assert names_in(tmp_path) == []


def test_other_errors_keep_their_type(tmp_path):
    with pytest.raises(OSError, match="broken"), disk_errors_told(tmp_path / "a"):
        raise OSError(errno.EIO, "broken")
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "absent" / "a", b"")


def test_only_errors_that_say_that_there_are_no_locks_are_told_so(tmp_path):
    for existed in (False, True):
        told = "cannot lock a.lock in .*No locks available.*local disk"
        with pytest.raises(UserError, match=told), lock_errors_told(tmp_path / "a.lock"):
            (tmp_path / "a.lock").touch()
            raise OSError(errno.ENOLCK, "none")
        assert (tmp_path / "a.lock").exists() == existed
        (tmp_path / "a.lock").touch()
    with pytest.raises(OSError, match="broken"), lock_errors_told(tmp_path / "a.lock"):
        raise OSError(errno.EIO, "broken")


def test_free_space_that_cannot_be_asked_for_hides_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.shutil, "disk_usage", failing(errno.EIO))
    with pytest.raises(UserError, match="unknown space free"), disk_errors_told(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "full")


def test_room_is_looked_at_before_the_work(tmp_path, monkeypatch):
    used = type("usage", (), {"total": 10**9, "free": 5000})
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda folder: used)
    absent = tmp_path / "not" / "there"
    check_room(absent, 5000, "a thing")
    with pytest.raises(UserError) as caught:
        check_room(absent, 5001, "a thing")
    assert str(caught.value) == (
        f"no room for a thing: at least 5.0 kB are needed, 5.0 kB are free in {absent}. "
        "Make room there or choose a folder on another disk, then run again."
    )
    assert not absent.parent.exists()


@pytest.mark.parametrize("answer", [failing(errno.EIO), lambda folder: type("usage", (), {"total": 0, "free": 0})])
def test_where_a_file_system_does_not_say_nothing_is_refused(tmp_path, monkeypatch, answer):
    monkeypatch.setattr(atomic.shutil, "disk_usage", answer)
    assert atomic.free_bytes(tmp_path) is None
    check_room(tmp_path, 10**15, "a thing")


def test_a_folder_that_forbids_writing_is_told():
    # The folder lies outside of tmp_path, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="readonly-"))
    folder.chmod(0o555)

    def work():
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        with pytest.raises(UserError, match="Permission denied.*Allow writing there"):
            atomic_write(folder / "a", b"data")
        with pytest.raises(UserError, match="cannot write b in .*Permission denied"):
            make_folder(folder / "b" / "c")

    try:
        assert exit_code(start_child(work)) == 0
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_folders_are_made_with_their_parents_and_kept(tmp_path):
    folder = make_folder(tmp_path / "a" / "b" / "c")
    assert folder.is_dir()
    assert make_folder(folder) == folder


def test_a_file_in_place_of_a_folder_is_told(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(UserError, match="a part of this path is a file"):
        make_folder(tmp_path / "a" / "b")


def test_only_temporaries_of_the_folder_itself_are_removed(tmp_path):
    (tmp_path / "inner").mkdir()
    for name in (".tmp-1-ab-x.h5", ".tmp-2-cd-y", "tmp-z", ".other", "inner/.tmp-3-ef-w"):
        (tmp_path / name).write_bytes(b"")
    assert remove_temporaries(tmp_path) == 2
    assert names_in(tmp_path) == [".other", ".tmp-3-ef-w", "tmp-z"]


def test_new_files_get_the_rights_that_the_user_asked_for(tmp_path):
    previous = os.umask(0o027)
    try:
        atomic_write(tmp_path / "a", b"")
    finally:
        os.umask(previous)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
