"""A command that only reads makes nothing: a mistyped folder stays one that is not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dermfuse.cache import atomic
from tests.commands import run


def commands(place: Path, cache: Path, runs: Path) -> dict[str, list]:
    images = sorted((place / "data" / "images").glob("*.jpg"))
    image = next(path for path in images if path.stat().st_size > 1500)
    first = place / "runs" / "first"
    return {
        "audit": ["audit", "--data", place / "data", "--cache", cache],
        "predict": ["predict", first, image, "--cache", cache, "--workers", "0"],
        "fit": ["fit", "--data", place / "data", "--cache", cache, "--runs", runs],
        "ablate": ["ablate", "--data", place / "data", "--cache", cache, "--runs", runs],
        "doctor": ["doctor", "--cache", cache, "--runs", runs],
        "report": ["report", "nothing", "--runs", runs],
        "cache ls": ["cache", "ls", "--cache", cache],
        "cache verify": ["cache", "verify", "--cache", cache],
        "cache gc": ["cache", "gc", "--cache", cache],
    }


NAMES = ("audit", "predict", "fit", "ablate", "doctor", "report", "cache ls", "cache verify", "cache gc")


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_is_not_there_is_not_made(place, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*commands(place, tmp_path / "typo" / "cache", tmp_path / "no" / "runs")[name], capture=capsys)
    assert code in (0, 1, 2) and "unexpected" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["audit", "predict", "doctor", "cache ls", "cache verify", "cache gc"])
def test_a_cache_that_may_not_be_written_to_can_be_read(place, tmp_path, monkeypatch, capsys, name):
    def refuses(path, data, verify=None):
        with atomic.disk_errors_told(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for where in (
        "dermfuse.cache.atomic",
        "dermfuse.cache.findings",
        "dermfuse.features.runtimes.recall",
        "dermfuse.features.runtimes.choice",
    ):
        monkeypatch.setattr(f"{where}.atomic_write", refuses)
    before = sorted((place / "cache").rglob("*"))
    code, out, err = run(*commands(place, place / "cache", place / "runs")[name], capture=capsys)
    assert code == 0 and out and "unexpected" not in err
    assert sorted(path for path in (place / "cache").rglob("*") if "files.sqlite" not in path.name) == [
        path for path in before if "files.sqlite" not in path.name
    ]
