"""Folders and files that are being written: their names say by whom, so that what a killed process left is cleared."""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from dermfuse.cache.atomic import TEMPORARY_PREFIX

DRAFT, TRIAL = ".draft", ".trial"
_NAME = re.compile(r"\.(?:draft|trial)-(?P<process>\d{1,9})-[0-9a-f]{8}(?:-(?P<machine>.*))?")
_FILE = re.compile(re.escape(TEMPORARY_PREFIX) + r"(?P<process>\d{1,9})-[0-9a-f]{8}-.+", re.DOTALL)


def new_name(kind: str = DRAFT) -> str:
    """A name that no other process takes."""
    return f"{kind}-{os.getpid()}-{secrets.token_hex(4)}-{_machine()}"


def abandoned(runs: Path) -> list[Path]:
    """Drafts and half-written files in a folder of runs, or in a run's or an ablation's there, whose process is gone.

    Those of another machine, which may share the folder, are left out: nobody here can tell whether it still runs.
    """
    drafts = [path for kind in (DRAFT, TRIAL) for path in (*runs.glob(f"{kind}-*"), *runs.glob(f"[!.]*/{kind}-*"))]
    left = [path for path in drafts if path.is_dir() and not path.is_symlink() and _is_gone(path.name)]
    folders = (runs, *runs.glob("[!.]*/"), *runs.glob("[!.]*/[!.]*/"))
    return sorted([*left, *(path for folder in folders for path in half_written(folder))])


def half_written(folder: Path) -> list[Path]:
    """Files in a folder that were being written when their process was killed, sorted."""
    files = (path for path in folder.glob(f"{TEMPORARY_PREFIX}*") if path.is_file() and not path.is_symlink())
    return sorted(path for path in files if _is_gone(path.name))


def clear_abandoned(runs: Path, say) -> None:
    """Delete what processes that are gone left in a folder of runs, and say so; what cannot be deleted is told.

    Parameters
    ----------
    runs : Path
    say : callable
        Given a line of text.
    """
    for path in abandoned(runs):
        _clear(path, say)


def clear_half_written(folder: Path, say) -> None:
    """As :func:`clear_abandoned`, for the files of one folder."""
    for path in half_written(folder):
        _clear(path, say)


def words_for(path: Path) -> str:
    """What was left, in words."""
    if path.is_dir():
        return f"the draft {path} with {sum(1 for entry in path.rglob('*') if not entry.is_dir())} files"
    return f"the half-written file {path}"


def _clear(path: Path, say) -> None:
    what = words_for(path)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # told below
            path.unlink(missing_ok=True)
    say(f"{what}, left by a process that was killed, {'cannot be deleted' if path.exists() else 'was deleted'}")


def _machine() -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", platform.node())[:64] or "here"


def _is_gone(name: str) -> bool:
    found = _NAME.fullmatch(name)
    if found is None:
        found = _FILE.fullmatch(name)
    elif found["machine"] not in (None, _machine()):
        return False
    return found is not None and not _runs(int(found["process"]))


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
