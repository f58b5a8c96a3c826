"""Predictions in a CSV: a column for the sets only where the run has them, and an empty set is no missing one."""

from __future__ import annotations

import csv
import json

from dermfuse.features.console import Console
from dermfuse.pipelines.prediction.predictor import Prediction
from dermfuse.reports.terminal.predictions import write_predictions

GIVEN = {"probabilities": {"mel": 0.7, "nv": 0.3}, "decision": "mel", "balanced_decision": "mel"}


def rows_of(path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(tmp_path, rows) -> list[dict]:
    write_predictions(rows, len(rows), tmp_path / "out.csv", False, Console(quiet=True))
    return rows_of(tmp_path / "out.csv")


def test_sets_are_a_column_with_bars_between_the_classes(tmp_path):
    rows = [
        Prediction("a.jpg", **GIVEN, set=["mel", "basal cell"]),
        Prediction("b.jpg", **GIVEN, set=[]),
        Prediction("c.jpg", error="broken"),
    ]
    assert [row["set"] for row in written(tmp_path, rows)] == ["mel|basal cell", "", ""]


def test_without_sets_there_is_no_such_column(tmp_path):
    (row,) = written(tmp_path, [Prediction("a.jpg", **GIVEN)])
    assert "set" not in row and row["p_mel"] == "0.7"


def test_a_class_that_a_spreadsheet_would_compute_stays_text(tmp_path):
    (row,) = written(tmp_path, [Prediction("a.jpg", **GIVEN, set=["=1+1"])])
    assert row["set"] != "=1+1" and "=1+1" in row["set"]


def test_json_lines_hold_the_set(capsys):
    write_predictions([Prediction("a.jpg", **GIVEN, set=["mel"])], 1, None, True, Console(quiet=True))
    assert json.loads(capsys.readouterr().out)["set"] == ["mel"]
