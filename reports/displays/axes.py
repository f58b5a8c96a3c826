"""What every Display needs: the run it is of, one of its two splits, and axes to draw on."""

from __future__ import annotations

from pathlib import Path

from dermfuse.cache.errors import usage_error
from dermfuse.reports.notebook.run import Run
from dermfuse.reports.runfolder import SPLITS, RunFolder, read_run


def run_of(run: Run | str | Path, split: str) -> RunFolder:
    """A run that was given as such or by its folder; `split` is checked.

    Raises
    ------
    UserError
        An unknown split (exit code 2), or a folder that is none of a run.
    """
    if split not in SPLITS:
        raise usage_error(f"unknown split {split!r}. Known: {', '.join(SPLITS)}.")
    return run.read if isinstance(run, Run) else read_run(Path(run))


def axes_for(ax=None):
    """The axes that were given, or those of a new figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots()[1]


def plain(text: str) -> str:
    """A name from the data for matplotlib, in which a dollar is a dollar.

    Examples
    --------
    >>> print(plain("a$b$"))
    a\\$b\\$
    """
    return text.replace("$", r"\$")
