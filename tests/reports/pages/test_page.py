"""Every report, whatever the run holds: whole, self-contained, escaped, private and the same each time."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from dermfuse.reports import sections
from dermfuse.reports.pages.facts import SECTIONS
from dermfuse.reports.pages.run_page import render, write_report
from dermfuse.reports.runfolder import read_run
from tests.reports.html import Page
from tests.reports.runs import BREAKOUT, PATIENT_PATH, SCRIPT, VARIANTS, write

SIZE_LIMIT = 2_000_000


def test_every_section_is_present_with_a_title(page):
    told = [section["id"] for section in Page(page).all("section")]
    assert told == [name.replace("_", "-") for name, _, _ in SECTIONS]
    assert "Research software, not for clinical use" in page


def test_every_section_is_a_template_beside_what_finds_its_facts():
    folder = Path(sections.__path__[0])
    names = {name for name, _, _ in SECTIONS}
    assert {path.stem for path in folder.glob("*.html")} == names <= {path.stem for path in folder.glob("*.py")}
    assert all(facts_of.__module__ == f"{sections.__name__}.{name}" for name, _, facts_of in SECTIONS)


def test_tags_balance(page):
    assert Page(page).faults == []


def test_ids_are_unique_and_every_reference_has_its_target(page):
    parsed = Page(page)
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    targets = [value for value in parsed.values("href", "xlink:href") if value.startswith("#")]
    targets += [f"#{name}" for name in re.findall(r"url\(#([^)]+)\)", page)]
    targets += [f"#{name}" for value in parsed.values("aria-labelledby") for name in value.split()]
    assert targets
    assert {target[1:] for target in targets} <= set(ids)


def test_nothing_is_loaded_from_outside(page):
    parsed = Page(page)
    for value in parsed.values("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
        assert value.startswith(("#", "data:")), value
    assert set(re.findall(r"url\(\s*['\"]?(.)", page)) <= {"#"}
    assert "@import" not in page
    assert not re.search(r"https?://", page)


def test_no_script_no_handler_and_a_strict_policy(page):
    parsed = Page(page)
    assert not parsed.all("script", "iframe", "object", "embed", "base", "form")
    assert not [name for _, found in parsed.elements for name in found if name.startswith("on")]
    policy = [meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_the_only_style_sheet_is_the_page_s_own(page):
    assert len(Page(page).all("style")) == 1


def test_headings_step_down_one_level_at_a_time(page):
    levels = [int(tag[1]) for tag, _ in Page(page).elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_tables_figures_and_images_are_named_for_those_who_do_not_see_them(page):
    parsed = Page(page)
    assert len(parsed.all("caption")) == len(parsed.all("table"))
    assert len(parsed.all("figcaption")) == len(parsed.all("figure"))
    assert all("scope" in head for head in parsed.all("th"))
    for drawing in parsed.all("svg"):
        assert drawing.get("aria-hidden") == "true" or drawing.get("aria-label") or drawing["class"] == "range-mark"
    assert all(image["alt"] for image in parsed.all("img"))
    assert parsed.all("html")[0]["lang"] == "en"
    assert parsed.all("main")
    assert parsed.all("meta")[2]["name"] == "viewport"


def test_the_page_is_small(page):
    assert len(page.encode()) < SIZE_LIMIT


def test_no_template_syntax_or_empty_python_value_reaches_the_reader(variant, page):
    text = Page(page).text
    if variant != "hostile":
        assert "{{" not in text
    # Two axes are named by rates that are true and false.
    assert not re.search(r"\b(nan|None|inf|True|False|Undefined)\b(?! positive)", text)


def test_figures_take_every_colour_from_the_page(page):
    plots = re.findall(r'<svg class="plot".*?</svg>', page, flags=re.S)
    assert plots
    for plot in plots:
        assert not re.search(r"#[0-9a-f]{6}\b", plot), "a colour is fixed, so it cannot follow dark mode"


def test_no_image_id_group_id_or_path_is_on_the_page(rendered, variant):
    run = rendered(variant)
    page = (run / "report.html").read_text(encoding="utf-8")
    splits = pd.read_parquet(run / "splits.parquet")
    for name in {*splits["id"], *splits["group"], *splits["content"]} - {""}:
        assert name not in page
    assert str(run) not in page


def test_the_same_run_gives_the_same_bytes(tmp_path, variant):
    run = write(tmp_path, VARIANTS[variant])
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first
    assert sorted(path.suffix for path in run.iterdir()).count(".tmp") == 0


def test_hostile_names_stay_text(rendered):
    page = (rendered("hostile") / "report.html").read_text(encoding="utf-8")
    parsed = Page(page)
    assert SCRIPT not in page
    assert "<img src=x" not in page
    assert {image["src"] for image in parsed.all("img")} <= set(), "a private run shows no image"
    for shown in (SCRIPT, BREAKOUT, "a$b_{c}$ & 'd' {{ 7 * 7 }}", "Naevus, 良性", "-->", "]]>"):
        assert shown in parsed.text
    # The names also stand in attributes, where a quote would end them.
    assert any(SCRIPT in label and BREAKOUT in label for label in parsed.values("aria-label"))


def test_a_path_in_a_notice_is_left_out_visibly(rendered):
    page = (rendered("hostile") / "report.html").read_text(encoding="utf-8")
    assert PATIENT_PATH not in page
    assert "[path] could not be read" in page


@pytest.mark.parametrize("name", ["multiclass", "hostile"])
def test_pictures_of_patients_are_shown_only_when_asked_for(tmp_path, name):
    run = write(tmp_path, VARIANTS[name])
    silent = write_report(run).read_text(encoding="utf-8")
    assert not Page(silent).all("img")
    assert "python cli.py report RUN --with-images" in silent
    asked = write_report(run, with_images=True).read_text(encoding="utf-8")
    assert len(Page(asked).all("img")) == 16
    assert "python cli.py report RUN --with-images" not in asked


def test_pictures_of_a_synthetic_dataset_are_always_shown(rendered):
    page = (rendered("no-metadata") / "report.html").read_text(encoding="utf-8")
    assert len(Page(page).all("img")) == 16
    assert "Synthetic data" in page


def test_characters_that_act_unseen_are_shown_by_their_codes(tmp_path):
    variant = replace(VARIANTS["multiclass"], dataset="\x1b[31mred\x07 \u202egood\u2066 \x9b")
    html = render(read_run(write(tmp_path, variant)))
    assert not [c for c in html if (ord(c) < 32 and c not in "\n\t\r") or c in "\x9b\u202e\u2066"]
    assert "\\x1b[31mred\\x07 \\u202egood\\u2066 \\x9b" in Page(html).text
