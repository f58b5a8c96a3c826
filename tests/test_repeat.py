"""What a report prints under "To repeat it" is run as it stands, and gives the same numbers."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from dermfuse.features.console import Console
from dermfuse.flags import Source
from dermfuse.reports.pages.facts import facts
from dermfuse.reports.runfolder import read_run
from tests.commands import run

QUICK = ("--model", "logreg", "--folds", "2", "--no-explain")
OWN_COLUMNS = ("--table", "other.csv", "--image-column", "picture", "--label-column", "finding")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """Drawn data, the same data under other column names, and small weights."""
    from dermfuse.features.demo.synthetic import make_dataset

    folder = tmp_path_factory.mktemp("drawn")
    make_dataset(folder / "data", lesions=90, size=32, seed=1)
    shutil.copytree(folder / "data", folder / "own")
    (folder / "own" / "dataset.toml").unlink()
    shutil.rmtree(folder / "own" / "masks")
    text = (folder / "own" / "metadata.csv").read_text()
    names = text.splitlines()[0].replace("image_id", "picture").replace("lesion_id", "mole").replace("dx", "finding", 1)
    (folder / "own" / "other.csv").write_text("\n".join([names, *text.splitlines()[1:]]) + "\n")
    from torchvision.models import get_model

    torch.manual_seed(0)
    (folder / "weights").mkdir()
    torch.save(get_model("mobilenet_v3_small", weights=None).state_dict(), folder / "weights/mobilenet_v3_small.pth")
    return folder


def printed(run_folder: Path) -> list[list[str]]:
    return [shlex.split(line) for line in facts(read_run(run_folder))["run"]["commands"]]


def repeated(run_folder: Path, data: Path, weights: Path, place: Path, caches: dict[tuple, Path]) -> Path:
    """Run what a report prints, in a place where nothing is; equal extractions are made once for all tests."""
    *extractions, last = printed(run_folder)
    made = tuple(tuple(words) for words in extractions)
    cache = caches.setdefault((data, made), place / f"cache{len(caches)}")
    stand_in = {"DIR": str(data), "WEIGHTS": str(weights)}
    if not cache.exists():
        for words in extractions:
            code, *_ = run(*(stand_in.get(word, word) for word in words[2:]), "--cache", cache, "-q")
            assert code in (0, 3), words  # the drawn data hold bad files
    code, *_ = run(*(stand_in.get(word, word) for word in last[2:]), "--cache", cache, "--runs", place / "runs", "-q")
    assert code == 0, last
    return place / "runs" / last[last.index("--name") + 1]


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> tuple[Path, dict]:
    return tmp_path_factory.mktemp("again"), {}


def document(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


def check_repeats(drawn: Path, caches, data: str, extract: list[tuple], fit: tuple, original: Path) -> list[list[str]]:
    place, known = caches
    cache = drawn / "-".join(["cache", data, *("_".join(flags) for flags in extract)]).replace("/", "")[:100]
    if not cache.exists():
        for flags in extract:
            assert run("extract", "--data", drawn / data, "--cache", cache, "-q", *flags)[0] in (0, 3)
    where = ("--data", drawn / data, "--cache", cache, "--runs", original.parent, "-q")
    assert run("fit", *where, *fit, "--name", original.name)[0] == 0
    again = repeated(original, drawn / data, drawn / "weights", place, known)
    assert document(again, "metrics.json") == document(original, "metrics.json")
    assert document(again, "config.json")["commands"] == document(original, "config.json")["commands"]
    assert str(drawn) not in json.dumps(printed(original))
    return printed(original)


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--seed", "7"),
        ("--select-k", "2", "--balance", "weights"),
        ("--calibration", "isotonic", "--balance", "none"),
        ("--folds", "3", "--repeats", "2"),
        ("--tune", "2", "--balance", "none"),
        ("--model", "xgb", "--jobs", "1"),
    ],
    ids=" ".join,
)
def test_a_fit_of_metadata_is_repeated(drawn, caches, tmp_path, flags):
    name = "m" + "".join(flags).replace("-", "").replace("_", "")
    told = check_repeats(drawn, caches, "data", [], (*QUICK, "--no-images", *flags), tmp_path / name)
    assert len(told) == 1 and "--no-images" in told[0]


CAE = ("--features", "cae", "--seed", "5", "--dtype", "float32", "--precision", "exact")


@pytest.mark.parametrize("flags", [(), ("--no-metadata", "--balance", "none")], ids=["both", "images alone"])
def test_embeddings_of_another_seed_and_type_are_repeated(drawn, caches, tmp_path, flags):
    fit = (*QUICK, "--features", "cae", "--seed", "5", *flags)
    told = check_repeats(drawn, caches, "data", [CAE], fit, tmp_path / f"cae{len(flags)}")
    assert {"--seed", "5", "--dtype", "float32"} <= set(told[0])


def test_the_precision_that_was_computed_in_is_named(drawn, caches, tmp_path):
    """The fastest one may be another the next time."""
    fit = (*QUICK, "--features", "cae", "--no-metadata")
    told = check_repeats(
        drawn, caches, "data", [("--features", "cae", "--precision", "bfloat16")], fit, tmp_path / "bf"
    )
    assert {"--precision", "bfloat16"} <= set(told[0])


def test_column_flags_are_repeated_in_both_stages(drawn, caches, tmp_path):
    columns = (*OWN_COLUMNS, "--group-column", "mole", "--metadata-columns", "age=number,sex")
    extract = [(*columns, "--features", "cae", "--seed", "2", "--precision", "exact")]
    fit = (*columns, *QUICK, "--seed", "2")
    told = check_repeats(drawn, caches, "own", extract, fit, tmp_path / "own-columns")
    for words in told:
        assert set(columns) <= set(words)


def test_several_features_extracted_apart_are_repeated_by_as_many_commands_as_it_takes(drawn, caches, tmp_path):
    weights = ("--weights-dir", str(drawn / "weights"))
    pretrained = (
        "--features",
        "mobilenet_v3_small",
        *weights,
        "--views",
        "2",
        "--levels",
        "multi",
        "--precision",
        "exact",
    )
    extract = [pretrained, CAE]
    fit = (*QUICK, "--features", "cae,mobilenet_v3_small", "--seed", "5")
    told = check_repeats(drawn, caches, "data", extract, fit, tmp_path / "several")
    assert [words[2] for words in told] == ["extract", "extract", "fit"]
    assert {"--views", "2", "--levels", "multi"} <= set(told[1]) & set(told[2])


def test_an_ablation_prints_itself_for_each_of_its_arms(drawn, caches, tmp_path):
    cache = drawn / "cache-for-ablation"
    shared = ("--data", drawn / "data", "--cache", cache, "-q")
    assert run("extract", *shared, *CAE)[0] in (0, 3)
    chosen = ("--model", "logreg", "--folds", "2", "--balance", "weights", "--seed", "5")
    assert run("ablate", *shared, *chosen, "--runs", tmp_path, "--name", "abl")[0] == 0
    arms = sorted(path.parent for path in (tmp_path / "abl").glob("*/config.json"))
    assert len({json.dumps(printed(arm)) for arm in arms}) == 1
    place, known = caches
    again = repeated(arms[0], drawn / "data", drawn / "weights", place, known)
    for arm in arms:
        assert document(again / arm.name, "metrics.json") == document(arm, "metrics.json")


def test_every_column_flag_of_the_command_line_reaches_the_dataset(drawn):
    """Flags that are declared later, too: what is given is kept by name."""
    import inspect

    parameters = [name for name in inspect.signature(Source).parameters if name != "data"]
    known = {"table", "image_column", "label_column", "group_column", "metadata_columns"}
    assert known <= set(parameters)
    data = drawn / "own"
    named = {"table": "other.csv", "image_column": "picture", "label_column": "finding"}
    dataset = Source(data, **named)(Console(quiet=True))
    assert dataset.flags == named and dataset.keep(slice(3)).flags == named
