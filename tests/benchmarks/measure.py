"""Run the command line as a child process and measure it; print and keep tables of results."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("RESULTS.md")


@dataclass(frozen=True)
class Measured:
    """Wall-clock seconds, peak resident memory in MB, and standard output of one process."""

    seconds: float
    peak_mb: float
    output: str


def measure(*arguments: object) -> Measured:
    """Run ``python cli.py ARGUMENTS`` and measure it.

    Raises
    ------
    RuntimeError
        It exited with something other than 0 or 3.
    """
    with tempfile.TemporaryFile("w+") as output:
        started = time.perf_counter()
        command = [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]
        process = subprocess.Popen(command, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 3):
            raise RuntimeError(f"{' '.join(command)} exited with {process.returncode}")
        output.seek(0)
        return Measured(seconds, usage.ru_maxrss / 1024, output.read())


def machine() -> str:
    """The machine in one line, without its name."""
    import torch

    from dermfuse.features.runtimes.choice import processor

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB; "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_results(title: str, command: str, where: str, text: str) -> None:
    """Put a section into RESULTS.md, in place of an older one of the same title."""
    section = f"## {title}\n\n`{command}`, {date.today().isoformat()}, {where}.\n\n{text}\n"
    old = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Benchmark results\n"
    kept = re.sub(rf"\n## {re.escape(title)}\n.*?(?=\n## |\Z)", "", old, flags=re.DOTALL).rstrip()
    RESULTS.write_text(f"{kept}\n\n{section}", encoding="utf-8")
