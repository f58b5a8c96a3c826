"""Every run that is scored on a locked split is counted, whatever happens beside it."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest

from dermfuse.pipelines.runs.openings import FILE, note_opening, split_key
from dermfuse.pipelines.runs.run_folder import read_json


def note_many(runs, number: int) -> None:
    for i in range(20):
        note_opening(runs, "key", f"{number}-{i}")


def test_names_are_returned_in_their_order_and_by_split(tmp_path):
    assert note_opening(tmp_path, "a", "one") == ["one"]
    assert note_opening(tmp_path, "b", "two") == ["two"]
    assert note_opening(tmp_path, "a", "three") == ["one", "three"]
    assert note_opening(tmp_path, "a", "three") == ["one", "three", "three"], "a run made again opens them again"


def test_processes_that_note_at_once_lose_nothing(tmp_path):
    several = multiprocessing.get_context("spawn")
    processes = [several.Process(target=note_many, args=(tmp_path, n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert len(note_opening(tmp_path, "key", "last")) == 61


@pytest.mark.parametrize("kept", range(0, 60, 7))
def test_a_line_that_a_crash_cut_off_takes_no_other_with_it(tmp_path, kept):
    note_opening(tmp_path, "key", "first")
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole + whole[:kept])
    assert note_opening(tmp_path, "key", "third") == ["first", "third"]
    assert note_opening(tmp_path, "key", "fourth") == ["first", "third", "fourth"]


def test_foreign_lines_are_no_obstacle(tmp_path):
    (tmp_path / FILE).write_bytes(b'\xff\xfe\n[1]\n"text"\n{"split": "key"}\n')
    assert note_opening(tmp_path, "key", "mine")[-1] == "mine"


def test_the_key_is_of_rows_and_seed_and_not_of_columns_or_order(demo):
    whole = demo.dataset
    assert split_key(whole, 0) != split_key(whole, 1)
    other = replace(whole, rows=whole.rows.drop(columns=["age"]).iloc[::-1])
    assert split_key(other, 0) == split_key(whole, 0)
    assert split_key(whole.keep(slice(10)), 0) != split_key(whole, 0)
    own = replace(whole, own_test=np.arange(len(whole.rows)) < 20)
    assert split_key(own, 0) == split_key(own, 1) != split_key(whole, 0)


def test_fits_of_one_split_are_counted_and_no_id_is_written(demo, tmp_path):
    elsewhere = replace(demo, runs=tmp_path)
    quick = {"use_images": False, "features": None, "explain": False, "balance": "none"}
    paths = [elsewhere.fit(name, **quick, **more) for name, more in (("a", {}), ("b", {}), ("c", {"seed": 1}))]
    assert [read_json(path, "data.json")["openings"] for path in paths] == [["a"], ["a", "b"], ["c"]]
    text = (tmp_path / FILE).read_text()
    assert not any(name in text for name in demo.dataset.rows["id"])
    assert {"split", "run", "opened"} == set(json.loads(text.splitlines()[0]))
