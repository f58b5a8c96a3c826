"""Processes are not told of the main program, which is then what it was."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from dermfuse.features.main_program import without_main_program


@pytest.mark.parametrize("file", [None, "program.py"])
def test_the_main_program_is_hidden_from_workers_and_then_what_it_was(file, monkeypatch):
    main = ModuleType("__main__")
    if file is not None:
        main.__file__ = file
    before = dict(vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    with without_main_program():
        assert (main.__file__, main.__spec__) == (None, None)
    assert vars(main) == before
