"""A block gives back the rows that were appended, in any order, after any accident."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import block as block_module
from cache import shard as shard_module
from cache.atomic import make_folder
from cache.block import SHARD_ROWS, Block, MissingRows
from cache.errors import UserError
from cache.record import DamagedShard
from cache.store import Store
from cache.upkeep import LOCK_FILE, QUARANTINE
from tests.cache.helpers import embeddings, exit_code, flip_byte, names_in, row_keys, start_child


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(block_module, "SHARD_ROWS", 4)


@pytest.fixture
def filled(block, small_shards):
    """A block of 10 rows in shards of 4, 4 and 2."""
    append(block, 0, 10)
    return block


def append(block: Block, start: int, stop: int, damages: list | None = None) -> None:
    """Append rows `start` to `stop` of the one big matrix that these tests speak of."""
    with block.writer(on_damage=[].append if damages is None else damages.append):
        block.append(row_keys(stop)[start:], embeddings(100)[start:stop])


def shard_of(block: Block, row: int) -> Path:
    """The file that holds a row."""
    return block.folder / f"{block.row_keys[row_keys(row + 1)[-1]][0]}.h5"


def assert_gathers(block: Block, count: int) -> None:
    np.testing.assert_array_equal(block.gather(row_keys(count)), embeddings(100)[:count])


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


# Damage


@pytest.fixture
def damaged(filled):
    """The block of 10 rows, the name of the shard that holds row 0, and how many rows that shard has."""
    path = shard_of(filled, 0)
    rows = [key for key, place in filled.row_keys.items() if place[0] == path.stem]
    return filled, path, rows


def spoil(path: Path, how: str) -> None:
    record = path.with_suffix(".json")
    if how == "shard deleted":
        path.unlink()
    elif how == "shard truncated":
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "record garbled":
        record.write_text("{")
    elif how == "record of another recipe":
        record.write_text(record.read_text().replace('"block_key": "', '"block_key": "0')[:-1])
    elif how == "row key changed":
        key = row_keys(1)[0]
        record.write_text(record.read_text().replace(key, key[::-1]))


GLANCE = ["shard deleted", "shard truncated", "record garbled", "record of another recipe", "row key changed"]


@pytest.mark.parametrize("how", GLANCE)
def test_rows_of_a_damaged_shard_are_missing_then_set_aside_then_computed_again(damaged, how):
    block, path, rows = damaged
    spoil(path, how)
    assert sorted(block.missing(row_keys(10))) == sorted(rows)
    with pytest.raises(MissingRows, match=f"{len(rows)} of 10 images .*1 damaged shards, the first: .*{path.stem}"):
        block.gather(row_keys(10))
    damages = []
    with block.writer(on_damage=damages.append):
        missing = block.missing(row_keys(10))
        block.append(missing, embeddings(100)[[row_keys(10).index(key) for key in missing]])
    assert [(damage.block, damage.shard) for damage in damages] == [(block.folder.name, path.stem)]
    assert path.with_suffix(".json").name in names_in(block.folder / QUARANTINE)
    assert_gathers(block, 10)
    assert block.verify() == []


@pytest.mark.parametrize("full", [False, True])
def test_a_flipped_byte_is_found_by_the_first_read_or_a_full_check(damaged, full):
    block, path, rows = damaged
    flip_byte(path, keep_time=True)
    if not full:
        with pytest.raises(DamagedShard, match="SHA-256 is not what the record says"):
            block.gather(row_keys(10))
    damages = []
    with block.writer(on_damage=damages.append, full=full):
        assert sorted(block.missing(row_keys(10))) == sorted(rows)
    assert [damage.reason for damage in damages] == ["its SHA-256 is not what the record says"]
    assert names_in(block.folder / QUARANTINE) == sorted([path.name, path.with_suffix(".json").name])


def test_reading_other_rows_goes_on_beside_a_damaged_shard(damaged):
    block, path, rows = damaged
    flip_byte(path)
    sound = [key for key in row_keys(10) if key not in rows]
    assert len(block.gather(sound)) == 10 - len(rows)


def test_verifying_changes_nothing(damaged):
    block, path, _ = damaged
    assert block.verify() == []
    flip_byte(path, keep_time=True)
    before = names_in(block.folder)
    assert [str(damage) for damage in block.verify()] == [
        f"{block.folder.name}/{path.stem}: its SHA-256 is not what the record says"
    ]
    assert names_in(block.folder) == before


def test_the_same_shard_damaged_twice_is_kept_twice(damaged):
    block, path, rows = damaged
    for _ in range(2):
        path.unlink()
        with block.writer(on_damage=lambda damage: None):
            block.append(rows, embeddings(len(rows)))
    assert names_in(block.folder / QUARANTINE) == [f"{path.stem}.1.json", f"{path.stem}.json"]


def test_without_a_callback_damage_is_a_warning(damaged):
    block, path, _ = damaged
    path.unlink()
    told = f"embedding cache: {block.folder.name}/{path.stem}: the file is missing"
    with pytest.warns(UserWarning, match=told), block.writer():
        pass


def test_shards_of_a_block_copied_into_another_are_not_its_rows(store, filled):
    other = store.open_block("tiny", {"views": 8}, 5)
    for path in filled.folder.glob("shard-*"):
        shutil.copy(path, other.folder)
    assert other.missing(row_keys(10)) == row_keys(10)
    assert {damage.reason for damage in other.verify()} == {"the record belongs to another recipe"}


def test_a_writer_deletes_what_was_never_done(filled):
    (filled.folder / ".tmp-999-ab-shard-0.h5").write_bytes(b"half")
    unrecorded = shard_of(filled, 0)
    unrecorded.with_suffix(".json").unlink()
    held = len(filled.row_keys)
    assert held < 10
    with filled.writer():
        pass
    assert not unrecorded.exists()
    assert not any(name.startswith(".tmp-") for name in names_in(filled.folder))
    assert not (filled.folder / QUARANTINE).exists()
    assert len(filled.row_keys) == held


# Crashes and other processes


def kill_at(number: int) -> None:
    """End this process like a power cut, without any clean-up, just before its n-th sync or rename."""
    calls = []

    def counted(original):
        def call(*args, **kwargs):
            calls.append(1)
            if len(calls) == number:
                os._exit(9)
            return original(*args, **kwargs)

        return call

    os.fsync, os.replace = counted(os.fsync), counted(os.replace)


def test_a_kill_at_any_step_loses_nothing_that_was_done(tmp_path, filled):
    codes = []
    for number in range(1, 100):
        root = tmp_path / f"copy-{number}"
        shutil.copytree(filled.folder.parents[1], root)
        copy = Store(root).find("tiny", filled.key)

        def work(copy=copy, number=number):
            with copy.writer():
                kill_at(number)
                copy.append(row_keys(8, 10), embeddings(100)[10:18])

        codes.append(exit_code(start_child(work)))
        assert_gathers(copy, 10)
        damages = []
        with copy.writer(on_damage=damages.append, full=True):
            missing = copy.missing(row_keys(18))
            assert len(missing) in (0, 4, 8)
            copy.append(missing, embeddings(100)[[row_keys(18).index(key) for key in missing]])
        assert damages == []
        assert_gathers(copy, 18)
        assert len(names_in(copy.folder)) == 1 + 2 * len(copy._scan()[0])
        if codes[-1] == 0:
            break
    # Two shards, each with two files, each of them synced, renamed, and its folder synced.
    assert codes == [9] * 12 + [0]


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
    assert told == [f"another process is writing to {filled.folder}; waiting until it is done"]


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
