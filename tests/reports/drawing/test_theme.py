"""Colours that can be told apart and read, on paper and in the dark, and figures that keep to themselves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dermfuse.reports import pages
from dermfuse.reports.drawing import theme

CSS = (Path(pages.__file__).parent / "style.css").read_text(encoding="utf-8")


def palette(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6});", block))


LIGHT = palette(CSS.split("@media screen")[0])
DARK = LIGHT | palette(CSS.split("@media screen")[1].split("* {")[0])


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2."""
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "card", "faint"])
@pytest.mark.parametrize("text", ["ink", "muted", "accent", "warn", "bad", "good"])
def test_text_reaches_aa(colors, ground, text):
    assert contrast(colors[text], colors[ground]) >= 4.5


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_text_reaches_aa_on_the_darkest_heat(colors):
    assert contrast(colors["ink"], colors["heat"]) >= 4.5


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("token", [f"c{i}" for i in range(theme.COLORS)] + [f"v{i}" for i in range(theme.STEPS)])
def test_drawn_colours_reach_aa_for_graphics(colors, token):
    assert contrast(colors[token], colors["paper"]) >= 3


def draw(name: str) -> str:
    from matplotlib.figure import Figure

    with theme.style(name):
        figure = Figure(figsize=(2, 2))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=theme.color("c1"), marker="o", label="$x$ <b>&\"'")
        axes.legend()
        return theme.to_svg(figure, name, "<script>\"'&")


def test_a_figure_keeps_to_itself():
    svg = draw("one")
    assert "<style" not in svg
    assert "<metadata" not in svg
    assert "xmlns" not in svg
    ids = re.findall(r' id="([^"]+)"', svg)
    assert ids
    assert all(name.startswith("one-") for name in ids)
    assert set(ids).isdisjoint(re.findall(r' id="([^"]+)"', draw("two")))


def test_a_figure_escapes_its_label_and_texts():
    svg = draw("one")
    assert "<script" not in svg
    assert "<b>" not in svg
    assert "$x$ &lt;b&gt;&amp;" in svg


def test_drawing_leaves_matplotlibs_settings_alone():
    import matplotlib

    # Comparing would choose a backend, which drawing does not.
    before = {key: value for key, value in matplotlib.rcParams.copy().items() if key != "backend"}
    draw("one")
    after = {key: value for key, value in matplotlib.rcParams.copy().items() if key != "backend"}
    assert after == before


def test_a_report_needs_neither_pyplot_nor_the_libraries_of_the_stages_below():
    code = (
        "import sys, dermfuse.reports.pages.run_page, dermfuse.reports.drawing.figures\n"
        "from matplotlib.figure import Figure\n"
        "print(sorted({'torch', 'sklearn', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_figure_shows_what_cannot_be_seen_by_its_codes():
    from matplotlib.figure import Figure

    with theme.style("odd"):
        figure = Figure()
        figure.add_subplot().set_yticks([0, 1, 2, 3], ["ag\x01e", "gpj\u202e", "\uffff", "a $\\bad{ $"])
        svg = theme.to_svg(figure, "odd", "label \x02")
    assert "ag\\x01e" in svg and "gpj\\u202e" in svg and "\\uffff" in svg and "\x01" not in svg
