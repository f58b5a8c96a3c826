"""A model file taken apart before anything is made of it: sizes first, then what it would be rebuilt from."""

from __future__ import annotations

import io
import json
import stat
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dermfuse.cache.atomic import in_units

SCHEMA_FILE = "schema.json"
MOST_MEMBERS = 100_000
MOST_SCHEMA_BYTES = 1 << 28
MOST_UNPACKED = 1 << 32
# Ours shrink to a fifth at most; a file made to fill the memory shrinks to a thousandth.
MOST_SHRINKING, FREE_BYTES = 200, 1 << 24
# How skops rebuilds things; a run's model needs no other way.
LOADERS = frozenset(
    f"{kind}Node"
    for kind in (
        *("Bytearray", "Cached", "DType", "Dict", "Function", "Json", "List"),
        *("NdArray", "Object", "RandomState", "Slice", "Tree", "Tuple", "Type"),
    )
)


@dataclass
class Parts:
    """What lies in a model file, before anything is made of it.

    Attributes
    ----------
    schema : dict
        What is made of what.
    arrays : dict of str to bytes
        The members of the archive, the schema apart.
    trees : list of dict
        The schema's entries for trees of scikit-learn.
    boosters : list of str
        Names of the members that hold boosters of xgboost.
    """

    schema: dict
    arrays: dict[str, bytes]
    trees: list[dict] = field(default_factory=list)
    boosters: list[str] = field(default_factory=list)

    def array(self, node: dict) -> np.ndarray:
        """The array that an entry of the schema names."""
        return np.load(io.BytesIO(self.arrays[node["file"]]), allow_pickle=False)


def read_parts(path: Path) -> Parts:
    """Unpack a model file, sizes first.

    Raises
    ------
    ValueError, KeyError, RecursionError, zipfile.BadZipFile
        It is no model file, or one that no run writes.
    """
    with zipfile.ZipFile(path) as packed:
        members = packed.infolist()
        _check_members(members, path.stat().st_size)
        try:
            contents = {member.filename: packed.read(member) for member in members}
        except (zlib.error, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"it cannot be unpacked ({error})") from None
    schema = json.loads(contents.pop(SCHEMA_FILE))
    if not isinstance(schema, dict):
        raise ValueError(f"{SCHEMA_FILE} holds no object")
    parts = Parts(schema, contents)
    _look_through(parts)
    for name, content in contents.items():
        if name.endswith(".npy"):
            _check_array(name, content)
    return parts


def _check_members(members: list[zipfile.ZipInfo], packed: int) -> None:
    names = [member.filename for member in members]
    if len(members) > MOST_MEMBERS:
        raise ValueError(f"it has {len(members):,} members; a run's model has {MOST_MEMBERS:,} at most")
    if len(set(names)) < len(names):
        raise ValueError("it has two members of one name")
    if SCHEMA_FILE not in names:
        raise ValueError(f"it has no {SCHEMA_FILE}")
    for member in members:
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG) or member.is_dir():
            raise ValueError(f"its member {member.filename!r} is no regular file")
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"its member {member.filename!r} is encrypted, or packed in an unknown way")
    unpacked = sum(member.file_size for member in members)
    schema = next(member.file_size for member in members if member.filename == SCHEMA_FILE)
    if unpacked > min(MOST_UNPACKED, MOST_SHRINKING * packed + FREE_BYTES) or schema > MOST_SCHEMA_BYTES:
        raise ValueError(f"its {in_units(packed)} would unpack to {in_units(unpacked)}, as no run's model does")


def _check_array(name: str, content: bytes) -> None:
    """Refuse an array whose header promises more or less than follows, before room is made for it."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    promised = int(dtype.itemsize)
    for length in shape:
        promised *= int(length)
    if dtype.hasobject or promised != len(content) - file.tell():
        raise ValueError(f"{name} promises {shape} of {dtype}, but {len(content) - file.tell()} bytes follow")


def _look_through(parts: Parts) -> None:
    """Find what needs a check of its own, and refuse what is rebuilt in a way that no run's model is."""
    known: dict[int, tuple] = {}
    waiting: list = [parts.schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
            continue
        if not isinstance(node, dict):
            continue
        waiting.extend(value for value in node.values() if isinstance(value, dict | list))
        loader = node.get("__loader__")
        if loader is None:
            continue
        if loader not in LOADERS:
            raise ValueError(f"something in it is rebuilt by {loader!r}, as no run's model is")
        # skops makes one object of all entries of one number: they have to be the same.
        seal = (loader, node.get("__module__"), node.get("__class__"), node.get("file"))
        if loader != "CachedNode" and known.setdefault(node.get("__id__", id(node)), seal) != seal:
            raise ValueError("two different things in it have one number")
        if loader == "TreeNode" or node.get("__class__") == "Tree":
            parts.trees.append(node)
        if loader == "BytearrayNode":
            parts.boosters.append(node["file"])
