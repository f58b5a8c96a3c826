"""A run's reliability diagram: what was said against what came true, before and after calibration."""

from __future__ import annotations

from pathlib import Path

from dermfuse.reports.displays.axes import axes_for, plain, run_of
from dermfuse.reports.notebook.run import Run
from dermfuse.reports.sections.calibration import calibration_facts

LOOKS = {
    "before": {"marker": "s", "markerfacecolor": "none", "linestyle": "--"},
    "after": {"marker": "o", "linestyle": "-"},
}


class ReliabilityDisplay:
    """Mean predicted probability against how often it came true, bin by bin.

    Parameters
    ----------
    before, after : list of dict
        Bins of the uncalibrated and the calibrated probabilities: ``said`` and ``right``.
    of : str or None, default=None
        Of two classes the positive one, whose probability is drawn; None draws that of the most probable class.
    title : str, default=""

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of str to matplotlib Line2D
        ``before`` and ``after``.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> bins = [{"said": 0.2, "right": 0.1}, {"said": 0.8, "right": 0.7}]
    >>> display = ReliabilityDisplay(bins, bins, "mel").plot()
    >>> display.ax_.get_xlabel(), display.lines_["after"].get_ydata().tolist()
    ('Predicted probability of mel', [0.1, 0.7])
    """

    def __init__(self, before: list[dict], after: list[dict], of: str | None = None, title: str = ""):
        self.before = before
        self.after = after
        self.of = of
        self.title = title

    @classmethod
    def from_run(cls, run: Run | str | Path, split: str = "out_of_fold"):
        """The diagram that the report draws.

        Parameters
        ----------
        run : Run or path-like
        split : {"out_of_fold", "test"}, default="out_of_fold"

        Raises
        ------
        UserError
            An unknown split (exit code 2), or a folder that is none of a run.
        """
        facts = calibration_facts(run_of(run, split))
        diagram = next(one for one in facts["diagrams"] if one["split"] == split)
        return cls(diagram["before"], diagram["after"], facts["positive"], diagram["title"])

    def plot(self, ax=None, **line) -> ReliabilityDisplay:
        """Draw both lines.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure if not given.
        **line
            Of both lines, as matplotlib's ``plot`` takes them.
        """
        self.ax_ = axes_for(ax)
        self.figure_ = self.ax_.figure
        self.lines_ = {}
        for when, look in LOOKS.items():
            said, right = ([row[key] for row in getattr(self, when)] for key in ("said", "right"))
            (self.lines_[when],) = self.ax_.plot(said, right, **{"label": f"{when} calibration", **look, **line})
        self.ax_.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
        what = "the top class" if self.of is None else plain(self.of)
        self.ax_.set(
            xlabel=f"Predicted probability of {what}",
            ylabel="Share of right decisions" if self.of is None else f"Share of {what}",
            title=self.title,
            aspect="equal",
        )
        self.ax_.legend(loc="upper left", fontsize="small")
        return self
