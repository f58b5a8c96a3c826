"""What was noticed when embeddings were made, kept beside them, so that the reports of later fits can tell it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path

from dermfuse.cache.atomic import atomic_write, make_folder
from dermfuse.cache.upkeep import locked

FILE = "noticed.json"
MOST = 40


def keep_noticed(root: Path, keys: Collection[str], texts: list[str], on_wait: Callable[[str], None]) -> None:
    """Add lines to those of each block, each line once; of very many, the last ones are kept.

    Parameters
    ----------
    root : Path
        The cache's folder.
    keys : collection of str
        Of the blocks.
    texts : list of str
    on_wait : callable
        Told where another process writes.
    """
    if not keys or not texts:
        return
    with locked(make_folder(root), on_wait):
        known = _read(root)
        for key in keys:
            known[key] = list(dict.fromkeys([*known.get(key, []), *texts]))[-MOST:]
        atomic_write(root / FILE, json.dumps(known, indent=1).encode())


def noticed(root: Path, key: str) -> list[str]:
    """The lines of one block, the oldest first."""
    return _read(root).get(key, [])


def _read(root: Path) -> dict[str, list[str]]:
    """Every block's lines; none where the file is missing or damaged, since no number depends on it."""
    try:
        content = json.loads((root / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    items = content.items() if isinstance(content, dict) else ()
    return {key: [str(text) for text in texts] for key, texts in items if isinstance(texts, list)}
