"""What a shard looks like inside: the values it can hold, three datasets, two attributes, one HDF5 file.

The embeddings lie in the file row after row, as they are in memory, and each row has a CRC-32; all other bytes,
the frame, have one SHA-256 in the record. So a few rows of a large shard are read and checked without the rest.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from dermfuse.cache.record import DTYPES, SCHEMA, DamagedShard, ShardRecord, unreadable

BLOCK_ROWS = 512
_GROW_BYTES = 2**20


def as_stored(matrix: np.ndarray, dtype: str) -> np.ndarray:
    """Cast embeddings to the stored type, refusing what would not come back as a number.

    Parameters
    ----------
    matrix : ndarray of shape (n, width)
        Real numbers.
    dtype : {"float16", "float32"}
        The type on disk.

    Returns
    -------
    ndarray of shape (n, width) and that dtype, C-contiguous

    Raises
    ------
    ValueError
        If the dtype is another, or the matrix is not two-dimensional with at least one row and column, not
        real, holds NaN or infinity, or overflows the type (beyond 65504 for float16).
    """
    matrix = np.asarray(matrix)
    if dtype not in DTYPES:
        raise ValueError(f"embeddings are stored as {' or '.join(DTYPES)}. Got dtype {dtype}")
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "fiu":
        raise ValueError(
            f"embeddings are a real matrix of shape (rows, width). Got shape {matrix.shape} and dtype {matrix.dtype}"
        )
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(matrix, dtype=dtype)
    wrong = ~np.isfinite(stored).all(axis=1)
    if wrong.any():
        first = int(wrong.argmax())
        cause = "overflows " + dtype if np.isfinite(matrix[first]).all() else "holds NaN or infinity"
        raise ValueError(f"{int(wrong.sum())} of {len(stored)} embeddings cannot be stored: row {first} {cause}")
    return stored


def hdf5_bytes(block_key: str, rows: list[str], matrix: np.ndarray) -> tuple[bytes, int]:
    """The bytes of a shard's file, built in memory.

    HDF5 never writes to the disk itself: version 2.0 crashes the process when a dataset is flushed to a full
    disk, and keeps the file open after a failed close.

    Parameters
    ----------
    block_key : str
        Key of the recipe.
    rows : list of str
        n row keys.
    matrix : ndarray of shape (n, width), float16 or float32
        Their embeddings.

    Returns
    -------
    image : bytes
        The same for the same input.
    offset : int
        Where the embeddings begin in it: one row after another, little-endian, so that a reader takes exactly
        the rows it wants.
    """
    matrix = np.ascontiguousarray(matrix, matrix.dtype.newbyteorder("<"))
    with h5py.File.in_memory(block_size=_GROW_BYTES, libver="earliest") as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["block_key"] = block_key
        file.create_dataset("rows", data=np.array(rows, dtype="S64"))
        file.create_dataset("row_crc32", data=row_checksums(matrix).astype("<u4"))
        embeddings = file.create_dataset("embeddings", data=matrix)
        file.flush()
        return file.id.get_file_image(), embeddings.id.get_offset()


def frame_digest(image: bytes, offset: int, size: int) -> str:
    """SHA-256 of a shard's bytes before and after its embeddings, see :class:`~dermfuse.cache.record.ShardRecord`.

    Parameters
    ----------
    image : bytes
        The whole file.
    offset, size : int
        Where its embeddings begin, and their bytes.
    """
    view = memoryview(image)
    return _digest(view[:offset], view[offset + size :])


def row_checksums(matrix: np.ndarray) -> np.ndarray:
    """CRC-32 of each row's bytes.

    Parameters
    ----------
    matrix : ndarray of shape (n, width), C-contiguous
        At least one column.

    Returns
    -------
    ndarray of shape (n,), uint32
    """
    size = matrix.shape[1] * matrix.itemsize
    view = memoryview(matrix.reshape(-1).view(np.uint8))
    checks = (zlib.crc32(view[start : start + size]) for start in range(0, len(view), size))
    return np.fromiter(checks, np.uint32, len(matrix))


class OpenShard:
    """A shard whose frame was checked; each row is checked when it is read. Made by :func:`opened`.

    Attributes
    ----------
    dataset : h5py.Dataset of shape (n, width)
        The embeddings as HDF5 reads them, unchecked.
    """

    def __init__(self, path: Path, record: ShardRecord, file: BinaryIO, dataset: h5py.Dataset, checksums: np.ndarray):
        self.dataset = dataset
        self._path, self._record, self._file, self._checksums = path, record, file, checksums

    def read(self, wanted: np.ndarray) -> np.ndarray:
        """Rows of the shard; neighbours are read at once, and no others.

        Parameters
        ----------
        wanted : ndarray of int, shape (m,)
            Positions within the shard, ascending, distinct.

        Returns
        -------
        ndarray of shape (m, width), float16 or float32 as stored

        Raises
        ------
        DamagedShard
            If a row is not what was written, or the disk cannot give it.
        """
        record = self._record
        values = np.empty((len(wanted), record.width), np.dtype(record.dtype).newbyteorder("<"))
        view = memoryview(values.reshape(-1).view(np.uint8))
        ends = np.flatnonzero(np.diff(wanted, append=-1) != 1) + 1
        start = 0
        for end in ends.tolist():
            place = record.offset + int(wanted[start]) * record.row_bytes
            _fill(self._path, self._file, place, view[start * record.row_bytes : end * record.row_bytes])
            start = end
        wrong = row_checksums(values) != self._checksums[wanted]
        if wrong.any():
            row = int(wanted[wrong.argmax()])
            raise DamagedShard(self._path, f"row {row} does not have the checksum that was written with it")
        return values.astype(record.dtype, copy=False)


@contextmanager
def opened(path: Path, record: ShardRecord) -> Iterator[OpenShard]:
    """Open a shard after all but its embeddings was compared with its record.

    Parameters
    ----------
    path : Path
        The HDF5 file, of the recorded size.
    record : ShardRecord
        What it should hold.

    Yields
    ------
    OpenShard
        Closed with the context.

    Raises
    ------
    DamagedShard
        If the file is missing, cannot be opened, or does not match.
    UserError
        If it may not be read.
    """
    with _raw(path) as file:
        # HDF5 sees no byte of its own that was not compared before: a garbled file can crash it.
        _check_frame(path, record, file)
        try:
            # No lock: the file never changes, and some network and read-only mounts cannot lock.
            contents = h5py.File(path, "r", locking=False)
        except OSError as error:
            raise DamagedShard(path, "HDF5 cannot open it") from error
        with contents:
            yield OpenShard(path, record, file, *_checked_contents(path, record, contents))


def _raw(path: Path) -> BinaryIO:
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise unreadable(path, error) from error


def _check_frame(path: Path, record: ShardRecord, file: BinaryIO) -> None:
    after = record.offset + len(record.rows) * record.row_bytes
    parts = bytearray(record.offset), bytearray(record.bytes - after)
    for start, part in zip((0, after), parts, strict=True):
        _fill(path, file, start, memoryview(part))
    if _digest(*parts) != record.frame_sha256:
        raise DamagedShard(path, "its head, all but the embeddings, is not what the record says")


def _checked_contents(path: Path, record: ShardRecord, contents: h5py.File) -> tuple[h5py.Dataset, np.ndarray]:
    """The embeddings and their rows' checksums, after what the file says of itself was compared."""
    try:
        dataset, checksums = contents["embeddings"], contents["row_crc32"][:]
        found = {
            "schema": contents.attrs["schema"],
            "key": contents.attrs["block_key"],
            "shape": dataset.shape,
            "dtype": dataset.dtype.str,
            "place": dataset.id.get_offset(),
            "rows": contents["rows"][:].tobytes(),
            "checksums": (checksums.shape, checksums.dtype.str),
        }
    except (OSError, RuntimeError, KeyError, AttributeError, ValueError, TypeError) as error:
        raise DamagedShard(path, "the file does not hold what a shard holds") from error
    expected = {
        "schema": SCHEMA,
        "key": record.block_key,
        "shape": (len(record.rows), record.width),
        "dtype": np.dtype(record.dtype).newbyteorder("<").str,
        "place": record.offset,
        "rows": "".join(record.rows).encode(),
        "checksums": ((len(record.rows),), "<u4"),
    }
    for what, value in expected.items():
        if found[what] != value:
            raise DamagedShard(path, f"its {what} is not what the record says")
    return dataset, checksums


def _fill(path: Path, file: BinaryIO, start: int, view: memoryview) -> None:
    """Read exactly as many bytes as `view` has room for."""
    try:
        file.seek(start)
        while view:
            count = file.readinto(view)
            if not count:
                raise DamagedShard(path, "it ends too early")
            view = view[count:]
    except OSError as error:
        raise unreadable(path, error) from error


def _digest(*parts: bytes | bytearray | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
