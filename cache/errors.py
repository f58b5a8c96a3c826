"""The one exception for mistakes a user can mend; the command line prints it without a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterable

FAILED = 1
USAGE = 2
PARTIAL = 3
LONGEST_LINE = 1_000
LONGEST_NAME, MOST_NAMES = 80, 12


class UserError(Exception):
    """A mistake in the input, told in one line: what was given, what is expected, what to do next.

    Parameters
    ----------
    message : str
        The line that is printed after ``error:``.
    exit_code : int
        1 when the work failed, 2 when the command was used wrongly.
    """

    def __init__(self, message: str, exit_code: int = FAILED):
        super().__init__(message)
        self.exit_code = exit_code


def usage_error(message: str) -> UserError:
    """A :class:`UserError` for a command that was used wrongly (exit code 2)."""
    return UserError(message, USAGE)


def elided(text: str, most: int = LONGEST_LINE) -> str:
    """Text of at most `most` characters: of a longer one the middle is left out, and how much that was is said.

    Parameters
    ----------
    text : str
    most : int
        At least 40.

    Examples
    --------
    >>> elided("a" * 100, 40)
    'aaaaaa... (89 characters left out)aaaaa'
    >>> elided("short")
    'short'
    """
    if len(text) <= most:
        return text
    # As wide as the widest number that can stand there.
    room = most - len(f"... ({len(text):,} characters left out)")
    tail = min(room // 2, 250)
    head = room - tail
    middle = f"... ({len(text) - head - tail:,} characters left out)"
    return text[:head] + middle + text[len(text) - tail :]


def listed(names: Iterable[object], show: Callable[[object], str] = str, most: int = MOST_NAMES) -> str:
    """Names by comma for an error: the first `most` of them, each shortened, and how many more there are.

    Examples
    --------
    >>> listed(["a", "b"]), listed(range(1000), most=3)
    ('a, b', '0, 1, 2 and 997 more')
    >>> listed(["a", "b"], repr)
    "'a', 'b'"
    """
    names = list(names)
    shown = ", ".join(elided(show(name), LONGEST_NAME) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")
