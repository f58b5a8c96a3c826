"""The examples run as they stand and print what the command line finds; the README shows them word for word."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

import dermfuse
from dermfuse.features.demo.synthetic import make_dataset
from tests.commands import run

ROOT = Path(dermfuse.__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NETWORK = "efficientnet_lite0"  # its weights are an installed package


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A working folder with the demo's, but for its autoencoder, and a run that the command line made there."""
    place = tmp_path_factory.mktemp("examples")
    demo = place / "demo"
    make_dataset(demo / "data", lesions=60, size=64)
    shared = ["--data", demo / "data", "--cache", demo / "embeddings", "--quiet"]
    assert run("extract", *shared, "--features", NETWORK)[0] == 3  # the demo holds bad files
    model = ["--model", "logreg", "--no-explain", "--name", "by-command"]
    assert run("fit", *shared, "--runs", demo / "runs", *model)[0] == 0
    return place


@pytest.fixture
def shown(folder, monkeypatch, capsys):
    """A function that runs an example in the working folder and gives what it prints."""
    import matplotlib
    import matplotlib.pyplot as plt

    def show(name: str) -> str:
        matplotlib.use("agg")
        monkeypatch.chdir(folder)
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
        plt.close("all")
        return capsys.readouterr().out

    return show


def test_the_readmes_example_prints_the_metrics_of_the_command_line(shown, folder):
    printed = shown("evaluate_demo.py")
    expected = dermfuse.Run(folder / "demo" / "runs" / "by-command").metrics["out_of_fold"]
    for name in ("accuracy", "macro_auc"):
        found = expected[name]
        assert f"{name} {found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})" in printed
    assert "all fields" in printed and "OPTIMISM_GAP" in printed
    assert (folder / "demo" / "roc.png").stat().st_size > 1000


def test_an_own_dataset_is_evaluated_by_lesion(shown):
    printed = shown("own_dataset.py")
    assert re.search(r"^77 images of \d+ lesions$", printed, re.M)
    honest, flattered = map(float, re.findall(r"\d\.\d{3}", printed))
    assert 0.1 < honest < 1 and 0.1 < flattered <= 1


def test_a_classifier_of_ones_own_takes_the_zoos_place(shown):
    printed = shown("custom_estimator.py")
    accuracy, majority = map(float, re.findall(r"0\.\d{3}", printed))
    assert accuracy > majority
    assert re.search(r"^with metadata: \w+ \(0\.\d\d\)\nwithout: \w+ \(0\.\d\d\)$", printed, re.M)


def test_embeddings_are_a_table(shown, folder):
    assert shown("embeddings_pca.py") == f"77 images, 1280 columns from {NETWORK}:0000 to {NETWORK}:1279\n"
    assert (folder / "drawn" / "components.png").stat().st_size > 1000


def test_every_example_is_short_and_says_what_it_is_for():
    for path in EXAMPLES:
        text = path.read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), path.name
        assert len(text.splitlines()) <= 45, path.name


def test_the_readmes_python_is_an_example_word_for_word():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    texts = [path.read_text(encoding="utf-8") for path in EXAMPLES]
    assert not [block for block in blocks if not any(block in text for text in texts)]
