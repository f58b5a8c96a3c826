"""Defaults for the command line's flags from a TOML file: its top level for all commands, a table for one."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from dermfuse.cache.errors import usage_error

# A file must not turn a look at what would be deleted into deleting it.
NEVER = {"delete", "config"}


def flags_of(commands: Mapping[str, object]) -> dict[str, dict[str, bool]]:
    """Every command's flags, and whether each may be given several times.

    A command of a group is named with it, as in ``cache-ls``.

    Parameters
    ----------
    commands : mapping of str to command
        As the command-line parser holds them: with ``params``, and groups with ``commands``.
    """
    found = {}
    for name, command in commands.items():
        inner = {f"{name}-{n}": c for n, c in getattr(command, "commands", {}).items()} or {name: command}
        found.update({n: {p.name: _takes_several(p) for p in c.params} for n, c in inner.items()})
    return found


def _takes_several(parameter: object) -> bool:
    return getattr(parameter, "multiple", False) or getattr(parameter, "nargs", 1) == -1


def read_defaults(path: Path, command: str, flags: Mapping[str, Mapping[str, bool]]) -> dict[str, object]:
    """Read the defaults of one command.

    Parameters
    ----------
    path : Path
        A TOML file; a flag is named without its dashes, ``no-explain`` or ``no_explain``.
    command : str
        The command that is run; a table named as a command holds defaults for that one alone.
    flags : mapping of str to mapping of str to bool
        Every command's flags, with underscores, as :func:`flags_of` tells them.

    Returns
    -------
    dict
        Flag to value. A list stays one for a flag that may be given several times, which takes a single value as
        well; for any other it becomes its items by comma.

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
    return {key: _several(value) if flags[command][key] else _one(value) for key, value in given.items()}


def _several(value: object) -> list[str]:
    return [str(item) for item in (value if isinstance(value, list) else [value])]


def _one(value: object) -> object:
    return ",".join(map(str, value)) if isinstance(value, list) else value
