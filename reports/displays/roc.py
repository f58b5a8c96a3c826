"""ROC curves of a run's classes, each against the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dermfuse.reports.displays.axes import axes_for, plain, run_of
from dermfuse.reports.drawing.curves import roc_curve
from dermfuse.reports.notebook.run import Run
from dermfuse.reports.wording import SPLIT_NAMES, interval, number


class RocDisplay:
    """One ROC curve a class, with its area in the legend.

    Parameters
    ----------
    curves : dict of str to (ndarray, ndarray)
        Class to false and true positive rates, both rising from 0 to 1.
    auc : dict of str to dict
        Class to the area under its curve: ``value``, ``low`` and ``high``.
    title : str, default=""

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of str to matplotlib Line2D
        By class.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> curve = np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.8, 1.0])
    >>> display = RocDisplay({"mel": curve}, {"mel": {"value": 0.9, "low": 0.8, "high": 0.95}}).plot()
    >>> display.lines_["mel"].get_label()
    'mel: AUC 0.900 (0.800 to 0.950)'
    """

    def __init__(self, curves: dict[str, tuple[np.ndarray, np.ndarray]], auc: dict[str, dict], title: str = ""):
        self.curves = curves
        self.auc = auc
        self.title = title

    @classmethod
    def from_run(cls, run: Run | str | Path, split: str = "out_of_fold", classes: list[str] | None = None):
        """The curves that the report draws.

        Parameters
        ----------
        run : Run or path-like
        split : {"out_of_fold", "test"}, default="out_of_fold"
        classes : list of str, optional
            Those to draw; of two classes the positive one, of more all.

        Returns
        -------
        RocDisplay
            Without classes of which a split has no image, or nothing else.
        """
        read = run_of(run, split)
        rows = read.rows(split)
        wanted = classes or ([read.positive] if read.positive is not None else read.classes)
        auc = {entry["class"]: entry["auc"] for entry in read.metrics["per_class"][split]}
        found = {name: roc_curve(rows["truth"] == name, rows[f"p_{name}"]) for name in wanted}
        found = {name: curve for name, curve in found.items() if curve is not None}
        return cls(found, {name: auc[name] for name in found}, SPLIT_NAMES[split])

    def plot(self, ax=None, **line) -> RocDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure if not given.
        **line
            Of every line, as matplotlib's ``plot`` takes them.
        """
        self.ax_ = axes_for(ax)
        self.figure_ = self.ax_.figure
        self.lines_ = {}
        for name, (false_positive, true_positive) in self.curves.items():
            label = f"{plain(name)}: AUC {number(self.auc[name]['value'])} ({interval(self.auc[name])})"
            (self.lines_[name],) = self.ax_.plot(false_positive, true_positive, **{"label": label, **line})
        self.ax_.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
        self.ax_.set(
            xlabel="False positive rate (1 − specificity)",
            ylabel="True positive rate (sensitivity)",
            title=self.title,
            aspect="equal",
        )
        if self.lines_:
            self.ax_.legend(loc="lower right", fontsize="small")
        return self
