"""What a run ran on: versions, machine, time a stage, peak memory."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "torch",
    "torchvision",
    "scikit-learn",
    "imbalanced-learn",
    "xgboost",
    "shap",
    "pandas",
    "numpy",
    "scipy",
    "joblib",
    "h5py",
    "matplotlib",
    "pillow",
    "skops",
    "pyarrow",
)


class Stopwatch:
    """Seconds a stage took, by name."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block and add it to stage `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - started, 3)


def environment(device: str, seconds: dict[str, float]) -> dict:
    """The content of ``environment.json``; names no user, host or folder."""
    return {
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "device": device,
        "packages": package_versions(),
        "seconds": seconds,
        "peak_memory_mb": peak_memory_mb(),
        "peak_memory_workers_mb": peak_memory_of_workers_mb(),
    }


def package_versions() -> dict[str, str]:
    """Installed versions of the parts that can change a number."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def peak_memory_mb() -> float:
    """Most resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    return round(peak / (1024 if sys.platform != "darwin" else 1024**2), 1)


def peak_memory_of_workers_mb() -> float:
    """Most resident memory of each living process that this one started, added up, in MB; 0 without any.

    Memory that processes share counts in each of them, so the sum is an upper bound. Of processes that have ended, the
    system tells only the largest, which is taken where it is more; where there is no ``/proc``, always.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    pids = {pid for path in Path("/proc/self/task").glob("*/children") for pid in _read(path).split()}
    peaks = (re.search(r"VmHWM:\s+(\d+) kB", _read(Path("/proc") / pid / "status")) for pid in pids)
    return round(max(sum(int(peak[1]) for peak in peaks if peak) / 1024, ended), 1)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has just ended
        return ""
