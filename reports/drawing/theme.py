"""From a matplotlib figure to inline SVG in the colours of the page: one figure for light, dark and paper."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

from markupsafe import Markup

COLORS = 8
STEPS = 5
DASHES = ((), (5.0, 1.8), (1.6, 1.4), (6.0, 1.6, 1.4, 1.6))

# Matplotlib knows no CSS variables: a token is drawn in a colour nobody would choose, then replaced.
_TOKENS = [
    "ink",
    "muted",
    "rule",
    "accent",
    "paper",
    *(f"c{i}" for i in range(COLORS)),
    *(f"v{i}" for i in range(STEPS)),
]
_MARKS = {token: f"#fe{index:02x}01" for index, token in enumerate(_TOKENS)}
_STYLE = {
    "axes.edgecolor": _MARKS["rule"],
    "axes.labelcolor": _MARKS["muted"],
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 11.0,
    "axes.labelsize": 11.0,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "xtick.color": _MARKS["rule"],
    "xtick.labelcolor": _MARKS["muted"],
    "ytick.color": _MARKS["rule"],
    "ytick.labelcolor": _MARKS["muted"],
    "text.color": _MARKS["ink"],
    # Names come from the data: a dollar in one is a dollar.
    "text.parse_math": False,
    "text.usetex": False,
    "path.simplify": False,
    "svg.fonttype": "none",
}
# Control characters but tab and line ends, those that turn the direction of text, and two that XML has not.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
_NAMESPACE = re.compile(r"\{[^}]*\}")
_NUMBER = re.compile(r"-?\d+\.\d{2,}(?:e-?\d+)?")
_LOCAL = re.compile(r"url\(#([\w-]+)\)")


def class_style(index: int) -> dict:
    """Return the colour and dash numbers of a class; classes that share a colour differ in their dashes."""
    return {"color": index % COLORS, "dash": (index + index // COLORS) % len(DASHES)}


def color(token: str) -> str:
    """Return the stand-in for the CSS variable ``--token`` in a matplotlib call."""
    return _MARKS[token]


@contextmanager
def style(name: str) -> Iterator[None]:
    """Draw with the look of the page; `name` makes the ids of this figure its own."""
    import matplotlib

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # The browser's fonts draw the text; what the measuring font lacks does not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield


def unseen_by_codes(text: str) -> str:
    """Text of a page or a figure with what cannot be seen and yet acts, or is no XML, shown by its codes."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def to_svg(figure, name: str, label: str) -> Markup:
    """Turn `figure` into inline SVG.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Drawn under :func:`style`, in colours from :func:`color`.
    name : str
        Unique on the page; starts every id.
    label : str
        What the figure shows, for those who do not see it.

    Returns
    -------
    markupsafe.Markup
        One ``<svg role="img">`` element, without script, style sheet or reference off the page.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    root = ElementTree.fromstring(unseen_by_codes(buffer.getvalue()))
    _strip(root)
    used = {match for element in root.iter() for match in _references(element)}
    for element in root.iter():
        element.tag = _NAMESPACE.sub("", element.tag)
        element.attrib = dict(_attributes(element, name, used))
    view = root.attrib["viewBox"]
    root.attrib = {"class": "plot", "viewBox": view, "role": "img", "aria-label": label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _strip(element: ElementTree.Element) -> None:
    """Remove metadata and style sheets: the latter would act on the whole page."""
    for child in list(element):
        if _NAMESPACE.sub("", child.tag) in ("metadata", "style"):
            element.remove(child)
        else:
            _strip(child)
    if _NAMESPACE.sub("", element.tag) != "text":
        element.text = None
    element.tail = None


def _references(element: ElementTree.Element) -> Iterator[str]:
    for key, value in element.attrib.items():
        if key.endswith("href"):
            yield value.lstrip("#")
        yield from _LOCAL.findall(value)


def _attributes(element: ElementTree.Element, name: str, used: set[str]) -> Iterator[tuple[str, str]]:
    for key, value in element.attrib.items():
        key = _NAMESPACE.sub("", key)
        if key == "id":
            if value in used:
                yield key, f"{name}-{value}"
        elif key == "href":
            yield key, f"#{name}-{value.lstrip('#')}"
        else:
            yield key, _themed(value, name)


def _themed(value: str, name: str) -> str:
    for token, mark in _MARKS.items():
        value = value.replace(mark, f"var(--{token})")
    value = re.sub(r"font: ([\d.]+)px [^;]*", r"font-size: \1px", value)
    value = _NUMBER.sub(lambda match: f"{float(match[0]):.1f}".replace(".0", ""), value)
    return _LOCAL.sub(rf"url(#{name}-\1)", " ".join(value.split()))
