"""Fixtures shared by the report's tests: one rendered page a variant."""

from __future__ import annotations

import pytest

from dermfuse.pipelines.runs import digests
from dermfuse.reports.pages.run_page import write_report
from tests.reports.runs import VARIANTS, trust_all, write


def pytest_configure(config):
    config.addinivalue_line("markers", "browser: needs a Chromium on PATH; skipped, with a reason, where there is none")


@pytest.fixture(autouse=True)
def made_by_hand(monkeypatch):
    """Runs are made and changed by hand here, so that what reads them is tested; digests have tests of their own."""
    trust_all(monkeypatch)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """Return a function that renders a variant once and gives its run folder."""
    done = {}

    def render(name: str):
        if name not in done:
            done[name] = write(tmp_path_factory.mktemp(name), VARIANTS[name])
            digests.seal(done[name])
            write_report(done[name])
        return done[name]

    return render


@pytest.fixture(params=list(VARIANTS))
def variant(request):
    """Every variant of a run, in turn."""
    return request.param


@pytest.fixture
def page(rendered, variant) -> str:
    """The page of every variant, in turn."""
    return (rendered(variant) / "report.html").read_text(encoding="utf-8")
