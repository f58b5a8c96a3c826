"""Measure the main job on real data: extraction, fits with report, prediction, ``--help``.

    python -m tests.benchmarks.main_job [--data DIR] [--weights-dir DIR] [--write]

Prints a table; ``--write`` puts it into RESULTS.md in place of the last one. Every step is a fresh process of the
command line, as a person would run it; memory is the process's peak resident size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.measure import Measured, machine, measure, table, write_results

HEADER = ("step", "seconds", "images/s", "peak MB", "result")
MODELS = ("rf", "xgb", "mlp", "logreg", "svm")


def main() -> None:
    """Run all steps and print their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/ham10000"))
    parser.add_argument("--weights-dir", type=Path, default=Path("../shared/weights"))
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = list(steps(options, Path(folder)))
    text = table(HEADER, rows)
    print(text)
    if options.write:
        write_results("The main job", "python -m tests.benchmarks.main_job --write", machine(), text)


def steps(options: argparse.Namespace, folder: Path):
    """Yield one row of the table a step."""
    shared = ["--data", options.data, "--cache", folder / "embeddings", "--quiet"]
    extract = ["extract", *shared, "--weights-dir", options.weights_dir, "--json"]
    fit = ["fit", *shared, "--runs", folder / "runs", "--features", "mobilenet_v2", "--json"]

    times = [measure("--help").seconds for _ in range(5)]
    yield "`--help`, median of 5", f"{statistics.median(times):.2f}", "", "", ""
    for title, features in (
        ("extract mobilenet_v2", "mobilenet_v2"),
        ("extract cae (training included)", "cae"),
        ("extract both again", "mobilenet_v2,cae"),
    ):
        done = measure(*extract, "--features", features)
        facts = json.loads(done.output)
        computed = max(block["computed"] for block in facts["blocks"])
        yield _row(title, done, computed, f"{computed:,} of {facts['images']:,} images computed")
    for model in MODELS:
        done = measure(*fit, "--model", model, "--name", model)
        yield _row(f"fit {model} and report", done, 0, _scores(done))
    done = measure(*fit, "--model", "mlp", "--balance", "none", "--name", "mlp-none")
    yield _row("fit mlp --balance none and report", done, 0, _scores(done))
    yield _row("report again", measure("report", "rf", "--runs", folder / "runs"), 0, "")
    images = sorted(options.data.rglob("*.jpg"))[:20]
    predict = [
        "predict",
        "rf",
        *images,
        "--cache",
        folder / "embeddings",
        "--runs",
        folder / "runs",
        "--json",
        "--quiet",
    ]
    yield _row("predict 20 images (embedded already)", measure(*predict), 20, "")


def _row(title: str, done: Measured, images: int, result: str) -> tuple[str, ...]:
    rate = f"{images / done.seconds:.1f}" if images else ""
    return title, f"{done.seconds:.1f}", rate, f"{done.peak_mb:.0f}", result


def _scores(done: Measured) -> str:
    metrics = json.loads(done.output)["out_of_fold"]
    return ", ".join(f"{name.replace('_', ' ')} {metrics[name]['value']:.3f}" for name in ("accuracy", "macro_auc"))


if __name__ == "__main__":
    sys.exit(main())
