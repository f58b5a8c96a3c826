"""A folder that is no complete run of schema 1 is refused in one line that says what to do."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.reports.pages.run_page import write_report
from dermfuse.reports.runfolder import read_run
from tests.reports.runs import VARIANTS, write


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


def test_a_missing_key_of_the_dataset(run):
    config = json.loads((run / "config.json").read_text())
    del config["dataset"]["classes"]
    (run / "config.json").write_text(json.dumps(config))
    assert "dataset.classes" in refusal(run)


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
