"""Small pieces of HTML for a notebook's output cell; everything in them is escaped."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dermfuse.features.console import printable
from dermfuse.reports.wording import FILTERS

NOT_CLINICAL = "Research software; not for clinical use."


def card(template: str, **told: object) -> str:
    """Render a template of this folder; a name that is not told is an error.

    Parameters
    ----------
    template : str
        File name in ``reports/notebook``.
    **told
        What it shows. Characters that cannot be seen are shown by their codes.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, int | float) else seen(value),
    )
    environment.filters.update(FILTERS)
    return environment.get_template(template).render(**told, not_clinical=NOT_CLINICAL)


def seen(value: object) -> object:
    """Text with what acts and cannot be seen by its codes; markup stays as it is."""
    return value if hasattr(value, "__html__") else printable(value)
