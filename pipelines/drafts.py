"""Folders that are being written: their names say by whom, so that what a killed process left is told and cleared."""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
from pathlib import Path

DRAFT, TRIAL = ".draft", ".trial"
_NAME = re.compile(r"\.(?:draft|trial)-(?P<process>\d{1,9})-[0-9a-f]{8}(?:-(?P<machine>.*))?")


def new_name(kind: str = DRAFT) -> str:
    """A name that no other process takes."""
    return f"{kind}-{os.getpid()}-{secrets.token_hex(4)}-{_machine()}"


def abandoned(runs: Path) -> list[Path]:
    """Drafts in a folder of runs, or in an ablation's folder there, whose process is gone.

    Those of another machine, which may share the folder, are left out: nobody here can tell whether it still runs.
    """
    drafts = [path for kind in (DRAFT, TRIAL) for path in (*runs.glob(f"{kind}-*"), *runs.glob(f"[!.]*/{kind}-*"))]
    return sorted(path for path in drafts if path.is_dir() and not path.is_symlink() and _is_gone(path.name))


def clear_abandoned(runs: Path, say) -> None:
    """Delete the drafts of processes that are gone, and say so; one that cannot be deleted is told.

    Parameters
    ----------
    runs : Path
    say : callable
        Given a line of text.
    """
    for path in abandoned(runs):
        files = sum(1 for entry in path.rglob("*") if not entry.is_dir())
        shutil.rmtree(path, ignore_errors=True)
        state = "cannot be deleted" if path.exists() else "was deleted"
        say(f"the draft {path} with {files} files, left by a process that was killed, {state}")


def _machine() -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", platform.node())[:64] or "here"


def _is_gone(name: str) -> bool:
    found = _NAME.fullmatch(name)
    if found is None or found["machine"] not in (None, _machine()):
        return False
    return not _runs(int(found["process"]))


def _runs(process: int) -> bool:
    if os.name == "nt":  # there, asking with signal 0 would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True
