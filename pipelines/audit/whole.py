"""The audit as a whole: every check, in reading order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dermfuse.pipelines.audit.check import Audit
from dermfuse.pipelines.audit.columns import check_columns
from dermfuse.pipelines.audit.duplicates import check_files
from dermfuse.pipelines.audit.extractors import check_extractors
from dermfuse.pipelines.audit.giveaway import Labels
from dermfuse.pipelines.audit.given import AuditInput
from dermfuse.pipelines.audit.groups import check_groups
from dermfuse.pipelines.audit.image_files import check_file_facts
from dermfuse.pipelines.audit.memo import Findings
from dermfuse.pipelines.audit.near import check_near
from dermfuse.pipelines.audit.optimism import check_optimism
from dermfuse.pipelines.audit.oversized import check_sizes

STEPS = 7


def run_audit(given: AuditInput, console, findings: Findings | None = None) -> Audit:
    """Run every check.

    What tells the label is judged by rows outside the locked test split alone, so that nobody chooses by what the test
    says. Checks that look for contradictions between labels look at all of them, and say so (`Check.test_labels`).

    Parameters
    ----------
    given : AuditInput
    console : Console
        Shown progress, and told what was subsampled.
    findings : Findings, optional
        Costly parts of earlier audits, which are computed where they are not known.

    Returns
    -------
    Audit
    """
    labels, findings = labels_of(given), findings or Findings()
    checks = []
    with console.progress("auditing", STEPS, unit="kinds of checks") as advance:
        for step in (
            lambda: check_groups(given) + check_sizes(given),
            lambda: check_files(given),
            lambda: check_columns(given, labels, findings),
            lambda: check_file_facts(given, labels, findings),
            lambda: check_extractors(given),
            lambda: [check_optimism(given, labels, console, findings)],
        ):
            checks += step()
            advance()
        near, pairs = check_near(given, findings)
        advance()
    place = next(i for i, check in enumerate(checks) if check.code == "LEAK_COLUMN")
    checks.insert(place, near)
    if given.fold is None:  # nothing is locked away
        checks = [replace(check, test_labels=False) for check in checks]
    scope = {
        "rows": len(given.dataset.rows),
        "rows_in_table": len(given.whole.rows),
        "learning": int(given.learning.sum()),
    }
    return Audit(checks, pairs, scope)


def labels_of(given: AuditInput) -> Labels | None:
    """Labels of the rows that may be looked at, with their folds; None where there are none."""
    if given.fold is None:
        return None
    rows = np.flatnonzero(given.fold >= 0)
    names, truth = np.unique(given.labels[rows], return_inverse=True)
    return Labels([str(name) for name in names], truth, given.groups[rows], given.fold[rows], rows)
