"""What an audit leaves behind: ``audit.json``, the offending rows, and pictures of the worst pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dermfuse.cache.atomic import atomic_write
from dermfuse.cache.errors import UserError
from dermfuse.pipelines.audit.check import Audit
from dermfuse.pipelines.runs import run_folder

ROWS, PAIRS = "audit_rows.csv", "audit_pairs.npz"


def keep_audit(folder: Path, audit: Audit) -> None:
    """Write an audit into a run folder; only ``audit_rows.csv`` holds ids."""
    run_folder.write_json(folder, "audit.json", audit.as_json())
    (folder / ROWS).write_bytes(audit.rows_csv())
    if audit.pairs is not None:
        pairs = audit.pairs
        np.savez_compressed(folder / PAIRS, left=pairs.left, right=pairs.right, agreement=pairs.agreement)


def write_rows(audit: Audit, out: Path) -> None:
    """Write the offending rows as CSV, whole or not at all.

    Raises
    ------
    UserError
        There is no such folder.
    """
    if not out.absolute().parent.is_dir():
        raise UserError(f"no such folder: {out.absolute().parent}. Make it, or give another --out.")
    atomic_write(out.absolute(), audit.rows_csv())
