"""Many processes fill one block beside each other: the lock is held for moments, and nothing is there twice."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dermfuse.cache import block as block_module
from dermfuse.cache.store import Store
from dermfuse.cache.upkeep import LOCK_FILE, QUARANTINE, locked_now
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


def rows_of(block) -> list[str]:
    """Row keys of all records, with repeats if there are any."""
    return [key for path in block.folder.glob("shard-*.json") for key in json.loads(path.read_text())["rows"]]


def another(block, tmp_path):
    """The same block, as another process has it."""
    return Store(tmp_path / "cache").find(block.name, block.key)


def test_rows_that_another_one_added_meanwhile_are_left_out(block, tmp_path):
    other, keys, matrix = another(block, tmp_path), row_keys(100), embeddings(100)
    assert block.add(keys[:6], matrix[:6]) == 6
    assert other.add(keys[4:9], matrix[4:9]) == 3
    assert block.add(keys[8:10], matrix[8:10]) == 1
    assert other.add(keys[:10], matrix[:10]) == 0
    assert sorted(rows_of(block)) == sorted(keys[:10])
    assert_gathers(block, 10)


def test_processes_that_add_the_same_rows_in_different_order_add_each_once(block, tmp_path):
    keys, matrix = row_keys(40), embeddings(100)[:40]

    def work(seed: int) -> None:
        mine = another(block, tmp_path)
        for rows in np.array_split(np.random.default_rng(seed).permutation(40), 8):
            mine.add([keys[row] for row in rows], matrix[rows])

    children = [start_child(lambda seed=seed: work(seed)) for seed in range(4)]
    assert [exit_code(child) for child in children] == [0] * 4
    assert sorted(rows_of(block)) == sorted(keys)
    assert_gathers(block, 40)
    assert block.verify() == []


def test_the_lock_is_free_between_two_calls(block):
    block.tidy()
    block.add(row_keys(2), embeddings(2))
    with locked_now(block.folder) as free:
        assert free


def test_what_was_seen_is_not_read_again(block, monkeypatch):
    read = []
    plain = block_module.read_record
    monkeypatch.setattr(block_module, "read_record", lambda path: read.append(path.name) or plain(path))
    keys, matrix = row_keys(20), embeddings(100)
    for row in range(20):
        block.add([keys[row]], matrix[row : row + 1])
    assert len(read) == len(set(read)) == 19  # its own, each once; the last is not looked at


def test_rows_that_were_set_aside_can_be_added_again(filled, tmp_path):
    keys, matrix = row_keys(100), embeddings(100)
    assert filled.add(keys[:11], matrix[:11]) == 1
    shard = shard_of(filled, 0)
    lost = len(json.loads(shard.with_suffix(".json").read_text())["rows"])
    flip_byte(shard)
    found = []
    another(filled, tmp_path).tidy(on_damage=found.append)
    assert len(found) == 1
    assert filled.add(keys[:11], matrix[:11]) == lost
    assert_gathers(filled, 11)


def test_add_inside_a_writer_is_refused(block):
    with block.writer(), pytest.raises(RuntimeError, match="call append"):
        block.add(row_keys(1), embeddings(1))


@pytest.mark.parametrize(("keys", "matrix"), [(row_keys(2), embeddings(3)), (row_keys(2), embeddings(2, width=4))])
def test_what_append_refuses_add_refuses(block, keys, matrix):
    with pytest.raises(ValueError, match="expected"):
        block.add(keys, matrix)
    assert rows_of(block) == []


def test_a_wait_of_moments_is_not_told_and_a_long_one_is(block, tmp_path, monkeypatch):
    told = []
    other = another(block, tmp_path)
    go = tmp_path / "go"

    def hold() -> None:
        with other.writer():
            go.touch()
            import time

            time.sleep(0.4)

    for patience, expected in ((10.0, 0), (0.0, 1)):
        monkeypatch.setattr(block_module, "PATIENCE", patience)
        go.unlink(missing_ok=True)
        child = start_child(hold)
        while not go.exists():
            pass
        block.add(row_keys(1, first=expected), embeddings(1), told.append)
        assert exit_code(child) == 0
        assert len(told) == expected
    assert " is writing to " in told[0] and "process" in told[0]


def test_tidy_hashes_only_what_is_relied_on(filled):
    keys = row_keys(10)
    flip_byte(shard_of(filled, 0))
    found = []
    held = json.loads(shard_of(filled, 0).with_suffix(".json").read_text())["rows"]
    filled.tidy([key for key in keys if key not in held], on_damage=found.append)
    assert found == []
    filled.tidy(keys[:1], on_damage=found.append)
    assert [damage.reason for damage in found] == ["its SHA-256 is not what the record says"]
    assert set(filled.missing(keys)) == set(held)
    assert len(list((filled.folder / QUARANTINE).iterdir())) == 2


def test_tidy_clears_away_what_was_never_done(filled):
    before = names_in(filled.folder)
    for name in (".tmp-1-00-x.h5", "shard-0123456789abcdef.h5"):
        (filled.folder / name).touch()
    filled.tidy(())
    assert names_in(filled.folder) == before


def test_a_shard_that_another_one_set_aside_meanwhile_is_no_damage(filled, tmp_path, monkeypatch):
    flip_byte(shard_of(filled, 0))
    other, found = another(filled, tmp_path), []
    plain = block_module.locked

    def after_the_other(*arguments):
        monkeypatch.setattr(block_module, "locked", plain)
        other.tidy(on_damage=lambda damage: None)
        return plain(*arguments)

    monkeypatch.setattr(block_module, "locked", after_the_other)
    filled.tidy(on_damage=found.append)
    assert found == []
    assert filled.verify() == []


def test_an_exclusive_writer_and_one_that_adds_are_safe_beside_each_other(block, tmp_path):
    append(block, 0, 5)
    other = another(block, tmp_path)
    other.tidy(row_keys(8))
    append(block, 5, 8)
    assert other.add(row_keys(10), embeddings(100)[:10]) == 2
    append(block, 10, 12)
    assert_gathers(block, 12)
    assert sorted(rows_of(block)) == sorted(row_keys(12))
    assert (block.folder / LOCK_FILE).exists()
