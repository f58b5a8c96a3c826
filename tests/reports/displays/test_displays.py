"""Displays draw what the report draws, on axes that are given or made."""

from __future__ import annotations

from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.reports.displays.importance import ImportanceDisplay
from dermfuse.reports.displays.reliability import ReliabilityDisplay
from dermfuse.reports.displays.roc import RocDisplay
from dermfuse.reports.drawing.curves import area_under_roc
from dermfuse.reports.notebook.run import Run

DISPLAYS = (RocDisplay, ReliabilityDisplay, ImportanceDisplay)


@pytest.fixture(autouse=True)
def drawing():
    """No window, and no figure left open."""
    import matplotlib.pyplot as plt

    matplotlib.use("agg")
    yield plt
    plt.close("all")


@pytest.mark.filterwarnings("ignore:Glyph")  # the font of a test machine knows no Chinese
@pytest.mark.parametrize("display", DISPLAYS)
@pytest.mark.parametrize("variant", ["multiclass", "binary", "hostile", "no-skill"])
def test_every_run_can_be_drawn_on_new_axes_and_on_given_ones(rendered, display, variant, drawing, tmp_path):
    made = display.from_run(Run(rendered(variant))).plot()
    assert made.figure_ is made.ax_.figure
    made.figure_.savefig(tmp_path / "new.png")  # names with dollars and braces are drawn, too
    _, ax = drawing.subplots()
    assert display.from_run(rendered(variant)).plot(ax).ax_ is ax


def test_the_roc_curve_has_the_area_that_the_run_tells(rendered):
    run = Run(rendered("multiclass"))
    for split in ("out_of_fold", "test"):
        display = RocDisplay.from_run(run, split)
        for name, curve in display.curves.items():
            assert area_under_roc(curve) == pytest.approx(display.auc[name]["value"], abs=1e-9)
    assert list(RocDisplay.from_run(run, classes=["mel"]).plot().lines_) == ["mel"]


def test_of_two_classes_the_positive_one_is_drawn(rendered):
    run = Run(rendered("binary"))
    assert list(RocDisplay.from_run(run).curves) == [run.read.positive]
    assert run.read.positive in ReliabilityDisplay.from_run(run).plot().ax_.get_xlabel()


def test_lines_and_bars_take_matplotlibs_keywords(rendered):
    run = Run(rendered("multiclass"))
    assert RocDisplay.from_run(run).plot(color="red").lines_["mel"].get_color() == "red"
    display = ImportanceDisplay.from_run(run).plot(most=2, color="blue")
    assert len(display.bars_) == 2
    assert np.all(np.diff(display.table["value"]) <= 0)


def test_what_a_run_does_not_hold_is_refused(rendered):
    run = Run(rendered("binary"))
    run.read = replace(run.read, importance=run.read.importance[:0])
    with pytest.raises(UserError, match="explain=True"):
        ImportanceDisplay.from_run(run)
    with pytest.raises(UserError, match="unknown split 'train'"):
        RocDisplay.from_run(rendered("binary"), "train")
