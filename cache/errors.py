"""The one exception for mistakes a user can mend; the command line prints it without a traceback."""

from __future__ import annotations

FAILED = 1
USAGE = 2
PARTIAL = 3


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
