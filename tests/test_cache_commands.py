"""``cache ls``, ``verify`` and ``gc`` as a person meets them: what they print, delete, leave alone, and exit with."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import filelock
import numpy as np
import pytest
from safetensors.numpy import save_file

from dermfuse import cli
from dermfuse.cache.beside import builders, built_name
from dermfuse.cache.garbage import Collector
from dermfuse.cache.store import Store
from dermfuse.cache.upkeep import LOCK_FILE, last_used, mark_used
from tests.cache.helpers import embeddings, flip_byte, names_in, row_keys, start_child
from tests.test_cli import ROOT, refused, run

USED, UNUSED, SEEN = "ab" * 32, "cd" * 32, "ef" * 32
RECIPE = {"extractor": "torchvision", "architecture": "tiny", "weights": USED, "views": 1}
HOSTILE = ["a\nb", "'\"`$(x)", "<script>alert(1)", "=1+1", os.fsdecode(b"caf\xe9"), "\x1b[31mred"]


@pytest.fixture
def store(tmp_path) -> Store:
    """A cache with two blocks, weights that one block names, that a run names and that nothing names."""
    store = Store(tmp_path / "cache", on_problem=lambda _line: None)
    for name, recipe in (("tiny", RECIPE), ("other", {**RECIPE, "views": 8})):
        fill(store.open_block(name, recipe, 5))
    for digest in (USED, UNUSED, SEEN):
        keep(store.root / "weights" / f"tiny-{digest[:16]}.safetensors")
        folder = store.root / "learned" / f"cae-{digest[:16]}"
        keep(folder / "weights.safetensors")
        (folder / "record.json").write_text("{}")
    for path in (store.root / "weights", store.root / "learned"):
        age(path)
    runs = tmp_path / "runs" / "first"
    runs.mkdir(parents=True)
    blocks = [{"name": "gone", "key": "12" * 32, "recipe": {"weights": SEEN}}]
    (runs / "config.json").write_text(json.dumps({"schema": 1, "blocks": blocks}))
    return store


def fill(block, count=3):
    with block.writer():
        block.append(row_keys(count), embeddings(count, block.width))


def keep(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"weight": np.ones(3, np.float32)}, path)


def age(path, days=2.0):
    """Make a file, or a folder with all in it, look older."""
    for entry in (path, *path.rglob("*")) if path.is_dir() else (path,):
        before = entry.lstat().st_mtime
        os.utime(entry, (before - days * 86400,) * 2)


def block_of(store, name="tiny"):
    return store.blocks(name)[0]


def cache(store, *arguments, capture):
    """(exit code, stdout, stderr) of a cache command on this store and the runs beside it."""
    more = ["--runs", store.root.parent / "runs"] if arguments[0] == "gc" else []
    return run("cache", *arguments, "--cache", store.root, *more, capture=capture)


def facts(store, *arguments, capture, code=0):
    got, out, err = cache(store, *arguments, "--json", capture=capture)
    assert (got, err) == (code, ""), err
    return json.loads(out)


def garbage(store, *arguments, capture, code=0):
    """Path to kind of what a collection lists."""
    listed = facts(store, "gc", *arguments, capture=capture, code=code)["garbage"]
    return {item["path"]: item["kind"] for item in listed}


def contents(root):
    """Every file's bytes; lock files come and go."""
    return {p: p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file() and p.name != LOCK_FILE}


