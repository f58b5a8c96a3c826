"""Of two classes the positive one is named wherever a number of it stands, and it is the one that the run names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dermfuse.features.console import Console
from dermfuse.pipelines.workflows.compare import compare_runs
from dermfuse.reports.pages.comparison import answers, render_comparison
from dermfuse.reports.pages.facts import facts
from dermfuse.reports.pages.run_page import write_report
from dermfuse.reports.runfolder import read_run
from dermfuse.reports.terminal.summaries import print_run, run_facts
from tests.reports.html import Page
from tests.reports.runs import VARIANTS, Variant, write

NAMED = ("AUC", "Average precision", "Sensitivity at 95 % specificity", "Partial AUC above 80 % sensitivity")


def run_of(folder: Path, positive: str) -> Path:
    run = write(folder, VARIANTS["binary"])
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps({**metrics, "positive": positive}))
    return run


@pytest.mark.parametrize("positive", ["benign", "malignant"])
class TestOfTwoClasses:
    def test_the_lines_of_a_terminal_name_it(self, positive, tmp_path, capsys):
        print_run(run_of(tmp_path, positive))
        lines = capsys.readouterr().out.splitlines()[:2]
        for line in lines:
            assert f": auc of {positive} 0." in line and f"average precision of {positive} 0." in line
            assert f"brier of {positive}" not in line

    def test_the_json_object_names_it(self, positive, tmp_path):
        assert run_facts(run_of(tmp_path, positive))["positive"] == positive

    def test_the_page_names_it_in_its_answers_cards_tables_and_curves(self, positive, tmp_path):
        run = run_of(tmp_path, positive)
        write_report(run)
        text = Page((run / "report.html").read_text(encoding="utf-8")).text
        assert f"AUC of {positive} 0." in text and f"average precision of {positive} 0." in text
        for name in NAMED:
            assert f"{name} of {positive}" in text
        assert f"Calibration error of {positive}" in text
        assert f"The positive class is {positive}." in text
        assert not re.search(r"(?<![Mm]acro )AUC 0\.|(?<!Macro )[Aa]verage precision 0\.|sensitivity 0\.", text)

    def test_shap_values_are_drawn_for_it(self, positive, tmp_path):
        assert [s["class"] for s in facts(read_run(run_of(tmp_path, positive)))["importance"]["swarms"]] == [positive]

    def test_a_comparison_names_it(self, positive, tmp_path):
        pair = [run_of(tmp_path / name, positive) for name in ("a", "b")]
        for name, run in zip("ab", pair, strict=True):
            config = json.loads((run / "config.json").read_text())
            (run / "config.json").write_text(json.dumps({**config, "name": name}))
        comparison = compare_runs(pair, Console(quiet=True))
        assert comparison["dataset"]["positive"] == positive
        assert f"changes AUC ({positive}) by" in answers(comparison)[0]
        assert f"AUC of {positive}" in Page(render_comparison(comparison)).text


def test_of_more_classes_none_is_positive(tmp_path, capsys):
    run = write(tmp_path, Variant(images=300))
    told = facts(read_run(run))
    assert told["page"]["positive"] is None and told["curves"]["positive"] is None
    print_run(run)
    assert "macro auc 0." in capsys.readouterr().out
