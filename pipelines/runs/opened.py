"""The one door into a run folder: it is checked whole, and only then can a reader have its files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from dermfuse.cache.errors import UserError, listed
from dermfuse.pipelines.runs import digests, schema

AGAIN = "Run 'python cli.py fit' again"
TRUST = f"{AGAIN}; or, if it was you who changed it, give predict, compare or report --trust to read it all the same"
MOST_CELLS = 2_000_000_000
MOST_UNPACKED = 1 << 31
LARGEST_INTEGER = 2**63


class OpenRun:
    """A run folder whose files are as they were written, or are trusted although they are not.

    Parameters
    ----------
    folder : Path
    names : set of str
        The files that a reader may have.
    changed : list of str
        What was found to differ from what was written, one sentence a file; empty unless it is trusted all the same.
    """

    def __init__(self, folder: Path, names: set[str], changed: list[str]):
        self.folder = folder
        self.changed = changed
        self._names = names

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def json(self, name: str) -> dict:
        """One of the JSON documents, checked against its schema.

        Raises
        ------
        UserError
            It is missing or damaged.
        """
        return read_document(self._path(name))

    def table(self, name: str, columns: list[str]) -> pd.DataFrame:
        """One of the tables, which has at least these columns.

        Raises
        ------
        UserError
            It is missing or damaged.
        """
        return read_table(self._path(name), columns)

    def arrays(self, name: str, *names: str) -> tuple[np.ndarray, ...]:
        """Arrays of one of the ``.npz`` files.

        Raises
        ------
        UserError
            It is missing or damaged.
        """
        return read_arrays(self._path(name), *names)

    def model(self):
        """The fitted model.

        Raises
        ------
        UserError
            It is missing or damaged.
        """
        from dermfuse.pipelines.runs.modelfile import MODEL, load_model

        return load_model(self._path(MODEL).parent)

    def _path(self, name: str) -> Path:
        path = self.folder / name
        if name not in self._names:
            raise UserError(f"cannot read {path}: it is missing from the run folder. {AGAIN}.")
        digests.check_regular(path)
        return path


def open_run(folder: Path, trust: bool = False, notice: Callable[[str], None] | None = None) -> OpenRun:
    """Check every file of a run folder against what was written.

    Parameters
    ----------
    folder : Path
    trust : bool
        Go on where files were changed or are not listed: what they hold is still checked.
    notice : callable, optional
        Told what was changed and read all the same.

    Raises
    ------
    UserError
        The folder is none of a run, or a file is missing, changed, or no regular file.
    """
    folder = Path(folder)
    _check_folder(folder)
    names, changed = compared(folder)
    if changed and not trust:
        more = f" (and {len(changed) - 1} more files)" if len(changed) > 1 else ""
        raise UserError(f"{changed[0]}{more}. {TRUST}.")
    if changed:
        for name in sorted(names & set(schema.DOCUMENTS)):
            read_document(folder / name)
    for sentence in changed:
        if notice is not None:
            notice(f"{sentence}; it is read all the same (--trust)")
    return OpenRun(folder, names, changed)


def compared(folder: Path) -> tuple[set[str], list[str]]:
    """The files of a run folder that were written as such, and in words how it differs from what was written.

    Files that are not listed in ``digests.json`` are no part of the run; where there is none, all may be.

    Raises
    ------
    UserError
        A file is no regular file.
    """
    seal = folder / digests.FILE
    if not seal.exists():
        changed = [f"{folder} has no {digests.FILE}, so nobody can tell whether it is whole"]
        return {path.name for path in folder.iterdir() if path.is_file()}, changed
    listed = digests.sealed_files(read_document(seal), seal)
    told = {name: digests.change_of(folder / name, sealed) for name, sealed in listed.items()}
    return {name for name in listed if (folder / name).exists()}, [f"{folder / n} {w}" for n, w in told.items() if w]


def blocks_of(folder: Path) -> list[dict]:
    """The image blocks that a run's ``config.json`` names, also in a run folder of before there were digests.

    Raises
    ------
    UserError
        The file is damaged or was changed, so nobody can say which blocks the run needs.
    """
    name, seal = "config.json", folder / digests.FILE
    if seal.exists():
        sealed = digests.sealed_files(read_document(seal), seal).get(name)
        what = digests.change_of(folder / name, sealed) if sealed is not None else f"is not listed in {digests.FILE}"
        if what:
            raise UserError(f"{folder / name} {what}, so what its run needs is not known. {AGAIN}, or remove {folder}.")
    blocks = parse(folder / name).get("blocks")
    if not isinstance(blocks, list):
        raise UserError(f"{folder / name} names no blocks, so what its run needs is not known. {AGAIN}.")
    return blocks


def read_document(path: Path) -> dict:
    """Read a JSON document that follows the schema of its name.

    Raises
    ------
    UserError
        It is missing, damaged or of another schema.
    """
    document = parse(path)
    fault = schema.fault_in(path.name, document)
    if fault:
        raise UserError(f"{path}: {fault}. {AGAIN}.")
    return document


def parse(path: Path) -> dict:
    """Read a JSON object whose numbers are finite.

    Raises
    ------
    UserError
        It is missing, no regular file, too large, or no JSON object.
    """
    digests.check_regular(path)
    try:
        content = json.loads(
            path.read_text(encoding="utf-8"), parse_constant=_refused, parse_int=_integer, parse_float=_finite
        )
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"cannot read {path}: it is no JSON that a run holds ({reason}). {AGAIN}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object. {AGAIN}.")
    return content


def read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read a Parquet table that has at least these columns.

    Raises
    ------
    UserError
        It is missing, damaged, unpacks to more than a run holds, or lacks a column.
    """
    import pyarrow
    from pyarrow import parquet

    digests.check_regular(path)
    try:
        facts = parquet.read_metadata(path)
        unpacked = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
        if facts.num_rows * facts.num_columns > MOST_CELLS or unpacked > MOST_UNPACKED:
            raise UserError(f"{path} unpacks to {facts.num_rows:,} rows, which no run has. {AGAIN}.")
        absent = sorted(set(columns) - set(facts.schema.to_arrow_schema().names))
        if absent:
            raise UserError(f"{path} lacks the columns {listed(absent)}. {AGAIN}.")
        return pd.read_parquet(path)
    except (OSError, ValueError, TypeError, KeyError, MemoryError, pyarrow.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"cannot read {path}: it is no Parquet table of a run ({reason}). {AGAIN}.") from None


