"""Decoders that misbehave as a file tells them to; importable, so that worker processes can be given them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch

from dermfuse.features.images.decoder import BadImage, Picture, decode


def scripted(path: Path, sha256: str | None = None) -> Picture:
    """Do what the file says; else decode it, whatever its digest.

    A file may begin with ``crash``, ``exit``, ``hang``, ``slow``, ``raise``, ``fill`` or ``once``; the last crashes at
    the first try and leaves a note of it beside the file.
    """
    order = Path(path).read_bytes()[:5].rstrip(b"\n")
    if order == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if order == b"exit":
        os._exit(7)
    if order == b"hang":
        time.sleep(3600)
    if order == b"slow":
        time.sleep(0.2)
        return _grey()
    if order == b"raise":
        raise RuntimeError("no such luck")
    if order == b"fill":
        raise MemoryError
    if order == b"once":
        note = Path(f"{path}.tried")
        if not note.exists():
            note.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return _grey()
    return decode(path)


def refused(path: Path, sha256: str | None = None) -> Picture:
    """Refuse every file with its process's number, which tells who decoded it."""
    raise BadImage(str(os.getpid()))


def _grey() -> Picture:
    return Picture(torch.full((3, 24, 32), 128, dtype=torch.uint8))
