"""The ground floor stands on its own, and the examples in its docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from dermfuse import cache

ROOT = Path(cache.__file__).resolve().parents[1]
MODULES = sorted(path.stem for path in (ROOT / "cache").glob("[!_]*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_are_true(module):
    assert doctest.testmod(importlib.import_module(f"dermfuse.cache.{module}")).failed == 0


def test_the_cache_loads_no_heavy_library():
    code = (
        "import importlib, sys\n"
        f"for name in {MODULES!r}: importlib.import_module('dermfuse.cache.' + name)\n"
        "rooms = {'dermfuse.features', 'dermfuse.pipelines', 'dermfuse.reports'}\n"
        "print(*({'torch', 'sklearn', 'pandas', 'PIL'} | rooms) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
