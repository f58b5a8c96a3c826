"""Defaults from a TOML file: which keys are taken for which command, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from dermfuse.cache.errors import USAGE, UserError
from dermfuse.defaults import flags_of, read_defaults
from dermfuse.pipelines.options.option import option, options_of

CACHE = option(Path(), "")


def fit(
    model: str = option("rf", ""),
    no_explain: bool = option(False, ""),
    cache: Path = CACHE,
    folds: int = option(5, "", low=2, high=9),
):
    """A command."""


def gc(
    cache: Path = CACHE,
    delete: bool = option(False, ""),
    unused_days: float | None = option(None, "", low=0),
    block: list[str] | None = option(None, "", repeated=True),
):
    """A command of a group."""


FLAGS = {"fit": options_of(fit), "cache-gc": options_of(gc)}


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
    assert read_defaults(path, "cache-gc", FLAGS) == {"cache": "b", "unused_days": "3.0"}


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


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("folds = 1", "1"),
        ("folds = 10", "10"),
        ("folds = 2.5", "2.5"),
        ("folds = true", "True"),
        ('folds = "many"', "'many'"),
        ("folds = [2, 3]", "[2, 3]"),
        ("folds = {of = 2}", "{'of': 2}"),
    ],
)
def test_a_value_that_its_flag_does_not_take_is_refused_by_the_key_and_the_file(write, line, shown):
    path = write(f'[fit]\n{line}\nmodel = "svm"\n')
    found = read_defaults(path, "fit", FLAGS)
    assert found.get("model") == "svm"
    with pytest.raises(UserError) as caught:
        found.get("folds")
    expected = f"folds in --config {path} is {shown}, but expected a whole number from 2 to 9. "
    assert str(caught.value) == f"{expected}Mend it, or leave it out for 5."
    assert caught.value.exit_code == USAGE


def test_a_value_of_another_command_is_let_be(write):
    assert read_defaults(write("folds = 1\n"), "cache-gc", FLAGS) == {}


def test_commands_of_a_group_are_named_with_it():
    def command(options):
        return SimpleNamespace(callback=SimpleNamespace(options=options))

    group = SimpleNamespace(commands={"ls": command("some"), "gc": command("others")})
    assert flags_of({"fit": command("mine"), "cache": group}) == {
        "fit": "mine",
        "cache-ls": "some",
        "cache-gc": "others",
    }
