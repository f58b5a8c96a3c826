"""What a shard looks like inside: the values it can hold, two datasets, two attributes, one HDF5 file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from cache.record import DTYPES, SCHEMA, DamagedShard, ShardRecord, unreadable

BLOCK_ROWS = 512
_CHUNK_BYTES = 2**20


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


def hdf5_bytes(block_key: str, rows: list[str], matrix: np.ndarray) -> bytes:
    """The bytes of a shard's file, built in memory.

    HDF5 never writes to the disk itself: version 2.0 crashes the process when a chunked dataset is flushed to
    a full disk, and keeps the file open after a failed close.

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
    bytes
        The same for the same input.
    """
    with h5py.File.in_memory(block_size=_CHUNK_BYTES, libver="earliest") as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["block_key"] = block_key
        file.create_dataset("rows", data=np.array(rows, dtype="S64"))
        file.create_dataset(
            "embeddings",
            data=matrix,
            chunks=(_chunk_rows(len(rows), matrix.shape[1] * matrix.itemsize), matrix.shape[1]),
            # A checksum a chunk: bits that rot after the file was hashed in this process are noticed all the
            # same.
            fletcher32=True,
        )
        file.flush()
        return file.id.get_file_image()


@contextmanager
def opened(path: Path, record: ShardRecord) -> Iterator[h5py.Dataset]:
    """Open a shard after its key, rows, shape and type were compared with its record.

    Parameters
    ----------
    path : Path
        The HDF5 file.
    record : ShardRecord
        What it should hold.

    Yields
    ------
    h5py.Dataset of shape (n, width)
        The embeddings; closed with the context.

    Raises
    ------
    DamagedShard
        If the file is missing, cannot be opened, or does not match.
    UserError
        If it may not be read.
    """
    try:
        # No lock: the file never changes, and some network and read-only mounts cannot lock.
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise _unopenable(path, error) from error
    with file:
        try:
            dataset = file["embeddings"]
            found = (
                file.attrs["schema"],
                file.attrs["block_key"],
                dataset.shape,
                dataset.dtype.name,
                file["rows"][:].astype(str).tolist(),
            )
        except (OSError, RuntimeError, KeyError, AttributeError, ValueError, TypeError) as error:
            raise DamagedShard(path, "the file does not hold what a shard holds") from error
        expected = (SCHEMA, record.block_key, (len(record.rows), record.width), record.dtype, record.rows)
        for what, here, there in zip(("schema", "key", "shape", "dtype", "rows"), found, expected, strict=True):
            if here != there:
                raise DamagedShard(path, f"its {what} is not what the record says")
        yield dataset


def _unopenable(path: Path, error: OSError) -> Exception:
    if isinstance(error, PermissionError | FileNotFoundError):
        return unreadable(path, error)
    return DamagedShard(path, "HDF5 cannot open it")


def _chunk_rows(rows: int, row_bytes: int) -> int:
    """Rows a chunk: about a mebibyte, 128 to 512 rows, cut evenly because the last chunk takes full room."""
    most = min(max(_CHUNK_BYTES // row_bytes, 128), BLOCK_ROWS)
    chunks = max(1, min(-(-rows // most), rows // 128))
    return -(-rows // chunks)
