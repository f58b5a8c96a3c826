"""The comparison of finished runs."""

from __future__ import annotations

from pathlib import Path

from dermfuse.pipelines.evaluation.compare import check_same_rows, compare, pairs_of, read_all


def compare_runs(folders: list[Path], console, all_pairs: bool = False, trust: bool = False) -> dict:
    """Compare finished runs pair by pair.

    Parameters
    ----------
    folders : list of Path
        Run folders, the reference first.
    console : Console
    all_pairs : bool, default=False
        Every pair, in place of each run against the first.
    trust : bool, default=False
        Read runs also where their files are not as they were written.

    Returns
    -------
    dict
        As :func:`dermfuse.pipelines.evaluation.compare.compare`.

    Raises
    ------
    UserError
        Too few or too many runs, or runs that do not share rows, folds and the locked test split.
    """
    runs = read_all(folders, trust, console.notice)
    pairs = pairs_of(runs, all_pairs)
    check_same_rows(runs)
    return compare(runs, pairs, "comparison", console.progress)
