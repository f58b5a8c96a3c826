"""What a run ran on is told without telling whose machine it was."""

from __future__ import annotations

import getpass
import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from dermfuse.pipelines.runs import environment as module
from dermfuse.pipelines.runs.environment import (
    PACKAGES,
    Stopwatch,
    environment,
    package_versions,
    peak_memory_mb,
    peak_memory_of_workers_mb,
)


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """A clock that shows what is put into it."""
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def test_a_stage_that_is_entered_again_adds_up(clock):
    watch = Stopwatch()
    for seconds in (1.5, 2.25):
        with watch.stage("fit"):
            clock[0] += seconds
    with watch.stage("write"):
        clock[0] += 1
    assert watch.seconds == {"fit": 3.75, "write": 1.0}


def test_a_stage_that_fails_is_timed_too(clock):
    watch = Stopwatch()
    with pytest.raises(ValueError), watch.stage("fit"):
        clock[0] += 2
        raise ValueError
    assert watch.seconds == {"fit": 2.0}


def test_versions_are_those_installed():
    found = package_versions()
    assert set(found) == set(PACKAGES)
    assert found["numpy"] == np.__version__ == metadata.version("numpy")


def test_a_package_that_is_absent_is_told(monkeypatch):
    monkeypatch.setattr(module, "PACKAGES", ("numpy", "no-such-package-anywhere"))
    assert package_versions()["no-such-package-anywhere"] == "not installed"


def test_it_names_no_user_no_host_and_no_folder():
    text = json.dumps(environment("cpu", {"fit": 1.0}))
    secrets = {platform.node(), str(Path.home()), str(Path.cwd()), getpass.getuser()} - {"", "/"}
    assert not [secret for secret in secrets if f'"{secret}"' in text or (len(secret) > 4 and secret in text)]
    assert "/" not in text.replace("\\/", "/")


def test_device_times_and_machine_are_in_it():
    found = environment("cuda", {"fit": 1.0})
    assert (found["device"], found["seconds"]) == ("cuda", {"fit": 1.0})
    assert found["cpus"] >= 1 and found["python"] == platform.python_version()


def test_peak_memory_is_in_megabytes_and_never_falls():
    before = peak_memory_mb()
    block = np.ones(40_000_000 // 8)
    after = peak_memory_mb()
    assert 20 < before <= after and after < 1_000_000 and block.sum() > 0


def test_the_memory_of_worker_processes_is_told_beside():
    code = "import sys; held = bytearray(120 << 20); print('ready', flush=True); sys.stdin.read()"
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    try:
        for process in started:
            process.stdout.readline()
        together = peak_memory_of_workers_mb()
    finally:
        for process in started:
            process.communicate(b"")
    assert together > (240 if sys.platform == "linux" else 0)
    assert peak_memory_of_workers_mb() >= 120, "the largest of those that have ended is still known"
