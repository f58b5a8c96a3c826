"""Defaults for the command line's flags from a TOML file: its top level for all commands, a table for one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from dermfuse.cache.errors import usage_error
from dermfuse.pipelines.options.option import Option

# A file must not turn a look at what would be deleted into deleting it.
NEVER = {"delete"}


def flags_of(commands: Mapping[str, object]) -> dict[str, Mapping[str, Option]]:
    """Every command's options, by name with underscores. A command of a group is named with it, as in ``cache-ls``.

    Parameters
    ----------
    commands : mapping of str to command
        As the command-line parser holds them: with a ``callback`` that :func:`dermfuse.flags.takes` made, and groups
        with ``commands``.
    """
    found = {}
    for name, command in commands.items():
        inner = {f"{name}-{n}": c for n, c in getattr(command, "commands", {}).items()} or {name: command}
        found.update({n: c.callback.options for n, c in inner.items()})
    return found


def read_defaults(path: Path, command: str, flags: Mapping[str, Mapping[str, Option]]) -> Defaults:
    """Read the defaults of one command.

    Parameters
    ----------
    path : Path
        A TOML file; a flag is named without its dashes, ``no-explain`` or ``no_explain``.
    command : str
        The command that is run; a table named as a command holds defaults for that one alone.
    flags : mapping of str to mapping of str to Option
        Every command's options, as :func:`flags_of` tells them.

    Returns
    -------
    Defaults
        Flag to value as the parser takes it: a list for a flag that may be given several times, which takes a single
        value as well; for any other its items by comma. A value that its flag does not take is refused when it is
        asked for (UserError, exit code 2).

    Raises
    ------
    UserError
        The file cannot be read, or has a key that is no flag (exit code 2).
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise usage_error(f"cannot read --config {path}: {error}. Expected a TOML file.") from None
    tables = {key for key, value in content.items() if key in flags and isinstance(value, dict)}
    shared = {key.replace("-", "_"): value for key, value in content.items() if key not in tables}
    own = {key.replace("-", "_"): value for key, value in content[command].items()} if command in tables else {}
    mine, anywhere = set(flags[command]) - NEVER, set().union(*flags.values()) - NEVER
    strange = [key for key in shared if key not in anywhere] + [key for key in own if key not in mine]
    if strange:
        raise usage_error(
            f"--config {path} has the unknown key {strange[0]!r}. Keys are the commands' flags without dashes."
        )
    given = {key: value for key, value in {**shared, **own}.items() if key in mine}
    return Defaults(path, given, flags[command])


class Defaults(Mapping):
    """Values as the parser takes them, each read when it is asked for: a flag that is given needs none."""

    def __init__(self, path: Path, given: dict[str, object], options: Mapping[str, Option]):
        self._path, self._given, self._options = path, given, options

    def __getitem__(self, key: str) -> object:
        option, value = self._options[key], self._given[key]
        return option.text(option.read(value, f"{key.replace('_', '-')} in --config {self._path}"))

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)
