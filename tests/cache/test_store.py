"""The store finds blocks by name and key, creates them only to write, and passes over nothing in silence."""

from __future__ import annotations

import json
import os
import pickle

import pytest

from dermfuse.cache.errors import UserError
from dermfuse.cache.recipe import recipe_key
from dermfuse.cache.store import Damage, DamagedBlock, Store, atomic_write
from tests.cache.conftest import RECIPE
from tests.cache.helpers import embeddings, exit_code, flip_byte, names_in, row_keys, start_child


def fill(block, count=3):
    with block.writer():
        block.append(row_keys(count), embeddings(count, block.width))


def manifest_of(block):
    return block.folder / "recipe.json"


def test_a_block_is_created_once_and_found_again(store, block):
    again = store.open_block("tiny", dict(reversed(RECIPE.items())), 5)
    assert again.folder == block.folder == store.root / "blocks" / f"tiny-{recipe_key(RECIPE)[:16]}"
    assert (again.name, again.key, again.width, again.dtype) == ("tiny", recipe_key(RECIPE), 5, "float16")
    assert again.recipe == {**RECIPE, "mean": [0.5, 0.25]}
    assert again.created == block.created
    assert json.loads(manifest_of(block).read_text()).keys() == {
        "schema", "name", "key", "recipe", "width", "dtype", "created"
    }  # fmt: skip


def test_another_recipe_is_another_block(store, block):
    fill(block)
    assert store.open_block("tiny", {**RECIPE, "views": 8}, 5).missing(row_keys(3)) == row_keys(3)


def test_reading_creates_nothing(tmp_path):
    store = Store(tmp_path / "absent")
    assert store.blocks() == []
    assert store.find("tiny", "0" * 64) is None
    assert store.verify() == []
    assert store.closest("tiny", RECIPE) is None
    assert store.learned_folder("cae", "ab" * 32) == tmp_path / "absent" / "learned" / "cae-abababababababab"
    assert not (tmp_path / "absent").exists()


def test_blocks_come_newest_first(store):
    for number, name in enumerate(["old", "new", "newest", "middle"]):
        block = store.open_block(name, {"views": number}, 5)
        if name == "new":
            fill(block)
    times = {"old": 1e9, "middle": 2e9, "newest": 4e9}
    for block in store.blocks():
        stamp = times.get(block.name, 1e9)
        os.utime(manifest_of(block), (stamp, stamp))
        for path in block.folder.glob("shard-*.json"):
            os.utime(path, (3e9, 3e9))
    assert [block.name for block in store.blocks()] == ["newest", "new", "middle", "old"]
    assert [block.name for block in store.blocks("new")] == ["new"]
    assert store.blocks("absent") == []


def test_blocks_written_at_the_same_time_come_by_name_and_key(store):
    for name in ("b", "a", "c"):
        for views in (1, 2):
            block = store.open_block(name, {"views": views}, 5)
            os.utime(manifest_of(block), (1e9, 1e9))
    order = [(block.name, block.key) for block in store.blocks()]
    assert order == sorted(order)


def test_finding_needs_the_whole_key(store, block):
    assert store.find("tiny", block.key).folder == block.folder
    assert store.find("tiny", block.key[:16] + "0" * 48) is None
    assert store.find("other", block.key) is None
    with pytest.raises(ValueError, match="64 lower-case hexadecimal digits"):
        store.find("tiny", block.key[:16])


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-flag", "a b", "a\n", "x" * 101, None, "é"])
def test_names_that_are_no_folder_names_are_refused(store, name):
    with pytest.raises(ValueError, match="a block's name is"):
        store.open_block(name, RECIPE, 5)
    with pytest.raises(ValueError, match="a block's name is"):
        store.learned_folder(name, "0" * 64)
    assert not store.root.exists()


@pytest.mark.parametrize(
    ("width", "dtype"), [(0, "float16"), (5.0, "float16"), (True, "float16"), (5, "float64"), (5, None)]
)
def test_impossible_widths_and_types_are_refused(store, width, dtype):
    with pytest.raises(ValueError, match="Got"):
        store.open_block("tiny", RECIPE, width, dtype)
    assert not store.root.exists()


