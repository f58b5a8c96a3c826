"""One self-contained HTML page from a template: the set-up that every page shares."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dermfuse.reports.drawing.theme import DASHES, unseen_by_codes
from dermfuse.reports.wording import FILTERS, SPLIT_NAMES

_PAGES = Path(__file__).parent
_SECTIONS = _PAGES.parent / "sections"


def page(template: str, **told: object) -> str:
    """Render `template` with the one stylesheet; values are escaped, and a name that is not told is an error.

    Characters that cannot be seen and yet act, on a terminal or on the order of letters, are shown by their codes.

    Parameters
    ----------
    template : str
        File name in ``reports/pages``.
    **told
        What the template shows.
    """
    environment = Environment(
        loader=FileSystemLoader([_PAGES, _SECTIONS]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.globals["split_names"] = SPLIT_NAMES
    environment.globals["dashes"] = [" ".join(map(str, dash)) or "none" for dash in DASHES]
    css = Markup((_PAGES / "style.css").read_text(encoding="utf-8"))
    html = environment.get_template(template).render(**told, css=css)
    return unseen_by_codes(html)
