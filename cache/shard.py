"""One immutable HDF5 shard: written whole and verified before it counts, checked before it is believed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from cache.atomic import atomic_write
from cache.errors import UserError
from cache.layout import BLOCK_ROWS, as_stored, hdf5_bytes, opened
from cache.record import (
    DamagedShard,
    ShardRecord,
    is_key,
    read_bytes,
    read_record,
    shard_name,
    unreadable,
    write_record,
)

__all__ = [
    "BLOCK_ROWS",
    "DamagedShard",
    "ShardRecord",
    "as_stored",
    "check_keys",
    "iterate_shard",
    "quick_check",
    "read_record",
    "read_shard",
    "verify_shard",
    "write_shard",
]

# Shards whose bytes were hashed in this process: (path, mtime_ns, size, expected SHA-256) -> what was wrong,
# or None.
_hashed: dict[tuple[str, int, int, str], str | None] = {}


def write_shard(folder: Path, block_key: str, rows: Sequence[str], matrix: np.ndarray) -> ShardRecord:
    """Write one shard and then its record; nothing counts as done before the record is in place.

    Parameters
    ----------
    folder : Path
        The block's folder; must exist.
    block_key : str
        Key of the recipe.
    rows : sequence of str
        n row keys, SHA-256 of each image's bytes, distinct.
    matrix : ndarray of shape (n, width), float16 or float32
        Finite embeddings, n and width at least 1.

    Returns
    -------
    ShardRecord

    Raises
    ------
    ValueError
        If keys, shape or dtype are wrong, a value is not finite, or the same shard is there already.
    UserError
        If the disk is full, cannot be written to, or gives back other values than were written; earlier
        shards stay as they are.
    """
    rows = list(rows)
    matrix = np.asarray(matrix)
    matrix = as_stored(matrix, matrix.dtype.name)
    check_keys(block_key, rows, len(matrix))
    name = shard_name(rows)
    target = folder / f"{name}.h5"
    if (folder / f"{name}.json").exists():
        raise ValueError(f"shard {name} exists in {folder} and is immutable")

    image = hdf5_bytes(block_key, rows, matrix)
    record = ShardRecord(
        name=name,
        block_key=block_key,
        rows=rows,
        width=matrix.shape[1],
        dtype=matrix.dtype.name,
        sha256=hashlib.sha256(image).hexdigest(),
        bytes=len(image),
    )
    try:
        atomic_write(target, image, verify=lambda written: _check_written(written, record, matrix))
        write_record(folder, record)
    except BaseException:
        if not (folder / record.record_name).exists():
            with suppress(OSError):
                target.unlink(missing_ok=True)
        raise
    return record


def check_keys(block_key: str, rows: Sequence[str], count: int) -> None:
    """Refuse keys that cannot go into a shard.

    Parameters
    ----------
    block_key : str
        Key of the recipe.
    rows : sequence of str
        Row keys.
    count : int
        How many embeddings they are for.

    Raises
    ------
    ValueError
        If their number differs, one is no SHA-256, or they repeat.
    """
    if len(rows) != count:
        raise ValueError(f"expected one row key an embedding. Got {len(rows)} keys for {count} embeddings")
    wrong = [key for key in (block_key, *rows) if not is_key(key)]
    if wrong:
        raise ValueError(f"expected keys of 64 lower-case hexadecimal digits (SHA-256). Got {wrong[0]!r}")
    if len(set(rows)) < len(rows):
        raise ValueError(f"expected distinct row keys. Got {len(rows) - len(set(rows))} repeats")


def read_shard(folder: Path, record: ShardRecord, indices: Sequence[int] | None = None) -> np.ndarray:
    """Read a shard's rows, in blocks that are then indexed in memory.

    Parameters
    ----------
    folder : Path
        The block's folder.
    record : ShardRecord
        The shard's record.
    indices : sequence of int, optional
        Positions within the shard, in any order, repeats allowed. All rows when omitted.

    Returns
    -------
    ndarray of shape (len(indices), width), float16 or float32 as stored

    Raises
    ------
    DamagedShard
        If the file is missing, cannot be opened, or does not match its record. The first read in a process
        compares its SHA-256 as well.
    IndexError
        If an index is out of range.
    UserError
        If the file may not be read.
    """
    wanted = np.arange(len(record.rows)) if indices is None else np.asarray(indices, dtype=np.intp).reshape(-1)
    if wanted.size and (wanted.min() < 0 or wanted.max() >= len(record.rows)):
        raise IndexError(f"shard {record.name} has rows 0 to {len(record.rows) - 1}. Got {wanted.tolist()}")
    result = np.empty((len(wanted), record.width), record.dtype)
    for places, values in iterate_shard(folder, record, wanted):
        result[places] = values
    return result


def iterate_shard(folder: Path, record: ShardRecord, indices: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read rows of a shard chunk by chunk, so at most :data:`BLOCK_ROWS` rows besides those asked for.

    Parameters
    ----------
    folder, record
        As :func:`read_shard`.
    indices : ndarray of int, shape (m,)
        Positions within the shard.

    Yields
    ------
    places : ndarray of int, shape (k,)
        Positions within `indices` that this block answers.
    values : ndarray of shape (k, width)
        Their embeddings, as stored.

    Raises
    ------
    DamagedShard, UserError
        As :func:`read_shard`.
    """
    _check_hash_once(folder, record)
    path = folder / record.file_name
    with opened(path, record) as dataset:
        step = dataset.chunks[0]
        blocks = indices // step
        for block in np.unique(blocks):
            places = np.flatnonzero(blocks == block)
            start = int(block) * step
            try:
                values = dataset[start : start + step]
            except (OSError, RuntimeError) as error:
                raise DamagedShard(path, "HDF5 cannot read its values") from error
            yield places, values[indices[places] - start]