@pytest.mark.parametrize(("width", "dtype"), [(6, "float16"), (5, "float32")])
def test_a_recipe_that_lacks_what_determines_the_rows_is_refused(store, block, width, dtype):
    with pytest.raises(ValueError, match="kept with width 5 and float16.*put what differs into the recipe"):
        store.open_block("tiny", RECIPE, width, dtype)


def test_a_file_in_place_of_the_cache_is_told(tmp_path):
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(UserError, match="a part of this path is a file"):
        Store(tmp_path / "cache").open_block("tiny", RECIPE, 5)


def change(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


SPOILERS = {
    "garbled": lambda path: path.write_text("{"),
    "no text": lambda path: path.write_bytes(b"\xff\xfe"),
    "no object": lambda path: path.write_text("[]"),
    "another recipe": lambda path: change(path, recipe={"views": 2}),
    "no finite number": lambda path: change(path, recipe={"views": float("nan")}),
    "another key": lambda path: change(path, key="0" * 64),
    "another name": lambda path: change(path, name="other"),
    "width": lambda path: change(path, width=0),
    "dtype": lambda path: change(path, dtype="int8"),
    "a field more": lambda path: change(path, more=1),
    "recipe no dict": lambda path: change(path, recipe=[]),
    "name no text": lambda path: change(path, name=3),
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
def test_a_damaged_recipe_file_is_told_and_mended_by_opening(store, block, problems, spoil):
    fill(block)
    spoil(manifest_of(block))
    assert store.blocks() == []
    assert len(problems) == 1
    assert f"damaged cache block {block.folder}" in problems[0]
    with pytest.raises(DamagedBlock):
        store.find("tiny", block.key)
    assert [(damage.block, damage.shard) for damage in store.verify()] == [(block.folder.name, None)]
    mended = store.open_block("tiny", RECIPE, 5)
    assert len(problems) == 2
    assert mended.missing(row_keys(3)) == []
    assert store.verify() == []


def test_shards_without_a_recipe_file_are_told(store, block, problems):
    fill(block)
    manifest_of(block).unlink()
    assert store.blocks() == []
    assert problems == [f"{block.folder.name}: recipe.json is missing"]
    assert store.verify() == [Damage(block.folder.name, None, "recipe.json is missing")]


def test_a_folder_whose_creation_was_interrupted_is_no_block(store, block, problems):
    manifest_of(block).unlink()
    (store.root / "blocks" / "notes.txt").write_text("not a block")
    assert (store.blocks(), store.verify(), problems) == ([], [], [])
    assert store.open_block("tiny", RECIPE, 5).missing([]) == []


def test_a_block_of_another_version_is_left_alone(store, block):
    change(manifest_of(block), schema=1)
    before = manifest_of(block).read_bytes()
    for read in (store.blocks, store.verify, lambda: store.open_block("tiny", RECIPE, 5)):
        with pytest.raises(UserError, match="has schema 1, but expected 2"):
            read()
    assert manifest_of(block).read_bytes() == before


def test_a_folder_that_happens_to_share_the_first_digits_is_refused(store, block, monkeypatch):
    from dermfuse.cache import manifest

    other = block.key[:16] + "0" * 48
    monkeypatch.setattr(manifest, "recipe_key", lambda recipe: block.key if recipe == block.recipe else other)
    with pytest.raises(ValueError, match="belongs to key"):
        store.open_block("tiny", {"views": 9}, 5)


def test_verifying_finds_every_damage_and_changes_nothing(store, block):
    other = store.open_block("other", {"views": 1}, 4)
    for each in (block, other):
        fill(each)
    for each in (block, other):
        flip_byte(next(each.folder.glob("shard-*.h5")), keep_time=True)
    before, steps = names_in(store.root), []
    found = store.verify(advance=lambda: steps.append(1))
    assert [damage.block for damage in found] == [other.folder.name, block.folder.name]
    assert {damage.reason for damage in found} == {"its SHA-256 is not what the record says"}
    assert len(steps) == 2
    assert names_in(store.root) == before


def test_a_glance_finds_what_is_missing_or_cut_but_not_what_is_changed(store, block):
    fill(block)
    shard = next(block.folder.glob("shard-*.h5"))
    flip_byte(shard)
    assert store.verify(full=False) == []
    shard.write_bytes(shard.read_bytes()[:-1])
    assert [damage.shard for damage in store.verify(full=False)] == [shard.stem]
    shard.unlink()
    assert [damage.reason for damage in store.verify(full=False)] == ["the file is missing"]


def test_a_writer_puts_back_the_recipe_of_a_block_that_was_deleted_meanwhile(store, block):
    manifest_of(block).unlink()
    fill(block)
    assert store.find("tiny", block.key).missing(row_keys(3)) == []
    assert store.find("tiny", block.key).created == block.created


def test_the_closest_block_differs_in_the_fewest_fields(store, block):
    store.open_block("tiny", {**RECIPE, "views": 8, "mean": [0, 0]}, 5)
    near = store.open_block("tiny", {**RECIPE, "views": 8}, 5)
    store.open_block("other", {**RECIPE, "views": 8, "dtype": "float32"}, 5)
    found, changed = store.closest("tiny", {**RECIPE, "views": 8, "dtype": "float32"})
    assert (found.key, changed) == (near.key, ['dtype: "float16" -> "float32"'])
    assert store.closest("tiny", RECIPE)[0].key == near.key  # not the block of this very recipe
    assert store.closest("absent", RECIPE) is None


@pytest.mark.parametrize("newer", [0, 1])
def test_of_blocks_equally_close_the_one_written_last_is_told(store, newer):
    blocks = [store.open_block("tiny", {**RECIPE, "views": views}, 5) for views in (2, 3)]
    for number, each in enumerate(blocks):
        stamp = 2e9 if number == newer else 1e9
        os.utime(manifest_of(each), (stamp, stamp))
    found, changed = store.closest("tiny", RECIPE)
    assert (found.key, changed) == (blocks[newer].key, [f"views: {newer + 2} -> 1"])


def test_the_closest_block_is_found_beside_a_damaged_one(store, block, problems):
    manifest_of(store.open_block("tiny", {"views": 9}, 5)).write_text("{")
    assert store.closest("tiny", {**RECIPE, "views": 8})[0].key == block.key
    assert len(problems) == 1


def test_processes_that_create_the_same_block_agree(store):
    def work():
        for views in range(5):
            fresh = Store(store.root).open_block("tiny", {"views": views}, 5)
            assert json.loads(manifest_of(fresh).read_text())["created"] == fresh.created

    children = [start_child(work) for _ in range(3)]
    assert [exit_code(child) for child in children] == [0, 0, 0]
    assert len(store.blocks()) == 5


def test_a_failed_creation_leaves_no_block(store, monkeypatch):
    def fail(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail)
        with pytest.raises(UserError, match="cannot write recipe.json"):
            store.open_block("tiny", RECIPE, 5)
    assert names_in(store.root) == []
    assert store.blocks() == []


def test_a_cache_whose_path_is_no_utf8_works(tmp_path):
    store = Store(tmp_path / os.fsdecode(b"caf\xe9"))
    block = store.open_block("tiny", RECIPE, 5)
    fill(block)
    assert block.gather(row_keys(3)).shape == (3, 5)
    assert store.verify() == []


def test_blocks_and_errors_travel_between_processes(block):
    fill(block)
    assert pickle.loads(pickle.dumps(block)).gather(row_keys(3)).shape == (3, 5)
    assert pickle.loads(pickle.dumps(DamagedBlock(block.folder, "cut"))).reason == "cut"
    with pytest.raises(UserError) as caught:
        block.gather(row_keys(4))
    assert pickle.loads(pickle.dumps(caught.value)).keys == row_keys(1, 3)


def test_without_a_callback_a_problem_is_a_warning(store, block):
    manifest_of(block).write_text("{")
    with pytest.warns(UserWarning, match="embedding cache: damaged cache block"):
        Store(store.root).blocks()


def test_writing_whole_files_is_offered_here_too(tmp_path):
    atomic_write(tmp_path / "a", b"data")
    assert (tmp_path / "a").read_bytes() == b"data"