def litter(store):
    """One of each kind of garbage, old enough; paths from the cache's folder to kinds."""
    folder = block_of(store).folder
    lost = store.open_block("lost", {"views": 3}, 5).folder
    (lost / "recipe.json").write_text("{")
    begun = store.root / "blocks" / f"begun-{'0' * 16}"
    begun.mkdir()
    (folder / "quarantine").mkdir()
    made = {
        folder / ".tmp-1-aa-shard-0.h5": "temporary",
        folder / "shard-0123456789abcdef.h5": "unfinished",
        folder / "quarantine" / "shard-x.h5": "quarantined",
        begun / ".tmp-1-aa-recipe.json": "temporary",
        store.root / ".tmp-1-aa-quarantine.csv": "temporary",
        store.root / "weights" / ".tmp-1-aa-x.safetensors": "temporary",
        store.root / "learned" / f"cae-{USED[:16]}" / ".tmp-1-aa-record.json": "temporary",
    }
    (store.root / "runtimes").mkdir(exist_ok=True)
    here, digest = builders(), hashlib.sha256(b"12345").hexdigest()[:16]
    names = (f"tiny@torch-1.0,openvino-absent@{'1' * 16}-{digest}", f"tiny@{here}@{'2' * 16}-{'0' * 16}", "3" * 16)
    for name in (*names[:2], f"{names[2]}-{digest}"):
        made[store.root / "runtimes" / f"{name}.bin"] = "runtimes"
    made[store.root / "runtimes" / ".tmp-1-aa-x.bin"] = "temporary"
    for path in made:
        path.write_bytes(b"12345")
        age(path)
    made[lost] = "damaged block"
    made[store.root / "weights" / f"tiny-{UNUSED[:16]}.safetensors"] = "weights"
    made[store.root / "learned" / f"cae-{UNUSED[:16]}"] = "learned"
    return {str(path.relative_to(store.root)): kind for path, kind in made.items()}


class TestLs:
    def test_a_block_a_row_with_its_recipe_and_totals(self, store, capsys):
        mark_used(block_of(store).folder)
        code, out, err = cache(store, "ls", capture=capsys)
        rows = {line.split()[0]: line for line in out.splitlines()}
        assert (code, err) == (0, "")
        assert block_of(store).key[:12] in rows["tiny"]
        assert "3 rows" in rows["tiny"] and "float16" in rows["tiny"] and "weights abababab" in rows["tiny"]
        assert "used 2" in rows["tiny"] and "written 2" in rows["other"]
        assert out.count("kept weights") == out.count("trained here") == 3
        assert out.splitlines()[-1].startswith("2 blocks, 6 rows, ")

    def test_runtimes_that_were_built_are_listed_and_those_of_these_versions_stay(self, store, capsys):
        (store.root / "runtimes").mkdir()
        path = store.root / "runtimes" / built_name("tiny", "4" * 16, b"built")
        path.write_bytes(b"built")
        age(path)
        line = next(
            one for one in cache(store, "ls", capture=capsys)[1].splitlines() if one.startswith("built runtime")
        )
        assert line.split() == ["built", "runtime", "tiny", "4" * 16, "5", "bytes"]
        assert facts(store, "ls", capture=capsys)["runtimes"][0]["bytes"] == 5
        assert "runtimes" not in garbage(store, "--delete", capture=capsys).values() and path.exists()
        path.write_bytes(b"other")
        told = facts(store, "verify", capture=capsys, code=1)["damages"]
        assert [damage["block"] for damage in told] == [f"runtimes/{path.name}"]

    def test_json_holds_the_same_in_full(self, store, capsys):
        mark_used(block_of(store).folder)
        listed = facts(store, "ls", capture=capsys)
        tiny = next(block for block in listed["blocks"] if block["name"] == "tiny")
        assert tiny["key"] == block_of(store).key and tiny["recipe"] == RECIPE
        assert (tiny["rows"], tiny["shards"], tiny["width"], tiny["dtype"]) == (3, 1, 5, "float16")
        assert datetime.fromisoformat(tiny["last_used"]).tzinfo
        assert tiny["bytes"] == block_of(store).size_bytes
        assert len(listed["weights"]) == len(listed["learned"]) == 3
        kept = [item["bytes"] for item in listed["blocks"] + listed["weights"] + listed["learned"]]
        assert (listed["rows"], listed["bytes"]) == (6, sum(kept))

    @pytest.mark.parametrize("folder", [".", "c", "c/blocks"])
    def test_an_empty_cache_says_so(self, tmp_path, capsys, folder):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        before = sorted(tmp_path.rglob("*"))
        code, out, err = run("cache", "ls", "--cache", tmp_path / "c", capture=capsys)
        assert (code, err) == (0, "") and "is empty" in out and out.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before

    def test_damage_that_shows_at_a_glance_is_named(self, store, capsys):
        next(block_of(store).folder.glob("shard-*.h5")).write_bytes(b"")
        (block_of(store, "other").folder / "recipe.json").write_text("{")
        code, out, _ = cache(store, "ls", capture=capsys)
        damaged = [line for line in out.splitlines() if line.startswith("damaged: ")]
        assert code == 0 and len(damaged) == 2
        assert "damaged: other-" in damaged[0] and "no valid JSON" in damaged[0]
        assert "tiny-" in damaged[1] and "0 bytes" in damaged[1]

    def test_on_a_terminal_the_recipe_goes_below_its_block(self, store, capsys, monkeypatch):
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        out = cache(store, "ls", capture=capsys)[1]
        assert [line for line in out.splitlines() if line.startswith("    architecture tiny")]


