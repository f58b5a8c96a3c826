"""What is kept beside the blocks, seen as files: pretrained weights, trained networks, audits, built runtimes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from dermfuse.cache.atomic import TEMPORARY_PREFIX
from dermfuse.cache.findings import AUDITS, DIGITS, part_damage
from dermfuse.cache.record import is_key

WEIGHTS, LEARNED, RUNTIMES = "weights", "learned", "runtimes"
# In a trained network's folder this file is written last: without it the training was interrupted.
RECORD = "record.json"
_FILE = re.compile(rf"(.+)-([0-9a-f]{{{DIGITS}}})\.safetensors", re.DOTALL)
_FOLDER = re.compile(rf"(.+)-([0-9a-f]{{{DIGITS}}})", re.DOTALL)
_PART = re.compile(rf"(.+)-([0-9a-f]{{{DIGITS}}})\.json", re.DOTALL)
# The extractor, the versions it was built by, the key of what it was built of, the digest of the file.
_BUILT = re.compile(rf"(?:(.+)@(.+)@)?([0-9a-f]{{{DIGITS}}})-([0-9a-f]{{{DIGITS}}})\.bin", re.DOTALL)
_BUILDERS = ("torch", "openvino")
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class Kept:
    """One kept file of weights, one folder of a trained network, one part of an audit, or one runtime that was built.

    Attributes
    ----------
    kind : str
        ``"weights"``, ``"learned"``, ``"audits"`` or ``"runtimes"``, the folder of the cache that it lies in.
    name : str
        Of the extractor, or of the part.
    digits : str
        The first 16 digits of the weights' digest, of the digest of what was audited, or of what was built.
    path : Path
    bytes : int
    builders : str or None
        Versions of the libraries that built a runtime; None where its name does not say.
    """

    kind: str
    name: str
    digits: str
    path: Path
    bytes: int
    builders: str | None = None


def kept_in(root: Path) -> list[Kept]:
    """Everything kept in a cache, weights first, by name; other files in those folders are not looked at.

    Parameters
    ----------
    root : Path
        The cache's folder; nothing is created.
    """
    found = []
    for path in _entries(root / WEIGHTS):
        named = _FILE.fullmatch(path.name)
        if named and path.is_file():
            found.append(Kept(WEIGHTS, named[1], named[2], path, path.stat().st_size))
    for path in _entries(root / LEARNED):
        named = _FOLDER.fullmatch(path.name)
        if named and path.is_dir():
            found.append(Kept(LEARNED, named[1], named[2], path, bytes_below(path)))
    for path in _entries(root / AUDITS):
        named = _PART.fullmatch(path.name)
        if named and path.is_file():
            found.append(Kept(AUDITS, named[1], named[2], path, path.stat().st_size))
    for path in _entries(root / RUNTIMES):
        named = _BUILT.fullmatch(path.name)
        if named and path.is_file():
            found.append(Kept(RUNTIMES, named[1] or "runtime", named[3], path, path.stat().st_size, named[2]))
    return found


def builders() -> str:
    """The libraries here that build runtimes, with their versions; what others built is not loaded."""
    return ",".join(f"{name}-{version_of(name)}" for name in _BUILDERS)


def version_of(package: str) -> str:
    """The version of an installed package, or ``absent``."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def built_name(name: str, key: str, built: bytes) -> str:
    """The name of the file for what was built for an extractor here; it tells when the file is damaged.

    Examples
    --------
    >>> built_name("resnet18", "ab" * 8, b"").rpartition("@")[2]
    'abababababababab-e3b0c44298fc1c14.bin'
    """
    return f"{name}@{builders()}@{key}-{hashlib.sha256(built).hexdigest()[:DIGITS]}.bin"


def bytes_below(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed out of it."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(entry.lstat().st_size for entry in path.rglob("*") if entry.is_symlink() or entry.is_file())


def kept_damage(kept: Kept) -> str | None:
    """Why kept weights or an audit cannot be what was written, in words, or None when nothing speaks against it.

    Of weights only headers and sizes are compared; whether the values are right is for the extractor that loads them.

    Parameters
    ----------
    kept : Kept
    """
    if kept.kind == WEIGHTS:
        return _safetensors_damage(kept.path)
    if kept.kind == AUDITS:
        return part_damage(kept.path)
    if kept.kind == RUNTIMES:
        return _built_damage(kept.path)
    record = kept.path / RECORD
    if not record.is_file():
        return f"{RECORD} is missing: its training was interrupted"
    try:
        if not isinstance(json.loads(record.read_bytes()), dict):
            return f"{RECORD} holds no JSON object"
    except OSError as error:
        return f"{RECORD} cannot be read ({error.strerror or error})"
    except (ValueError, RecursionError):
        return f"{RECORD} is no valid JSON"
    return _safetensors_damage(kept.path / "weights.safetensors")


def digests_in(value: object) -> Iterator[str]:
    """Every SHA-256 that a recipe or another JSON value names, at any depth.

    Parameters
    ----------
    value : object
        Dicts, lists and scalars.

    Examples
    --------
    >>> list(digests_in({"weights": "ab" * 32, "views": [1, "cd" * 31]}))
    ['abababababababababababababababababababababababababababababababab']
    """
    if is_key(value):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from digests_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from digests_in(inner)


def _entries(folder: Path) -> list[Path]:
    entries = folder.iterdir() if folder.is_dir() else []
    return sorted(entry for entry in entries if not entry.name.startswith(TEMPORARY_PREFIX))


def _built_damage(path: Path) -> str | None:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    return None if _BUILT.fullmatch(path.name)[4] == digest[:DIGITS] else "its bytes are not those that were written"


def _safetensors_damage(path: Path) -> str | None:
    """Compare a file's header with its size; see the format's own page, https://github.com/huggingface/safetensors."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(size - 8, _LONGEST_HEADER):
                return f"{path.name} is cut short or no safetensors file" if size else f"{path.name} is empty"
            header = json.loads(file.read(length))
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror or error})"
    except (ValueError, RecursionError):
        return f"the header of {path.name} is no valid JSON"
    try:
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (AttributeError, KeyError, IndexError, TypeError):
        return f"the header of {path.name} names no tensors"
    return None if expected == size else f"{path.name} has {size} bytes, but its header says {expected}"
