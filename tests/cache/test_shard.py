"""A shard is done whole or not at all, and what comes back is what was written or an error."""

from __future__ import annotations

import json
import os
import pickle
import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from dermfuse.cache import shard as shard_module
from dermfuse.cache import shard_layout as layout_module
from dermfuse.cache.errors import UserError
from dermfuse.cache.record import ShardRecord, shard_name
from dermfuse.cache.shard import (
    DamagedShard,
    as_stored,
    iterate_shard,
    read_record,
    read_shard,
    verify_shard,
    write_shard,
)
from dermfuse.cache.shard_layout import BLOCK_ROWS
from tests.cache.helpers import BLOCK_KEY, embeddings, flip_byte, names_in, row_keys

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def written(tmp_path):
    """A finished shard of 40 rows: its folder, record and matrix."""
    matrix = embeddings(40)
    return tmp_path, write_shard(tmp_path, BLOCK_KEY, row_keys(40), matrix), matrix


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("count", [1, 127, 512, 513, 1100])
def test_what_is_written_is_read(tmp_path, count, dtype):
    matrix = embeddings(count, 7, dtype)
    record = write_shard(tmp_path, BLOCK_KEY, row_keys(count), matrix)
    read = read_shard(tmp_path, record)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, matrix)
    assert read_record(tmp_path / record.record_name) == record
    assert names_in(tmp_path) == [f"{record.name}.h5", f"{record.name}.json"]
    assert (record.width, record.dtype, record.block_key) == (7, dtype, BLOCK_KEY)
    assert record.bytes == (tmp_path / record.file_name).stat().st_size
    verify_shard(tmp_path, record)


def test_rows_are_read_in_any_order_with_repeats(tmp_path):
    matrix = embeddings(1100)
    record = write_shard(tmp_path, BLOCK_KEY, row_keys(1100), matrix)
    indices = [1099, 0, 511, 512, 512, 3]
    np.testing.assert_array_equal(read_shard(tmp_path, record, indices), matrix[indices])
    assert read_shard(tmp_path, record, []).shape == (0, 5)
    for wrong in ([1100], [-1]):
        with pytest.raises(IndexError, match="rows 0 to 1099"):
            read_shard(tmp_path, record, wrong)


def test_reading_takes_one_block_at_a_time(tmp_path):
    record = write_shard(tmp_path, BLOCK_KEY, row_keys(1100), embeddings(1100))
    blocks = [values for _places, values in iterate_shard(tmp_path, record, np.arange(1100))]
    assert sum(map(len, blocks)) == 1100
    assert max(map(len, blocks)) <= BLOCK_ROWS
    far = list(iterate_shard(tmp_path, record, np.array([1099])))
    assert len(far) == 1


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("count", "width"), [(1, 1), (7, 8), (40, 5), (600, 1500)])
def test_the_file_is_plain_hdf5_that_other_programs_read(tmp_path, count, width, dtype):
    matrix = embeddings(count, width, dtype)
    record = write_shard(tmp_path, BLOCK_KEY, row_keys(count), matrix)
    data = (tmp_path / record.file_name).read_bytes()
    assert data[:9] == b"\x89HDF\r\n\x1a\n\x00"
    with h5py.File(tmp_path / record.file_name) as file:
        np.testing.assert_array_equal(file["embeddings"][:], matrix)
        assert file["embeddings"].dtype == dtype
        assert [key.decode() for key in file["rows"][:]] == record.rows
        assert file["row_crc32"][:].tolist() == [zlib.crc32(row.tobytes()) for row in matrix]
        assert file.attrs["block_key"] == BLOCK_KEY
    assert data[record.offset : record.offset + matrix.nbytes] == matrix.tobytes()


