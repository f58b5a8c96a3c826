"""What the command ``audit`` does, called from Python, and its answers as a frame and in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.features.data.dataset import Dataset
from dermfuse.features.data.load import load_dataset
from dermfuse.pipelines.audit.check import FOUND, ROW_COLUMNS, Audit
from dermfuse.reports.notebook.cards import card
from dermfuse.reports.sections.audit import SEVERITIES, audit_words


@dataclass(frozen=True)
class ShownAudit(Audit):
    """An audit that can be looked at: as a frame, and by itself in a notebook."""

    def to_frame(self) -> pd.DataFrame:
        """One row a check: ``code``, ``severity``, ``state``, ``count`` and ``sentence``."""
        names = ["code", "severity", "state", "count", "sentence"]
        return pd.DataFrame([[getattr(check, name) for name in names] for check in self.checks], columns=names)

    def rows(self) -> pd.DataFrame:
        """The offending rows: ``check``, ``severity``, ``id``, ``group`` and in words ``what``."""
        found = [check for check in self.checks if check.state == FOUND and check.rows is not None]
        parts = [check.rows[list(ROW_COLUMNS)].assign(check=check.code, severity=check.severity) for check in found]
        columns = ["check", "severity", *ROW_COLUMNS]
        return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)

    def _repr_html_(self) -> str:
        found = [check for severity in SEVERITIES for check in self.found(severity)]
        words = audit_words([check.as_json() for check in self.checks])
        return card("audit.html", words=words, found=found, others=[c for c in self.checks if c.state != FOUND])


def audit(
    data: Dataset | str | Path,
    *,
    cache: str | Path = "embeddings",
    features: str | Sequence[str] | None = None,
    seed: int = 0,
    folds: int = 5,
    quiet: bool = False,
) -> ShownAudit:
    """Look for leaks before any model is fitted: the same as the command ``audit``.

    Parameters
    ----------
    data : Dataset or path-like
        Of :func:`load_dataset`, or the folder.
    cache : path-like, default="embeddings"
        Near-copies are looked for in the embeddings that it holds.
    features : str or sequence of str, optional
        Image blocks to look at; every one that holds all images if not given.
    seed, folds : int
        Of the splits, as :func:`evaluate` makes them with ``random_state`` and ``folds``.
    quiet : bool, default=False
        No progress, no notices.

    Returns
    -------
    ShownAudit
        ``checks``, one by its code as ``found["GROUP_SPLIT"]``, ``alarms``, ``to_frame()`` and ``rows()``.

    Raises
    ------
    UserError
        A feature that was not extracted for these images.
    """
    from dermfuse.features.extractors.registry import check_names
    from dermfuse.pipelines.workflows.audit import audit_dataset

    console = Console(quiet)
    wanted = check_names([features] if isinstance(features, str) else list(features)) if features else None
    dataset = data if isinstance(data, Dataset) else load_dataset(data, quiet=quiet)
    store = Store(cache, on_problem=console.say)
    found = audit_dataset(dataset, store, wanted, seed, folds, console)
    return ShownAudit(found.checks, found.pairs, found.scope)
