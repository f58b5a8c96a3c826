"""The command line as a person meets it: results, exit codes, and one line for every mistake."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.commands import refused, run, shared

ROOT = Path(__file__).resolve().parents[1]


def test_a_second_extract_computes_nothing(place, capsys):
    command = ["extract", "--data", place / "data", "--cache", place / "cache", "--features", "cae", "--json", "-q"]
    code, out, _ = run(*command, capture=capsys)
    facts = json.loads(out)
    assert code == 3
    assert [block["computed"] for block in facts["blocks"]] == [0]
    assert facts["blocks"][0]["reused"] == facts["images"] - len(facts["set_aside"])


def test_images_set_aside_are_listed_with_their_reasons(place):
    listed = pd.read_csv(place / "cache" / "quarantine.csv")
    assert len(listed) == 3
    assert listed["reason"].str.len().gt(0).all()


def test_fit_prints_intervals_and_the_path_of_its_report(place, capsys):
    code, out, _ = run("fit", *shared(place, "--model", "logreg", "--no-explain", "-q"), capture=capsys)
    assert code == 0
    assert "out of fold: accuracy" in out and "majority class" in out
    assert Path(out.splitlines()[-1]).is_file()


def test_a_report_can_be_written_again_from_the_run_folder_alone(place, capsys):
    report = place / "runs" / "first" / "report.html"
    before = report.read_bytes()
    report.unlink()
    assert run("report", "first", "--runs", place / "runs", capture=capsys)[0] == 0
    assert report.read_bytes() == before


def test_predict_prints_an_object_a_line_and_tells_what_failed(place, capsys):
    bad = place / "bad.jpg"
    bad.write_bytes(b"<html>")
    good = sorted((place / "data" / "images").glob("*.jpg"))[0]
    command = ["predict", "first", good, bad, "--cache", place / "cache", "--runs", place / "runs", "--json", "-q"]
    code, out, _ = run(*command, capture=capsys)
    first, second = map(json.loads, out.splitlines())
    assert code == 3
    assert sum(first["probabilities"].values()) == pytest.approx(1)
    assert first["decision"] == max(first["probabilities"], key=first["probabilities"].get)
    assert first["imputed"] == ["age", "sex", "localization"]
    assert second["image"] == str(bad) and "not a JPEG" in second["error"]


def test_predict_on_a_folder_uses_the_table_beside_the_images(place, capsys, tmp_path):
    out = tmp_path / "predictions.csv"
    command = ["predict", "first", "--data", place / "data", "--cache", place / "cache", "--runs", place / "runs"]
    assert run(*command, "--out", out, "-q", capture=capsys)[0] == 3
    rows = pd.read_csv(out)
    scored = rows[rows["error"].isna()]
    assert {"image", "decision", "p_nv", "seen_in"} <= set(rows.columns)
    assert set(scored["seen_in"].dropna()) == {"train", "test"}
    assert (scored["imputed"].fillna("") == "").sum() > len(scored) / 2


def test_doctor_names_versions_weights_and_blocks(place, capsys):
    code, out, _ = run("doctor", "--cache", place / "cache", "--runs", place / "runs", "--json", capture=capsys)
    facts = json.loads(out)
    assert code == 0
    assert facts["cache"]["blocks"][0]["name"] == "cae"
    assert "first" in facts["runs"]["names"]
    assert run("doctor", "--cache", place / "nothing", "--runs", place / "nothing", capture=capsys)[0] == 0
    assert not (place / "nothing").exists()


def test_defaults_can_come_from_a_file_and_flags_go_before_it(place, capsys, tmp_path):
    config = tmp_path / "defaults.toml"
    config.write_text('model = "nothing"\n[fit]\nno-explain = true\nbalance = "none"\n')
    assert "'nothing'" in refused(capsys, 2, "fit", *shared(place, "--config", config))
    code = run("fit", *shared(place, "--config", config, "--model", "logreg", "-q", "--name", "by-file"))[0]
    assert code == 0
    assert json.loads((place / "runs" / "by-file" / "config.json").read_text())["balance"] == "none"


def test_an_unknown_key_in_the_file_is_refused(place, capsys, tmp_path):
    config = tmp_path / "defaults.toml"
    config.write_text("modell = 1\n")
    assert "'modell'" in refused(capsys, 2, "fit", *shared(place, "--config", config))


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--model", "forest"], 2, "--model is 'forest', but expected rf"),
        (["--features", "resnet1"], 2, "--features has 'resnet1'"),
        (["--features", "resnet18"], 1, "extracted for 0 of"),
        (["--balance", "up"], 2, "--balance is 'up'"),
        (["--forest"], 2, "No such option: --forest"),
        (["--folds", "x"], 2, "--folds"),
        (["--folds", "1"], 2, "--folds is 1"),
        (["--folds", "8"], 1, "too few"),
        (["--select-k", "0"], 2, "--select-k is 0"),
        (["--no-images", "--no-metadata"], 2, "no features"),
        (["--no-images", "--features", "cae"], 2, "contradict"),
        (["--name", "first"], 2, "there is a run"),
        (["--name", "../up"], 2, "run name"),
        (["--seed", "3", "--features", "cae"], 1, "learned from"),
        (["--group-column", "nothing", "--label-column", "dx"], 1, "no group column 'nothing'"),
    ],
)
def test_fit_refuses_in_one_line_and_leaves_nothing(place, capsys, flags, code, said):
    before = sorted((place / "runs").iterdir())
    assert said in refused(capsys, code, "fit", *shared(place, *flags))
    assert sorted((place / "runs").iterdir()) == before


def test_extract_names_a_folder_that_is_not_there(capsys, tmp_path):
    line = refused(capsys, 1, "extract", "--data", tmp_path / "nothing", "--cache", tmp_path / "cache")
    assert str(tmp_path / "nothing") in line and "demo" in line
    assert not (tmp_path / "cache").exists()


def test_without_any_data_the_demo_and_the_layouts_are_named(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, 1, "fit")
    assert "demo" in line and "HAM10000" in line


def test_a_table_without_its_label_column_is_named(capsys, tmp_path):
    (tmp_path / "t.csv").write_text("lesion_id,image_id\na,b\n")
    assert "no column 'dx'" in refused(capsys, 1, "extract", "--data", tmp_path, "--cache", tmp_path / "cache")


def test_a_table_that_matches_no_image_is_told(place, capsys, tmp_path):
    (tmp_path / "t.csv").write_text("lesion_id,image_id,dx\na,b,nv\n")
    shutil.copy(next((place / "data" / "images").glob("*.jpg")), tmp_path)
    assert "none of the 1 ids" in refused(capsys, 1, "extract", "--data", tmp_path, "--cache", tmp_path / "cache")


def test_weights_that_are_not_there_are_named_with_the_place_and_the_flag(place, capsys, tmp_path):
    command = ["extract", "--data", place / "data", "--cache", tmp_path / "cache", "--features", "resnet18"]
    line = refused(capsys, 1, *command, "--weights-dir", tmp_path)
    assert "resnet18.pth" in line and str(tmp_path) in line and "--weights-dir" in line


def test_a_full_disk_is_one_line_and_the_next_extract_goes_on(place, tmp_path):
    command = [sys.executable, ROOT / "cli.py", "extract", "--data", place / "data", "--cache", tmp_path / "cache"]
    command += ["--features", "cae", "--quiet"]

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, 16_384))

    full = subprocess.run(command, capture_output=True, text=True, preexec_fn=small_files, timeout=300)
    assert full.returncode == 1
    assert full.stderr.startswith("error: cannot write") and full.stderr.count("\n") == 1, full.stderr
    left = [p for p in (tmp_path / "cache").rglob("*") if ".tmp" in p.name]
    assert left == []
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 3


@pytest.mark.parametrize("command", ["fit", "ablate"])
def test_where_a_run_cannot_go_is_told_before_anything_is_read(tmp_path, capsys, command):
    (tmp_path / "file").write_text("")
    (tmp_path / "runs" / "taken").mkdir(parents=True)
    empty = tmp_path / "data"
    empty.mkdir()
    line = refused(capsys, 1, command, "--data", empty, "--runs", tmp_path / "file")
    assert "a part of this path is a file" in line
    line = refused(capsys, 2, command, "--data", empty, "--runs", tmp_path / "runs", "--name", "taken")
    assert "there is a run" in line
    refused(capsys, 1, command, "--data", empty, "--runs", tmp_path / "absent" / "runs")
    assert not (tmp_path / "absent").exists()


def test_help_answers_without_the_heavy_libraries():
    code = (
        "import sys; sys.argv = ['cli.py', '--help']; import cli; cli.main();"
        "print({'torch', 'numpy', 'pandas', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.rstrip().endswith("set()"), done.stderr
    assert "not for clinical use" in done.stdout


def test_the_demo_ends_with_a_report_of_a_pretrained_network_and_the_autoencoder(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", os.fspath(tmp_path))
    monkeypatch.setattr("dermfuse.features.extractors.weights._downloaded", _no_network)
    code, out, err = run("demo", "--folder", tmp_path / "demo", "--lesions", "60", "--quiet", capture=capsys)
    assert (code, err) == (0, "")
    report = Path(out.splitlines()[-1])
    text = report.read_text()
    assert "drawn by a program" in text and "efficientnet_lite0" in text and "cae" in text
    assert report.parent.name == "synthetic-demo-logreg"
    # The job as it is done by hand: what the demo extracted serves any other fit, and its model new images.
    image = next((tmp_path / "demo" / "data" / "images").glob("*10.jpg"))
    cache = ["--cache", tmp_path / "demo" / "embeddings"]
    assert run("predict", report.parent, image, *cache, "--quiet", "--json")[0] == 0


def _no_network(name, entry):
    from dermfuse.cache.errors import UserError

    raise UserError(f"weights of {name} cannot be had")
