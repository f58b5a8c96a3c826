"""What a command says when it has ended: a few lines for a person, or one object for a program."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from dermfuse.cache.atomic import in_units
from dermfuse.features.console import printable
from dermfuse.features.embedding.summary import ExtractSummary
from dermfuse.features.runtimes.choice import Choice
from dermfuse.pipelines.runs.run_folder import read_json
from dermfuse.reports.sections.audit import audit_words
from dermfuse.reports.wording import OF_POSITIVE, SPLIT_NAMES

MOST_LISTED = 10
SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")
SHOWN_OF_TWO = ("auc", "average_precision", "balanced_accuracy", "brier")


def extract_facts(summary: ExtractSummary) -> dict:
    """An extraction as ``extract --json`` prints it."""
    return {
        "images": summary.images,
        "shard": summary.part,
        "seconds": round(summary.seconds, 2),
        "blocks": [vars(block) for block in summary.blocks],
        "bytes": summary.bytes,
        "frames_left_out": summary.frames_left_out,
        "stages": {
            **{k: round(v, 3) for k, v in vars(summary.stages).items()},
            "bottleneck": summary.stages.bottleneck,
        },
        "runtimes": [runtime_facts(choice) for choice in summary.runtimes],
        "set_aside": [vars(row) for row in summary.set_aside],
    }


def runtime_facts(choice: Choice) -> dict:
    """With what a network ran, and every candidate that was compared."""
    facts = asdict(choice)
    facts["candidates"] = facts.pop("trials")
    return {**facts, "images_per_second": choice.images_per_second}


def print_extract(summary: ExtractSummary, cache: Path) -> None:
    """Say what an extraction computed, reused and set aside."""
    for block in summary.blocks:
        print(f"{block.name}: {block.computed:,} images computed, {block.reused:,} from the cache")
    computed = max((block.computed for block in summary.blocks), default=0)
    if computed:
        print(f"{summary.seconds:.1f} s, {computed / summary.seconds:.1f} images/s, into {printable(cache)}")
        print(_stages_line(summary))
    for row in summary.set_aside[:MOST_LISTED]:
        print(printable(f"set aside: {row.path!r}: {row.reason}"), file=sys.stderr)
    if summary.set_aside:
        print(f"{len(summary.set_aside)} images set aside, listed in {printable(summary.quarantine)}", file=sys.stderr)


def _stages_line(summary: ExtractSummary) -> str:
    stages = summary.stages
    bottleneck = {"decode": "decoding", "network": "the network", "write": "the disk"}[stages.bottleneck]
    return (
        f"waited {stages.decode:.1f} s for decoded images and {stages.write:.1f} s for the disk, "
        f"{stages.network:.1f} s in networks: {bottleneck} is the bottleneck; {in_units(summary.bytes)} of embeddings"
    )


def run_facts(path: Path) -> dict:
    """A run as ``fit --json`` prints it."""
    return {"run": str(path), "report": str(path / "report.html"), **read_json(path, "metrics.json")}


def print_run(path: Path) -> None:
    """Say a run's headline figures with their intervals, what the audit found, and where the report is."""
    metrics = read_json(path, "metrics.json")
    for part, title in SPLIT_NAMES.items():
        names = SHOWN_OF_TWO if "auc" in metrics[part] else SHOWN
        shown = ", ".join(f"{_named(name, metrics.get('positive'))} {_measured(metrics[part][name])}" for name in names)
        print(f"{title.lower()}: {shown}; majority class {metrics['majority'][part]:.3f}")
    print(f"audit: {audit_words(read_json(path, 'audit.json')['checks'])}")
    print(printable(path / "report.html"))


def _named(metric: str, positive: str | None) -> str:
    name = metric.replace("_", " ")
    return f"{name} of {positive}" if positive is not None and metric in OF_POSITIVE else name


def _measured(metric: dict) -> str:
    if metric["value"] is None:
        return "-"
    interval = f" ({metric['low']:.3f} to {metric['high']:.3f})" if metric["low"] is not None else ""
    return f"{metric['value']:.3f}{interval}"
