"""How a command ends that did not do its work: one line on stderr, and an exit code."""

from __future__ import annotations

import errno
import os
import sys

import typer
import typer.core

from dermfuse.cache.errors import FAILED, USAGE, UserError
from dermfuse.features.console import one_line

# What a shell reports for a command that Ctrl-C (SIGINT) or SIGTERM ended.
INTERRUPTED, TERMINATED = 130, 143
USAGE_ERROR = typer.BadParameter.__mro__[2]  # the base of all errors of the command-line parser


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class EndOfFileError(Exception):
    """A file, or what was typed, ended before it should."""


class Commands(typer.core.TyperGroup):
    """Commands that pass on an end of file as the defect it is: the parser would call it an abort."""

    def invoke(self, ctx: object) -> object:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except EOFError as error:
            raise EndOfFileError(str(error) or "nothing is left to read") from error


def tell(error: BaseException, terminated: bool) -> int:
    """Tell what ended a command, in one line, and return the exit code.

    Parameters
    ----------
    error : BaseException
    terminated : bool
        Whether SIGTERM came, which arrives as KeyboardInterrupt does.

    Raises
    ------
    BaseException
        `error` itself, where it is a defect and ``DERMFUSE_TRACEBACK`` is set.
    """
    if isinstance(error, UserError):
        _print(str(error))
        return error.exit_code
    if isinstance(error, USAGE_ERROR):
        if error.format_message():  # a group of commands without any prints its help
            _print(f"{' '.join(error.format_message().split())} See 'python cli.py --help'.")
        return USAGE
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return interrupted(terminated)
    if isinstance(error, BrokenPipeError):  # who read has seen enough: there is nobody to tell
        _print_no_more()
        return FAILED
    if isinstance(error, OSError) and error.errno in _FULL:
        _print_no_more()
        where = f"{os.fsdecode(error.filename)} or what is printed" if error.filename else "what is printed or kept"
        _print(f"{where} cannot be written: {os.strerror(error.errno)}. Make room, or write elsewhere; run again.")
        return FAILED
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        _print(f"a name is too long: {os.fsdecode(error.filename or '')}. Give a shorter one.")
        return FAILED
    if os.environ.get("DERMFUSE_TRACEBACK"):
        raise error
    text = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
    _print(f"{text}. Set DERMFUSE_TRACEBACK=1 to see where; please report it.")
    return FAILED


def interrupted(terminated: bool) -> int:
    """Tell that Ctrl-C or SIGTERM ended the command, and return the exit code."""
    _print("interrupted. What was written before is kept. Run the same command again to go on.")
    return TERMINATED if terminated else INTERRUPTED


def flush_output() -> None:
    """Write what was printed and not yet written, while an error can still be told.

    Raises
    ------
    OSError
        Nobody reads it, or the disk on which it goes is full, say.
    """
    if sys.stdout is not None:
        sys.stdout.flush()


def _print_no_more() -> None:
    """Send what is still printed nowhere: Python would fail over it once more as it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if sys.stdout is not None:
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _print(text: str) -> None:
    print(f"error: {one_line(text)}", file=sys.stderr)
