"""What a run ran on: versions, machine, time a stage, peak memory."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

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
