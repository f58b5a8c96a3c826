"""Four processes of the command line fill one cache, one of them killed: the same rows as one process gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dermfuse.cache.hashes import ContentIndex
from dermfuse.cache.store import Store
from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.demo.synthetic import make_dataset
from dermfuse.features.embedding.parts import Part
from tests.cache.helpers import assert_same_rows

ROOT = Path(__file__).resolve().parents[1]
PARTS, KILLED = 4, 2
# The command line, slow enough to be killed in the middle, and with a shard for every batch.
UNHURRIED = """
import sys, time
from dermfuse.features.embedding import sink
from dermfuse.features.extractors.autoencoder import AutoencoderExtractor

sink.SHARD_SECONDS, plain = 0.0, AutoencoderExtractor.forward
AutoencoderExtractor.forward = lambda self, batch: (time.sleep(0.2), plain(self, batch))[1]
from dermfuse import cli
sys.exit(cli.main())
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "data"
    make_dataset(folder, lesions=60, size=64, seed=0)
    return folder


def command(data: Path, cache: Path, *flags) -> list[str]:
    shared = ["extract", "--data", data, "--cache", cache, "--features", "cae", "--precision", "exact", "--json"]
    return [sys.executable, "-c", UNHURRIED, *map(str, [*shared, "--batch-size", 2, "--workers", 1, *flags])]


def start(data: Path, cache: Path, *flags, **environment) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(data, cache, *flags), cwd=ROOT, env={**os.environ, **environment}, **pipes)


def finished(process: subprocess.Popen) -> tuple[dict, str]:
    """What it printed as JSON, and what it told."""
    out, err = process.communicate(timeout=300)
    assert process.returncode in (0, 3), err  # the drawn data hold bad files
    return json.loads(out), err


def keys_by_row(data: Path) -> list[str]:
    with ContentIndex(data.parent / "memo.sqlite") as index:
        return [index.sha256_of(path) for path in load_dataset(data).rows["path"]]


def held(cache: Path) -> set[str]:
    """Row keys that the one block acknowledges."""
    blocks = Store(cache).blocks("cae") if cache.is_dir() else []
    return set(blocks[0].row_keys) if blocks else set()


def assert_equal(cache: Path, single: Path) -> None:
    """The same rows with the same values, each held once, nothing left over."""
    assert_same_rows(cache, single, "cae")
    verify = [sys.executable, "cli.py", "cache", "verify", "--cache", os.fspath(cache), "--quiet"]
    assert subprocess.run(verify, cwd=ROOT, capture_output=True, timeout=120).returncode == 0


@pytest.mark.slow
def test_four_shards_one_of_them_killed_and_run_again_equal_one_process(data, tmp_path):
    cache, single = tmp_path / "sharded", tmp_path / "single"
    keys = keys_by_row(data)
    victims = set(keys[Part(KILLED, PARTS).rows])
    processes = {
        number: start(data, cache, "--shard", f"{number}/{PARTS}")
        for number in range(1, PARTS)  # the last one takes its number from the environment
    }
    processes[PARTS] = start(data, cache, RANK=str(PARTS - 1), WORLD_SIZE=str(PARTS))
    deadline = time.monotonic() + 300
    while not held(cache) & victims and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes[KILLED].poll() is None
    processes[KILLED].kill()
    processes[KILLED].communicate()
    before = held(cache) & victims
    assert 0 < len(before) < len(victims) - 1
    told = {number: finished(process) for number, process in processes.items() if number != KILLED}
    assert f"shard {PARTS}/{PARTS}, from RANK" in told[PARTS][1]
    again, err = finished(start(data, cache, "--shard", f"{KILLED}/{PARTS}"))
    [block] = again["blocks"]
    assert (again["shard"], again["images"]) == (f"{KILLED}/{PARTS}", len(victims))
    assert block["reused"] == len(before)  # what was acknowledged is not computed again
    assert block["computed"] + block["reused"] + len(again["set_aside"]) == len(victims)
    trained = sum("learned from" in text for _, text in [*told.values(), (None, err)])
    assert trained <= 1  # the others waited and took what it had learned
    # One process alone, with the same autoencoder, so that rows can be compared.
    (cache / "learned").rename(tmp_path / "learned")
    single.mkdir()
    for folder in (cache, single):
        subprocess.run(["cp", "-r", tmp_path / "learned", folder], check=True)
    finished(start(data, single))
    assert_equal(cache, single)
    lists = [(folder / "quarantine.csv").read_text() for folder in (cache, single)]
    assert lists[0] == lists[1]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--shard", "5/4"], "--shard 5/4"),
        (["--shard", "one"], "I/N"),
        (["--engine", "dask"], "--engine is 'dask', but expected local or ray"),
        (["--shard", "1/2", "--engine", "ray"], "Leave --shard out"),
        (["--ray-address", "auto"], "--engine ray"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_any_work(data, tmp_path, capsys, monkeypatch, flags, said):
    from dermfuse import cli

    monkeypatch.setattr(
        sys, "argv", ["cli.py", "extract", "--data", str(data), "--cache", str(tmp_path / "cache"), *flags]
    )
    assert cli.main() == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not (tmp_path / "cache").exists()


def test_an_environment_that_is_no_part_is_refused_unless_a_flag_turns_it_off(data, tmp_path, capsys, monkeypatch):
    from dermfuse import cli

    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "9")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    arguments = [
        "cli.py",
        "extract",
        "--data",
        str(data),
        "--cache",
        str(tmp_path / "cache"),
        "--features",
        "cae",
        "-q",
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    assert cli.main() == 2
    assert "SLURM_ARRAY_TASK_ID=9" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*arguments, "--shard", "1/1", "--json"])
    assert cli.main() == 3
    assert json.loads(capsys.readouterr().out)["shard"] is None
