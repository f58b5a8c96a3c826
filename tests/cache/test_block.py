"""A block gives back the rows that were appended, in any order, after any accident."""

from __future__ import annotations

import os
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermfuse.cache import block as block_module
from dermfuse.cache import shard as shard_module
from dermfuse.cache.atomic import make_folder
from dermfuse.cache.block import SHARD_ROWS, MissingRows
from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.cache.upkeep import LOCK_FILE, QUARANTINE
from tests.cache.helpers import append, assert_gathers, embeddings, exit_code, names_in, row_keys, start_child


@given(
    order=st.permutations(range(12)),
    cuts=st.sets(st.integers(1, 11), max_size=5),
    asked=st.lists(st.integers(0, 11), max_size=20),
    rows_a_shard=st.integers(1, 6),
)
@settings(deadline=None, max_examples=25)
def test_any_order_and_partition_of_appends_gathers_the_same(order, cuts, asked, rows_a_shard):
    keys, matrix = np.array(row_keys(12)), embeddings(12)
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patched:
        patched.setattr(block_module, "SHARD_ROWS", rows_a_shard)
        patched.setattr(os, "fsync", lambda handle: None)  # speed; the order of syncs has its own tests
        block = Store(root).open_block("tiny", {"views": 1}, 5)
        for part in np.split(np.array(order), sorted(cuts)):
            with block.writer():
                block.append(keys[part].tolist(), matrix[part].astype("float64"))
        gathered = block.gather(keys[asked].tolist())
    assert gathered.dtype == np.float32
    np.testing.assert_array_equal(gathered, matrix[asked])


def test_rows_are_cut_into_shards(filled):
    sizes = sorted(len(record.rows) for record in filled._scan()[0])
    assert sizes == [2, 4, 4]
    assert set(filled.row_keys) == set(row_keys(10))
    assert SHARD_ROWS == 2048


def test_float32_blocks_keep_every_bit(store):
    block = store.open_block("exact", {"views": 1}, 3, "float32")
    matrix = np.random.default_rng(0).normal(size=(600, 3)).astype("float32")
    with block.writer():
        block.append(row_keys(600), matrix)
    np.testing.assert_array_equal(block.gather(row_keys(600)), matrix)


def test_missing_keeps_order_and_drops_repeats(filled):
    keys = row_keys(13)
    assert filled.missing([keys[12], keys[0], keys[10], keys[12], keys[3]]) == [keys[12], keys[10]]
    assert filled.missing([]) == []


def test_gathering_missing_rows_says_how_many(filled):
    with pytest.raises(MissingRows, match=r"^2 of 5 images have no embedding in tiny-.*Run `extract`") as caught:
        filled.gather([*row_keys(2), *row_keys(2, 50), *row_keys(1)])
    assert isinstance(caught.value, UserError)
    assert isinstance(caught.value, LookupError)
    assert caught.value.keys == row_keys(2, 50)


def test_gathering_nothing_gives_an_empty_matrix(filled):
    assert filled.gather([]).shape == (0, 5)


@pytest.mark.parametrize(
    ("keys", "matrix", "message"),
    [
        (row_keys(2, 9), embeddings(2), "1 of 2 rows are held by tiny-.* already"),
        (row_keys(1, 50) * 2, embeddings(2), "expected distinct row keys. Got 1 repeats"),
        (row_keys(2, 50), embeddings(2, 6), r"matrix of width 5. Got shape \(2, 6\)"),
        (row_keys(3, 50), embeddings(2), "Got 3 keys for 2 embeddings"),
        (row_keys(9, 50), np.r_[embeddings(8), np.full((1, 5), np.nan)], "row 8 holds NaN or infinity"),
        (row_keys(9, 50), np.r_[embeddings(8), np.full((1, 5), 1e6)], "row 8 overflows float16"),
        ([*row_keys(8, 50), "key"], embeddings(9), "Got 'key'"),
    ],
)
def test_what_cannot_be_appended_is_refused_as_a_whole(filled, keys, matrix, message):
    before = names_in(filled.folder)
    with filled.writer(), pytest.raises(ValueError, match=message):
        filled.append(keys, matrix)
    assert names_in(filled.folder) == before


