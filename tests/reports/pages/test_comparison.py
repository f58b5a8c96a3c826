"""The page of a comparison: what it answers, and that it is as whole, private and safe as a run's report."""

from __future__ import annotations

import copy
import functools
import json
import re

import pytest

from dermfuse.cache.errors import UserError
from dermfuse.features.console import Console
from dermfuse.pipelines.evaluation import compare
from dermfuse.pipelines.evaluation.compare import Pair, read_all
from dermfuse.pipelines.statistics import bootstrap
from dermfuse.pipelines.workflows.compare import compare_runs
from dermfuse.reports.pages.comparison import (
    answer,
    answers,
    finish_ablation,
    print_comparison,
    render_comparison,
    write_comparison,
)
from dermfuse.reports.wording import signed
from tests.reports.html import Page
from tests.reports.pages import test_page
from tests.reports.runs import BREAKOUT, SCRIPT, VARIANTS, Variant, write

QUIET = Console(quiet=True)
HOSTILE = VARIANTS["hostile"]
KINDS = {
    "runs": [Variant(name="weak", skill=0.5, images=300), Variant(name="strong", skill=6.0, images=300)],
    "binary": [
        Variant(name=name, skill=skill, images=300, classes=("benign", "malignant"), shares=(0.7, 0.3), grouped=False)
        for name, skill in (("weak", 0.5), ("strong", 6.0))
    ],
    "ablation": [
        Variant(name="rf-images", skill=2.0, images=300, metadata=False, synthetic=True),
        Variant(name="rf-metadata", skill=0.5, images=300, blocks=(), synthetic=True),
        Variant(name="rf-both", skill=2.4, images=300, synthetic=True),
    ],
    "hostile": [
        Variant(name=f"{SCRIPT} {i}", dataset=BREAKOUT, classes=HOSTILE.classes, shares=HOSTILE.shares, images=300)
        for i in (1, 2)
    ],
}


