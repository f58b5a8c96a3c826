"""The main job on the real HAM10000 images with real pretrained weights; skipped where they are not."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
HAM10000 = ROOT.parent / "shared" / "ham10000"
WEIGHTS = ROOT.parent / "shared" / "weights"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (HAM10000.is_dir() and WEIGHTS.is_dir()),
        reason="needs ../shared/ham10000 and ../shared/weights, which are not part of the project",
    ),
]

# Probabilities of an image embedded anew, in a batch of other images, against those that fit wrote down.
TOLERANCE = 1e-3


def run(*arguments):
    done = subprocess.run(
        [sys.executable, ROOT / "cli.py", *map(str, arguments)], capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    run("extract", *_data(folder), "--features", "mobilenet_v2", "--weights-dir", WEIGHTS, "--quiet")
    return folder


def _data(folder):
    return ["--data", HAM10000, "--cache", folder / "cache"]


def _fit(folder, model, *more):
    out = run("fit", *_data(folder), "--runs", folder / "runs", "--model", model, "--no-explain", "--json", "-q", *more)
    return json.loads(out)


def test_logistic_regression_reaches_its_macro_auc_out_of_fold(place):
    assert _fit(place, "logreg", "--name", "logreg")["out_of_fold"]["macro_auc"]["value"] >= 0.92


def test_a_multilayer_perceptron_beats_the_majority_class_by_far(place):
    facts = _fit(place, "mlp", "--balance", "none")
    assert facts["out_of_fold"]["accuracy"]["value"] >= 0.80
    assert facts["majority"]["out_of_fold"] < 0.73


def test_a_random_forest_reaches_its_macro_auc_out_of_fold(place, request):
    if not request.config.getoption("--long"):
        pytest.skip("takes minutes; run with --long")
    assert _fit(place, "rf")["out_of_fold"]["macro_auc"]["value"] >= 0.90


def test_predict_gives_what_the_final_model_gave_in_fit(place, tmp_path):
    if not (place / "runs" / "logreg").exists():
        _fit(place, "logreg", "--name", "logreg")
    fitted = pd.read_parquet(place / "runs" / "logreg" / "predictions.parquet").query("split == 'test'")
    chosen = fitted.sample(20, random_state=0)
    paths = {p.stem: p for p in HAM10000.rglob("*.jpg")}
    images = [paths[i] for i in chosen["id"]]
    table = HAM10000 / "HAM10000_metadata.csv"
    command = ["predict", place / "runs" / "logreg", *images, "--metadata", table, "--json", "-q"]
    for cache in (place / "cache", tmp_path / "empty"):  # from the cache, and embedded anew
        lines = run(*command, "--cache", cache, "--weights-dir", WEIGHTS).splitlines()
        for line, (_, row) in zip(map(json.loads, lines), chosen.iterrows(), strict=True):
            for name, p in line["probabilities"].items():
                assert p == pytest.approx(row[f"p_{name}"], abs=TOLERANCE)