def read_arrays(path: Path, *names: str) -> tuple[np.ndarray, ...]:
    """Read arrays from an ``.npz`` file.

    Raises
    ------
    UserError
        It is missing, damaged, or unpacks to more than a run holds.
    """
    import zipfile
    import zlib

    digests.check_regular(path)
    try:
        with zipfile.ZipFile(path) as packed:
            unpacked = sum(member.file_size for member in packed.infolist())
        if unpacked > MOST_UNPACKED:
            raise UserError(f"{path} unpacks to {unpacked:,} bytes, which no run has. {AGAIN}.")
        with np.load(path, allow_pickle=False) as arrays:
            found = tuple(arrays[name] for name in names)
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"cannot read {path}: it is no file of arrays ({error}). {AGAIN}.") from None
    except (NotImplementedError, RuntimeError) as error:  # encrypted, or packed in another way
        raise UserError(f"cannot read {path}: {error}. {AGAIN}.") from None
    if not all(isinstance(array, np.ndarray) for array in found):
        raise UserError(f"cannot read {path}: it is no file of arrays. {AGAIN}.")
    return found


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise UserError(f"{folder}: no such run folder. Give a folder that 'python cli.py fit' wrote, as runs/NAME.")
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; a run folder is expected, such as runs/NAME.")
    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: is not a run folder (it holds no config.json). Give one that 'fit' wrote.")


def _refused(word: str) -> float:
    raise ValueError(f"{word} stands where a number is expected")


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) >= LARGEST_INTEGER:
        raise ValueError(f"a number of {len(digits)} digits is too large")
    return int(digits)


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"{digits[:40]} is too large")
    return value
