"""The record of a shard: the small JSON file whose presence alone means that the shard is done."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dermfuse.cache.atomic import atomic_write
from dermfuse.cache.errors import UserError

# Of the layout of files in the store; 2 brought checksums of rows. Another version's files are never read.
SCHEMA = 2
DTYPE_BYTES = {"float16": 2, "float32": 4}
DTYPES = tuple(DTYPE_BYTES)
_KEY = re.compile(r"[0-9a-f]{64}")


class DamagedShard(UserError):  # noqa: N818
    """A shard or its record is not what was written; its rows count as missing once it is set aside.

    Parameters
    ----------
    path : Path
        The file found damaged.
    reason : str
        What is wrong with it, in words.

    Attributes
    ----------
    path : Path
    reason : str
    """

    def __init__(self, path: Path, reason: str):
        self.path = Path(path)
        self.reason = reason
        super().__init__(
            f"damaged cache file {self.path.name} in {self.path.parent}: {reason}. "
            "Run `extract` again: it sets the shard aside and computes its rows anew; `cache verify` lists all damage"
        )

    def __reduce__(self):  # a worker process sends it to its parent by pickle
        return type(self), (self.path, self.reason)


@dataclass(frozen=True)
class ShardRecord:
    """What is known of one finished shard.

    Attributes
    ----------
    name : str
        Stem of the shard's files, see :func:`shard_name`.
    block_key : str
        Key of the recipe that its rows were computed with.
    rows : list of str
        SHA-256 of each image's bytes, in the order of the matrix.
    width : int
        Length of one embedding.
    dtype : str
        ``"float16"`` or ``"float32"``.
    sha256 : str
        Of the HDF5 file's bytes.
    bytes : int
        Size of the HDF5 file.
    offset : int
        Where in that file the embeddings begin, row after row without a gap.
    frame_sha256 : str
        Of the file's bytes before and after the embeddings: all that is not checked row by row.
    """

    name: str
    block_key: str
    rows: list[str]
    width: int
    dtype: str
    sha256: str
    bytes: int
    offset: int
    frame_sha256: str

    @property
    def row_bytes(self) -> int:
        """Bytes of one embedding."""
        return self.width * DTYPE_BYTES[self.dtype]

    @property
    def file_name(self) -> str:
        """Name of the HDF5 file."""
        return f"{self.name}.h5"

    @property
    def record_name(self) -> str:
        """Name of this record's JSON file."""
        return f"{self.name}.json"


def is_key(text: object) -> bool:
    """Whether `text` is a SHA-256 in 64 lower-case hexadecimal digits."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None


def are_keys(texts: Sequence[object]) -> bool:
    """Whether each of `texts` is a key, at once: a shard's 2,048 in a tenth of a millisecond.

    Examples
    --------
    >>> are_keys(["0a" * 32, "f1" * 32]), are_keys(["0A" * 32]), are_keys(["0" * 63, "0" * 65]), are_keys([])
    (True, False, False, True)
    """
    try:
        return bytes.fromhex("".join(texts)).hex("\n", 32) == "\n".join(texts)
    except (TypeError, ValueError):
        return False


def shard_name(rows: list[str]) -> str:
    """Name of the shard that holds exactly these rows in this order.

    Because the name follows from the rows, a row key that was changed inside a record is noticed on reading.

    Parameters
    ----------
    rows : list of str
        Row keys.

    Returns
    -------
    str
        ``shard-`` and 16 hexadecimal digits.
    """
    return f"shard-{hashlib.sha256(chr(10).join(rows).encode()).hexdigest()[:16]}"


def write_record(folder: Path, record: ShardRecord) -> None:
    """Write a shard's record, whole or not at all; the shard is done from then on.

    Parameters
    ----------
    folder : Path
        The block's folder, which holds the shard already.
    record : ShardRecord
        Of that shard.

    Raises
    ------
    UserError
        If the disk is full or cannot be written to.
    """
    text = json.dumps({"schema": SCHEMA, **asdict(record)}, indent=1)
    atomic_write(folder / record.record_name, text.encode("ascii"))


def read_record(path: str | Path) -> ShardRecord:
    """Read and validate a shard's record.

    Parameters
    ----------
    path : path-like
        A ``shard-*.json``.

    Returns
    -------
    ShardRecord

    Raises
    ------
    DamagedShard
        If it is missing, is no JSON, or a field is missing, of a wrong type, or at odds with another.
    UserError
        If it may not be read.
    """
    path = Path(path)
    try:
        fields = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise DamagedShard(path, "the record is no valid JSON") from error
    reason = _wrong_in(fields, path.stem)
    if reason:
        raise DamagedShard(path, reason)
    del fields["schema"]
    return ShardRecord(**fields)


def read_bytes(path: Path) -> bytes:
    """Bytes of a small file of the cache.

    Raises
    ------
    DamagedShard
        If it is missing or the disk cannot give it.
    UserError
        If it may not be read: that is no damage, so it must not lead to setting anything aside.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> UserError:
    """The error to raise when a file of the cache cannot be read.

    Parameters
    ----------
    path : Path
        The file.
    error : OSError
        What reading it raised.

    Returns
    -------
    UserError
        A :class:`DamagedShard`, unless the file exists and merely may not be read.
    """
    if isinstance(error, PermissionError):
        return UserError(f"cannot read {path}: {error.strerror}. Allow reading it, then run again")
    if isinstance(error, FileNotFoundError):
        return DamagedShard(path, "the file is missing")
    return DamagedShard(path, f"the file cannot be read ({error.strerror or error})")


def _wrong_in(fields: object, stem: str) -> str | None:
    """What a record's content lacks, or None when it is sound."""
    expected = {"schema": int, **{name: _TYPES[kind] for name, kind in ShardRecord.__annotations__.items()}}
    if not isinstance(fields, dict) or fields.keys() != expected.keys():
        return "the record does not have the fields " + ", ".join(expected)
    wrong = [name for name, kind in expected.items() if type(fields[name]) is not kind]
    if wrong:
        return f"in the record, {wrong[0]} is of type {type(fields[wrong[0]]).__name__}"
    if fields["schema"] != SCHEMA:
        return f"the record has schema {fields['schema']}, but expected {SCHEMA}"
    rows = fields["rows"]
    if not rows or not are_keys(rows) or len(set(rows)) < len(rows):
        return "the record's rows are not distinct SHA-256 digests"
    if not (fields["name"] == stem == shard_name(rows)):
        return f"the record's rows belong to {shard_name(rows)}"
    if not are_keys([fields["block_key"], fields["sha256"], fields["frame_sha256"]]):
        return "the record's digests are not SHA-256"
    if fields["dtype"] not in DTYPES or fields["width"] < 1:
        return "the record's width or dtype is impossible"
    after = fields["offset"] + len(rows) * fields["width"] * DTYPE_BYTES[fields["dtype"]]
    if fields["offset"] < 1 or after > fields["bytes"]:
        return "the record's sizes do not agree"
    return None


# Annotations are text here, see the import from __future__.
_TYPES = {"str": str, "int": int, "list[str]": list}
