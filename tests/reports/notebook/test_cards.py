"""Cards escape what comes from the data."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from dermfuse.reports.notebook.cards import card
from dermfuse.reports.notebook.run import Run
from tests.reports.runs import BREAKOUT, SCRIPT


@pytest.mark.parametrize("variant", ["hostile", "binary", "unexplained", "no-skill"])
def test_names_from_the_data_are_text(rendered, variant):
    html = Run(rendered(variant))._repr_html_()
    assert SCRIPT not in html and BREAKOUT not in html and "<script" not in html
    assert html.count("<table>") == 1 and "95 % interval" in html


def test_what_cannot_be_seen_is_shown_by_its_code():
    html = card("audit.html", words="a\u202eb\x1b[31m", found=[], others=[])
    assert "a\\u202eb\\x1b[31m" in html


def test_a_name_that_is_not_told_is_an_error():
    with pytest.raises(UndefinedError):
        card("audit.html", words="")
