"""An option reads what its declaration says, and nothing that only looks like it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dermfuse.cache.errors import USAGE, UserError
from dermfuse.pipelines.options.option import Options, option, options_of, part


def expensive():
    return ("a", "b")


@dataclass(frozen=True)
class Chosen(Options):
    """Options of every kind."""

    folds: int = option(5, "Folds.", low=2, high=9, also=(-1,))
    days: float | None = option(None, "Days.", low=0)
    names: list[str] | None = option(None, "Of {choices}.", choices=("x", "y"))
    blocks: list[Path] | None = option(None, "Each.", repeated=True)
    explain: bool = option(True, "Not.", flag="--no-explain")
    late: str = option("a", "Late.", choices=expensive)
    open: str = option("a", "Open.", choices=expensive, open=True)
    place: Path = option(Path("here"), "Where.")
    undeclared: object = None


OPTIONS = options_of(Chosen)


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("folds", "3", 3),
        ("folds", " 3 ", 3),
        ("folds", 3.0, 3),
        ("folds", "-1", -1),
        ("days", "1.5", 1.5),
        ("days", 2, 2.0),
        ("names", "x, y,", ["x", "y"]),
        ("names", ["x"], ["x"]),
        ("blocks", "a,b", [Path("a,b")]),
        ("blocks", ["a", "b"], [Path("a"), Path("b")]),
        ("explain", "False", False),
        ("explain", 1, True),
        ("late", "nonsense", "nonsense"),
        ("place", "a b", Path("a b")),
        ("place", None, None),
    ],
)
def test_what_is_read(name, given, value):
    found = OPTIONS[name].read(given)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("folds", "1", "--folds is 1, but expected a whole number from 2 to 9, or -1. Mend it, or leave it out for 5."),
        ("folds", True, "--folds is True, but expected a whole number"),
        ("days", "-1", "--days is -1.0, but expected a number of 0 or more. Mend it, or leave it out."),
        ("days", "nan", "--days is 'nan', but"),
        ("names", "x,z", "--names has 'z', but expected x or y, or several by comma. Mend it, or leave it out."),
        ("names", " , ", "--names has ' , ', but"),
        ("blocks", [""], "--blocks has [''], but expected names."),
        ("explain", "perhaps", "--no-explain is 'perhaps', but expected true or false. Mend it, or leave it out."),
        ("open", "c", "--open is 'c', but expected a or b. Mend it, or leave it out for a."),
        ("place", "", "--place is '', but expected a path. Mend it, or leave it out for here."),
        ("place", "y" * 500, None),
    ],
)
def test_what_is_refused_in_the_words_of_one_template(name, given, said):
    if said is None:
        assert OPTIONS[name].read(given) == Path(given)
        return
    with pytest.raises(UserError) as caught:
        OPTIONS[name].read(given)
    assert str(caught.value).startswith(said) and caught.value.exit_code == USAGE


@pytest.mark.parametrize(
    "given",
    [
        {"folds": 1},
        {"folds": "3"},
        {"folds": True},
        {"folds": None},
        {"names": "x"},
        {"names": ["z"]},
        {"names": []},
        {"explain": "false"},
        {"late": "c"},
        {"place": "here"},
    ],
)
def test_a_program_is_refused_as_a_person_is(given):
    (name,) = given
    with pytest.raises(UserError, match=OPTIONS[name].flag):
        Chosen(**given).check()


def test_a_program_may_bring_its_own_where_choices_are_open_and_numbers_of_numpy():
    Chosen(open="c", folds=np.int64(3), names=("x", "y"), days=2).check()


def test_a_part_takes_some_options_with_other_defaults():
    some = part(Chosen, "folds", "names", folds=7)
    assert {name: option.default for name, option in options_of(some).items()} == {"folds": 7, "names": None}
    assert some().folds == 7 and some(folds=2).folds == 2
    assert list(options_of(part(Chosen, without=("folds",)))) == [name for name in OPTIONS if name != "folds"]


def test_names_help_and_type_as_a_person_sees_them():
    explain, folds = OPTIONS["explain"], OPTIONS["folds"]
    assert (explain.key, explain.inverted) == ("no_explain", True)
    assert folds.type_text == "<int range> [x>=2]" and OPTIONS["names"].help_text == "Of x or y."
    assert "undeclared" not in OPTIONS


def test_a_whole_number_without_a_bound_has_one():
    def command(many: int = option(1, "")):
        """Something."""

    with pytest.raises(UserError, match="--many is 1000001, but"):
        options_of(command)["many"].read("1000001")
