"""How the work tells a person what it does: progress bars and notices on stderr, results on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from dermfuse import COMMAND
from dermfuse.cache.errors import LONGEST_LINE, elided

# In a log file: the first line once work has gone on for this long, and then one at this distance.
FIRST_LINE_SECONDS = 2.0
LINE_SECONDS = 30.0

# What long work takes to show a bar, and no more of the console: `Console.progress`, of which it is the type.
Progress = Callable[..., AbstractContextManager[Callable[..., None]]]


def printable(text: object) -> str:
    """Text on one line of a terminal, whatever is in it: control characters and undecodable bytes are escaped.

    Examples
    --------
    >>> print(printable("two\\nlines \\x1b[31m of caf\\udce9"))
    two\\nlines \\x1b[31m of caf\\udce9
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def one_line(text: object) -> str:
    """Text for one line of a terminal: printable, and of bounded length, see :func:`dermfuse.cache.errors.elided`."""
    text = str(text).strip().replace("python cli.py", COMMAND)
    # What is far too long is cut first, since every character is looked at.
    return elided(printable(elided(text, 10 * LONGEST_LINE)))


class Console:
    """Progress and notices for every stage; notices are kept, so that the report can repeat them.

    Parameters
    ----------
    quiet : bool
        Show neither progress bars nor notices. Notices are kept all the same.

    Attributes
    ----------
    notices : list of str
        Everything that was skipped, substituted or subsampled, in the order it was told.
    """

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self.notices: list[str] = []

    def notice(self, *texts: str) -> None:
        """Tell what was skipped, substituted, subsampled or reused, and keep it for the report."""
        for text in map(elided, texts):
            if text not in self.notices:
                self.notices.append(text)
                self.say(f"note: {text}")

    def say(self, text: str) -> None:
        """Print a passing remark to stderr; it is not kept."""
        if not self.quiet:
            print(one_line(text), file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, title: str, total: int, unit: str = "images") -> Iterator[Callable[..., None]]:
        """Show a bar with rate and time left while the block runs.

        Yields
        ------
        advance : callable
            ``advance(n=1, note=None)`` moves the bar by `n` units; `note` is shown behind the bar.
        """
        if self.quiet or total == 0:
            yield lambda n=1, note=None: None
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        class Rate(TextColumn):
            def render(self, task):
                self.text_format = f"{task.speed:.3g} {unit}/s" if task.speed else f"- {unit}/s"
                return super().render(task)

        stderr = RichConsole(stderr=True)
        if not stderr.is_terminal:
            yield self._progress_in_lines(title, total, unit)
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(""),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=stderr) as bars:
            task = bars.add_task(title, total=total, note="")

            def advance(n: float = 1, note: str | None = None) -> None:
                bars.update(task, advance=n, **({} if note is None else {"note": note}))

            yield advance

    def _progress_in_lines(self, title: str, total: int, unit: str) -> Callable[..., None]:
        """Plain lines for a log file, none for work that is over at once."""
        started = time.monotonic()
        done, due = 0.0, started + FIRST_LINE_SECONDS

        def advance(n: float = 1, note: str | None = None) -> None:
            nonlocal done, due
            done += n
            now = time.monotonic()
            if now >= due and done:
                due = now + LINE_SECONDS
                rate = done / max(now - started, 1e-9)
                left = f"{rate:.3g}/s, {max(total - done, 0) / rate:.0f} s left"
                self.say(f"{title}: {done:,.0f} of {total:,} {unit}, {left}" + (f", {note}" if note else ""))

        return advance
