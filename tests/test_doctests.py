"""The examples in the docstrings of every room are true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import dermfuse

ROOT = Path(dermfuse.__file__).resolve().parents[1]
ROOMS = ("cache", "features", "pipelines", "reports")
TEACHING = [
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", TEACHING)
def test_examples_in_docstrings_are_true(module):
    result = doctest.testmod(importlib.import_module(f"dermfuse.{module}"))
    assert result.attempted and not result.failed


def test_modules_with_examples_are_found_in_every_room():
    assert {name.split(".")[0] for name in TEACHING} == set(ROOMS)
