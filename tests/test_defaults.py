"""Defaults from a TOML file: which keys are taken for which command, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dermfuse.cache.errors import USAGE, UserError
from dermfuse.defaults import flags_of, read_defaults

ONCE = dict.fromkeys(("model", "no_explain", "cache", "delete", "unused_days"), False)
FLAGS = {
    "fit": {name: ONCE[name] for name in ("model", "no_explain", "cache")},
    "cache-gc": {**{name: ONCE[name] for name in ("cache", "delete", "unused_days")}, "block": True},
}


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "defaults.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_command_takes_the_shared_keys_it_has_and_its_own_table_over_them(write):
    path = write('cache = "a"\nmodel = "rf"\nunused-days = 3\n[fit]\nmodel = "svm"\n[cache-gc]\ncache = "b"\n')
    assert read_defaults(path, "fit", FLAGS) == {"cache": "a", "model": "svm"}
    assert read_defaults(path, "cache-gc", FLAGS) == {"cache": "b", "unused_days": 3}


def test_dashes_and_underscores_are_one_and_lists_go_by_comma(write):
    assert read_defaults(write("no-explain = true\n"), "fit", FLAGS) == {"no_explain": True}
    assert read_defaults(write('no_explain = true\nmodel = ["a", 1]\n'), "fit", FLAGS) == {
        "no_explain": True,
        "model": "a,1",
    }


def test_a_flag_that_may_be_given_several_times_takes_a_list_and_a_single_value(write):
    assert read_defaults(write('block = ["cae-1", "cae-2"]\n'), "cache-gc", FLAGS) == {"block": ["cae-1", "cae-2"]}
    assert read_defaults(write('[cache-gc]\nblock = "cae-1"\n'), "cache-gc", FLAGS) == {"block": ["cae-1"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modell = 1\n", "unknown key 'modell'"),
        ("[fit]\nunused-days = 1\n", "unknown key 'unused_days'"),
        ("[fitt]\nmodel = 1\n", "unknown key 'fitt'"),
        ("delete = true\n", "unknown key 'delete'"),
        ("[cache-gc]\ndelete = true\n", "unknown key 'delete'"),
        ("model =\n", "cannot read --config"),
        (b"model = '\xff'\n", "cannot read --config"),
    ],
)
def test_what_is_no_flag_or_no_toml_is_refused(write, text, said):
    with pytest.raises(UserError, match=said) as caught:
        for command in FLAGS:
            read_defaults(write(text), command, FLAGS)
    assert caught.value.exit_code == USAGE


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="absent.toml"):
        read_defaults(tmp_path / "absent.toml", "fit", FLAGS)


def test_commands_of_a_group_are_named_with_it():
    def command(*names):
        return SimpleNamespace(params=[SimpleNamespace(name=name, nargs=1, multiple=False) for name in names])

    group = SimpleNamespace(params=[], commands={"ls": command("cache"), "gc": command("cache", "runs")})
    assert flags_of({"fit": command("model"), "cache": group}) == {
        "fit": {"model": False},
        "cache-ls": {"cache": False},
        "cache-gc": {"cache": False, "runs": False},
    }


def test_the_command_lines_own_flags_say_which_may_be_given_several_times():
    from typer.main import get_command

    from dermfuse.cli import app

    flags = flags_of(get_command(app).commands)
    assert flags["cache-gc"]["block"] and not flags["cache-gc"]["delete"]
    assert flags["compare"]["run"] and not flags["fit"]["features"]