class TestVerify:
    def test_a_sound_cache_is_told_in_one_line(self, store, capsys):
        before = contents(store.root)
        code, out, err = cache(store, "verify", capture=capsys)
        assert (code, err, out.count("\n")) == (0, "", 1)
        assert out.startswith("2 shards, 6 rows, ") and out.endswith(": all as written\n")
        assert contents(store.root) == before

    def test_damage_is_listed_with_its_reason_and_what_to_do(self, store, capsys):
        flip_byte(next(block_of(store).folder.glob("shard-*.h5")), keep_time=True)
        (store.root / "weights" / f"tiny-{USED[:16]}.safetensors").write_bytes(b"")
        (store.root / "learned" / f"cae-{USED[:16]}" / "record.json").unlink()
        before = contents(store.root)
        code, out, err = cache(store, "verify", capture=capsys)
        assert code == 1 and len(out.splitlines()) == 3
        assert "SHA-256 is not what the record says" in out
        assert f"weights/tiny-{USED[:16]}.safetensors: " in out and "is empty" in out
        assert "record.json is missing" in out
        assert "3 damaged of 2 shards" in err and "Run 'extract' again" in err
        assert contents(store.root) == before

    def test_json_lists_block_shard_and_reason(self, store, capsys):
        shard = next(block_of(store).folder.glob("shard-*.h5"))
        shard.unlink()
        told = facts(store, "verify", capture=capsys, code=1)
        assert [(d["block"], d["shard"]) for d in told["damages"]] == [(block_of(store).folder.name, shard.stem)]
        assert "missing" in told["damages"][0]["reason"]

    @pytest.mark.parametrize("spoil", [b"\x05", b"\xff" * 64, b"\x02" + bytes(7) + b"[]", b"\x02" + bytes(7) + b"{}x"])
    def test_weights_without_a_sound_header_are_damage(self, store, capsys, spoil):
        (store.root / "weights" / f"tiny-{USED[:16]}.safetensors").write_bytes(spoil)
        assert len(facts(store, "verify", capture=capsys, code=1)["damages"]) == 1

    def test_writing_sets_damage_aside_and_then_all_is_well(self, store, capsys):
        flip_byte(next(block_of(store).folder.glob("shard-*.json")))
        assert cache(store, "verify", capture=capsys)[0] == 1
        block = block_of(store)
        with block.writer(on_damage=lambda _damage: None):
            block.append(block.missing(row_keys(3)), embeddings(3, 5))
        assert cache(store, "verify", capture=capsys)[0] == 0

    @pytest.mark.parametrize("command", ["verify", "gc"])
    def test_no_cache_is_one_line(self, tmp_path, capsys, command):
        line = refused(capsys, 1, "cache", command, "--cache", tmp_path)
        assert f"no cache in {tmp_path}" in line and "--cache" in line
        assert list(tmp_path.iterdir()) == []


