"""The figures of the page: curves, SHAP values and the autoencoder's losses, as themed SVG."""

from __future__ import annotations

import base64
import io

import numpy as np
from markupsafe import Markup

from dermfuse.reports.drawing import curves, theme
from dermfuse.reports.drawing.theme import DASHES, STEPS, color
from dermfuse.reports.wording import listed, number

_WIDTH = 5.4
_SIDE_OF_IMAGE = 112
_MOST_IMAGES = 8


def roc_figure(split: dict) -> Markup:
    """Draw the ROC curve of every class of one split."""
    name = f"roc-{split['split'].replace('_', '-')}"
    with theme.style(name):
        figure, axes = _square("False positive rate (1 − specificity)", "True positive rate (sensitivity)")
        axes.plot([0, 1], [0, 1], color=color("muted"), linewidth=0.8, linestyle=(0, (1, 3)))
        told = []
        for entry in split["classes"]:
            if entry["roc"] is not None:
                axes.plot(*curves.thin(*entry["roc"]), **_line(entry))
                told.append(f"{entry['class']} {number(entry['auc']['value'])}")
        told = listed(told) if told else "not defined"
        label = f"ROC curves, {split['title'].lower()}. Area under the curve: {told}."
        return theme.to_svg(figure, name, label)


def precision_recall_figure(split: dict) -> Markup:
    """Draw the precision-recall curve of every class of one split, with its prevalence as a dotted line."""
    name = f"pr-{split['split'].replace('_', '-')}"
    with theme.style(name):
        figure, axes = _square("Recall (sensitivity)", "Precision")
        told = []
        for entry in split["classes"]:
            if entry["precision_recall"] is not None:
                steps = curves.as_steps(*entry["precision_recall"])
                axes.plot(*curves.thin(*steps), **_line(entry))
                axes.axhline(
                    entry["prevalence"],
                    color=color(f"c{entry['color']}"),
                    linewidth=0.7,
                    linestyle=(0, (1, 3)),
                )
                told.append(f"{entry['class']} {number(entry['average_precision']['value'])}")
        told = listed(told) if told else "not defined"
        label = f"Precision-recall curves, {split['title'].lower()}. Average precision: {told}."
        return theme.to_svg(figure, name, label)


def reliability_figure(diagram: dict, positive: str | None) -> Markup:
    """Draw how often what was said came true, before and after calibration, for one split."""
    name = f"reliability-{diagram['split'].replace('_', '-')}"
    with theme.style(name):
        what = "top class" if positive is None else _short(positive)
        share = "Share of right decisions" if positive is None else f"Share of {what}"
        figure, axes = _square(f"Predicted probability of {'the ' if positive is None else ''}{what}", share)
        axes.plot([0, 1], [0, 1], color=color("muted"), linewidth=0.8, linestyle=(0, (1, 3)))
        looks = {
            "before": {"color": color("c1"), "marker": "s", "markerfacecolor": "none", "linestyle": (0, DASHES[1])},
            "after": {"color": color("c0"), "marker": "o", "linestyle": "-"},
        }
        for when, look in looks.items():
            said, right = ([row[key] for row in diagram[when]] for key in ("said", "right"))
            axes.plot(said, right, linewidth=1.4, markersize=5, label=f"{when} calibration", **look)
        axes.legend(frameon=False, loc="upper left", handlelength=2.6)
        far = [number(max(abs(row["said"] - row["right"]) for row in diagram[when])) for when in looks]
        label = f"Reliability diagram, {diagram['title'].lower()}. Farthest from the diagonal: "
        label += f"{far[0]} before calibration, {far[1]} after."
        return theme.to_svg(figure, name, label)


def decision_figure(curve: dict) -> Markup:
    """Draw net benefit against threshold for one split: the model with its band, treating all, treating none."""
    name = f"decision-{curve['split'].replace('_', '-')}"
    with theme.style(name):
        figure, axes = _axes(_WIDTH, _WIDTH * 0.72, left=0.75)
        x = np.array(curve["threshold"])
        shown = x <= curve["last"] + 1e-9
        model, low, high, everyone = (np.array(curve[k])[shown] for k in ("net_benefit", "low", "high", "treat_all"))
        x = x[shown]
        axes.fill_between(x, low, high, color=color("c0"), alpha=0.2, linewidth=0)
        axes.plot(x, model, color=color("c0"), linewidth=1.7, label="the model")
        axes.plot(x, everyone, color=color("c1"), linewidth=1.4, linestyle=(0, DASHES[1]), label="treat all")
        axes.axhline(0, color=color("muted"), linewidth=1.2, linestyle=(0, (1, 3)), label="treat none")
        top = max(high.max(), everyone.max(), 0.001)
        axes.set(xlim=(0, curve["last"]), ylim=(-0.15 * top, 1.06 * top), xlabel="Threshold probability")
        axes.set_ylabel("Net benefit")
        axes.xaxis.set_major_locator(_few_ticks())
        axes.yaxis.set_major_locator(_few_ticks())
        axes.legend(frameon=False, loc="upper right", handlelength=2.6)
        label = (
            f"Decision curve, {curve['title'].lower()}: net benefit from {number(model[0])} at a threshold of 1 % to "
            f"{number(model[-1])} at {number(100 * curve['last'], 0)} %."
        )
        return theme.to_svg(figure, name, label)


