"""One self-contained HTML page from a template: the set-up that every page shares."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.theme import DASHES
from reports.wording import FILTERS

_TEMPLATES = Path(__file__).parent / "templates"
# Control characters but tab and line ends, and those that turn the direction of text.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def page(template: str, filters: dict[str, Callable] | None = None, **told: object) -> str:
    """Render `template` with the one stylesheet; values are escaped, and a name that is not told is an error.

    Characters that cannot be seen and yet act, on a terminal or on the order of letters, are shown by their codes.

    Parameters
    ----------
    template : str
        File name below ``reports/templates``.
    filters : dict of str to callable, optional
        Beside those of :mod:`reports.wording`.
    **told
        What the template shows.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({**FILTERS, **(filters or {})})
    environment.globals["dashes"] = [" ".join(map(str, dash)) or "none" for dash in DASHES]
    css = Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8"))
    html = environment.get_template(template).render(**told, css=css)
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], html)