def test_appending_nothing_writes_nothing(filled):
    before = names_in(filled.folder)
    with filled.writer():
        assert filled.append([], np.empty((0, 5))) == []
    assert names_in(filled.folder) == before


def test_appending_needs_the_lock(filled):
    with pytest.raises(RuntimeError, match="block.writer"):
        filled.append(row_keys(1, 50), embeddings(1))
    with pytest.raises(ZeroDivisionError), filled.writer():
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="block.writer"):
        filled.append(row_keys(1, 50), embeddings(1))


def test_a_copy_of_a_block_in_another_process_does_not_hold_its_lock(filled):
    def work():
        with pytest.raises(RuntimeError, match="block.writer"):
            filled.append(row_keys(1, 50), embeddings(1))

    with filled.writer():
        assert exit_code(start_child(work)) == 0


def test_a_reader_sees_what_others_append_later(store, filled):
    other = store.find("tiny", filled.key)
    assert len(other.row_keys) == 10
    append(filled, 10, 20)
    assert_gathers(other, 20)


def test_reading_writes_nothing(filled):
    (filled.folder / LOCK_FILE).unlink()
    before = sorted(filled.folder.rglob("*"))
    filled.missing(row_keys(20)), filled.verify(), filled.size_bytes, filled.last_written
    assert_gathers(filled, 10)
    assert sorted(filled.folder.rglob("*")) == before


def test_size_and_time_tell_the_last_shard(filled):
    files = [path for path in filled.folder.rglob("*") if path.is_file()]
    assert filled.size_bytes == sum(path.stat().st_size for path in files)
    shards = list(filled.folder.glob("shard-*.json"))
    for path in shards:
        os.utime(path, (1e9, 1e9))
    os.utime(shards[0], (1.5e9, 1.5e9))
    assert filled.last_written.isoformat() == "2017-07-14T02:40:00+00:00"


def test_appending_looks_at_no_shard_written_before(filled, monkeypatch):
    scans = []
    scan = filled._scan
    with filled.writer():
        monkeypatch.setattr(filled, "_scan", lambda *args: (scans.append(1), scan(*args))[1])
        for start in range(10, 50, 4):
            keys = row_keys(start + 4)[start:]
            assert filled.missing(row_keys(2) + keys) == keys
            filled.append(keys, embeddings(100)[start : start + 4])
        assert filled.missing(row_keys(51)) == row_keys(51)[50:]
        with pytest.raises(ValueError, match="2 of 3 rows are held"):
            filled.append([*row_keys(2), *row_keys(1, 60)], embeddings(3))
    assert scans == []
    assert_gathers(filled, 50)


def test_an_append_that_was_interrupted_after_its_shard_was_done_is_known_to_hold_it(filled, monkeypatch):
    honest = block_module.write_shard

    def interrupted(*args):
        honest(*args)
        raise KeyboardInterrupt

    with filled.writer():
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(block_module, "write_shard", interrupted)
            filled.append(row_keys(8, 10), embeddings(100)[10:18])
        assert filled.missing(row_keys(18)) == row_keys(18)[14:]
        filled.append(row_keys(18)[14:], embeddings(100)[14:18])
    assert_gathers(filled, 18)


def test_gathering_reads_a_chunk_at_a_time(store, monkeypatch):
    block = store.open_block("long", {"views": 2}, 5)
    with block.writer():
        block.append(row_keys(2000), embeddings(2000))
    sizes = []
    honest = shard_module.iterate_shard

    def noted(*args):
        for places, values in honest(*args):
            sizes.append(len(values))
            yield places, values

    monkeypatch.setattr(block_module, "iterate_shard", noted)
    np.testing.assert_array_equal(block.gather(row_keys(2000)[::-1]), embeddings(2000)[::-1])
    assert max(sizes) <= 512


def test_the_quarantine_is_no_part_of_the_block(filled):
    aside = make_folder(filled.folder / QUARANTINE)
    for path in list(filled.folder.glob("shard-*")):
        path.rename(aside / path.name)
    assert filled.row_keys == {}