class TestGc:
    def test_without_garbage_it_says_so(self, store, capsys):
        (store.root / "weights" / f"tiny-{UNUSED[:16]}.safetensors").unlink()
        for path in (store.root / "learned" / f"cae-{UNUSED[:16]}").iterdir():
            path.unlink()
        (store.root / "learned" / f"cae-{UNUSED[:16]}").rmdir()
        code, out, _ = cache(store, "gc", capture=capsys)
        assert code == 0 and out == f"nothing to delete in {store.root}\n"

    def test_a_dry_run_lists_everything_and_changes_nothing(self, store, capsys):
        wanted = litter(store)
        before = contents(store.root)
        assert garbage(store, capture=capsys) == wanted
        code, out, _ = cache(store, "gc", capture=capsys)
        assert code == 0
        assert out.splitlines()[-1] == "Nothing was deleted: give --delete to do it."
        assert all(path in out for path in wanted) and "5 bytes" in out
        assert f"{len(wanted)} to delete" in out and "runs looked at: 1 in" in out
        assert contents(store.root) == before

    def test_deleting_takes_what_was_listed_and_nothing_else(self, store, capsys):
        before = contents(store.root)
        wanted = litter(store)
        listed = facts(store, "gc", capture=capsys)
        done = facts(store, "gc", "--delete", capture=capsys)
        assert done["garbage"] == listed["garbage"] and done["deleted"] and not listed["deleted"]
        assert done["bytes"] == listed["bytes"] == sum(item["bytes"] for item in listed["garbage"])
        gone = {path for path in before if UNUSED[:16] in str(path)}
        assert contents(store.root) == {path: data for path, data in before.items() if path not in gone}
        assert len(gone) == 3 and set(wanted) == {item["path"] for item in done["garbage"]}
        assert garbage(store, "--delete", capture=capsys) == {}
        assert cache(store, "verify", capture=capsys)[0] == 0

    def test_the_bytes_are_those_that_get_free(self, store, capsys):
        litter(store)
        total = sum(len(data) for data in contents(store.root).values())
        told = facts(store, "gc", "--delete", "--unused-days", "0", capture=capsys)["bytes"]
        assert total - sum(len(data) for data in contents(store.root).values()) == told

    def test_blocks_unused_for_long_go_with_what_only_they_use(self, store, capsys):
        block = block_of(store)
        age(block.folder, days=40)
        assert block.folder.name not in str(garbage(store, "--unused-days", "41", capture=capsys))
        listed = garbage(store, "--unused-days", "30", "--delete", capture=capsys)
        assert listed[f"blocks/{block.folder.name}"] == "block"
        assert not any(USED[:16] in path for path in listed)  # the other block names these weights
        assert [b.name for b in store.blocks()] == ["other"]
        age(block_of(store, "other").folder, days=40)
        listed = garbage(store, "--unused-days", "30", "--delete", capture=capsys)
        assert {path for path in listed if USED[:16] in path} == {
            f"weights/tiny-{USED[:16]}.safetensors",
            f"learned/cae-{USED[:16]}",
        }
        assert store.blocks() == []
        assert garbage(store, "--unused-days", "0", capture=capsys) == {}

    def test_a_block_used_lately_or_by_a_run_is_kept(self, store, capsys, tmp_path):
        for block in store.blocks():
            age(block.folder, days=40)
        mark_used(block_of(store).folder)
        config = tmp_path / "runs" / "first" / "config.json"
        config.write_text(json.dumps({"blocks": [{"key": block_of(store, "other").key, "recipe": {"weights": SEEN}}]}))
        assert set(garbage(store, "--unused-days", "30", capture=capsys).values()) == {"weights", "learned"}

    def test_a_chosen_block_goes_alone_even_if_a_run_uses_it(self, store, capsys, tmp_path):
        block = block_of(store)
        config = tmp_path / "runs" / "first" / "config.json"
        config.write_text(json.dumps({"blocks": [{"key": block.key}]}))
        name = f"tiny-{block.key[:12]}"
        told = facts(store, "gc", "--block", name, "--delete", capture=capsys)["garbage"]
        assert [item["path"] for item in told] == [f"blocks/{block.folder.name}"]
        assert "run first uses it: 'predict' will embed its images anew" in told[0]["reason"]
        assert names_in(block.folder) == []
        assert [b.name for b in store.blocks()] == ["other"]
        assert store.open_block("tiny", RECIPE, 5).missing(row_keys(3)) == row_keys(3)

    @pytest.mark.parametrize("name", ["tiny", "tiny-", "tiny-0000", "none-0123456789ab", "../tiny-0123", "", "\n"])
    def test_an_unknown_block_is_refused_with_the_known_ones(self, store, capsys, name):
        before = contents(store.root)
        line = refused(capsys, 2, "cache", "gc", "--cache", store.root, f"--block={name}", "--delete")
        assert block_of(store).folder.name in line and block_of(store, "other").folder.name in line
        assert contents(store.root) == before

    @pytest.mark.parametrize(
        ("flags", "code", "said"),
        [
            (["--block", "tiny-0000", "--unused-days", "3"], 2, "contradict"),
            (["--unused-days", "-1"], 2, "--unused-days"),
            (["--runs", "nothing-there"], 2, "no such folder: --runs nothing-there"),
            (["--delete", "yes"], 2, "yes"),
        ],
    )
    def test_a_wrong_use_is_refused(self, store, capsys, flags, code, said):
        assert said in refused(capsys, code, "cache", "gc", "--cache", store.root, *flags)

    def test_a_run_that_cannot_be_read_stops_it(self, store, capsys, tmp_path):
        (tmp_path / "runs" / "first" / "config.json").write_text("{")
        before = contents(store.root)
        line = refused(capsys, 1, "cache", "gc", "--cache", store.root, "--runs", tmp_path / "runs", "--delete")
        assert "config.json" in line
        assert contents(store.root) == before

    def test_a_block_that_another_process_writes_to_is_left(self, store, capsys):
        wanted = litter(store)
        block = block_of(store)
        ready, done = os.pipe(), os.pipe()

        def hold():
            with filelock.FileLock(block.folder / LOCK_FILE):
                os.write(ready[1], b"x")
                os.read(done[0], 1)

        child = start_child(hold)
        os.read(ready[0], 1)
        try:
            listed = facts(store, "gc", capture=capsys)
            assert {"path": f"blocks/{block.folder.name}", "reason": "another process writes to it"} in listed["left"]
            before = contents(block.folder)
            chosen = facts(store, "gc", f"--block={block.folder.name}", "--delete", capture=capsys, code=3)
            assert chosen["garbage"] == [] and len(chosen["left"]) == 1
            deleted = facts(store, "gc", "--delete", "--unused-days", "0", capture=capsys, code=3)
            assert contents(block.folder) == before
            assert f"weights/tiny-{USED[:16]}.safetensors" not in str(deleted["garbage"])
            assert {item["path"] for item in deleted["garbage"]} >= {p for p in wanted if block.folder.name not in p}
        finally:
            os.write(done[1], b"x")
            os.waitpid(child, 0)

    @pytest.mark.parametrize(("place", "left"), [("learned", 2), (".", 7)])
    def test_what_lies_beside_blocks_is_left_while_its_folder_is_locked(self, store, capsys, place, left):
        wanted = litter(store)
        with filelock.FileLock(store.root / place / LOCK_FILE):
            for flags in ([], ["--delete"]):
                told = facts(store, "gc", *flags, capture=capsys, code=3 if flags else 0)
                assert [item["reason"] for item in told["left"]] == ["another process writes to it"] * left
                assert all(os.path.lexists(store.root / item["path"]) for item in told["left"])
        assert len(wanted) == len(told["garbage"]) + left

    def test_a_block_taken_between_looking_and_deleting_is_left(self, store):
        collector = Collector(store, chosen=[block_of(store).folder.name])
        found = collector.find()
        ready, done = os.pipe(), os.pipe()

        def hold():
            with filelock.FileLock(block_of(store).folder / LOCK_FILE):
                os.write(ready[1], b"x")
                os.read(done[0], 1)

        child = start_child(hold)
        os.read(ready[0], 1)
        swept = collector.delete(found)
        os.write(done[1], b"x")
        os.waitpid(child, 0)
        assert swept.garbage == [] and swept.left[0].reason == "another process writes to it"
        assert block_of(store).missing(row_keys(3)) == []

    def test_what_is_finished_or_used_by_now_is_left(self, store):
        block = block_of(store)
        record = next(block.folder.glob("shard-*.json"))
        text = record.read_bytes()
        record.unlink()
        age(block.folder, days=40)
        collector = Collector(store)
        unused = Collector(store, unused_days=30)
        found, long = collector.find(), unused.find()
        assert ("unfinished", record.with_suffix(".h5")) in [(item.kind, item.path) for item in found.garbage]
        record.write_bytes(text)
        mark_used(block.folder)
        assert record.with_suffix(".h5") in [left.path for left in collector.delete(found).left]
        assert block.folder in [left.path for left in unused.delete(long).left]
        assert block_of(store).missing(row_keys(3)) == []

    def test_weights_used_by_a_block_made_meanwhile_are_left(self, store):
        collector = Collector(store, in_use=[SEEN])
        found = collector.find()
        store.open_block("tiny", {"weights": UNUSED}, 5)
        swept = collector.delete(found)
        assert swept.garbage == [] and len(swept.left) == 2
        assert (store.root / "weights" / f"tiny-{UNUSED[:16]}.safetensors").exists()

    def test_a_writer_that_waited_for_a_deleted_block_creates_it_again(self, store):
        block = block_of(store)
        Collector(store, chosen=[block.folder.name]).delete(Collector(store, chosen=[block.folder.name]).find())
        fill(block)
        assert Store(store.root).find("tiny", block.key).missing(row_keys(3)) == []

    @pytest.mark.parametrize("steps", range(8))
    def test_a_crash_while_deleting_leaves_a_whole_block_or_garbage(self, store, monkeypatch, steps):
        block = block_of(store)
        with block.writer():
            block.append(row_keys(3, first=10), embeddings(3, 5))
        mark_used(block.folder)
        collector = Collector(store, chosen=[block.folder.name])
        found, left = collector.find(), [steps]
        real = type(block.folder).unlink

        def unlink(path, *args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            real(path, *args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(type(block.folder), "unlink", unlink)
            try:
                collector.delete(found)
            except KeyboardInterrupt:
                assert left[0] < 0
        assert Store(store.root).verify() == []
        again = store.open_block("tiny", RECIPE, 5)
        with again.writer():
            again.append(again.missing(row_keys(3)), embeddings(len(again.missing(row_keys(3))), 5))
        assert store.verify() == []
        assert Collector(store, chosen=[block.folder.name]).find().garbage

    def test_what_is_young_and_has_no_lock_is_left(self, store, capsys):
        young = store.root / ".tmp-1-aa-quarantine.csv"
        young.write_bytes(b"1")
        os.utime(store.root / "weights" / f"tiny-{UNUSED[:16]}.safetensors")
        os.utime(store.root / "learned" / f"cae-{UNUSED[:16]}" / "record.json")
        told = facts(store, "gc", "--delete", capture=capsys)
        assert told["garbage"] == []
        assert [left["reason"].split(":")[0] for left in told["left"]] == ["it is younger than an hour"] * 3
        assert young.exists()

    def test_links_and_strange_folders_are_left(self, store, capsys, tmp_path):
        elsewhere = tmp_path / "elsewhere"
        target = store.root / "blocks" / f"linked-{'1' * 16}"
        for folder in (elsewhere, store.root / "blocks" / "tiny backup"):
            folder.mkdir()
            (folder / "recipe.json").write_text("{}")
        target.symlink_to(elsewhere, target_is_directory=True)
        told = facts(store, "gc", "--delete", capture=capsys)
        assert {left["reason"].split(";")[0] for left in told["left"]} == {
            "it is a link",
            "its name is not one that a block has",
        }
        assert (elsewhere / "recipe.json").exists() and target.is_symlink()

    def test_weights_reached_by_a_link_are_left(self, store, capsys, tmp_path):
        os.rename(store.root / "weights", tmp_path / "weights")
        (store.root / "weights").symlink_to(tmp_path / "weights", target_is_directory=True)
        before = contents(tmp_path / "weights")
        facts(store, "gc", "--delete", capture=capsys)
        assert contents(tmp_path / "weights") == before

    def test_a_link_in_place_of_a_temporary_is_removed_and_not_followed(self, store, capsys, tmp_path):
        precious = tmp_path / "precious"
        precious.write_bytes(b"1")
        (block_of(store).folder / ".tmp-1").symlink_to(precious)
        assert f"blocks/{block_of(store).folder.name}/.tmp-1" in garbage(store, "--delete", capture=capsys)
        assert precious.read_bytes() == b"1"

    def test_a_deletion_that_was_interrupted_is_finished_by_the_next(self, store, capsys):
        half = store.root / "learned" / f".tmp-7-cae-{UNUSED[:16]}"
        os.rename(store.root / "learned" / f"cae-{UNUSED[:16]}", half)
        assert garbage(store, "--delete", capture=capsys)[f"learned/{half.name}"] == "temporary"
        assert not half.exists()

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_cache_that_cannot_be_written_to_is_listed_and_told(self, store, capsys):
        folder = block_of(store).folder
        (folder / "shard-0123456789abcdef.h5").write_bytes(b"")
        os.chmod(folder, 0o500)
        try:
            assert cache(store, "gc", capture=capsys)[0] == 0
            assert "cannot write" in cache(store, "gc", "--delete", capture=capsys)[2]
        finally:
            os.chmod(folder, 0o700)


class TestHostileNames:
    @pytest.mark.parametrize("name", HOSTILE, ids=ascii)
    def test_a_cache_folder_is_printed_on_one_line(self, tmp_path, capsys, name):
        store = Store(tmp_path / name)
        fill(store.open_block("tiny", RECIPE, 5))
        (tmp_path / "runs").mkdir()
        for command, lines in (("ls", 2), ("verify", 1), ("gc", 1)):
            code, out, err = cache(store, command, capture=capsys)
            assert (code, err, out.count("\n")) == (0, "", lines), (out, err)
            assert out.replace("\n", "").isprintable()
            assert json.loads(cache(store, command, "--json", capture=capsys)[1])["cache"] == str(store.root)
        line = refused(capsys, 1, "cache", "verify", "--cache", tmp_path / "absent" / name)
        assert line.isprintable()

    @pytest.mark.parametrize("name", HOSTILE, ids=ascii)
    def test_stray_files_are_printed_on_one_line(self, store, capsys, name):
        wanted = litter(store)
        name = name.replace("/", "")
        strange = store.root / "blocks" / f"{name}-{'2' * 16}"
        strange.mkdir()
        (strange / "recipe.json").write_text("{")
        (block_of(store).folder / f".tmp-1-{name}").write_bytes(b"1")
        (block_of(store).folder / "quarantine" / f"{name}.h5").write_bytes(b"1")
        (store.root / "weights" / f"{name}-{UNUSED[:16]}.safetensors").write_bytes(b"1")
        age(store.root / "weights")
        for command in ("ls", "verify", "gc"):
            code, out, err = cache(store, command, capture=capsys)
            assert code == (command == "verify") and "Traceback" not in err
            assert all(line.isprintable() for line in (out + err).splitlines())
            assert name.isprintable() or ascii(name)[1:-1] in out
        lines = cache(store, "gc", capture=capsys)[1].splitlines()
        assert len(lines) == len(wanted) + 3 + 1 + 3  # one left, three closing lines
        facts(store, "gc", "--delete", capture=capsys)
        assert (strange / "recipe.json").exists()


def test_a_config_file_names_the_cache_but_never_deletes(store, capsys, tmp_path):
    config = tmp_path / "defaults.toml"
    where = json.dumps(str(store.root))
    config.write_text(f"cache = {where}\n[cache-gc]\nunused-days = 0\nruns = {json.dumps(str(tmp_path / 'runs'))}\n")
    assert "2 blocks, 6 rows" in run("cache", "ls", "--config", config, capture=capsys)[1]
    assert "Nothing was deleted" in run("cache", "gc", "--config", config, capture=capsys)[1]
    for text in ("delete = true\n", "[cache-gc]\ndelete = true\n"):
        config.write_text(text)
        assert "unknown key 'delete'" in refused(capsys, 2, "cache", "gc", "--config", config)
    assert len(store.blocks()) == 2


def test_a_cache_of_another_version_is_one_line(store, capsys):
    path = block_of(store).folder / "recipe.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    for command in ("ls", "verify", "gc"):
        assert "has schema 99" in refused(capsys, 1, "cache", command, "--cache", store.root)


def test_stamps_of_use_are_best_effort(tmp_path):
    assert last_used(tmp_path) is None
    before = time.time()
    mark_used(tmp_path)
    stamp = last_used(tmp_path)
    assert stamp.tzinfo is UTC and stamp.timestamp() >= before - 2
    os.utime(tmp_path / "last-used", (1e9, 1e9))
    assert last_used(tmp_path) == datetime.fromtimestamp(1e9, UTC)
    mark_used(tmp_path)
    assert last_used(tmp_path) > stamp.replace(year=2002)
    mark_used(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_the_cache_commands_do_not_load_torch(store):
    code = (
        "import sys, cli\n"
        "for command in ('ls', 'verify', 'gc'):\n"
        f"    sys.argv = ['cli.py', 'cache', command, '--cache', {str(store.root)!r}]\n"
        "    assert cli.main() == 0\n"
        "print({'torch', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.rstrip().endswith("set()"), done.stderr


def test_a_group_without_a_command_prints_its_help(capsys):
    code, out, err = run("cache", capture=capsys)
    assert code == 2 and err == "" and all(word in out for word in ("ls", "verify", "gc"))


@pytest.fixture
def hears_ctrl_c():
    """This process heeds Ctrl-C, also where it was started by nohup or below a shell's trap, which have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_told_in_one_line_and_an_exit_code(tmp_path, capsys, monkeypatch, number, code):
    def struck(*_args, **_kwargs):
        os.kill(os.getpid(), number)
        time.sleep(5)
        raise AssertionError("the signal was ignored")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("dermfuse.reports.terminal.listings.ls_facts", struck)
    line = refused(capsys, code, "cache", "ls", "--cache", tmp_path)
    assert "interrupted. What was written before is kept" in line
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_process_that_was_started_deaf_to_ctrl_c_stays_so():
    """As nohup and a shell's job in the background want it."""
    code = "import os, dermfuse.reports.terminal.listings, signal, sys, cli\n"
    code += "dermfuse.reports.terminal.listings.ls_facts = lambda root: os.kill(os.getpid(), signal.SIGINT)\n"
    code += "dermfuse.reports.terminal.listings.print_ls = lambda facts: print('went on')\n"
    code += "sys.argv = ['cli.py', 'cache', 'ls']; sys.exit(cli.main())"
    command = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")


def test_a_terminated_process_leaves_with_its_code():
    code = "import dermfuse.reports.terminal.listings, time, sys, cli\n"
    code += "dermfuse.reports.terminal.listings.ls_facts = lambda root: (print('ready', flush=True), time.sleep(60))\n"
    code += "sys.argv = ['cli.py', 'cache', 'ls']; sys.exit(cli.main())"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    child.terminate()
    _, err = child.communicate(timeout=30)
    assert child.returncode == cli.TERMINATED == 143
    assert err.startswith(b"error: interrupted") and err.count(b"\n") == 1
