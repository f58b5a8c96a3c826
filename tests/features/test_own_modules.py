"""Processes that are started use the same code as the one that starts them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_processes_take_these_modules_and_none_of_the_working_folder(tmp_path):
    (tmp_path / "dermfuse").mkdir()
    (tmp_path / "dermfuse" / "__init__.py").write_text("raise SystemExit('another one')")
    code = f"""
import os, subprocess, sys
sys.path[:] = [{str(ROOT)!r}, *sys.path[1:]]
from dermfuse.features.own_modules import modules_from_here
before = dict(os.environ)
with modules_from_here():
    subprocess.run([sys.executable, "-c", "import dermfuse; print(dermfuse.__file__)"])
print(os.environ == before, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == [str(ROOT / "dermfuse" / "__init__.py"), "True"], done.stderr
