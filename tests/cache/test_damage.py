"""Whatever happens to a file of the cache, no wrong value comes back, and its rows can be computed again."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from dermfuse.cache.block import Block, MissingRows
from dermfuse.cache.record import DamagedShard
from dermfuse.cache.shard import read_record, read_shard, verify_shard, write_shard
from dermfuse.cache.store import Store
from dermfuse.cache.upkeep import QUARANTINE
from tests.cache.helpers import (
    BLOCK_KEY,
    assert_gathers,
    embeddings,
    flip_byte,
    names_in,
    row_keys,
    shard_of,
)


def compute_missing(block: Block, count: int, damages: list) -> None:
    """What an extraction does: ask what is missing, and append that."""
    with block.writer(on_damage=damages.append):
        missing = block.missing(row_keys(count))
        block.append(missing, embeddings(100)[[row_keys(count).index(key) for key in missing]])


def looks(folder: Path) -> dict[str, tuple[int, int, int]]:
    """What would change if a file were written again."""
    facts = {path.name: path.stat() for path in folder.glob("shard-*")}
    return {name: (fact.st_ino, fact.st_mtime_ns, fact.st_size) for name, fact in facts.items()}


def assert_only_this_shard_is_computed_again(folder: Path, root: Path, path: Path) -> None:
    """Verifying and reading find the damage of `path` in a copy; the writer sets that shard aside and no other."""
    assert [damage.shard for damage in fresh(root).verify()] == [path.stem]
    with pytest.raises((DamagedShard, MissingRows)):
        fresh(root).gather(row_keys(10))
    others = {name: look for name, look in looks(folder).items() if Path(name).stem != path.stem}
    damages: list = []
    compute_missing(fresh(root), 10, damages)
    assert [damage.shard for damage in damages] == [path.stem]
    assert_gathers(fresh(root), 10)
    now = looks(folder)
    assert {name: now[name] for name in others} == others
    assert fresh(root).verify() == []
    shutil.rmtree(folder / QUARANTINE)


def fresh(root: Path) -> Block:
    """The one block of a store, as another process would open it."""
    return Store(root).blocks()[0]


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
    compute_missing(block, 10, damages)
    assert [(damage.block, damage.shard) for damage in damages] == [(block.folder.name, path.stem)]
    assert path.with_suffix(".json").name in names_in(block.folder / QUARANTINE)
    assert_gathers(block, 10)
    assert block.verify() == []


def test_a_flipped_byte_is_found_by_every_read_of_its_row_and_set_aside_by_the_writer(damaged):
    block, path, rows = damaged
    flip_byte(path, keep_time=True)
    for _ in range(2):
        with pytest.raises(DamagedShard, match="is not what the record says|checksum"):
            block.gather(row_keys(10))
    damages = []
    with block.writer(on_damage=damages.append):
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


def test_rows_of_a_shard_without_a_record_are_missing_and_computed_again(damaged):
    block, path, rows = damaged
    path.with_suffix(".json").unlink()
    assert sorted(block.missing(row_keys(10))) == sorted(rows)
    with pytest.raises(MissingRows):
        block.gather(row_keys(10))
    damages = []
    compute_missing(block, 10, damages)
    assert damages == []
    assert_gathers(block, 10)


def cuts(size: int) -> list[int]:
    return sorted({0, size - 1, *range(4096, size, 4096)})


def test_a_shard_cut_at_any_page_is_found_and_alone_computed_again(filled, store):
    path = shard_of(filled, 0)
    whole = path.read_bytes()
    assert len(cuts(len(whole))) >= 4
    for size in cuts(len(whole)):
        path.write_bytes(whole[:size])
        assert_only_this_shard_is_computed_again(filled.folder, store.root, path)
        assert path.read_bytes() == whole


def test_a_large_shard_cut_at_any_page_is_never_read(tmp_path):
    record = write_shard(tmp_path, BLOCK_KEY, row_keys(40), embeddings(40, 1280))
    path = tmp_path / record.file_name
    whole = path.read_bytes()
    assert len(cuts(len(whole))) > 25
    for size in cuts(len(whole)):
        path.write_bytes(whole[:size])
        for read in (read_shard, verify_shard):
            with pytest.raises(DamagedShard, match=f"its size is {size} bytes"):
                read(tmp_path, record)


def test_a_shard_with_a_byte_flipped_anywhere_is_alone_computed_again(filled, store):
    path = shard_of(filled, 0)
    whole, record = path.read_bytes(), read_record(path.with_suffix(".json"))
    data = range(record.offset, record.offset + 4 * record.row_bytes)
    for place in [0, 8, 100, record.offset - 1, *data[::7], data[-1], data[-1] + 1, len(whole) - 1]:
        path.write_bytes(flipped(whole, place, 0x10))
        assert_only_this_shard_is_computed_again(filled.folder, store.root, path)


def flipped(data: bytes, place: int, bits: int) -> bytes:
    return data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]


@pytest.mark.slow
def test_no_flipped_byte_of_a_shard_goes_unnoticed(tmp_path, long):
    """Every byte of a small shard, in the long form every bit; of a larger one every byte in the long form."""
    for count, width, step in ((3, 5, 1), (40, 1280, 1 if long else 997)):
        record = write_shard(tmp_path, BLOCK_KEY, row_keys(count), embeddings(count, width))
        path = tmp_path / record.file_name
        whole = path.read_bytes()
        with open(path, "r+b", buffering=0) as file:
            for place in range(0, len(whole), step):
                for bits in (1, 2, 4, 8, 16, 32, 64, 128) if long and count == 3 else (1 << place % 8,):
                    file.seek(place)
                    file.write(bytes([whole[place] ^ bits]))
                    for read in (read_shard, verify_shard):
                        with pytest.raises(DamagedShard):
                            read(tmp_path, record)
                file.seek(place)
                file.write(whole[place : place + 1])
        np.testing.assert_array_equal(read_shard(tmp_path, record), embeddings(count, width))
        verify_shard(tmp_path, record)


@pytest.mark.slow
def test_no_flipped_byte_of_a_record_goes_unnoticed_and_none_leads_to_a_wrong_value(filled, store, long):
    path = shard_of(filled, 8).with_suffix(".json")  # the shard of the last two rows
    whole = path.read_bytes()
    for place in range(0, len(whole), 1 if long else 5):
        for bits in (1, 2, 4, 8, 16, 32, 64, 128) if long else (1 << place % 8,):
            path.write_bytes(flipped(whole, place, bits))
            assert [damage.shard for damage in fresh(store.root).verify()] == [path.stem], (place, bits)
            with suppress(DamagedShard, MissingRows):
                assert_gathers(fresh(store.root), 10)
    path.write_bytes(flipped(whole, len(whole) // 2, 1))
    assert_only_this_shard_is_computed_again(filled.folder, store.root, path)


def test_a_record_cut_anywhere_is_found(filled, store):
    path = shard_of(filled, 8).with_suffix(".json")
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        assert [damage.shard for damage in fresh(store.root).verify()] == [path.stem], size
        with pytest.raises(MissingRows):
            fresh(store.root).gather(row_keys(10))
    assert_only_this_shard_is_computed_again(filled.folder, store.root, path)
