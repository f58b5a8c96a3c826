"""The forest plot of a comparison: every pair's difference in one metric, with its intervals, about zero."""

from __future__ import annotations

from markupsafe import Markup

from dermfuse.pipelines.statistics.paired import LOWER_IS_BETTER
from dermfuse.reports.drawing import theme
from dermfuse.reports.drawing.theme import color
from dermfuse.reports.wording import defined, interval, listed, metric_name, signed

_WIDTH = 5.4
_ROW = 0.62


def forest_figure(name: str, metric: str, rows: list[dict], positive: str | None = None) -> Markup:
    """Draw one metric, better to the right: of a metric of which less is better, the axis is turned round.

    Parameters
    ----------
    name : str
        Unique on the page.
    metric : str
    rows : list of dict
        ``label``, ``out_of_fold`` and ``test``, the last two with ``difference``, ``low`` and ``high``.
    positive : str, optional
        Of two classes, the positive one.
    """
    with theme.style(name):
        figure, axes = _axes(0.75 + _ROW * len(rows))
        axes.axvline(0, color=color("ink"), linewidth=0.9)
        for place, row in enumerate(rows):
            _label(axes, row["label"], place - 0.3)
            _mark(axes, row["out_of_fold"], place + 0.02, "c0", "o")
            _mark(axes, row["test"], place + 0.26, "c1", "D")
        axes.set_ylim(len(rows) - 0.45, -0.6)
        _about_zero(axes, rows)
        if metric in LOWER_IS_BETTER:
            axes.invert_xaxis()
        axes.set_xlabel("Change, better to the right")
        return theme.to_svg(figure, name, _in_words(metric_name(metric, positive), rows))


def _axes(height: float):
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(_WIDTH, height))
    side, bottom, top = 0.15, 0.55, 0.1
    box = (side / _WIDTH, bottom / height, 1 - 2 * side / _WIDTH, 1 - (bottom + top) / height)
    axes = figure.add_axes(box)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="x", color=color("rule"), linewidth=0.5)
    axes.set_axisbelow(True)
    return figure, axes


def _label(axes, text: str, height: float) -> None:
    # On paper of its own: lines end at a label and go on behind it.
    paper = {"facecolor": color("paper"), "edgecolor": "none", "pad": 1.5}
    axes.text(0, height, text, transform=axes.get_yaxis_transform(), fontsize=10.5, va="center", bbox=paper)


def _mark(axes, entry: dict, height: float, token: str, marker: str) -> None:
    if defined(entry["low"]) and defined(entry["high"]):
        axes.plot([entry["low"], entry["high"]], [height, height], color=color(token), linewidth=2.2)
    if defined(entry["difference"]):
        filled = color(token) if marker == "o" else color("paper")
        style = {"color": color(token), "markeredgecolor": color(token), "markeredgewidth": 1.5, "markersize": 6.5}
        axes.plot([entry["difference"]], [height], marker=marker, markerfacecolor=filled, **style)


def _about_zero(axes, rows: list[dict]) -> None:
    """Show zero, everything that was found, and as much room on either side of it as its marks need."""
    entries = [row[part] for row in rows for part in ("out_of_fold", "test")]
    seen = [value for entry in entries for value in (entry["low"], entry["high"], entry["difference"])]
    seen = [0.0, *(value for value in seen if defined(value))]
    margin = 0.06 * (max(seen) - min(seen)) or 0.01
    axes.set_xlim(min(seen) - margin, max(seen) + margin)


def _in_words(metric: str, rows: list[dict]) -> str:
    told = [
        f"{row['label']} {signed(row['out_of_fold']['difference'])} ({interval(row['out_of_fold'])})" for row in rows
    ]
    return f"Changes of {metric} out of fold: {listed(told)}."
