"""``--quiet`` is quiet, for every command: what was asked for on stdout, nothing but errors on stderr."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dermfuse import cli
from tests.commands import run

QUICK = ("--folds", "2", "--jobs", "1", "--model", "logreg")


@pytest.fixture(scope="module")
def home(place, tmp_path_factory) -> Path:
    """A copy of the place with a second run, a killed process's leavings and a damaged block."""
    home = tmp_path_factory.mktemp("home")
    for part in ("data", "cache", "runs"):
        shutil.copytree(place / part, home / part)
    shutil.copytree(home / "runs" / "first", home / "runs" / "second")
    (home / "runs" / ".draft-999999999-0123abcd").mkdir()
    (home / "runs" / "first" / ".tmp-999999999-0123abcd-report.html").write_text("<html>")
    broken = home / "cache" / "blocks" / "broken-0123456789abcdef"
    broken.mkdir()
    (broken / "recipe.json").write_text("{")
    return home


def commands(home: Path) -> dict[str, tuple[list, int]]:
    """Every command as a person gives it, and its exit code."""
    data, cache, runs = (("--" + part, home / part) for part in ("data", "cache", "runs"))
    image = next(path for path in sorted((home / "data" / "images").glob("*.jpg")) if path.stat().st_size > 1500)
    return {
        "extract": (["extract", *data, *cache, "--features", "cae", "--workers", "0"], cli.PARTIAL),
        "audit": (["audit", *data, *cache], 0),
        "fit": (["fit", *data, *cache, *runs, *QUICK, "--name", "third"], 0),
        "ablate": (["ablate", *data, *cache, *runs, *QUICK, "--name", "abl"], 0),
        "compare": (["compare", "first", "second", *runs, "--out", home / "compare.html"], 0),
        "report": (["report", "first", *runs], 0),
        "predict": (["predict", "first", image, *cache, *runs, "--json"], 0),
        "doctor": (["doctor", *cache, *runs], 0),
        "cache ls": (["cache", "ls", *cache], 0),
        "cache verify": (["cache", "verify", *cache], cli.FAILED),
        "cache gc": (["cache", "gc", *cache, *runs], 0),
    }


# The demo is run quietly by its own test.
NAMES = ("extract", "audit", "fit", "ablate", "compare", "report", "predict", "doctor", "cache ls", "cache verify")


def test_every_command_is_asked():
    known = {command.callback.__name__ for command in cli.app.registered_commands}
    kept = {f"cache {command.callback.__name__}" for command in cli.cache_app.registered_commands}
    assert known | kept == {*NAMES, "cache gc", "demo"}


@pytest.mark.parametrize("name", [*NAMES, "cache gc"])
def test_a_quiet_command_prints_its_result_and_nothing_else(home, capfd, name):
    given, expected = commands(home)[name]
    code, out, err = run(*given, "--quiet", capture=capfd)
    assert code == expected
    # What is wrong with files is an error, and the reason of the exit code.
    assert not [line for line in err.splitlines() if code == 0 or not ("set aside" in line or "damaged" in line)]
    assert out.strip()
