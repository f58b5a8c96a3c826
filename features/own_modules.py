"""Processes that are started find the modules of this one, wherever it was started from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dermfuse


@contextmanager
def modules_from_here() -> Iterator[None]:
    """Have processes that are started inside find these modules first, and none in the working folder.

    The process that others are forked from is not told where this one finds its modules.
    """
    found_in = [str(Path(dermfuse.__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    ours = {"PYTHONPATH": os.pathsep.join(found_in), "PYTHONSAFEPATH": "1"}
    before = {name: os.environ[name] for name in ours if name in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
        os.environ.update(before)
