"""The facts of the headline figures: a card a metric, on both splits, beside its baseline."""

from __future__ import annotations

import math

from dermfuse.reports.runfolder import SPLITS, RunFolder
from dermfuse.reports.sections.baselines import baselines
from dermfuse.reports.wording import defined

HEADLINES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")
HEADLINES_OF_TWO = ("auc", "average_precision", "sensitivity_at_95_specificity", "balanced_accuracy")


def headline_facts(run: RunFolder) -> list[dict]:
    """Return one card a metric: ``metric``, ``rows`` (one a split), ``scale`` and ``baseline_name``."""
    return [_card(run, name) for name in (HEADLINES if run.positive is None else HEADLINES_OF_TWO)]


def _card(run: RunFolder, metric: str) -> dict:
    rows = [
        {"split": split, "entry": run.metrics[split][metric], "baseline": baselines(run, split).get(metric)}
        for split in SPLITS
    ]
    seen = [value for row in rows for value in (*row["entry"].values(), row["baseline"]) if defined(value)]
    # An axis from zero would hide the intervals; its ends are printed below it.
    floor = math.floor(10 * min(seen, default=0.0) - 1e-9) / 10
    return {
        "metric": metric,
        "rows": rows,
        "scale": (max(floor, 0.0), 1.0),
        "baseline_name": f"always {run.config['majority_class']}" if run.positive is None else "one risk for all",
    }
