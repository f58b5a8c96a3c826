"""The costly parts of audits, computed once for the same data: shared in memory, and kept in the cache if there is one.

A part is found by a digest of all values that it is computed from (columns, labels, groups, folds, embeddings, digests
of files), so whatever differs between two fits shares nothing by mistake. What is cheap, such as which columns are
features, is told anew by each audit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from dermfuse.cache.errors import UserError
from dermfuse.cache.findings import find_part, keep_part
from dermfuse.cache.recipe import recipe_key
from dermfuse.cache.store import Store

# What the values of a part depend on beside its inputs: this code, and libraries that draw, sort, learn or decode.
_ROOT = Path(__file__).parents[2]
_CODE = (
    "pipelines/audit/*.py",
    "pipelines/statistics/*.py",
    "pipelines/model/preprocess.py",
    "pipelines/model/table.py",
    "features/images/decoder.py",
    "features/images/workers.py",
    "features/tables/read.py",
)
_LIBRARIES = ("numpy", "pandas", "scipy", "scikit-learn", "pillow", "torchvision")


class Findings:
    """Parts of audits by what they were computed from.

    Parameters
    ----------
    root : Path, optional
        A cache's folder; where it does not exist, parts are shared in memory alone.
    tell : callable, optional
        Given a line where a kept part is damaged or of another version, or cannot be kept.
    known : dict, optional
        Parts in memory by their keys, to share with others.
    """

    def __init__(
        self,
        root: Path | None = None,
        tell: Callable[[str], object] = lambda text: None,
        known: dict[str, dict] | None = None,
    ):
        self._root, self._tell, self._writable = root, tell, True
        self._known = {} if known is None else known

    def part(self, name: str, inputs: dict[str, object], compute: Callable[[], dict]) -> dict:
        """What `compute` finds, or found before of the same `inputs`.

        Parameters
        ----------
        name : str
            Of the part.
        inputs : dict of str to (ndarray, list or scalar)
            All that the part is computed from.
        compute : callable
            Returns nested dicts and lists of plain values; NaN comes back as None.

        Returns
        -------
        dict
        """
        recipe = {"part": name, **{field: digest_of(value) for field, value in inputs.items()}}
        key = recipe_key(recipe)
        if key not in self._known:
            self._known[key] = self._read(name, recipe) or self._computed(name, recipe, compute)
        return self._known[key]

    def _read(self, name: str, recipe: dict) -> dict | None:
        if self._root is None or not self._root.is_dir():
            return None
        content, reason = find_part(self._root, name, recipe, code_version())
        if reason is not None:
            self._tell(f"of an earlier audit {reason}; this part of it is computed anew")
        return content

    def _computed(self, name: str, recipe: dict, compute: Callable[[], dict]) -> dict:
        content = plain(compute())
        if self._writable and self._root is not None and self._root.is_dir():
            try:
                keep_part(self._root, name, recipe, code_version(), content)
            except UserError as error:
                self._writable = False  # told once
                self._tell(f"what the audit found is not kept for the next one: {error}")
        return content


_KNOWN: WeakKeyDictionary[Store, dict[str, dict]] = WeakKeyDictionary()


def findings_of(store: Store, tell: Callable[[str], object]) -> Findings:
    """Findings of a cache, shared by all audits over one opened store: the arms of an ablation search once."""
    return Findings(store.root, tell, _KNOWN.setdefault(store, {}))


def digest_of(value: object) -> str:
    """SHA-256 of an array, a list or a scalar, with its type and shape."""
    found = hashlib.sha256()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        found.update(f"{value.dtype.str}{value.shape}".encode())
        # Columns of a table lie one behind the other: turned, they are read without a copy.
        across = value.flags.f_contiguous and not value.flags.c_contiguous
        found.update(b"F" if across else b"C")
        found.update(np.ascontiguousarray(value.T if across else value).data.cast("B") if value.size else b"")
        return found.hexdigest()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    found.update(json.dumps(value, default=str).encode("ascii"))
    return found.hexdigest()


def plain(value: object) -> object:
    """Nested data classes, dicts, lists and NumPy scalars as JSON has them; NaN is None."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def nan_if_none(value: float | None) -> float:
    """A number of a part, as it was computed."""
    return math.nan if value is None else value


def signatures(paths) -> list[list]:
    """Path, size, time and mode of each file, by which a change is seen; None for what is not there."""
    found = []
    for path in paths:
        try:
            facts = os.stat(path)
            found.append([str(path), facts.st_size, facts.st_mtime_ns, facts.st_mode])
        except (OSError, ValueError):
            found.append([str(path), None])
    return found


@cache
def code_version() -> str:
    """A digest of the code that computes the parts, and of the versions of libraries that they depend on."""
    found = hashlib.sha256()
    for pattern in _CODE:
        for path in sorted(_ROOT.glob(pattern)):
            found.update(path.read_bytes())
    found.update(" ".join(f"{name} {version(name)}" for name in _LIBRARIES).encode())
    return found.hexdigest()
