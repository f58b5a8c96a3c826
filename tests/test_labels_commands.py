"""Labels and numbers as a person meets them: what ``fit`` tells, refuses and writes down."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.commands import refused, run

FLAGS = ("--image-column", "file", "--label-column", "kind", "--metadata-columns", "age,sex", "--no-images")
QUICK = ("--model", "logreg", "--folds", "2", "--balance", "none", "--jobs", "1", "--no-explain", "--json")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A function from classes to the flags of a fit on a table with as many rows of each."""
    rng = np.random.default_rng(0)

    def of(*classes: str) -> tuple:
        folder = tmp_path_factory.mktemp("table")
        lines = ["file,kind,age,sex"]
        for n in range(40 * len(classes)):
            age = int(rng.integers(20, 60)) + 10 * (n % len(classes))
            lines.append(
                f"i{n:03},{classes[n % len(classes)]},{-9 if n % 20 == 7 else age},{'fm'[n // len(classes) % 2]}"
            )
        (folder / "table.csv").write_text("\n".join(lines) + "\n")
        shared = ("--data", folder, "--cache", folder / "cache", "--runs", folder / "runs", "--name", "one")
        return (*shared, *FLAGS, *QUICK)

    return of


def fitted(capsys, *arguments) -> tuple[dict, dict, str]:
    """What the command printed, the run's ``config.json``, and its notes."""
    code, out, err = run("fit", *arguments, capture=capsys)
    assert code == 0, err
    found = json.loads(out)
    with open(f"{found['run']}/config.json") as file:
        return found, json.load(file)["dataset"], err


def test_a_fit_of_two_classes_says_which_is_positive(tables, capsys):
    found, config, notes = fitted(capsys, *tables("melanoma", "nevus"))
    assert found["positive"] == config["positive"] == "melanoma"
    assert found["decision_curve"]["classes"] == ["melanoma"]
    assert "note: the positive class is 'melanoma', chosen by its name" in notes
    assert "note: column 'age': 4 cells hold -9, which no person has; read as missing" in notes
    assert config["ranges"]["age"]["min"] >= 20


def test_the_flag_chooses_the_positive_class(tables, capsys):
    found, config, notes = fitted(capsys, *tables("melanoma", "nevus"), "--positive", "Nevus")
    assert found["positive"] == config["positive"] == "nevus"
    assert "chosen by" not in notes


def test_malignant_classes_can_be_named_by_a_flag(tables, capsys):
    found, config, _ = fitted(capsys, *tables("mel", "bcc", "nv"), "--malignant", "BCC,mel")
    assert config["malignant"] == ["bcc", "mel"]
    assert found["malignant"]["classes"] == ["bcc", "mel"]


def test_without_the_flag_nothing_is_read_as_malignant(tables, capsys):
    found, config, _ = fitted(capsys, *tables("mel", "bcc", "nv"))
    assert config["malignant"] == [] and "malignant" not in found


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--malignant", "scc"), 1, "'malignant' names 'scc', but the classes are bcc, mel, nv"),
        (("--malignant", " , "), 2, "Give class names by comma"),
        (("--positive", "mel"), 2, "'positive' is said of two classes, but there are 3"),
        (("--positive", "scc"), 2, "'positive' names 'scc'"),
    ],
)
def test_names_that_are_no_classes_are_refused_in_one_line(tables, capsys, flags, code, said):
    assert said in refused(capsys, code, "fit", *tables("mel", "bcc", "nv"), *flags)
