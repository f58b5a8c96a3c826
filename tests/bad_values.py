"""Values that an option does not take, and one that it does, made from its declaration alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from dermfuse.pipelines.options.option import Option


def bad_text(option: Option) -> Iterator[str]:
    """Text of the command line that is no value of the option."""
    kind = get_args(option.kind)[0] if option.many else option.kind
    if option.choices is not None:
        yield "nonsense"
    if option.many and not option.repeated:
        yield ","
    if kind in (int, float):
        yield from ("x", "", "nan", "inf", "0x10")
        if option.low is not None:
            yield str(option.low - 1)
        if option.high is not None:
            yield str(option.high + 1)
    if kind is int:
        yield from ("2.5", "9" * 5000)
    if kind is Path:
        yield ""


def bad_toml(option: Option) -> Iterator[str]:
    """Values of a TOML file that are no value of the option, as they stand there."""
    kind = get_args(option.kind)[0] if option.many else option.kind
    for text in bad_text(option):
        yield json.dumps(text)
    yield "{a = 1}"
    if kind is bool:
        yield from ('"maybe"', "2", "1.5", '["true"]')
        return
    yield "true"
    if kind in (int, float):
        yield from ('["x"]', "nan", "1979-05-27")
        if option.low is not None:
            yield str(option.low - 1)
    if kind is int:
        yield "2.5"
    if kind in (str, Path) and not (option.many and not option.repeated):
        yield '"a\\u0000b"'


def another(option: Option) -> object:
    """A value of the option that is not its default."""
    if option.many:
        return ["cae"]
    if option.kind is bool:
        return not option.default
    if option.choices is not None:
        known = option.choices() if callable(option.choices) else option.choices
        return [value for value in known if value != option.default][-1]
    if option.kind is int:
        return (option.low if option.default in (None, -1) else option.default) + 1
    return option.kind("other")
