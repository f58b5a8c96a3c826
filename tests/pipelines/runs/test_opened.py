"""A run folder is checked whole before it is believed: what was changed is told by its name, and nothing hangs."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.pipelines.evaluation.compare import read_scored
from dermfuse.pipelines.runs import digests
from dermfuse.pipelines.runs.opened import LARGEST_INTEGER, blocks_of, open_run, parse, read_arrays, read_table
from dermfuse.reports.pages.run_page import write_report
from tests.reports.runs import VARIANTS, write


@pytest.fixture(scope="module")
def sealed(tmp_path_factory) -> Path:
    run = write(tmp_path_factory.mktemp("sealed"), VARIANTS["multiclass"])
    digests.seal(run)
    return run


@pytest.fixture
def run(sealed, tmp_path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "run"))


def refusal(run: Path, **more) -> str:
    with pytest.raises(UserError) as caught:
        open_run(run, **more)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 1
    return str(caught.value)


def change(run: Path, name: str, of) -> None:
    document = json.loads((run / name).read_text())
    of(document)
    (run / name).write_text(json.dumps(document))


# ---- digests


def test_an_untouched_folder_is_opened_and_a_report_in_it_changes_nothing(run):
    write_report(run)
    opened = open_run(run)
    assert opened.changed == [] and opened.json("config.json")["name"] == "ham-rf"


@pytest.mark.parametrize("name", sorted(path.name for path in [Path("config.json"), Path("shap.parquet")]))
def test_one_other_byte_in_any_file_is_told_by_its_name(run, name):
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run / name).write_bytes(content)
    assert f"{run / name} was changed after it was written" in refusal(run)


def test_every_file_is_listed_whatever_its_name(tmp_path):
    for name in ("config.json", "later.bin", "attributions/first.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    digests.seal(tmp_path)
    listed = json.loads((tmp_path / digests.FILE).read_text())["files"]
    assert sorted(listed) == ["attributions/first.png", "config.json", "later.bin"]
    (tmp_path / "attributions/first.png").write_bytes(b"[]")
    assert "first.png was changed" in refusal(tmp_path)


def test_a_missing_file_and_a_file_of_another_run_are_told(run, tmp_path):
    (run / "data.json").unlink()
    assert f"{run / 'data.json'} is missing" in refusal(run)
    shutil.copy(write(tmp_path / "other", VARIANTS["binary"]) / "splits.parquet", run / "splits.parquet")
    assert "and 1 more files" in refusal(run)


def test_a_file_that_is_not_listed_is_no_part_of_the_run(run):
    (run / "repeats.parquet").write_bytes(b"not parquet")
    assert "repeats.parquet" not in open_run(run) and read_scored(run).repeats is None


def test_without_digests_a_folder_is_refused_with_what_to_do(run):
    (run / digests.FILE).unlink()
    assert "has no digests.json" in refusal(run) and "--trust" in refusal(run)
    told = []
    assert open_run(run, True, told.append).json("config.json") and "read all the same (--trust)" in told[0]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"files": 3}', '{"files": {"../x": {"sha256": "", "bytes": 1}}}']
)
def test_damaged_digests_are_told(run, text):
    (run / digests.FILE).write_text(text)
    assert digests.FILE in refusal(run) and digests.FILE in refusal(run, trust=True)


# ---- what is no file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["config.json", "metrics.json", "splits.parquet", digests.FILE])
@pytest.mark.parametrize("trust", [False, True])
def test_a_named_pipe_a_link_and_a_folder_are_refused_at_once(run, name, trust, tmp_path):
    (run / name).rename(tmp_path / "aside")
    for make in (os.mkfifo, Path.mkdir, lambda path: path.symlink_to(tmp_path / "aside")):
        make(run / name)
        assert f"{run / name} is no regular file" in refusal(run, trust=trust)
        (run / name).rmdir() if (run / name).is_dir() else (run / name).unlink()


def test_a_file_larger_than_any_of_a_run_is_not_read(run, monkeypatch):
    monkeypatch.setitem(digests.MOST_BYTES, ".json", 1000)
    with pytest.raises(UserError, match=r"has .* kB; such a file of a run has 1.0 kB at most"):
        parse(run / "metrics.json")


# ---- trusted, and still checked


@pytest.mark.parametrize(
    ("name", "of", "said"),
    [
        ("config.json", lambda d: d.update(prevalence=[float("nan")] * 7), "NaN stands where a number"),
        ("config.json", lambda d: d.update(prevalence=[1.0]), "prevalence has 1 numbers for 7 classes"),
        ("config.json", lambda d: d.update(prevalence=[0.5] * 7), "adds up to 3.5"),
        ("config.json", lambda d: d["dataset"].update(metadata=None), "dataset.metadata"),
        ("config.json", lambda d: d.pop("dataset"), "lacks dataset"),
        ("config.json", lambda d: d["dataset"]["classes"].reverse(), "majority_class"),
        ("config.json", lambda d: d["blocks"][0].update(key="../../x"), "blocks.0.key"),
        ("config.json", lambda d: d.update(seed=LARGEST_INTEGER), "too large"),
        ("metrics.json", lambda d: d["out_of_fold"].update(accuracy=None), "out_of_fold.accuracy"),
        ("metrics.json", lambda d: d["out_of_fold"]["accuracy"].update(value=None), "accuracy has no value"),
        ("metrics.json", lambda d: d["confusion"].update(test=3), "confusion.test"),
        ("metrics.json", lambda d: d["confusion"]["test"].pop(), "confusion.test is no square"),
        ("metrics.json", lambda d: d["per_class"]["test"].reverse(), "per_class.test has other classes"),
        ("metrics.json", lambda d: d["test"]["accuracy"].update(low=0.9, high=0.1), "ends before it begins"),
        ("subgroups.json", lambda d: d.update(how=[]), "how"),
        ("environment.json", lambda d: d["seconds"].update(table=10**400), "too large"),
        ("prediction_sets.json", lambda d: d["by_class"][0].update(threshold=2.0), "by_class.0.threshold"),
    ],
)
def test_a_trusted_folder_is_refused_for_what_its_values_cannot_be(run, name, of, said):
    change(run, name, of)
    assert name in refusal(run)
    with pytest.raises(UserError, match=said) as caught:
        write_report(run, trust=True)
    assert "\n" not in str(caught.value) and str(run) in str(caught.value)


def test_every_document_of_a_trusted_folder_is_checked_whoever_reads_it(run):
    change(run, "missing_fields.json", lambda d: d["patterns"][0].update(thresholds={"nv": float("nan")}))
    with pytest.raises(UserError, match=r"missing_fields.json.*NaN stands where"):
        read_scored(run, trust=True)


def test_probabilities_of_another_order_or_sum_are_refused_also_when_trusted(run):
    table = pd.read_parquet(run / "predictions.parquet")
    for spoiled, said in (
        (table[[*table.columns[:-2], table.columns[-1], table.columns[-2]]], "another order"),
        (table.assign(p_nv=2.0), "add up to 1"),
        (table.assign(p_nv=np.nan), "add up to 1"),
        (pd.concat([table, table[:1]]), "more than one row"),
        (table.assign(truth="wart"), "wart"),
    ):
        spoiled.to_parquet(run / "predictions.parquet")
        for read in (lambda: read_scored(run, trust=True), lambda: write_report(run, trust=True)):
            with pytest.raises(UserError, match=said):
                read()


def test_a_page_of_a_changed_run_says_what_was_changed(run):
    change(run, "environment.json", lambda d: d.update(cpus=3))
    assert "environment.json was changed" in write_report(run, trust=True).read_text(encoding="utf-8")


def test_what_a_page_cannot_show_of_a_changed_run_is_told_as_that(run):
    change(run, "missing_fields.json", lambda d: d["patterns"][0].update(test={"accuracy": 3}))
    with pytest.raises(UserError, match=r"cannot be shown .*missing_fields.json"):
        write_report(run, trust=True)


# ---- single files


@pytest.mark.parametrize(
    "text", ["[" * 99_999, '{"a": ' * 99_999, '{"a": 1e999}', '{"a": -Infinity}', '{"a": ' + "9" * 5000 + "}"]
)
def test_json_that_no_run_holds_is_told_in_one_line(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match="x.json") as caught:
        parse(tmp_path / "x.json")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_arrays_that_are_cut_packed_too_small_or_no_arrays_are_told(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.zeros((4, 4)))
    whole = path.read_bytes()
    assert read_arrays(path, "a")[0].shape == (4, 4)
    for content in (b"", whole[:40], whole[: len(whole) // 2], b"PK\x03\x04" + b"0" * 90):
        path.write_bytes(content)
        with pytest.raises(UserError, match="x.npz"):
            read_arrays(path, "a")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", bytes(100))
    with pytest.raises(UserError, match="x.npz"):
        read_arrays(path, "a")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_table_that_is_cut_is_told(run, share):
    path = run / "predictions.parquet"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match="predictions.parquet"):
        read_table(path, ["id"])


# ---- what garbage collection asks


def test_blocks_are_told_also_before_there_were_digests_but_never_from_a_changed_file(run):
    names = [block["name"] for block in blocks_of(run)]
    assert names == ["mobilenet_v2", "cae"]
    change(run, "config.json", lambda d: d.update(blocks=[]))
    with pytest.raises(UserError, match=r"config.json .* so what its run needs is not known"):
        blocks_of(run)
    (run / digests.FILE).unlink()
    change(run, "config.json", lambda d: d.pop("blocks"))
    with pytest.raises(UserError, match="names no blocks"):
        blocks_of(run)
