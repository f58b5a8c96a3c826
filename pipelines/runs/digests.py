"""SHA-256 of every file of a run folder, written last: what shows that a folder is whole and as it was written."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dermfuse.cache.atomic import atomic_write, in_units
from dermfuse.cache.errors import UserError
from dermfuse.pipelines.runs.schema import SCHEMA

FILE = "digests.json"
# Written again at any time from the others, so it is none of what is believed.
PAGE = "report.html"
MOST_FILES = 100_000
# The most bytes that a file of a run has, by the end of its name. Ours are far smaller.
MOST_BYTES = {".json": 1 << 27, ".csv": 1 << 30, ".npz": 1 << 30, ".parquet": 1 << 32, ".skops": 1 << 32}
MOST_OTHER_BYTES = 1 << 32


@dataclass(frozen=True)
class Sealed:
    """A file as it was written."""

    sha256: str
    size: int


def seal(folder: Path) -> None:
    """Write ``digests.json``: SHA-256 and size of every file that is in a run folder by then."""
    files = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            inside = path.relative_to(folder).as_posix()
            if inside not in (FILE, PAGE):
                files[inside] = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    content = json.dumps({"schema": SCHEMA, "files": dict(sorted(files.items()))}, indent=1)
    atomic_write(folder / FILE, content.encode("utf-8"))


def sealed_files(content: dict, path: Path) -> dict[str, Sealed]:
    """What the content of ``digests.json`` says of each file.

    Raises
    ------
    UserError
        It is damaged.
    """
    try:
        files = {str(name): Sealed(str(told["sha256"]), int(told["bytes"])) for name, told in content["files"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds no table of files ({error}). Run 'python cli.py fit' again.") from None
    strange = [name for name in files if not _plain(name)]
    if strange or len(files) > MOST_FILES:
        raise UserError(f"{path} lists {(strange or ['too many files'])[0]!r}, which no run has.")
    return files


def change_of(path: Path, sealed: Sealed) -> str | None:
    """In words, how a file differs from what was written; None where it does not.

    Raises
    ------
    UserError
        As :func:`check_regular`.
    """
    if not os.path.lexists(path):
        return "is missing"
    size = check_regular(path)
    if size != sealed.size:
        return f"has {size:,} bytes and not the {sealed.size:,} that were written"
    return None if sha256_of(path) == sealed.sha256 else "was changed after it was written"


def check_regular(path: Path) -> int:
    """The size in bytes of a file that can be read without waiting and without filling the memory.

    Raises
    ------
    UserError
        It is missing, no regular file (a link, a named pipe, a folder), or larger than any file of a run.
    """
    try:
        facts = path.lstat()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from None
    if not stat.S_ISREG(facts.st_mode):
        raise UserError(f"{path} is no regular file. Put the file itself there, or run 'python cli.py fit' again.")
    most = MOST_BYTES.get(path.suffix, MOST_OTHER_BYTES)
    if facts.st_size > most:
        raise UserError(f"{path} has {in_units(facts.st_size)}; such a file of a run has {in_units(most)} at most.")
    return facts.st_size


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits.

    Raises
    ------
    UserError
        It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Make it readable, then run again.") from None


def _plain(name: str) -> bool:
    """Whether a name stays inside the folder."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not PurePosixPath(name).is_absolute() and ".." not in parts and "\0" not in name
