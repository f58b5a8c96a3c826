"""The command line run in the process of a test, and what a refused command prints."""

from __future__ import annotations

import sys

from dermfuse import cli


def run(*arguments, capture=None):
    """(exit code, stdout, stderr) of the command line, in this process."""
    before = sys.argv
    sys.argv = ["cli.py", *map(str, arguments)]
    try:
        code = cli.main()
    finally:
        sys.argv = before
    out, err = capture.readouterr() if capture else ("", "")
    return code, out, err


def refused(capture, code, *arguments):
    """The one line that a refused command prints."""
    got, out, err = run(*arguments, capture=capture)
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert (got, out) == (code, ""), err
    assert len(lines) == 1 and lines[0].startswith("error: "), err
    return lines[0]


def shared(place, *more):
    return ["--data", place / "data", "--cache", place / "cache", "--runs", place / "runs", *more]
