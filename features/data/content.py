"""What the image files of a dataset hold: the SHA-256 of each, which is the key of its row in the cache."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from dermfuse.cache.hashes import ContentIndex
from dermfuse.cache.store import Store
from dermfuse.features.console import Progress
from dermfuse.features.data.dataset import Dataset
from dermfuse.features.images.quarantine import SetAside

HASHING_THREADS = 4
# Files that a thread is given at once: handing out single ones costs more than hashing them.
PARCEL = 64


@dataclass(frozen=True)
class Content:
    """Row keys of a dataset's images: SHA-256 of each file's bytes, None where a file cannot be read."""

    keys: list[str | None]
    unreadable: list[SetAside]

    def paths(self, dataset: Dataset) -> dict[str, str]:
        """Row key to one file with that content."""
        pairs = zip(self.keys, dataset.rows["path"], strict=True)
        return {key: path for key, path in pairs if key is not None}

    def chosen(self, rows: np.ndarray) -> set[str]:
        """Row keys of the rows where `rows` (bool, one per row) is true."""
        return {key for key, use in zip(self.keys, rows, strict=True) if use and key is not None}


def open_index(store: Store) -> ContentIndex:
    """The cache's memo of file digests; without memo where there is no cache, which reading does not make."""
    return ContentIndex(store.root / "files.sqlite" if store.root.is_dir() else None, on_problem=store.on_problem)


def content_of(dataset: Dataset, store: Store, progress: Progress, verify: bool = False) -> Content:
    """Row keys of a dataset's images; see :func:`read_content`."""
    with open_index(store) as index:
        return read_content(dataset.rows["path"], index, progress, verify)


def read_content(paths: Iterable[str | Path], index: ContentIndex, progress: Progress, verify: bool = False) -> Content:
    """Hash every image file, sparing those the index knows unchanged.

    Parameters
    ----------
    paths : iterable of str or Path
    index : ContentIndex
    progress : callable
        Shows a bar, as `Console.progress`.
    verify : bool, default=False
        Read every file, also those whose size and time are as they were: a picture that was replaced by another
        of the same size and time is found only so.

    Returns
    -------
    Content
    """
    paths = list(paths)

    def key_of(name: str | Path) -> str | SetAside:
        try:
            if not os.path.isfile(name):
                return SetAside(str(Path(name).absolute()), "not a file", -1, "")
            return index.sha256_of(name, verify)
        except OSError as error:
            return SetAside(str(Path(name).absolute()), error.strerror or "cannot be read", -1, "")

    def keys_of(names: list) -> list[str | SetAside]:
        return [key_of(name) for name in names]

    parcels = (paths[start : start + PARCEL] for start in range(0, len(paths), PARCEL))
    with ThreadPoolExecutor(HASHING_THREADS) as pool, progress("hashing files", len(paths)) as advance:
        found = []
        while some := list(islice(parcels, HASHING_THREADS)):  # a pool queues all it is given
            for keys in pool.map(keys_of, some):
                found += keys
                advance(len(keys))
    keys = [key if isinstance(key, str) else None for key in found]
    return Content(keys, [key for key in found if isinstance(key, SetAside)])
