"""What ``cache gc`` does: find what no block and no run needs, and delete it where that is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dermfuse.cache.errors import usage_error
from dermfuse.cache.garbage import Collector, Sweep
from dermfuse.cache.store import Store
from dermfuse.pipelines.runs.run_folder import digests_in_use


@dataclass(frozen=True)
class Collected:
    """What a collection found, and what it deleted.

    Attributes
    ----------
    sweep : Sweep
        What was deleted, or would be where nothing was to be; and what looks like garbage and was left alone.
    users : dict of str to list of str
        Digest to the names of the runs that need it.
    deleted : bool
        Whether deleting was asked for.
    """

    sweep: Sweep
    users: dict[str, list[str]]
    deleted: bool


def collect_garbage(
    store: Store, runs: Path, unused_days: float | None = None, chosen: Iterable[str] = (), delete: bool = False
) -> Collected:
    """Find what nothing needs, and delete it if asked to.

    Parameters
    ----------
    store : Store
    runs : Path
        Where runs are kept; what they use is no garbage.
    unused_days, chosen
        As in :class:`dermfuse.cache.garbage.Collector`.
    delete : bool, default=False
        Otherwise nothing is changed.

    Raises
    ------
    UserError
        A run or a block that cannot be read, an unknown block, both `unused_days` and `chosen`.
    """
    chosen = list(chosen)
    if chosen and unused_days is not None:
        raise usage_error("--block and --unused-days contradict each other. Give one of them.")
    users = digests_in_use(runs)
    collector = Collector(store, users, unused_days, chosen)
    found = collector.find()
    if not delete:
        return Collected(found, users, deleted=False)
    done = collector.delete(found)
    return Collected(Sweep(done.garbage, found.left + done.left), users, deleted=True)
