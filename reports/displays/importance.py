"""A run's permutation importance: what shuffling a field or an image block costs on the locked test split."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermfuse.cache.errors import UserError
from dermfuse.reports.displays.axes import axes_for, plain, run_of
from dermfuse.reports.notebook.run import Run
from dermfuse.reports.sections.importance import MOST_BARS, importance_facts


class ImportanceDisplay:
    """One bar a metadata field or image block, the most important on top, with its interval.

    Parameters
    ----------
    table : DataFrame
        ``feature``, ``value``, ``low`` and ``high``, the most important first.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : matplotlib BarContainer

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> table = pd.DataFrame({"feature": ["age", "sex"], "value": [0.1, 0.02], "low": [0.05, 0.0], "high": [0.2, 0.1]})
    >>> display = ImportanceDisplay(table).plot()
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['age', 'sex']
    """

    def __init__(self, table: pd.DataFrame):
        self.table = table

    @classmethod
    def from_run(cls, run: Run | str | Path):
        """The importances that the report draws.

        Parameters
        ----------
        run : Run or path-like

        Raises
        ------
        UserError
            The run was fitted without an explanation.
        """
        told = importance_facts(run_of(run, "test"))["permutation"]
        if told is None:
            raise UserError("the run holds no permutation importance. Fit it with explain=True, without --no-explain.")
        names = ["feature", "value", "low", "high"]
        return cls(pd.DataFrame([[row[name] for name in names] for row in told["rows"]], columns=names))

    def plot(self, ax=None, *, most: int = MOST_BARS, **bar) -> ImportanceDisplay:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure if not given.
        most : int, default=24
            Bars at most.
        **bar
            Of the bars, as matplotlib's ``barh`` takes them.
        """
        self.ax_ = axes_for(ax)
        self.figure_ = self.ax_.figure
        shown = self.table.head(most)
        value = shown["value"].to_numpy(float)
        ends = shown[["low", "high"]].to_numpy(float)
        # Where there is no interval, its whisker has no length.
        error = abs(pd.DataFrame(ends - value[:, None]).fillna(0.0).to_numpy().T)
        self.bars_ = self.ax_.barh(range(len(shown)), value, **{"xerr": error, **bar})
        self.ax_.set_yticks(range(len(shown)), [plain(name) for name in shown["feature"]])
        self.ax_.invert_yaxis()
        self.ax_.set_xlabel("What shuffling costs, in macro AUC on the locked test split")
        return self
