"""Files that appear whole or not at all, and disk errors told in one line."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dermfuse.cache.errors import UserError, usage_error

TEMPORARY_PREFIX = ".tmp-"
_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.EEXIST, errno.ENOTDIR}
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


def atomic_write(path: str | os.PathLike, data: bytes, verify: Callable[[Path], None] | None = None) -> None:
    """Write a file so that a crash at any moment leaves the old file, or the new one, never a part.

    The bytes go to a temporary file in the same folder, are synced to the disk, verified, renamed over
    `path`, and the folder is synced. When anything raises before the rename, the temporary file is removed.

    Parameters
    ----------
    path : path-like
        The file to create or replace; its folder must exist.
    data : bytes
        The whole content.
    verify : callable, optional
        Called with the synced temporary file; whatever it raises keeps `path` as it was.

    Raises
    ------
    UserError
        If the disk is full, a quota or a file size limit is reached, or the folder cannot be written to.
    OSError
        For any other failure of the file system.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    with disk_errors_told(path, len(data)):
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if verify is not None:
                verify(temporary)
            os.replace(temporary, path)
        except BaseException:
            # Removing may fail for the same reason that writing did; the first error is the one to tell.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def check_target(path: str | os.PathLike, flag: str = "--out", example: str = "predictions.csv") -> None:
    """Refuse a file that cannot be written, before the work whose result it is to hold.

    Parameters
    ----------
    path : path-like
        The file to be written later.
    flag, example : str
        How it was given, and what it may look like.

    Raises
    ------
    UserError
        Its folder is not there or cannot be written to, or it is a folder itself (exit code 2).
    """
    path = Path(path).absolute()
    if not path.parent.is_dir():
        raise usage_error(f"no such folder: {path.parent}. Make it, or give another {flag}.")
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise usage_error(f"{flag} {path} is {what}. Give a file, such as {example}.")
    trial = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    with disk_errors_told(path):
        try:
            trial.touch(exist_ok=False)
        finally:
            with suppress(OSError):
                trial.unlink(missing_ok=True)


def sync_folder(folder: str | os.PathLike) -> None:
    """Make renames, creations and removals in a folder survive a power cut.

    Parameters
    ----------
    folder : path-like
        An existing folder.

    Raises
    ------
    OSError
        If the folder cannot be opened or synced.
    """
    if os.name == "nt":  # Windows has no handle to a folder that can be synced; NTFS journals renames itself.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: str | os.PathLike) -> Path:
    """Create a folder and its parents, each of them synced into the one above.

    Parameters
    ----------
    folder : path-like
        May exist already.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        If a part of the path is a file, or the folder cannot be created.
    """
    folder = Path(folder)
    if folder.is_dir():
        return folder
    if folder.parent != folder:
        make_folder(folder.parent)
    with disk_errors_told(folder):
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
    return folder


def remove_temporaries(folder: Path) -> int:
    """Delete what interrupted calls of :func:`atomic_write` left in a folder.

    Only a caller that holds the folder's lock may do this: a temporary file of a living writer looks the
    same.

    Parameters
    ----------
    folder : Path
        An existing folder; folders inside it are left alone.

    Returns
    -------
    int
        How many files were deleted.
    """
    stale = [entry for entry in folder.iterdir() if entry.name.startswith(TEMPORARY_PREFIX)]
    with disk_errors_told(folder):
        for entry in stale:
            entry.unlink(missing_ok=True)
    return len(stale)


@contextmanager
def disk_errors_told(path: str | os.PathLike, size: int | None = None) -> Iterator[None]:
    """Turn the disk errors that a user can mend into a :class:`~dermfuse.cache.errors.UserError` of one line.

    Parameters
    ----------
    path : path-like
        What is being written.
    size : int, optional
        Its size in bytes.

    Raises
    ------
    UserError
        In place of an ``OSError`` that says full, over quota, too large, not permitted, read-only, or that a
        file is where a folder should be. Other errors pass unchanged, so that no defect is dressed as a
        user's mistake.
    """
    try:
        yield
    except OSError as error:
        path = Path(path)
        what = f"cannot write {path.name}{'' if size is None else f' ({in_units(size)})'} in {path.parent}"
        if error.errno in _FULL:
            raise UserError(
                f"{what}: {os.strerror(error.errno)}; {_free(path.parent)} free there. "
                "Make room or choose another folder, then run again: what was finished before is intact"
            ) from error
        if error.errno in _FORBIDDEN:
            raise UserError(
                f"{what}: {os.strerror(error.errno)}; {_free(path.parent)} free there. "
                "Allow writing there or choose another folder, then run again"
            ) from error
        if error.errno in _NO_FOLDER:
            raise UserError(f"{what}: a part of this path is a file, but expected folders") from error
        raise


@contextmanager
def lock_errors_told(path: str | os.PathLike) -> Iterator[None]:
    """Turn the errors of a file system that cannot lock into a :class:`~dermfuse.cache.errors.UserError` of one line.

    Parameters
    ----------
    path : path-like
        The lock file. If it did not exist before, it does not exist after such an error.

    Raises
    ------
    UserError
        In place of an ``OSError`` that says that locks are not there. Other errors pass unchanged.
    """
    path = Path(path)
    existed = path.exists()
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if not existed:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise UserError(
            f"cannot lock {path.name} in {path.parent}: {os.strerror(error.errno)}. This file system has no locks, "
            "without which two processes could write at once. Choose a cache folder on a local disk, then run again: "
            "what is in this one can still be read"
        ) from error


def free_bytes(folder: str | os.PathLike) -> int | None:
    """Bytes free for this user on the disk of a folder, or of the nearest one above it that is there.

    Returns
    -------
    int or None
        None where the file system does not say.
    """
    folder = Path(folder).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.free if usage.total else None  # some network file systems give zeros for all


def check_room(folder: str | os.PathLike, needed: int, what: str) -> None:
    """Refuse work whose result finds no room on a disk, before the work.

    Parameters
    ----------
    folder : path-like
        Where the result is to go; need not exist.
    needed : int
        Bytes that it takes at least.
    what : str
        The result, in words.

    Raises
    ------
    UserError
        With how much is needed, how much is free and where.
    """
    free = free_bytes(folder)
    if free is not None and free < needed:
        raise UserError(
            f"no room for {what}: at least {in_units(needed)} are needed, {in_units(free)} are free in "
            f"{Path(folder).absolute()}. Make room there or choose a folder on another disk, then run again."
        )


def in_units(size: int) -> str:
    """A number of bytes as people read it.

    Examples
    --------
    >>> in_units(999), in_units(5_246_928)
    ('999 bytes', '5.2 MB')
    """
    if size < 1000:
        return f"{size} bytes"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def _free(folder: Path) -> str:
    free = free_bytes(folder)
    return "unknown space" if free is None else in_units(free)