def quick_check(folder: Path, record: ShardRecord) -> None:
    """Whether a shard can be believed at a glance: present, of the recorded size, not known as damaged.

    Parameters
    ----------
    folder, record
        As :func:`read_shard`.

    Raises
    ------
    DamagedShard
        If it cannot.
    """
    seal = _seal(folder, record)
    reason = _hashed.get(seal)
    if reason:
        raise DamagedShard(folder / record.file_name, reason)


def verify_shard(folder: Path, record: ShardRecord) -> None:
    """Hash a shard's file again and open it, whatever was found before.

    Parameters
    ----------
    folder, record
        As :func:`read_shard`.

    Raises
    ------
    DamagedShard
        If it is not what was written.
    UserError
        If it may not be read.
    """
    _hashed.pop(_seal(folder, record), None)
    _check_hash_once(folder, record)
    with opened(folder / record.file_name, record):
        pass


def _check_written(path: Path, record: ShardRecord, matrix: np.ndarray) -> None:
    try:
        if hashlib.sha256(read_bytes(path)).hexdigest() != record.sha256:
            raise DamagedShard(path, "the disk gave back other bytes")
        with opened(path, record) as dataset:
            for start in range(0, len(matrix), BLOCK_ROWS):
                here = slice(start, start + BLOCK_ROWS)
                if not np.array_equal(dataset[here], matrix[here]):
                    raise DamagedShard(path, "HDF5 gave back other values")
    except DamagedShard as error:
        raise UserError(
            f"a shard just written to {path.parent} reads back wrong: {error.reason}. "
            "Nothing of it was kept; check that disk or choose another folder"
        ) from error


def _seal(folder: Path, record: ShardRecord) -> tuple[str, int, int, str]:
    """What a shard's file looks like from outside; it also notices a missing file or a wrong size."""
    path = folder / record.file_name
    try:
        facts = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if facts.st_size != record.bytes:
        raise DamagedShard(path, f"its size is {facts.st_size} bytes, but the record says {record.bytes}")
    return os.path.abspath(path), facts.st_mtime_ns, facts.st_size, record.sha256


def _check_hash_once(folder: Path, record: ShardRecord) -> None:
    seal = _seal(folder, record)
    path = folder / record.file_name
    if seal not in _hashed:
        try:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise unreadable(path, error) from error
        _hashed[seal] = None if digest == record.sha256 else "its SHA-256 is not what the record says"
    if _hashed[seal]:
        raise DamagedShard(path, _hashed[seal])
