"""The facts of the environment: versions, machine, memory, and the time each stage took."""

from __future__ import annotations

from dermfuse.reports.runfolder import RunFolder

_AS_TOLD = ("python", "platform", "cpus", "device", "peak_memory_mb", "peak_memory_workers_mb")


def environment_facts(run: RunFolder) -> dict:
    """Return ``environment.json``, with each stage's share of the longest."""
    seconds = run.environment["seconds"]
    longest = max(seconds.values(), default=0.0)
    return {
        **{key: run.environment[key] for key in _AS_TOLD},
        "packages": sorted(run.environment["packages"].items()),
        "seconds": [(stage, value, value / longest if longest else 0.0) for stage, value in seconds.items()],
        "total_seconds": sum(seconds.values()),
    }