def swarm_figure(swarm: dict, index: int, limits: tuple[float, float]) -> Markup:
    """Draw the SHAP values of one class: a row a feature, a dot a sample, coloured by the feature's value.

    All classes share the `limits` of the horizontal axis, so that a wider swarm means a stronger input.
    """
    name = f"shap-{index}"
    features = swarm["features"]
    with theme.style(name):
        figure, axes = _axes(_WIDTH, 0.62 + 0.36 * len(features), left=1.55, bottom=0.5)
        axes.axvline(0, color=color("muted"), linewidth=0.8)
        for row, feature in enumerate(features):
            _swarm_row(axes, row, feature)
        axes.set_yticks(range(len(features)), [_short(feature["feature"]) for feature in features])
        axes.tick_params(axis="y", length=0, labelcolor=color("ink"))
        axes.spines["left"].set_visible(False)
        axes.set_ylim(len(features) - 0.5, -0.5)
        margin = 0.03 * (limits[1] - limits[0])
        axes.set_xlim(limits[0] - margin, limits[1] + margin)
        axes.set_xlabel("SHAP value (change of the probability)")
        axes.xaxis.set_major_locator(_few_ticks())
        names = [feature["feature"] for feature in features]
        label = f"SHAP values for {swarm['class']}, the strongest first: {listed(names)}."
        return theme.to_svg(figure, name, label)


def _swarm_row(axes, row: int, feature: dict) -> None:
    values = feature["shap"]
    heights = row + _spread(values)
    bins = np.minimum(np.nan_to_num(feature["color"], nan=-1.0) * STEPS, STEPS - 1)
    for step in range(-1, STEPS):
        chosen = bins < 0 if step < 0 else (bins >= 0) & (bins.astype(int) == step)
        if chosen.any():
            # One path of round, zero-length strokes is a tenth of the size of one element a dot.
            x = np.column_stack([values[chosen]] * 2 + [np.full(chosen.sum(), np.nan)]).ravel()
            y = np.column_stack([heights[chosen]] * 2 + [np.full(chosen.sum(), np.nan)]).ravel()
            token = "muted" if step < 0 else f"v{step}"
            axes.plot(x, y, color=color(token), linewidth=3.4, solid_capstyle="round", alpha=0.8)


def _spread(values: np.ndarray, height: float = 0.38) -> np.ndarray:
    """Return vertical offsets that show how many samples share a place: dots of a bin stack about zero."""
    span = np.ptp(values) if values.size else 0.0
    places = np.zeros(values.size, int) if span == 0 else ((values - values.min()) / span * 60).astype(int)
    order = np.argsort(places, kind="stable")
    _, starts, sizes = np.unique(places[order], return_index=True, return_counts=True)
    rank = np.empty(values.size)
    rank[order] = np.arange(values.size) - np.repeat(starts, sizes)
    # Alternate above and below the middle, in the order of arrival.
    stacked = np.ceil(rank / 2) * np.where(rank % 2, 1, -1)
    return stacked * min(0.07, 2 * height / max(sizes.max(initial=1), 1))


def loss_figure(autoencoder: dict) -> Markup:
    """Draw the losses of the autoencoder by epoch, with the epoch whose weights were kept."""
    name = "autoencoder-loss"
    train, validation = autoencoder["train_loss"], autoencoder["validation_loss"]
    with theme.style(name):
        figure, axes = _axes(_WIDTH * 1.4, 3.0, left=0.75, bottom=0.55)
        for losses, token, dash, title in (
            (train, "c0", DASHES[0], "training"),
            (validation, "c1", DASHES[1], "validation"),
        ):
            line = "-" if not dash else (0, dash)
            axes.plot(losses, color=color(token), linewidth=1.7, linestyle=line, label=title)
        best = autoencoder["best"]
        axes.axvline(best, color=color("muted"), linewidth=0.8, linestyle=(0, (1, 3)))
        axes.plot([best], [autoencoder["best_loss"]], marker="o", color=color("c1"), markersize=5)
        axes.legend(frameon=False, loc="upper right", handlelength=2.6)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Epoch")
        axes.set_ylabel("Reconstruction loss")
        label = f"Reconstruction loss over {len(train)} epochs; the best validation loss is at epoch {best}."
        return theme.to_svg(figure, name, label)


def reconstruction_images(pairs: tuple[np.ndarray, np.ndarray]) -> list[tuple[str, str]]:
    """Encode originals and reconstructions as data URIs, the first few, in the order given."""
    return [(_data_uri(original), _data_uri(copy)) for original, copy in zip(*pairs, strict=True)][:_MOST_IMAGES]


def _data_uri(pixels: np.ndarray) -> str:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8))
    image.thumbnail((_SIDE_OF_IMAGE, _SIDE_OF_IMAGE))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _axes(width: float, height: float, left: float = 0.62, bottom: float = 0.55):
    """Return a figure of `width` by `height` inches with one pair of axes, its margins in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    top, right = 0.1, 0.12
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    return figure, figure.add_axes(box)


def _square(x_label: str, y_label: str):
    figure, axes = _axes(_WIDTH, _WIDTH * 0.92)
    axes.set(xlim=(-0.012, 1.012), ylim=(-0.012, 1.012), xlabel=x_label, ylabel=y_label)
    ticks = (0, 0.25, 0.5, 0.75, 1)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.grid(color=color("rule"), linewidth=0.5)
    axes.set_axisbelow(True)
    return figure, axes


def _line(entry: dict) -> dict:
    dash = DASHES[entry["dash"]]
    return {
        "color": color(f"c{entry['color']}"),
        "linewidth": 1.7,
        "linestyle": "-" if not dash else (0, dash),
    }


def _few_ticks():
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5)


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
