"""A folder that is no complete run of schema 1 is refused in one line that says what to do."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.reports.pages.run_page import write_report
from dermfuse.reports.runfolder import read_run
from tests.reports.runs import VARIANTS, edit, write


@pytest.fixture
def run(tmp_path):
    return write(tmp_path, VARIANTS["multiclass"])


def refusal(run) -> str:
    with pytest.raises(UserError) as caught:
        write_report(run)
    message = str(caught.value)
    assert "\n" not in message
    assert str(run) in message
    return message


def test_a_folder_that_does_not_exist(tmp_path):
    assert "no such run folder" in refusal(tmp_path / "nothing")


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    assert "a run folder is expected" in refusal(tmp_path / "file")


def test_a_folder_that_is_no_run(tmp_path):
    assert "is not a run folder" in refusal(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "data.json",
        "environment.json",
        "metrics.json",
        "splits.parquet",
        "predictions.parquet",
        "importance.parquet",
        "prediction_sets.json",
        "missing_fields.json",
        "subgroups.json",
        "audit.json",
    ],
)
def test_a_missing_file(run, name):
    (run / name).unlink()
    message = refusal(run)
    assert name in message
    assert "cli.py fit" in message
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema(run, name, schema):
    document = json.loads((run / name).read_text()) | {"schema": schema}
    (run / name).write_text(json.dumps(document))
    message = refusal(run)
    assert f"schema {schema!r}" in message
    assert "reads schema 1" in message


def test_another_schema_is_told_before_its_missing_keys(run):
    (run / "config.json").write_text('{"schema": 7}')
    assert "schema 7" in refusal(run)


@pytest.mark.parametrize("name", ["config.json", "data.json", "metrics.json", "autoencoder.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema": 1}'])
def test_a_broken_document(run, name, text):
    (run / name).write_text(text)
    assert name in refusal(run)


@pytest.mark.parametrize(
    ("name", "drop", "said"),
    [
        ("config.json", lambda d: d["dataset"].pop("classes"), "lacks dataset.classes"),
        ("config.json", lambda d: d.pop("commands"), "lacks commands"),
        ("data.json", lambda d: d.pop("openings"), "lacks openings"),
        ("data.json", lambda d: d["splits"].pop(), "splits"),
        ("metrics.json", lambda d: d.pop("calibration"), "lacks calibration"),
        ("metrics.json", lambda d: d["test"].pop("macro_f1"), "out_of_fold and test hold different metrics"),
        ("metrics.json", lambda d: d["operating_points"]["test"]["balanced"].update(accuracy=0.7), "operating_points"),
        ("audit.json", lambda d: d["checks"][0].pop("sentence"), "lacks checks.0.sentence"),
        ("audit.json", lambda d: d["checks"][0].update(severity="grave"), "checks.0.severity"),
        ("subgroups.json", lambda d: d["test"][0].pop("rounded"), "lacks test.0.rounded"),
        ("missing_fields.json", lambda d: d["patterns"][0].pop("test"), "lacks patterns.0.test"),
        ("environment.json", lambda d: d.pop("peak_memory_workers_mb"), "lacks peak_memory_workers_mb"),
    ],
)
def test_what_every_fit_writes_may_not_be_absent_from_a_document(run, name, drop, said):
    edit(run / name, drop)
    message = refusal(run)
    assert name in message and said in message


@pytest.mark.parametrize("name", ["splits.parquet", "predictions.parquet", "importance.parquet", "shap.parquet"])
def test_a_broken_table(run, name):
    (run / name).write_bytes(b"not parquet")
    assert name in refusal(run)


def test_a_missing_probability_column(run):
    table = pd.read_parquet(run / "predictions.parquet").drop(columns="p_mel")
    table.to_parquet(run / "predictions.parquet")
    assert "p_mel" in refusal(run)


def test_a_class_that_the_configuration_does_not_name(run):
    table = pd.read_parquet(run / "predictions.parquet")
    table.loc[0, "decision"] = "wart"
    table.to_parquet(run / "predictions.parquet")
    assert "wart" in refusal(run)


def test_a_probability_that_is_no_number(run):
    table = pd.read_parquet(run / "predictions.parquet")
    table.loc[0, "p_mel"] = np.nan
    table.to_parquet(run / "predictions.parquet")
    assert "not numbers" in refusal(run)


def test_broken_reconstructions(run):
    (run / "autoencoder_reconstructions.npz").write_bytes(b"not an archive")
    assert "autoencoder_reconstructions.npz" in refusal(run)


def test_an_older_page_survives_a_failure(run):
    page = write_report(run)
    before = page.read_bytes()
    (run / "metrics.json").unlink()
    refusal(run)
    assert page.read_bytes() == before


def test_paths_and_ids_are_taken_out_of_texts_and_nothing_else(run):
    data = json.loads((run / "data.json").read_text())
    name = pd.read_parquet(run / "splits.parquet")["id"].iloc[0]
    data["notices"] = [
        f"{name} is truncated",
        "2 files under /srv/data/ham could not be read",
        r"C:\Users\me\scan.png is empty",
        "file:///tmp/x.png and ~/data/y/z.png are empty",
        "male/female and 3/4 of n/a stay, as does 12 images",
    ]
    (run / "data.json").write_text(json.dumps(data))
    assert read_run(run).data["notices"] == [
        "[id] is truncated",
        "2 files under [path] could not be read",
        "[path] is empty",
        "[path] and [path] are empty",
        "male/female and 3/4 of n/a stay, as does 12 images",
    ]
