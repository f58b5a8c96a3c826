"""An option, declared once: how it is read and checked, and how a refused value is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, is_dataclass, replace
from functools import partial
from inspect import signature
from pathlib import Path
from types import NoneType
from typing import get_args, get_origin, get_type_hints

from dermfuse.cache.errors import UserError, usage_error

# A count beyond it is a slip of the hand.
MOST = 1_000_000
# When an option stands under "to repeat it": always, so that a later default changes nothing; where it is not at its
# default; or never, as it decides who works and not what comes out.
ALWAYS, CHANGED, NEVER = "always", "changed", "never"
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
_TRUTH = {True: True, False: False, "true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}
_LONGEST_SHOWN = 80


@dataclass(frozen=True)
class Option:
    """What one option is; :func:`option` declares it.

    Attributes
    ----------
    help : str
        For people; ``{choices}`` in it becomes what there is to choose from.
    choices : iterable or callable, optional
        The values that are taken: a registry itself, so that what is added to it is known here. A callable returns
        them where it takes seconds to know them; it is asked when options are checked, not read.
    open : bool
        The choices bind text alone, and are asked for when it is read: a program may bring something of its own.
    low, high : float, optional
        Bounds, both included; a whole number is `MOST` at most where nothing else is said.
    also : tuple
        Values out of bounds that are taken too.
    flag, short : str
        Its names, if not the field's; ``--no-`` before the name of a field that is true by default.
    panel : str, optional
        Where ``--help`` lists it.
    argument, repeated : bool
        Given by its place, without a flag; a list of which each item is given apart, and not by comma.
    told : {"always", "changed", "never"}
        When it stands under "to repeat it".
    kept : str
        Where a run's ``config.json`` tells it, by a dotted path, if not under its own name; ``blocks`` for what the
        keys of embeddings tell.
    name, kind, default
        As declared; filled in by :func:`options_of`. A default of ``...`` is none.
    """

    help: str
    choices: Iterable | Callable[[], Iterable] | None = None
    open: bool = False
    low: float | None = None
    high: float | None = None
    also: tuple = ()
    flag: str = ""
    short: str = ""
    panel: str | None = None
    argument: bool = False
    repeated: bool = False
    told: str = CHANGED
    kept: str = ""
    name: str = ""
    kind: type = str
    default: object = None

    @property
    def many(self) -> bool:
        """Whether its value is a list."""
        return get_origin(self.kind) is list

    @property
    def inverted(self) -> bool:
        """Whether its flag turns it off."""
        return self.kind is bool and self.default is True

    @property
    def key(self) -> str:
        """Its name in a file of defaults and for the command line's parser: the flag's, with underscores."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def help_text(self) -> str:
        """The help with what there is to choose from."""
        return self.help.format(choices=_either(self.choices)) if "{choices}" in self.help else self.help

    @property
    def type_text(self) -> str:
        """Its type, as ``--help`` shows it: ``<int range> [x>=1]``."""
        kind = ("list[str]" if self.repeated else "str") if self.many else self.kind.__name__.lower()
        return f"<{kind}>" if self.low is None else f"<{kind} range> [x>={self.low}]"

    def read(self, given: object, where: str | None = None) -> object:
        """The value of text from the command line or of an entry of a TOML file; None, as not given, stays.

        Raises
        ------
        UserError
            It is no value of this option; the error names `where` in place of the flag (exit code 2).
        """
        if given is None:
            return None
        return self._checked(given, where, self._known() if self.open or not callable(self.choices) else ())

    def check(self, value: object) -> None:
        """Refuse what is no value of this option, be it given by a person or by a program (UserError, exit code 2)."""
        if value is None and self.default is None:
            return
        given = list(value) if isinstance(value, tuple) else value
        if self._checked(value, None, () if self.open else self._known()) != given:
            raise self._refusal(value)

    def text(self, value: object) -> object:
        """A value as the command line's parser takes it: text, several for a repeated flag; a truth stays one."""
        if value is None or self.kind is bool:
            return value
        if isinstance(value, list | tuple):
            return list(map(str, value)) if self.repeated else ",".join(map(str, value))
        return str(value)

    def kept_in(self, config: Mapping[str, object]) -> object:
        """The value that a run's ``config.json`` tells; the default where it says nothing."""
        value: object = config
        for part in (self.kept or self.name).split("."):
            value = (value or {}).get(part)
        return bool(value) if self.kind is bool else self.default if value is None else value

    def _known(self) -> Iterable:
        return self.choices() if callable(self.choices) else self.choices or ()

    def _checked(self, given: object, where: str | None, choices: Iterable) -> object:
        try:
            value = self._typed(given)
        except (ValueError, TypeError, KeyError, OverflowError):
            raise self._refusal(given, where) from None
        for one in value if self.many else [value]:
            below = self.low is not None and one < self.low
            above = self.high is not None and one > self.high
            if (choices and one not in choices) or ((below or above) and one not in self.also):
                raise self._refusal(one, where)
        return value

    def _typed(self, given: object) -> object:
        if not self.many:
            one = self.kind is str and isinstance(given, list)
            return ",".join(_one(item, str) for item in given) if one else _one(given, self.kind)
        if not isinstance(given, list | tuple):
            given = [given] if self.repeated or not isinstance(given, str) else given.split(",")
        items = [_one(item, *get_args(self.kind)) for item in given]
        if not self.repeated:
            items = [item.strip() for item in items if item.strip()]
        if not items:
            raise ValueError("nothing is in it")
        return items

    def _refusal(self, given: object, where: str | None = None) -> UserError:
        """The one way in which a value is refused: what was given, what is expected, what to do next."""
        shown = repr(str(given) if isinstance(given, Path) else given)
        shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[: _LONGEST_SHOWN - 3]}..."
        usual = "" if self.default is None or self.kind is bool else f" for {self.text(self.default)}"
        return usage_error(
            f"{where or self.flag} {'has' if self.many else 'is'} {shown}, but expected {self._expected()}. "
            f"Mend it{'' if self.default is ... else f', or leave it out{usual}'}."
        )

    def _expected(self) -> str:
        if choices := self._known():
            return _either(choices) + (", or several by comma" if self.many else "")
        if self.many:
            return "names" if self.repeated else "names by comma"
        low, high = self.low, self.high
        bounds = "" if low is None else f" of {low} or more" if high is None else f" from {low} to {high}"
        return _KINDS[self.kind] + bounds + "".join(f", or {value}" for value in self.also)


