"""How commands end that fail: one bounded line, the right exit code, and nothing called what it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dermfuse import cli
from dermfuse.cache.errors import LONGEST_LINE, UserError, elided, listed
from dermfuse.features.console import Console, one_line
from tests.commands import refused, run

ROOT = Path(cli.__file__).parent


def raising(error):
    def raises(*_args, **_kwargs):
        raise error

    return raises


@pytest.fixture
def fails(monkeypatch, tmp_path, capsys):
    """A function from an exception to what ``cache ls`` prints and returns when it is raised inside."""

    def ended(error):
        monkeypatch.setattr("dermfuse.reports.terminal.listings.ls_facts", raising(error))
        return run("cache", "ls", "--cache", tmp_path, capture=capsys)

    return ended


@pytest.mark.parametrize("error", [UserError, RuntimeError, EOFError])
@pytest.mark.parametrize("unit", ["a", "\u202e", "\n", "\x1b[31m", "\U000e0001"])
def test_an_error_of_megabytes_is_one_line_that_says_how_much_is_left_out(fails, error, unit):
    code, out, err = fails(error(f"begin {unit * 1_000_000} end"))
    assert (code, out) == (1, "") and err.count("\n") == 1 and err.isascii()
    assert len(err) <= LONGEST_LINE + len("error: \n")
    if unit.strip():
        assert " characters left out)" in err


def test_control_and_direction_characters_are_shown_by_their_codes(fails):
    assert fails(UserError("no\tfile \x1b[2J \u202egpj\nb"))[2] == "error: no\\tfile \\x1b[2J \\u202egpj\\nb\n"


def test_a_notice_and_a_remark_are_bounded_too(capsys):
    console = Console()
    console.notice("x" * 2_000_000)
    console.say("y" * 2_000_000)
    assert all(len(line) <= LONGEST_LINE for line in capsys.readouterr().err.splitlines())
    assert len(console.notices[0]) <= LONGEST_LINE


@pytest.mark.parametrize("n", [1_001, 1_010, 9_999, 123_456, 5_000_000])
def test_elided_text_counts_right(n):
    text = elided("".join(chr(97 + i % 26) for i in range(n)))
    head, _, rest = text.partition("... (")
    count, _, tail = rest.partition(" characters left out)")
    assert len(head) + len(tail) + int(count.replace(",", "")) == n and len(text) <= LONGEST_LINE


def test_a_list_of_many_and_long_names_is_short_and_says_how_many_more():
    told = listed(["n" * 900] * 10_000, repr)
    assert told.endswith(" and 9,988 more") and len(told) < LONGEST_LINE + 100
    assert one_line(told) == elided(told)


def test_an_end_of_file_is_not_called_an_interruption(fails):
    code, _, err = fails(EOFError())
    assert code == 1 and "interrupted" not in err
    assert err.startswith("error: unexpected EndOfFileError: nothing is left to read")


def test_ctrl_c_is(fails):
    code, _, err = fails(KeyboardInterrupt())
    assert code == cli.INTERRUPTED and err.startswith("error: interrupted") and err.count("\n") == 1


@pytest.mark.parametrize("flag", ["--folds", "--seed"])
def test_a_value_that_is_no_number_is_told_in_bounded_length(tmp_path, capsys, flag):
    line = refused(capsys, 2, "fit", "--data", tmp_path, flag, "9" * 100_000 + "x")
    assert len(line) <= LONGEST_LINE + len("error: ")


CODE = """
import dermfuse.reports.terminal.listings, sys, cli
dermfuse.reports.terminal.listings.ls_facts = lambda root: {}
dermfuse.reports.terminal.listings.print_ls = lambda facts: print("x" * {n})
sys.argv = ["cli.py", "cache", "ls"]
sys.exit(cli.main())
"""


@pytest.mark.parametrize("n", [10, 1_000_000])
def test_who_reads_no_more_is_not_called_an_error(n):
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-c", CODE.replace("{n}", str(n))], cwd=ROOT, stdout=writes, stderr=subprocess.PIPE
    )
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_output_onto_a_full_disk_is_told():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", CODE.replace("{n}", "10")], cwd=ROOT, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1 and done.stderr.startswith(
        b"error: what is printed or kept cannot be written: No space"
    )
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_defect(tmp_path, closed):
    command = f'"$0" "$1" cache ls --cache "$2" {closed}'
    done = subprocess.run(["sh", "-c", command, sys.executable, ROOT / "cli.py", tmp_path], capture_output=True)
    assert done.returncode == 0 and b"Traceback" not in done.stderr and b"unexpected" not in done.stderr
