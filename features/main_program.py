"""The program that was started, hidden from the processes that it starts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_main_program() -> Iterator[None]:
    """Have processes that the block starts know nothing of the main program.

    A child would else import it anew, and so run a script again that has no guard.
    """
    main = vars(sys.modules["__main__"])
    hidden = {"__file__": None, "__spec__": None}
    held = {name: main[name] for name in hidden if name in main}
    main.update(hidden)
    try:
        yield
    finally:
        for name in hidden:
            del main[name]  # a notebook has no file, and is known by that
        main.update(held)
