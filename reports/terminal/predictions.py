"""What people and programs read of predictions: lines, JSON objects, or a CSV that is safe in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from dermfuse.cache.atomic import atomic_write
from dermfuse.features.console import printable
from dermfuse.features.images.quarantine import spreadsheet_safe
from dermfuse.pipelines.model.fieldwise import NONE
from dermfuse.pipelines.prediction.predictor import Prediction
from dermfuse.reports.wording import listed


def write_predictions(predictions: Iterable[Prediction], total: int, out: Path | None, as_json: bool, console) -> int:
    """Print or write predictions as they come; whoever gives them makes them.

    Parameters
    ----------
    predictions : iterable of Prediction
        Finished results, read once and in order; nothing of a model is asked for here.
    total : int
        How many will come.
    out : Path or None
        CSV file to write, whole or not at all; None prints.
    as_json : bool
        Print one JSON object a line.
    console : Console

    Returns
    -------
    int
        How many images could not be scored.

    Raises
    ------
    UserError
        `out` cannot be written.
    """
    rows: list[Prediction] = []
    failed = 0
    with console.progress("predicting", total) as advance:
        for prediction in predictions:
            advance()
            failed += prediction.error is not None
            if prediction.error is not None and not as_json:
                print(printable(f"set aside: {prediction.image!r}: {prediction.error}"), file=sys.stderr)
            if as_json:
                print(json.dumps(prediction.as_json()))
            elif out is None and prediction.error is None:
                print(printable(_line(prediction)))
            if out is not None:
                rows.append(prediction)
    if out is not None:
        atomic_write(out.absolute(), _csv(rows).encode("utf-8", "surrogateescape"))
        console.say(f"{total - failed} predictions are in {out}")
    return failed


def _line(prediction: Prediction) -> str:
    best = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:3]
    shown = ", ".join(f"{name} {p:.3f}" for name, p in best)
    seen = " (its model learned from this image)" if prediction.seen_in == "train" else ""
    return f"{prediction.image}: {prediction.decision}  [{shown}]{_part(prediction)}{seen}"


def _part(prediction: Prediction) -> str:
    """Which part of the model answered, where it is not the whole one."""
    if not prediction.imputed:
        return ""
    return " (by the image alone)" if prediction.answered_by == NONE else f" (without {listed(prediction.imputed)})"


def _csv(rows: list[Prediction]) -> str:
    text = io.StringIO()
    classes = next((list(row.probabilities) for row in rows if row.probabilities), [])
    # With every cell in quotes, a name with ";" stays one cell where a spreadsheet separates by ";".
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    sets = any(row.set is not None for row in rows)
    header = [
        "image",
        "decision",
        "balanced_decision",
        *(f"p_{name}" for name in classes),
        *(["set"] * sets),
        "imputed",
        "answered_by",
        "seen_in",
        "error",
    ]
    writer.writerow([spreadsheet_safe(cell) for cell in header])
    for row in rows:
        probabilities = [row.probabilities.get(name, "") for name in classes]
        cells = [row.image, row.decision, row.balanced_decision, *probabilities]
        # Class names may hold blanks, so a bar stands between them.
        cells += ["|".join(row.set or [])] * sets
        cells += [" ".join(row.imputed), row.answered_by, row.seen_in or "", row.error or ""]
        writer.writerow([spreadsheet_safe(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue()
