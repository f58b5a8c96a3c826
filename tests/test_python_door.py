"""``import dermfuse`` costs nothing; every name it promises is there."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import dermfuse

ROOT = Path(dermfuse.__file__).resolve().parents[1]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_loads_nothing_that_is_heavy():
    code = (
        "import sys; before = set(sys.modules); import dermfuse; dir(dermfuse); dermfuse.__all__\n"
        "heavy = {'numpy', 'pandas', 'torch', 'sklearn', 'scipy', 'matplotlib', 'h5py', 'PIL', 'typer', 'jinja2'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)), [n for n in sys.modules if n.startswith('dermfuse.')])"
    )
    assert python(code) == "[] []"


def test_displays_load_matplotlib_only_when_they_draw():
    code = "import sys, dermfuse; dermfuse.RocDisplay, dermfuse.Run\nprint('matplotlib' in sys.modules)"
    assert python(code) == "False"


@pytest.mark.parametrize("name", dermfuse.__all__)
def test_every_name_is_there_and_documented(name):
    found = getattr(dermfuse, name)
    assert found.__name__ == name and inspect.getdoc(found) and name in dir(dermfuse)


def test_an_unknown_name_is_an_attribute_error_and_submodules_are_found():
    with pytest.raises(AttributeError, match="module 'dermfuse' has no attribute 'fit'"):
        dermfuse.fit  # noqa: B018
    from dermfuse import cli, features

    assert cli.app and features.__doc__


def test_no_exported_name_hides_a_room():
    rooms = {path.name for path in (*ROOT.iterdir(), *Path(dermfuse.__file__).parent.iterdir())}
    assert not {name for name in dermfuse.__all__ if name in rooms or f"{name}.py" in rooms}