def test_the_same_rows_give_the_same_bytes(tmp_path):
    digests = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        digests.append(write_shard(folder, BLOCK_KEY, row_keys(9), embeddings(9)).sha256)
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("rows", "matrix", "message"),
    [
        (row_keys(2), np.array([[1.0, np.nan], [1, 2]], "f4"), "1 of 2 .*row 0 holds NaN or infinity"),
        (row_keys(2), np.array([[1.0, 2], [np.inf, 2]], "f2"), "row 1 holds NaN or infinity"),
        (row_keys(2), np.zeros((2, 3)), "float16 or float32. Got dtype float64"),
        (row_keys(2), np.zeros((2, 0), "f4"), r"Got shape \(2, 0\)"),
        ([], np.zeros((0, 3), "f4"), r"Got shape \(0, 3\)"),
        (row_keys(2), np.zeros(2, "f4"), r"Got shape \(2,\)"),
        (row_keys(3), np.zeros((2, 3), "f4"), "3 keys for 2 embeddings"),
        (row_keys(1) * 2, np.zeros((2, 3), "f4"), "1 repeats"),
        (["A" * 64], np.zeros((1, 3), "f4"), "Got 'AAAA"),
        (["../" + "a" * 61], np.zeros((1, 3), "f4"), "hexadecimal"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path, rows, matrix, message):
    with pytest.raises(ValueError, match=message):
        write_shard(tmp_path, BLOCK_KEY, rows, matrix)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("value", [65520.0, -1e6, 70000])
def test_overflow_on_the_cast_is_refused(value):
    with pytest.raises(ValueError, match="row 1 overflows float16"):
        as_stored(np.array([[1], [value]]), "float16")


def test_casting_keeps_float16_range_and_rounds():
    stored = as_stored(np.array([[65504.0, 1 / 3, -0.0]]), "float16")
    np.testing.assert_array_equal(stored, np.array([[65504, 1 / 3, 0]], "float16"))


@pytest.mark.parametrize("matrix", [np.ones((1, 1), complex), np.ones((1, 1), bool), np.array([["a"]])])
def test_only_real_numbers_are_embeddings(matrix):
    with pytest.raises(ValueError, match="real matrix"):
        as_stored(matrix, "float32")


def test_a_finished_shard_is_never_written_again(written):
    folder, record, matrix = written
    with pytest.raises(ValueError, match="immutable"):
        write_shard(folder, BLOCK_KEY, record.rows, matrix)


STEPS = [(h5py, "File", 1), *((os, "fsync", n) for n in (1, 2, 3, 4)), (os, "replace", 1), (os, "replace", 2)]


@pytest.mark.parametrize(("module", "name", "number"), STEPS, ids=lambda part: getattr(part, "__name__", part))
def test_an_error_at_any_step_leaves_a_whole_shard_or_none(tmp_path, monkeypatch, module, name, number):
    earlier = write_shard(tmp_path, BLOCK_KEY, row_keys(3), embeddings(3))
    original, calls = getattr(module, name), []

    def fail_once(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            raise OSError(5, "broken")
        return original(*args, **kwargs)

    fail_once.in_memory = h5py.File.in_memory
    with monkeypatch.context() as patched, pytest.raises((OSError, UserError)):
        patched.setattr(module, name, fail_once)
        write_shard(tmp_path, BLOCK_KEY, row_keys(40, 100), embeddings(40))
    records = [read_record(path) for path in tmp_path.glob("*.json")]
    for record in records:
        verify_shard(tmp_path, record)
    assert earlier in records
    # Only after the record's rename, when its folder cannot be synced, does the new shard exist already.
    assert len(records) == (2 if (name, number) == ("fsync", 4) else 1)
    assert names_in(tmp_path) == sorted(name for record in records for name in (record.file_name, record.record_name))


def test_the_record_is_written_last(tmp_path, monkeypatch):
    seen = []
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (seen.append(Path(new).suffix), rename(old, new)))
    write_shard(tmp_path, BLOCK_KEY, row_keys(3), embeddings(3))
    assert seen == [".h5", ".json"]


def test_a_disk_that_gives_back_other_bytes_is_noticed_before_the_rename(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_module, "read_bytes", lambda path: path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="reads back wrong: the disk gave back other bytes"):
        write_shard(tmp_path, BLOCK_KEY, row_keys(3), embeddings(3))
    assert names_in(tmp_path) == []


def test_values_that_hdf5_changes_are_noticed_before_the_rename(tmp_path, monkeypatch):
    honest = shard_module.hdf5_bytes
    monkeypatch.setattr(shard_module, "hdf5_bytes", lambda key, rows, matrix: honest(key, rows, matrix + 1))
    with pytest.raises(UserError, match="HDF5 gave back other values"):
        write_shard(tmp_path, BLOCK_KEY, row_keys(3), embeddings(3))
    assert names_in(tmp_path) == []


def damage(path: Path, how: str) -> None:
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "deleted":
        path.unlink()
    elif how == "a byte flipped":
        flip_byte(path)
    elif how == "a folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("how", ["truncated", "emptied", "deleted", "a byte flipped", "a folder"])
def test_a_damaged_file_is_never_read(written, how):
    folder, record, _ = written
    read_shard(folder, record)
    damage(folder / record.file_name, how)
    for read in (read_shard, verify_shard):
        told = f"damaged cache file {record.file_name} .*Run `extract` again: it sets the shard aside"
        with pytest.raises(DamagedShard, match=told):
            read(folder, record)


def bytes_read(path: Path, work) -> int:
    """How many bytes of a file a call reads outside of HDF5."""
    read, honest = [], layout_module._fill

    def noted(where, file, start, view):
        read.append(len(view))
        honest(where, file, start, view)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(layout_module, "_fill", noted)
        work()
    return sum(read)


def test_reading_a_few_rows_reads_those_rows_and_what_is_around_the_embeddings(tmp_path):
    record = write_shard(tmp_path, BLOCK_KEY, row_keys(1100), embeddings(1100, 1280))
    around = record.bytes - 1100 * 2560
    for indices in ([], [5], [5, 5, 6, 7, 600], [1099, 0]):
        count = len(set(indices))
        read = bytes_read(tmp_path / record.file_name, lambda indices=indices: read_shard(tmp_path, record, indices))
        assert read == around + count * 2560
    assert around < 100_000


def test_a_flipped_bit_in_a_row_is_noticed_whenever_that_row_is_read_and_only_then(written):
    folder, record, matrix = written
    path = folder / record.file_name
    read_shard(folder, record)
    facts, data = path.stat(), bytearray(path.read_bytes())
    data[record.offset + 11 * 10 + 3] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(DamagedShard, match="row 11 does not have the checksum"):
        read_shard(folder, record)
    others = [row for row in range(40) if row != 11]
    np.testing.assert_array_equal(read_shard(folder, record, others), matrix[others])
    with pytest.raises(DamagedShard, match="SHA-256"):
        verify_shard(folder, record)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"block_key": "0" * 64}, "key"),
        ({"rows": row_keys(40, 1)}, "rows"),
        ({"width": 1, "dtype": "float16"}, "shape"),
        ({"width": 2, "dtype": "float32"}, "shape"),
        ({"dtype": "float16"}, "dtype"),
        ({"offset": 8000}, "place"),
    ],
)
def test_a_record_at_odds_with_the_file_is_noticed_on_opening(tmp_path, change, what):
    folder, record = tmp_path, write_shard(tmp_path, BLOCK_KEY, row_keys(40), embeddings(40, dtype="float32"))
    record = replace(record, **change)
    image = (folder / record.file_name).read_bytes()
    digest = layout_module.frame_digest(image, record.offset, 40 * record.row_bytes)
    record = replace(record, frame_sha256=digest)
    with pytest.raises(DamagedShard, match=f"its {what} is not what the record says"):
        read_shard(folder, record)


