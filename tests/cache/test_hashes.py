"""The memo of file digests spares hashing, never changes an answer, and says so when it cannot work."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from dermfuse.cache import hashes
from dermfuse.cache.hashes import ContentIndex
from tests.cache.helpers import exit_code, start_child


def image(folder: Path, content: bytes = b"content", name: str | bytes = "a.jpg", age: float = 100) -> Path:
    """A file last changed `age` seconds ago."""
    path = Path(os.fsdecode(os.path.join(os.fsencode(folder), os.fsencode(name))))
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def hashed(monkeypatch):
    """Paths hashed so far, as the index opens them."""
    seen = []
    digest = hashlib.file_digest

    def noted(file, name):
        seen.append(file.name)
        return digest(file, name)

    monkeypatch.setattr(hashes.hashlib, "file_digest", noted)
    return seen


@pytest.fixture
def problems():
    return []


@pytest.fixture
def index(tmp_path, problems):
    with ContentIndex(tmp_path / "cache" / "files.sqlite", problems.append) as index:
        yield index


def test_a_file_is_hashed_once(tmp_path, index, hashed, problems):
    path = image(tmp_path)
    assert [index.sha256_of(path) for _ in range(3)] == [digest_of(b"content")] * 3
    assert len(hashed) == 1
    assert problems == []


def test_the_memo_outlives_the_index(tmp_path, index, hashed):
    path = image(tmp_path)
    index.sha256_of(path)
    index.close()
    assert ContentIndex(index.path).sha256_of(path) == digest_of(b"content")
    assert index.sha256_of(path) == digest_of(b"content")
    assert len(hashed) == 1


@pytest.mark.parametrize("closed", [False, True])
def test_a_changed_file_is_hashed_again(tmp_path, index, closed):
    index.sha256_of(image(tmp_path, b"old"))
    if closed:
        index.close()
    assert index.sha256_of(image(tmp_path, b"new", age=50)) == digest_of(b"new")
    assert index.sha256_of(image(tmp_path, b"longer", age=50)) == digest_of(b"longer")


def test_a_file_changed_just_now_is_not_remembered(tmp_path, index):
    path = image(tmp_path, b"old", age=0)
    facts = path.stat()
    index.sha256_of(path)
    path.write_bytes(b"new")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert index.sha256_of(path) == digest_of(b"new")


def test_a_file_that_changes_while_it_is_read_is_not_remembered(tmp_path, index, monkeypatch):
    path = image(tmp_path, b"old")
    digest = hashlib.file_digest

    def change_meanwhile(file, name):
        result = digest(file, name)
        image(tmp_path, b"longer", age=50)
        return result

    with monkeypatch.context() as patched:
        patched.setattr(hashes.hashlib, "file_digest", change_meanwhile)
        index.sha256_of(path)
    assert index.sha256_of(path) == digest_of(b"longer")


def test_verifying_reads_the_file_and_mends_the_memo(tmp_path, index):
    path = image(tmp_path, b"old")
    facts = path.stat()
    index.sha256_of(path)
    path.write_bytes(b"new")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert index.sha256_of(path) == digest_of(b"old"), "size and time are all that the memo sees"
    assert index.sha256_of(path, verify=True) == digest_of(b"new")
    assert index.sha256_of(path) == digest_of(b"new")


def test_relative_and_absolute_paths_are_one_file(tmp_path, index, hashed, monkeypatch):
    path = image(tmp_path)
    monkeypatch.chdir(tmp_path)
    for spelled in (path, str(path), os.fsencode(path), "a.jpg", tmp_path / ".." / tmp_path.name / "a.jpg"):
        assert index.sha256_of(spelled) == digest_of(b"content")
    assert len(hashed) == 1


@pytest.mark.parametrize("name", [b"\xff\xfe.jpg", "läsion 1\n.jpg".encode(), b"';--.jpg"])
def test_any_file_name_works(tmp_path, index, hashed, problems, name):
    path = image(tmp_path, name=name)
    index.sha256_of(path)
    index.close()
    assert index.sha256_of(path) == digest_of(b"content")
    assert (len(hashed), problems) == (1, [])


def test_batches_are_committed_by_themselves(tmp_path, index, monkeypatch):
    monkeypatch.setattr(hashes, "_BATCH", 4)
    for number in range(6):
        index.sha256_of(image(tmp_path, name=f"{number}.jpg"))
    with sqlite3.connect(index.path) as database:
        assert database.execute("SELECT count(*) FROM content").fetchone() == (4,)
    index.flush()
    with sqlite3.connect(index.path) as database:
        assert database.execute("SELECT count(*) FROM content").fetchone() == (6,)


def test_a_file_that_cannot_be_hashed_raises(tmp_path, index, problems):
    with pytest.raises(FileNotFoundError):
        index.sha256_of(tmp_path / "absent.jpg")
    with pytest.raises(OSError, match="not a regular file"):
        index.sha256_of(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(OSError, match="not a regular file"):
        index.sha256_of(tmp_path / "pipe.jpg")
    assert problems == []


def spoil(path: Path, how: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if how == "garbage":
        path.write_bytes(b"no database" * 500)
    elif how == "a folder":
        path.mkdir()
    elif how == "another table":
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE content (path TEXT)")
    elif how == "no folder":
        path.parent.rmdir()
        path.parent.write_bytes(b"")


@pytest.mark.parametrize("how", ["garbage", "a folder", "another table", "no folder"])
def test_an_unusable_memo_is_told_once_and_every_file_hashed(tmp_path, index, hashed, problems, how):
    spoil(index.path, how)
    paths = [image(tmp_path, name=f"{number}.jpg") for number in range(3)]
    for path in paths * 2:
        assert index.sha256_of(path) == digest_of(b"content")
    index.close()
    assert len(hashed) == 6
    assert len(problems) == 1
    assert f"{index.path} cannot be used" in problems[0]
    assert "every image is read and hashed again" in problems[0]


def test_a_memo_that_cannot_be_written_is_told_once(tmp_path, index, problems, monkeypatch):
    class ReadOnly(sqlite3.Connection):
        def executemany(self, *_args):
            raise sqlite3.OperationalError("attempt to write a readonly database")

    connect = sqlite3.connect
    monkeypatch.setattr(hashes.sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=ReadOnly, **kwargs))
    path = image(tmp_path)
    index.sha256_of(path)
    index.flush()
    index.flush()
    assert index.sha256_of(path) == digest_of(b"content")
    assert len(problems) == 1
    assert "readonly" in problems[0]


def test_without_a_callback_a_problem_is_a_warning(tmp_path):
    spoil(tmp_path / "files.sqlite", "garbage")
    with pytest.warns(UserWarning, match="embedding cache: the memo of file digests"):
        ContentIndex(tmp_path / "files.sqlite").sha256_of(image(tmp_path))


def test_a_damaged_entry_is_not_believed(tmp_path, index):
    path = image(tmp_path)
    index.sha256_of(path)
    index.close()
    with sqlite3.connect(index.path) as database:
        database.execute("UPDATE content SET sha256 = 'f00'")
    assert index.sha256_of(path) == digest_of(b"content")


def test_threads_share_one_index(tmp_path, index, problems, monkeypatch):
    monkeypatch.setattr(hashes, "_BATCH", 3)
    paths = [image(tmp_path, bytes([number]), f"{number}.jpg") for number in range(20)]
    wrong = []

    def work():
        wrong.extend(path for number, path in enumerate(paths) if index.sha256_of(path) != digest_of(bytes([number])))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, problems) == ([], [])


def test_processes_share_one_file(tmp_path, problems, hashed):
    paths = [image(tmp_path, bytes([number]), f"{number}.jpg") for number in range(30)]

    def work():
        told = []
        with ContentIndex(tmp_path / "files.sqlite", told.append) as index:
            for number, path in enumerate(paths):
                assert index.sha256_of(path) == digest_of(bytes([number]))
                index.flush()
        assert told == []

    children = [start_child(work) for _ in range(3)]
    assert [exit_code(child) for child in children] == [0, 0, 0]
    with ContentIndex(tmp_path / "files.sqlite", problems.append) as index:
        for path in paths:
            index.sha256_of(path)
    assert (hashed, problems) == ([], [])
