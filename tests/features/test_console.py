"""Progress and notices: on stderr alone, kept for the report, and sensible where there is no terminal."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from dermfuse.features import console as module
from dermfuse.features.console import Console

ROOT = Path(__file__).resolve().parents[2]


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    """To be put in the place of stderr by the test itself: pytest puts its own there after the fixtures."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


@pytest.fixture
def every_step(monkeypatch):
    """A log line for every step."""
    monkeypatch.setattr(module, "FIRST_LINE_SECONDS", 0.0)
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)


def test_a_notice_is_told_once_and_kept(capsys):
    console = Console()
    for text in ("a thing was skipped", "another", "a thing was skipped"):
        console.notice(text)
    assert console.notices == ["a thing was skipped", "another"]
    out, err = capsys.readouterr()
    assert err == "note: a thing was skipped\nnote: another\n"
    assert out == ""


def test_a_passing_remark_is_told_and_not_kept(capsys):
    console = Console()
    console.say("hello")
    assert console.notices == []
    assert capsys.readouterr().err == "hello\n"


def test_quiet_shows_nothing_and_keeps_notices_all_the_same(capsys, terminal):
    console = Console(quiet=True)
    console.notice("a thing was skipped")
    console.say("hello")
    with redirect_stderr(terminal), console.progress("working", 3) as advance:
        advance()
        advance(2, "a note")
    assert terminal.getvalue() == ""
    assert capsys.readouterr() == ("", "")
    assert console.notices == ["a thing was skipped"]


def test_names_that_are_no_text_are_told_without_failing():
    # A file name with bytes that are no UTF-8, as the operating system gives it.
    code = "from dermfuse.features.console import Console; Console().notice('set aside: \\udcff.jpg')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"set aside: \\udcff.jpg" in done.stderr


def test_where_stderr_is_no_terminal_work_that_is_over_at_once_prints_nothing(capsys):
    with Console().progress("hashing files", 5984) as advance:
        for _ in range(5984):
            advance()
    assert capsys.readouterr() == ("", "")


def test_where_stderr_is_no_terminal_long_work_tells_how_far_it_is(capsys, every_step):
    with Console().progress("training cae", 2000, unit="steps") as advance:
        advance(1500)
        advance(0, "epoch 1")
    err = capsys.readouterr().err
    first, second = err.splitlines()
    assert re.fullmatch(r"training cae: 1,500 of 2,000 steps, \S+/s, \d+ s left", first)
    assert second.startswith("training cae: 1,500 of 2,000 steps, ") and second.endswith(", epoch 1")
    assert "\x1b" not in err
    assert "\r" not in err


def test_on_a_terminal_a_bar_shows_count_unit_and_note(terminal):
    with redirect_stderr(terminal), Console().progress("training [cae]", 40) as advance:
        advance(30)
        advance(10, "epoch 1 [best]")
    shown = terminal.getvalue()
    assert "training [cae]" in shown
    assert "40/40" in shown
    assert "images/s" in shown
    assert "epoch 1 [best]" in shown


def test_no_color_is_honoured(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    with redirect_stderr(terminal), Console().progress("working", 2) as advance:
        advance(2)
    assert "\x1b[3" not in terminal.getvalue()
    assert "2/2" in terminal.getvalue()


@pytest.mark.parametrize("quiet", [False, True])
def test_nothing_to_do_shows_nothing(quiet, terminal):
    with redirect_stderr(terminal), Console(quiet).progress("working", 0) as advance:
        advance()
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("kind", ["terminal", "file", "quiet"])
def test_an_error_in_the_work_comes_through(kind, terminal):
    stream = terminal if kind == "terminal" else io.StringIO()
    bar = Console(kind == "quiet").progress("working", 3)
    with pytest.raises(KeyboardInterrupt), redirect_stderr(stream), bar as advance:
        advance()
        raise KeyboardInterrupt
    assert bool(stream.getvalue()) == (kind == "terminal")


def test_more_steps_than_planned_are_no_error(terminal):
    with redirect_stderr(terminal), Console().progress("working", 2) as advance:
        advance(5)
    assert "5/2" in terminal.getvalue()
