"""Memory that processes share, its room taken at once: what has no room is an error then, not a SIGBUS later."""

from __future__ import annotations

import errno
import mmap
import multiprocessing
import os
import tempfile
from dataclasses import dataclass
from multiprocessing import reduction

import numpy as np

# Bytes of a number, and zeros that are written at once.
_NUMBER, _ZEROS = 8, 2**20


class SharedMemory:
    """Zeroed bytes that a process and those it starts see alike, given to them as an argument of theirs.

    A mapping of a file ends the process with SIGBUS where a page is touched for which the file system has no room. So
    all of the file's blocks are taken before it is mapped, and nobody can take them later. On Linux the file lies in
    memory itself and needs room in no folder, see ``man memfd_create``; elsewhere in the folder of temporary files.

    Parameters
    ----------
    size : int
        Bytes, at least 1.

    Raises
    ------
    OSError
        There is no room for it.
    """

    def __init__(self, size: int):
        self.size = size
        self._file: int | None = None
        if os.name == "nt":  # the system promises the room with the mapping
            self._bytes = multiprocessing.RawArray("B", size)
            return
        try:
            self._file = _file_without_name()
            _take_room(self._file, size)
            self._bytes = mmap.mmap(self._file, size)
        except BaseException:
            self._close()
            raise

    def view(self) -> np.ndarray:
        """The bytes, (size,) uint8, shared."""
        return np.frombuffer(self._bytes, np.uint8, self.size)

    def __getstate__(self) -> tuple:
        return self.size, self._bytes if self._file is None else reduction.DupFd(self._file)

    def __setstate__(self, state: tuple) -> None:
        self.size, held = state
        self._file, self._bytes = None, held
        if os.name != "nt":
            self._file = held.detach()
            self._bytes = mmap.mmap(self._file, self.size)

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


@dataclass(frozen=True)
class Ring:
    """Memory that workers share: for each the number of the task in work, then slots that are used in turn.

    Attributes
    ----------
    memory : SharedMemory
    workers, slots : int
    """

    memory: SharedMemory
    workers: int
    slots: int

    @classmethod
    def longest(cls, workers: int, wanted: int, each: int) -> Ring | None:
        """A ring of as many slots as wanted, where there is no room half as many, and so on.

        Parameters
        ----------
        workers, wanted : int
            A slot a worker is the least.
        each : int
            Bytes a slot.

        Returns
        -------
        Ring or None
            None where there is no room for the least.
        """
        slots = wanted
        while True:
            try:
                return cls(SharedMemory(_NUMBER * workers + slots * max(1, each)), workers, slots)
            except OSError:
                if slots <= workers:
                    return None
            slots = max(workers, slots // 2)

    def working_on(self, worker: int) -> np.ndarray:
        """The number of the task that a worker is at, (1,) int64."""
        return self.memory.view()[: _NUMBER * self.workers].view(np.int64)[worker : worker + 1]

    def images(self) -> np.ndarray:
        """The slots, (slots, bytes a slot) uint8."""
        return self.memory.view()[_NUMBER * self.workers :].reshape(self.slots, -1)


def _file_without_name() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("dermfuse")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _take_room(file: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    while size:  # written zeros take the room on every system
        written = os.write(file, bytes(min(size, _ZEROS)))
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        size -= written
