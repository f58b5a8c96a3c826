"""``audit``, ``ablate``, ``compare`` and the search of ``fit`` as a person meets them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.commands import refused, run, shared

QUICK = ("--folds", "2", "--balance", "none", "--jobs", "1", "-q")


@pytest.fixture(scope="module")
def ablation(place) -> Path:
    """An ablation of logistic regression, by the command line."""
    code, *_ = run("ablate", *shared(place, "--model", "logreg", "--name", "abl", *QUICK))
    assert code == 0
    return place / "runs" / "abl"


def test_an_audit_needs_no_model_and_names_what_it_asked(place, capsys, tmp_path):
    out = tmp_path / "rows.csv"
    data = ("--data", place / "data", "--cache", place / "cache", "-q")
    code, said, _ = run("audit", *data, "--out", out, capture=capsys)
    assert code == 0
    assert said.splitlines()[0].endswith(".") and "looked for leakage" in said.splitlines()[0]
    assert "passed: " in said
    code, said, _ = run("audit", *data, "--json", capture=capsys)
    checks = json.loads(said)["checks"]
    assert {check["state"] for check in checks} <= {"passed", "found", "not applicable"}
    with open(out, newline="") as file:
        listed = list(csv.reader(file))
    assert len(listed) >= 1, "a file of rows has a header also where nothing was found"


def test_what_an_audit_found_is_kept_listed_verified_and_computed_anew_where_it_is_damaged(place, capsys, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(place / "cache", cache)
    shutil.rmtree(cache / "audits", ignore_errors=True)
    data = ("--data", place / "data", "--cache", cache)
    _, first, _ = run("audit", *data, "--json", "-q", capture=capsys)
    kept = sorted(path.name.rpartition("-")[0] for path in (cache / "audits").iterdir())
    assert {"columns", "copies", "files", "names"} <= set(kept)
    _, said, _ = run("cache", "ls", "--cache", cache, capture=capsys)
    assert said.count("audited") == len(kept)
    (cache / "audits").joinpath(next((cache / "audits").glob("columns-*")).name).write_text("{")
    code, said, told = run("cache", "verify", "--cache", cache, capture=capsys)
    assert code == 1 and "audits/columns-" in said and "The next audit replaces" in told
    _, again, told = run("audit", *data, "--json", capture=capsys)
    assert again == first
    assert "is no valid JSON; this part of it is computed anew" in told
    assert run("cache", "verify", "--cache", cache, capture=capsys)[0] == 0


def test_a_strict_audit_of_a_used_leak_ends_with_exit_code_1(place, capsys, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(place / "data", data)
    lines = (data / "metadata.csv").read_text().splitlines()
    column = lines[0].split(",").index("dx")
    leaking = [f"{lines[0]},ward", *(f"{line},w{line.split(',')[column]}" for line in lines[1:])]
    (data / "metadata.csv").write_text("\n".join(leaking) + "\n")
    toml = (data / "dataset.toml").read_text().replace('"sex", "localization"', '"sex", "localization", "ward"')
    (data / "dataset.toml").write_text(toml)
    code, said, _ = run("audit", "--data", data, "--cache", tmp_path / "none", "--strict", "-q", capture=capsys)
    assert code == 1
    assert "error" in said and "'ward'" in said


def test_an_ablation_answers_in_a_sentence_and_keeps_its_arms(ablation):
    comparison = json.loads((ablation / "comparison.json").read_text())
    assert comparison["pairs"]
    page = (ablation / "comparison.html").read_text()
    assert "Adding metadata to images changes macro AUC of logreg by" in page
    for arm in ("logreg-images", "logreg-metadata", "logreg-both"):
        assert (ablation / arm / "report.html").is_file()


def test_runs_of_an_ablation_are_known_by_their_names(place, ablation, capsys, tmp_path):
    page = tmp_path / "page.html"
    names = ("abl/logreg-images", "abl/logreg-both")
    code, said, _ = run("compare", *names, "--runs", place / "runs", "--out", page, "-q", capture=capsys)
    assert code == 0 and page.is_file() and said.splitlines()[-1] == str(page)
    code, said, _ = run("compare", *names, "--runs", place / "runs", "--out", page, "-q", "--json", capture=capsys)
    assert json.loads(said)["report"] == str(page)


def test_runs_of_other_folds_are_not_compared(place, ablation, capsys, tmp_path):
    pair = ("first", "abl/logreg-both")
    line = refused(capsys, 1, "compare", *pair, "--runs", place / "runs", "--out", tmp_path / "p.html", "-q")
    assert "cannot be compared" in line
    assert not (tmp_path / "p.html").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--model", "logreg,logreg"), "--model is 'logreg,logreg'"),
        (("--model", "oracle"), "--model has 'oracle'"),
        (("--balances", "none,twice"), "--balances has 'twice'"),
        (("--repeats", "0"), "--repeats is 0"),
        (("--tune", "-1"), "--tune is -1"),
        (("--calibration", "platt"), "--calibration is 'platt'"),
        (("--jobs", "0"), "--jobs is 0"),
        (("--engine", "dask"), "--engine is 'dask'"),
    ],
)
def test_an_impossible_ablation_is_refused_before_any_work(place, capsys, flags, said):
    assert said in refused(capsys, 2, "ablate", *shared(place, "--name", "never", "-q", *flags))
    assert not (place / "runs" / "never").exists()


def test_a_search_is_told_in_the_report(place, capsys):
    flags = ("--model", "logreg", "--tune", "2", "--repeats", "2", "--name", "searched", "--no-explain", *QUICK)
    code, said, _ = run("fit", *shared(place, *flags), capture=capsys)
    assert code == 0 and "audit: " in said
    page = (place / "runs" / "searched" / "report.html").read_text()
    assert "Settings that were searched for" in page and "Divided into folds 2 times" in page
    assert "--tune 2" in page and "--repeats 2" in page


@pytest.mark.parametrize("command", ["audit", "ablate", "compare", "fit"])
def test_help_of_every_command_names_its_flags(command, capsys):
    code, said, _ = run(command, "--help", capture=capsys)
    assert code == 0 and "--config" in said
