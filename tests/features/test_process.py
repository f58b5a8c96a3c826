"""The process settings for CPU extraction: what a person set goes first, and no number changes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EMBED = """
import hashlib, torch
torch.set_num_threads(1)
torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3)).eval()
with torch.inference_mode():
    values = network(torch.rand(4, 3, 40, 40))
print(hashlib.sha256(values.numpy().tobytes()).hexdigest())
"""


def run(code: str, **environment: str) -> str:
    given = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | environment
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=given, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_wait_passively_unless_a_person_said_otherwise(given, expected):
    code = "import os; from dermfuse.features import process; process.settle_process(); "
    code += "print(os.environ['OMP_WAIT_POLICY'])"
    assert run(code, **given) == expected


def test_settling_does_not_load_torch():
    code = "import sys; from dermfuse.features.process import settle_process as s; s(); print('torch' in sys.modules)"
    assert run(code) == "False"


def test_no_number_changes():
    settled = "from dermfuse.features.process import settle_process; settle_process()\n" + EMBED
    assert run(settled) == run(EMBED)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not the GNU C library")
def test_memory_that_is_free_goes_back_to_the_system():
    code = """
from pathlib import Path
from dermfuse.features.process import release_memory, settle_process
settle_process()
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
release_memory()
kept = [bytes(1000) for _ in range(200_000)]
gone = [kept[i] for i in range(0, len(kept), 1000)]  # a few stay, in between
del kept
before = resident()
release_memory()
print(before - resident())
"""
    assert int(run(code)) > 100e6
