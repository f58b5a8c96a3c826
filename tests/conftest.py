"""What any test may ask for: the long form, how often to kill or to damage, and the real data."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run tests marked slow in their full form")
    parser.addoption("--kills", type=int, help="how often an extraction is killed; 15, or 200 with --long")
    parser.addoption("--mutations", type=int, help="damaged files of every model; 10, or 1000 with --long")


@pytest.fixture
def long(request) -> bool:
    """Whether the full form was asked for."""
    return request.config.getoption("--long")


@pytest.fixture
def kills(request, long) -> int:
    """How often to kill an extraction."""
    return request.config.getoption("--kills") or (200 if long else 15)


@pytest.fixture
def mutations(request, long) -> int:
    """How many damaged files of every model are read."""
    return request.config.getoption("--mutations") or (1000 if long else 10)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and weights; a test marked ``real_data`` is skipped where there is none."""
    if not (SHARED / "ham10000").is_dir() or not (SHARED / "weights").is_dir():
        pytest.skip(f"no real data: {SHARED} has no ham10000 and weights")
    return SHARED


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with drawn data, its cache with an autoencoder block, and a run."""
    from dermfuse.features.demo.synthetic import make_dataset
    from tests.commands import run

    folder = tmp_path_factory.mktemp("place")
    make_dataset(folder / "data", lesions=60, size=64, seed=0)
    shared = ["--data", folder / "data", "--cache", folder / "cache", "--quiet"]
    assert run("extract", *shared, "--features", "cae")[0] == 3  # the demo holds bad files
    code = run("fit", *shared, "--runs", folder / "runs", "--model", "logreg", "--name", "first", "--no-explain")[0]
    assert code == 0
    return folder
