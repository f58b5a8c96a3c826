"""Several files that one id finds: copies of one picture, a picture and its thumbnail, or pictures that differ."""

from __future__ import annotations

import filecmp
import os

from dermfuse.features.files.lookalikes import THUMBNAIL_SIDE, size_of


def without_copies(files: list[str]) -> list[str]:
    """The first of each content among some files; one that cannot be read is like no other.

    Only files of one size are compared, byte by byte, so that many files of different sizes cost no reading.
    """
    kept: list[str] = []
    by_size: dict[int, list[str]] = {}
    for path in files:
        try:
            size = os.path.getsize(path)
            alike = by_size.setdefault(size, []) if size else []
            if any(os.path.samefile(path, other) or filecmp.cmp(path, other, shallow=False) for other in alike):
                continue
            alike.append(path)
        except OSError:
            pass  # what cannot be read is set aside with its reason later
        kept.append(path)
    return kept


def without_thumbnails(files: list[str]) -> list[str]:
    """Files of one id without those that are small and at most half as large as the largest."""
    sizes = {path: max(size_of(path) or (0, 0)) for path in files}
    largest = max(sizes.values())
    return [path for path, side in sizes.items() if side > THUMBNAIL_SIDE or 2 * side > largest]