def test_a_file_that_is_no_shard_is_refused(tmp_path, written):
    folder, record, _ = written
    other = folder / "other.h5"
    with h5py.File(other, "w") as file:
        file["embeddings"] = np.zeros((40, 5), "f2")
        offset = file["embeddings"].id.get_offset()
    data = other.read_bytes()
    (folder / record.file_name).write_bytes(data)
    false = replace(record, bytes=len(data), offset=offset, frame_sha256=layout_module.frame_digest(data, offset, 400))
    with pytest.raises(DamagedShard, match="does not hold what a shard holds"):
        read_shard(folder, false)


def test_a_file_that_may_not_be_read_is_no_damage(written, monkeypatch):
    folder, record, _ = written

    def forbid(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    for module, read in ((layout_module, read_shard), (shard_module, verify_shard)):
        monkeypatch.setattr(module, "open", forbid, raising=False)
        with pytest.raises(UserError, match="Allow reading it") as caught:
            read(folder, record)
        assert not isinstance(caught.value, DamagedShard)


def wrong_records():
    rows = row_keys(2)
    good = {
        "schema": 2,
        "name": shard_name(rows),
        "block_key": BLOCK_KEY,
        "rows": rows,
        "width": 5,
        "dtype": "float16",
        "sha256": "0" * 64,
        "bytes": 100,
        "offset": 70,
        "frame_sha256": "1" * 64,
    }
    yield "empty", ""
    yield "cut", json.dumps(good)[:50]
    yield "no object", "[]"
    yield "not text", b"\xff\xfe\x00"
    yield "deep", "[" * 100_000
    yield "a field less", json.dumps({name: good[name] for name in list(good)[1:]})
    yield "a field more", json.dumps({**good, "more": 1})
    changes = {
        "schema": [1, 3, "2", None, True],
        "name": ["shard-0", "../x", 3],
        "block_key": ["0", None],
        "rows": [[], rows[:1], rows[::-1], [rows[0]] * 2, ["x", "y"], "ab", [1, 2]],
        "width": [0, -1, 5.0, "5"],
        "dtype": ["float64", None],
        "sha256": ["0" * 63, "A" * 64],
        "bytes": [0, 1.5, 89],
        "offset": [0, -1, 81, 70.0],
        "frame_sha256": ["1" * 63, None],
    }
    for name, values in changes.items():
        for value in values:
            yield f"{name}={str(value)[:12]}", json.dumps({**good, name: value})


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in wrong_records()])
def test_a_damaged_record_is_refused(tmp_path, text):
    path = tmp_path / f"{shard_name(row_keys(2))}.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DamagedShard, match=path.name):
        read_record(path)


def test_a_missing_record_is_told(tmp_path):
    with pytest.raises(DamagedShard, match="the file is missing"):
        read_record(tmp_path / "shard-0.json")


def test_errors_and_records_travel_between_processes(written):
    _folder, record, _ = written
    error = pickle.loads(pickle.dumps(DamagedShard(Path("a/b.h5"), "it is cut")))
    assert (error.path, error.reason) == (Path("a/b.h5"), "it is cut")
    assert pickle.loads(pickle.dumps(record)) == record
    assert isinstance(record, ShardRecord)
