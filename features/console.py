"""How the work tells a person what it does: progress bars and notices on stderr, results on stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


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

    def notice(self, text: str) -> None:
        """Tell what was skipped, substituted, subsampled or reused, and keep it for the report."""
        if text not in self.notices:
            self.notices.append(text)
            self.say(f"note: {text}")

    def say(self, text: str) -> None:
        """Print a passing remark to stderr; it is not kept."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

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
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(""),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=stderr, disable=not stderr.is_terminal) as bars:
            task = bars.add_task(title, total=total, note="")

            def advance(n: float = 1, note: str | None = None) -> None:
                bars.update(task, advance=n, **({} if note is None else {"note": note}))

            yield advance
