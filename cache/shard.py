"""One immutable HDF5 shard: written whole and verified before it counts, checked before it is believed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from dermfuse.cache.atomic import atomic_write
from dermfuse.cache.errors import UserError
from dermfuse.cache.record import (
    DamagedShard,
    ShardRecord,
    are_keys,
    is_key,
    read_bytes,
    read_record,
    shard_name,
    unreadable,
    write_record,
)
from dermfuse.cache.shard_layout import BLOCK_ROWS, as_stored, frame_digest, hdf5_bytes, opened

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

    image, offset = hdf5_bytes(block_key, rows, matrix)
    record = ShardRecord(
        name=name,
        block_key=block_key,
        rows=rows,
        width=matrix.shape[1],
        dtype=matrix.dtype.name,
        sha256=hashlib.sha256(image).hexdigest(),
        bytes=len(image),
        offset=offset,
        frame_sha256=frame_digest(image, offset, matrix.nbytes),
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
    if not are_keys([block_key, *rows]):
        wrong = next(key for key in (block_key, *rows) if not is_key(key))
        raise ValueError(f"expected keys of 64 lower-case hexadecimal digits (SHA-256). Got {wrong!r}")
    if len(set(rows)) < len(rows):
        raise ValueError(f"expected distinct row keys. Got {len(rows) - len(set(rows))} repeats")


def read_shard(folder: Path, record: ShardRecord, indices: Sequence[int] | None = None) -> np.ndarray:
    """Read a shard's rows, each of them checked.

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
        If the file is missing, cannot be opened, does not match its record, or a row that was asked for does
        not match its checksum.
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
    """Read rows of a shard in the order of the file, at most :data:`BLOCK_ROWS` at a time.

    Parameters
    ----------
    folder, record
        As :func:`read_shard`.
    indices : ndarray of int, shape (m,)
        Positions within the shard.

    Yields
    ------
    places : ndarray of int, shape (k,)
        Positions within `indices` that these rows answer.
    values : ndarray of shape (k, width)
        Their embeddings, as stored and each of them checked.

    Raises
    ------
    DamagedShard, UserError
        As :func:`read_shard`.
    """
    quick_check(folder, record)
    wanted, inverse = np.unique(indices, return_inverse=True)
    with opened(folder / record.file_name, record) as shard:
        for start in range(0, len(wanted), BLOCK_ROWS):
            values = shard.read(wanted[start : start + BLOCK_ROWS])
            places = np.flatnonzero((inverse >= start) & (inverse < start + BLOCK_ROWS))
            yield places, values[inverse[places] - start]


def quick_check(folder: Path, record: ShardRecord) -> None:
    """Whether a shard can be believed at a glance: present and of the recorded size.

    Parameters
    ----------
    folder, record
        As :func:`read_shard`.

    Raises
    ------
    DamagedShard
        If it cannot.
    UserError
        If that may not be looked at.
    """
    path = folder / record.file_name
    try:
        size = path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error
    if size != record.bytes:
        raise DamagedShard(path, f"its size is {size} bytes, but the record says {record.bytes}")


def verify_shard(folder: Path, record: ShardRecord) -> None:
    """Hash all of a shard's file and open it.

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
    quick_check(folder, record)
    path = folder / record.file_name
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error
    if digest != record.sha256:
        raise DamagedShard(path, "its SHA-256 is not what the record says")
    with opened(path, record):
        pass


def _check_written(path: Path, record: ShardRecord, matrix: np.ndarray) -> None:
    try:
        if hashlib.sha256(read_bytes(path)).hexdigest() != record.sha256:
            raise DamagedShard(path, "the disk gave back other bytes")
        with opened(path, record) as shard:
            for start in range(0, len(matrix), BLOCK_ROWS):
                here = slice(start, start + BLOCK_ROWS)
                if not np.array_equal(shard.dataset[here], matrix[here]):
                    raise DamagedShard(path, "HDF5 gave back other values")
    except DamagedShard as error:
        raise UserError(
            f"a shard just written to {path.parent} reads back wrong: {error.reason}. "
            "Nothing of it was kept; check that disk or choose another folder"
        ) from error
