"""What the command ``compare`` does, called from Python, and its answers as a frame and in a notebook."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from dermfuse.cache.errors import usage_error
from dermfuse.features.console import Console
from dermfuse.reports.notebook.cards import card
from dermfuse.reports.notebook.run import Run
from dermfuse.reports.pages.comparison import answers, write_comparison
from dermfuse.reports.wording import SPLIT_NAMES


class Comparison:
    """Runs that were scored on the same rows, pair by pair.

    Parameters
    ----------
    document : dict
        The content of ``comparison.json``.

    Attributes
    ----------
    document : dict
    """

    def __init__(self, document: dict):
        self.document = document

    def __repr__(self) -> str:
        return f"Comparison({', '.join(run['name'] for run in self.document['runs'])})"

    @property
    def answers(self) -> list[str]:
        """One sentence a pair: the change, its interval and what follows from it."""
        return answers(self.document)

    def to_frame(self) -> pd.DataFrame:
        """One row a pair, split and metric.

        Returns
        -------
        DataFrame
            ``reference``, ``run``, ``split``, ``metric``, the two values, ``difference`` (the run's less the
            reference's) with ``low`` and ``high``, ``p``, ``p_holm`` and ``verdict``.
        """
        told = ("difference", "low", "high", "p", "p_holm", "verdict")
        rows = [
            {
                "reference": pair["first"],
                "run": pair["second"],
                "split": split,
                "metric": metric,
                "value_reference": pair["results"][split][metric]["first"],
                "value_run": pair["results"][split][metric]["second"],
                **{name: pair["results"][split][metric][name] for name in told},
            }
            for pair in self.document["pairs"]
            for split in SPLIT_NAMES
            for metric in self.document["metrics"]
        ]
        return pd.DataFrame(rows)

    def write(self, target: str | Path) -> Path:
        """Write the page of the comparison, as ``compare --out`` does; return its path."""
        return write_comparison(self.document, Path(target))

    def _repr_html_(self) -> str:
        rows = self.to_frame().to_dict("records")
        return card("compare.html", answers=self.answers, rows=rows, titles=SPLIT_NAMES, notes=self.document["notes"])


def compare(
    runs: Iterable[Run | str | Path], *, all_pairs: bool = False, trust: bool = False, quiet: bool = False
) -> Comparison:
    """Compare runs that were scored on the same rows: the same as the command ``compare``.

    Parameters
    ----------
    runs : iterable of Run or path-like
        Two or more; the first is the reference.
    all_pairs : bool, default=False
        Every pair of runs, not each against the first alone.
    trust : bool, default=False
        Read runs also where their files were changed after the fit.
    quiet : bool, default=False
        No progress, no notices.

    Returns
    -------
    Comparison

    Raises
    ------
    UserError
        Too few or too many runs, or runs that do not share rows, folds and the locked test split.
    """
    from dermfuse.pipelines.workflows.compare import compare_runs

    if isinstance(runs, str | os.PathLike):
        raise usage_error(f"runs is the single run {os.fspath(runs)!r}. Expected a list of two or more.")
    return Comparison(compare_runs([Path(run) for run in runs], Console(quiet), all_pairs, trust))
