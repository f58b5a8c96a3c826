"""The README's tables of results lie between marks that the command which makes them finds."""

from __future__ import annotations

import pytest

from tests.benchmarks.readme import README, TABLES, put


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_its_marks_and_nothing_else_changes(name, tmp_path):
    page = tmp_path / "README.md"
    before = README.read_text(encoding="utf-8")
    page.write_text(before, encoding="utf-8")
    put(page, name, "| a | b |")
    after = page.read_text(encoding="utf-8")
    start, end = f"<!-- results: {name} -->\n", "<!-- end -->"
    assert f"{start}| a | b |\n{end}" in after
    assert after.split(start)[0] == before.split(start)[0]
    assert after.split(start)[1].partition(end)[2] == before.split(start)[1].partition(end)[2]


def test_a_page_without_marks_is_refused(tmp_path):
    (tmp_path / "page.md").write_text("nothing", encoding="utf-8")
    with pytest.raises(ValueError, match="no marks for the table 'models'"):
        put(tmp_path / "page.md", "models", "")
