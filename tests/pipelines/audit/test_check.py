"""What an audit keeps: JSON without ids, rows that no spreadsheet runs, and pictures of pairs."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.pipelines.audit.check import Audit, Pairs, Question, offending
from dermfuse.pipelines.audit.outputs import keep_audit, write_rows
from dermfuse.reports.sections.audit import print_audit

ASKED = Question("CODE", "It holds", "warning")
ROWS = offending(["=1+1", "plain"], ["@cmd", "-2"], "+sum")


def test_formulas_in_names_are_quoted(tmp_path):
    write_rows(Audit([ASKED.found(2, "Two rows.", ROWS)]), tmp_path / "rows.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "rows.csv").read_text())))
    assert rows == [
        ["check", "severity", "id", "group", "what"],
        ["CODE", "warning", "'=1+1", "'@cmd", "'+sum"],
        ["CODE", "warning", "plain", "'-2", "'+sum"],
    ]


def test_only_findings_that_are_no_notes_are_alarms():
    audit = Audit(
        [ASKED.passed(), ASKED.found(1, "A."), ASKED.found(1, "B.", severity="note"), ASKED.not_applicable("no")]
    )
    assert [check.detail for check in audit.alarms] == ["A."]
    assert (audit.as_json()["warnings"], audit.as_json()["notes"], audit.as_json()["errors"]) == (1, 1, 0)


def test_a_run_folder_keeps_the_audit_and_only_the_rows_hold_ids(tmp_path):
    pictures = np.zeros((1, 4, 4, 3), np.uint8)
    pairs = Pairs(pictures, pictures, np.array([0.95]))
    keep_audit(tmp_path, Audit([ASKED.found(2, "Two rows.", ROWS)], pairs, {"rows": 2}))
    assert "plain" not in (tmp_path / "audit.json").read_text()
    assert json.loads((tmp_path / "audit.json").read_text())["checks"][0]["count"] == 2
    assert "plain" in (tmp_path / "audit_rows.csv").read_text()
    assert np.load(tmp_path / "audit_pairs.npz")["left"].shape == (1, 4, 4, 3)


def test_rows_go_to_a_folder_that_is_there(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        write_rows(Audit([]), tmp_path / "none" / "rows.csv")


def test_the_worst_is_printed_first(capsys):
    print_audit(Audit([ASKED.found(1, "Look."), ASKED.passed(), ASKED.found(1, "Wrong.", severity="error")]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 checks looked for leakage and found 1 error and 1 warning."
    assert lines[1:] == ["error   CODE: Wrong.", "warning CODE: Look.", "passed: CODE"]