def pair(first: str, action: str, what: str, headline: bool) -> Pair:
    return Pair(first, "rf-both", action, "rf", f"{what} helps", f"{what} hurts", f"+ {what}", headline)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Return a function that gives the comparison of a kind of runs, made once."""
    done = {}

    def of(kind: str) -> dict:
        if kind not in done:
            place = tmp_path_factory.mktemp(kind)
            folders = [write(place / str(i), variant) for i, variant in enumerate(KINDS[kind])]
            if kind == "ablation":
                pairs = [
                    pair("rf-images", "Adding metadata to images", "metadata", True),
                    pair("rf-metadata", "Adding images to metadata", "images", False),
                ]
                done[kind] = compare.compare(read_all(folders), pairs, "ablation", QUIET.progress)
            else:
                done[kind] = compare_runs(folders, QUIET)
        return copy.deepcopy(done[kind])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "RESAMPLES", 200)
        patch.setattr(compare, "rounds_for", lambda tests: 1)
        yield of


@pytest.fixture(scope="module")
def page_of(compared):
    """Return a function that gives the page of a kind of runs, rendered once."""
    return functools.cache(lambda kind: render_comparison(compared(kind)))


@pytest.fixture(params=list(KINDS))
def kind(request) -> str:
    return request.param


@pytest.fixture
def page(page_of, kind) -> str:
    return page_of(kind)


def decided(comparison: dict, **changed) -> dict:
    """The first pair, with other values for macro AUC out of fold."""
    first = comparison["pairs"][0]
    entry = {"difference": 0.012, "low": 0.004, "high": 0.02, "p_holm": 0.002, "verdict": "better"}
    first["results"]["out_of_fold"]["macro_auc"] |= {**entry, "t": {"p": 0.01, "p_holm": 0.1, "folds": 5}, **changed}
    return first


# ---- the answer


def test_what_metadata_adds_is_said_in_one_sentence(compared):
    comparison = compared("ablation")
    told = answer(decided(comparison), comparison["metrics"])
    assert told.startswith(
        "Adding metadata to images changes macro AUC of rf by +0.012 (0.004 to 0.020), p = 0.002 after Holm: "
        "metadata helps. It changes accuracy by "
    )
    assert "On the locked test split macro AUC changes by " in told


def test_harm_and_no_difference_are_said_as_plainly(compared):
    comparison = compared("ablation")
    loss = decided(comparison, difference=-0.012, low=-0.02, high=-0.004, verdict="worse")
    assert "by −0.012 (−0.020 to −0.004), p = 0.002 after Holm: metadata hurts." in answer(loss, comparison["metrics"])
    nothing = decided(comparison, low=-0.004, p_holm=0.31, verdict="undecided")
    assert "p = 0.310 after Holm: this cannot be told apart from zero." in answer(nothing, comparison["metrics"])


def test_a_change_that_refits_do_not_confirm_is_said_to_be_so(compared):
    comparison = compared("ablation")
    told = answer(decided(comparison, t={"p": 0.2, "p_holm": 1.0, "folds": 5}), comparison["metrics"])
    assert "metadata helps, but the corrected t test over folds, which allows for refits, does not confirm it" in told
    assert "(p = 0.200)" in told


@pytest.mark.parametrize(("p", "said"), [(0.0004, "p < 0.001"), (0.0499, "p = 0.0499"), (0.05, "p = 0.0500")])
def test_a_p_value_is_never_rounded_across_the_level_that_decides(compared, p, said):
    comparison = compared("ablation")
    assert f"{said} after Holm" in answer(decided(comparison, p_holm=p), comparison["metrics"])


def test_a_metric_that_is_not_defined_has_no_p_value(compared):
    comparison = compared("ablation")
    nothing = dict.fromkeys(("difference", "low", "high", "p", "p_holm"))
    told = answer(decided(comparison, **nothing, verdict="undecided"), comparison["metrics"])
    assert told.startswith("Adding metadata to images changes macro AUC of rf by –, without a p value.")
    assert "None" not in Page(render_comparison(comparison)).text


def test_only_the_first_question_of_an_ablation_stands_first_and_all_stand_below(compared):
    comparison = compared("ablation")
    assert len(answers(comparison)) == 1
    text = Page(render_comparison(comparison)).text
    assert text.index(answers(comparison)[0]) < text.index("Differences Filled dot")
    assert "Further comparisons" in text
    assert "Adding images to metadata, rf" in text


def test_two_classes_are_told_by_their_auc(compared):
    assert "changes AUC (malignant) by +0." in answers(compared("binary"))[0]


@pytest.mark.parametrize(
    ("value", "said"), [(0.0123, "+0.012"), (-0.0123, "−0.012"), (0.0001, "0.000"), (-0.0001, "0.000"), (None, "–")]
)
def test_a_change_has_its_sign_and_a_rounded_zero_has_none(value, said):
    assert signed(value) == said


def test_answers_and_page_are_printed(compared, capsys, tmp_path):
    comparison = compared("runs")
    print_comparison(comparison, tmp_path / "compare.html")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Going from weak to strong changes macro AUC by +")
    assert lines[-1] == str(tmp_path / "compare.html")


# ---- the page


def test_sections_are_present(page):
    assert [section["id"] for section in Page(page).all("section")] == ["differences", "runs", "tables", "method"]
    assert page.startswith("<!doctype html>")


@pytest.mark.parametrize(
    "check",
    [
        test_page.test_tags_balance,
        test_page.test_ids_are_unique_and_every_reference_has_its_target,
        test_page.test_nothing_is_loaded_from_outside,
        test_page.test_no_script_no_handler_and_a_strict_policy,
        test_page.test_the_only_style_sheet_is_the_page_s_own,
        test_page.test_headings_step_down_one_level_at_a_time,
        test_page.test_tables_figures_and_images_are_named_for_those_who_do_not_see_them,
        test_page.test_the_page_is_small,
        test_page.test_figures_take_every_colour_from_the_page,
    ],
    ids=lambda check: check.__name__,
)
def test_it_is_as_whole_and_safe_as_the_report_of_a_run(check, page):
    check(page)


def test_no_empty_python_value_reaches_the_reader(page):
    assert not re.search(r"\b(nan|None|inf|True|False|Undefined)\b", Page(page).text)


def test_each_metric_has_a_figure_and_each_pair_a_table(compared, page, kind):
    comparison = compared(kind)
    parsed = Page(page)
    sets = len({one["headline"] for one in comparison["pairs"]})
    assert len(parsed.all("figure")) == sets * len(comparison["metrics"])
    assert len(parsed.all("table")) == 1 + len(comparison["pairs"])
    for one in comparison["pairs"]:
        assert any(one["label"] in label for label in parsed.values("aria-label"))


def test_better_is_to_the_right_also_where_lower_is_better(page_of):
    """The strong run's log loss falls; its mark lies to the right of the line of no change, as its accuracy's does."""
    page = page_of("runs")
    for metric in ("Accuracy", "Log loss"):
        plot = next(p for p in re.findall(r'<svg class="plot".*?</svg>', page, re.S) if f"Changes of {metric}" in p)
        # The line of no change is the only one in ink; the filled dot's place is given where it is used.
        zero = float(re.search(r'd="M ([\d.]+) [\d.]+\s?L[^"]*"[^>]*style="[^"]*stroke: var\(--ink\)', plot)[1])
        dot = re.search(r'<use [^>]*x="([\d.]+)"[^>]*style="fill: var\(--c0\)', plot)
        assert float(dot[1]) > zero


def test_hostile_names_stay_text(page_of):
    page = page_of("hostile")
    assert SCRIPT not in page
    assert "<img src=x" not in page
    assert SCRIPT in Page(page).text
    assert BREAKOUT in Page(page).text


def test_no_id_and_no_path_is_on_the_page(compared, kind, tmp_path):
    write(tmp_path, KINDS[kind][0])
    page = write_comparison(compared(kind), tmp_path / "compare.html").read_text(encoding="utf-8")
    assert not re.search(r"ISIC_\d|HAM_\d", page)
    assert str(tmp_path) not in page
    assert "run/run" not in page


def test_synthetic_data_is_named_and_the_clinic_ruled_out(page_of):
    assert "Synthetic data" in page_of("ablation")
    assert "Synthetic data" not in page_of("runs")
    assert "not for clinical use" in page_of("runs")


def test_what_the_numbers_do_not_say_is_said(page_of):
    text = Page(page_of("runs")).text
    for said in ("held fixed by the bootstrap", "one division into folds", "one dataset", "not shown to be zero"):
        assert said in text
    assert "count as independent" in Page(page_of("binary")).text


def test_notes_are_shown(compared):
    comparison = compared("runs")
    assert "Notes" not in Page(render_comparison(comparison)).text
    comparison["notes"] = ["something was left out"]
    assert "something was left out" in Page(render_comparison(comparison)).text


def test_the_same_comparison_gives_the_same_bytes_also_when_it_is_read_from_its_file(compared, page, kind):
    assert render_comparison(json.loads(json.dumps(compared(kind)))) == page


# ---- writing


def test_a_page_that_cannot_be_written_is_refused_in_one_line(compared, tmp_path):
    for target, said in ((tmp_path / "no" / "c.html", "no such folder"), (tmp_path, "is a folder. Give a file")):
        with pytest.raises(UserError, match=said) as error:
            write_comparison(compared("runs"), target)
        assert error.value.exit_code == 2


def test_an_ablation_is_finished_with_a_report_in_each_arm_and_a_page_beside_them(compared, tmp_path):
    run = write(tmp_path, KINDS["ablation"][0])
    finish_ablation(run)
    assert (run / "report.html").is_file()
    (tmp_path / "comparison.json").write_text(json.dumps(compared("ablation")))
    finish_ablation(tmp_path)
    assert "Ablation of HAM10000" in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert not (tmp_path / "report.html").exists()
