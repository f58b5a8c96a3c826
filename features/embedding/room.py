"""Room on the cache's disk for the rows that are to be embedded: looked at before the work, not when it is full."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dermfuse.cache.atomic import check_room, free_bytes
from dermfuse.cache.recipe import recipe_key
from dermfuse.cache.store import DamagedBlock, Store
from dermfuse.features.extractors.registry import Extractor
from dermfuse.features.runtimes.choice import kept_precision
from dermfuse.features.runtimes.runtime import REFERENCE

# Of a row: its key in the shard's record, in quotes and with a comma. Of a block: recipe, lock, the list of images.
KEY_BYTES, BLOCK_BYTES = 68, 2**14


def check_room_for_rows(extractors: Sequence[Extractor], keys: list[str], store: Store, precision: str) -> None:
    """Refuse an extraction whose rows find no room where the cache lies.

    Values and keys alone are counted, so that no extraction of good images is refused that would fit.

    Parameters
    ----------
    extractors : sequence of Extractor
    keys : list of str
        Row keys of the images; rows that the cache holds need no room.
    store : Store
    precision : str
        As in :class:`dermfuse.features.embedding.loop.Work`.

    Raises
    ------
    UserError
        With how much is needed, how much is free and where.
    """
    free = free_bytes(store.root)
    if free is None or sum(_bytes(e, len(keys)) for e in extractors) <= free:
        return
    # What the cache holds already is worth looking up only now.
    absent = [len(keys) - _held(extractor, keys, store, precision) for extractor in extractors]
    needed = sum(_bytes(e, count) for e, count in zip(extractors, absent, strict=True))
    names = "+".join(extractor.name for extractor in extractors)
    check_room(store.root, needed, f"{max(absent, default=0):,} images embedded by {names}")


def _bytes(extractor: Extractor, rows: int) -> int:
    each = extractor.width * np.dtype(extractor.dtype).itemsize + KEY_BYTES
    return rows * each + BLOCK_BYTES if rows else 0


def _held(extractor: Extractor, keys: list[str], store: Store, precision: str) -> int:
    if precision == "auto":
        return kept_precision(extractor, store, keys)[1]
    named = REFERENCE.precision if precision == "exact" else precision
    try:
        block = store.find(extractor.name, recipe_key({**extractor.recipe(), "precision": named}))
    except DamagedBlock:  # its rows are there; opening it tells
        return len(keys)
    return 0 if block is None else len(keys) - len(block.missing(keys))