def option(default: object, help: str, **more: object) -> Field:
    """Declare an option, as the default of a class's field or of a function's parameter.

    Parameters
    ----------
    default : object
        ``...`` where it has to be given.
    help : str
    **more : object
        Other attributes of :class:`Option`.

    Examples
    --------
    >>> def fit(folds: int = option(5, "Grouped folds.", low=2)): ...
    >>> options_of(fit)["folds"].read("3")
    3
    """
    return field(default=default, metadata={"option": Option(help, **more)})


@dataclass(frozen=True)
class Options:
    """The base of classes whose fields declare options."""

    def check(self) -> None:
        """Refuse impossible choices before any work.

        Raises
        ------
        UserError
            With exit code 2.
        """
        for name, one in options_of(type(self)).items():
            one.check(getattr(self, name))


def options_of(owner: Callable) -> dict[str, Option]:
    """The options that a class or a function declares, by name and in their order."""
    return owner.options if isinstance(owner, partial) else {one.name: one for one in _declared(owner)}


def part(owner: Callable, *names: str, without: Iterable[str] = (), **usual: object) -> Callable:
    """`owner` with the options `names` alone, or those not in `without`, and with `usual` in place of defaults."""
    made = partial(owner, **usual)
    chosen = {n: o for n, o in options_of(owner).items() if (n in names or not names) and n not in without}
    made.options = {n: replace(o, default=usual.get(n, o.default)) for n, o in chosen.items()}
    return made


def _declared(owner: Callable) -> Iterator[Option]:
    kinds = get_type_hints(owner)
    defaults = {name: parameter.default for name, parameter in signature(owner).parameters.items()}
    declared = owner.__dataclass_fields__ if is_dataclass(owner) else defaults
    for name in defaults:
        found = getattr(declared[name], "metadata", {}).get("option")
        if found is not None:
            kind = get_args(kinds[name])[0] if NoneType in get_args(kinds[name]) else kinds[name]
            flag = name if found.argument else found.flag or f"--{name.replace('_', '-')}"
            high = MOST if kind is int and found.high is None else found.high
            yield replace(found, name=name, kind=kind, default=declared[name].default, flag=flag, high=high)


def _one(given: object, kind: type) -> object:
    """One value of a kind; raises ValueError or what Python raises where it is none."""
    if kind is bool:
        return _TRUTH[given.strip().lower() if isinstance(given, str) else given]
    if isinstance(given, bool | dict | list) or given is None:
        raise ValueError("another type")
    if kind in (int, float):
        number = kind(given)
        if not math.isfinite(number) or (not isinstance(given, str) and number != given):
            raise ValueError("another number")
        return number
    text = str(given)
    if "\0" in text or (kind is Path and not text):
        raise ValueError("no text that can be used")
    return kind(text)


def _either(choices: Iterable) -> str:
    """``a, b or c``."""
    *most, last = map(str, choices)
    return f"{', '.join(most)} or {last}" if most else last
