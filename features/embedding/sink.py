"""From prepared images to rows on disk: batches, embeddings, shards; the disk is written to by a thread of its own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import numpy as np
import torch

from dermfuse.cache.errors import UserError
from dermfuse.cache.store import SHARD_ROWS

# Small batches keep a layer's activations in a CPU's cache: see RESULTS.md.
CPU_BATCH = 8
GPU_BATCH = 128
# Images that a network on a CPU is handed at once, a core and at most: what is decoded and what is computed take turns,
# and each turn finds the caches full of the other's.
CPU_GATHERED, MOST_GATHERED = 32, 512
# A shard is written when it is full, or when this much time was spent on it: a kill costs no more than that.
SHARD_SECONDS = 5.0
# Shards that may wait for the disk before the network has to.
MOST_WAITING = 2


def batch_size(device: torch.device, wanted: int | None = None) -> int:
    """Images a forward pass: as many as wanted, else by device."""
    return wanted or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)


def gathered_size(device: torch.device, wanted: int | None = None) -> int:
    """Images that a network is handed at once: as many as wanted, else by device and cores."""
    return wanted or (min(CPU_GATHERED * torch.get_num_threads(), MOST_GATHERED) if device.type == "cpu" else GPU_BATCH)


class BackgroundWriter:
    """A thread that does one piece of writing after another.

    Used as a context manager: leaving it waits for all that was given, also after an error.

    Attributes
    ----------
    waited : float
        Seconds that givers had to wait.
    """

    def __init__(self):
        self.waited = 0.0
        self._work: queue.Queue[Callable[[], None] | None] = queue.Queue(MOST_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="shard writer", daemon=True)

    def __enter__(self) -> BackgroundWriter:
        self._thread.start()
        return self

    def __exit__(self, kind, *_exception: object) -> None:
        self._work.put(None)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def put(self, work: Callable[[], None]) -> None:
        """Have `work` done after all that was given before.

        Raises
        ------
        BaseException
            What an earlier piece of work raised.
        """
        if self._error is not None:
            raise self._error
        started = time.perf_counter()
        self._work.put(work)
        self.waited += time.perf_counter() - started

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            if self._error is None:
                try:
                    work()
                except BaseException as error:  # handed to the thread that gives work
                    self._error = error


class Sink:
    """Gathers prepared images of one extractor into batches, and its embeddings into shards.

    Parameters
    ----------
    extractor : Extractor
    missing : iterable of str
        Row keys that it is to embed.
    keep : callable
        ``keep(keys, matrix)`` keeps embeddings, called by `writer`'s thread.
    writer : BackgroundWriter
    batch : int, optional
        Images a forward pass; by device when None.

    Attributes
    ----------
    missing : set of str
    bytes : int
        Of embeddings given to the writer.
    seconds : float
        Spent in the network.
    """

    def __init__(
        self,
        extractor,
        missing: Iterable[str],
        keep: Callable[[list[str], np.ndarray], None],
        writer: BackgroundWriter,
        batch: int | None = None,
    ):
        self.extractor, self.missing = extractor, set(missing)
        self.bytes, self.seconds = 0, 0.0
        self._keep, self._writer = keep, writer
        kind = extractor.device.type
        size = batch_size(extractor.device, batch)
        extractor.runtime.batch = extractor.runtime.batch or size
        shape = (gathered_size(extractor.device, batch), *extractor.prepare.shape)
        # Two, since a GPU may still be copying the one while the other is filled; pinned, so that it copies by itself.
        count = 1 if kind == "cpu" else 2
        self._batches = [
            torch.empty(shape, dtype=torch.uint8, pin_memory=kind == "cuda", memory_format=torch.channels_last)
            for _ in range(count)
        ]
        self._pixels = [batch.numpy() for batch in self._batches]
        self._waiting: list[str] = []
        self._running: tuple[list[str], torch.Tensor] | None = None
        self._keys: list[str] = []
        self._vectors: list[np.ndarray] = []
        self._begun = time.monotonic()

    def add(self, key: str, prepared: np.ndarray) -> None:
        """Take a copy of one prepared image."""
        self._pixels[0][len(self._waiting)] = prepared
        self._waiting.append(key)
        if len(self._waiting) == len(self._pixels[0]):
            self._forward()
        if len(self._keys) >= SHARD_ROWS or time.monotonic() - self._begun > SHARD_SECONDS:
            self.write()

    def finish(self) -> None:
        """Embed and write what is left."""
        if self._waiting:
            self._forward()
        self._collect()
        self.write()

    def rescue(self) -> None:
        """Write what is embedded, after an error."""
        with suppress(Exception):  # the first error is the one to tell
            self._collect()
        with suppress(Exception):
            self.write()

    def write(self) -> None:
        """Give what is embedded to the writer."""
        if self._keys:
            keys, matrix = self._keys, np.concatenate(self._vectors)
            self._writer.put(lambda: self._keep(keys, matrix))
            self._keys, self._vectors = [], []
            self.bytes += matrix.nbytes
        self._begun = time.monotonic()

    def _forward(self) -> None:
        started = time.perf_counter()
        keys, self._waiting = self._waiting, []
        launched = self.extractor.forward(self._batches[0][: len(keys)])
        self._batches.reverse()
        self._pixels.reverse()
        self._collect()  # the batch before, while a GPU works on this one
        self._running = keys, launched
        if self.extractor.device.type == "cpu":
            self._collect()
        self.seconds += time.perf_counter() - started

    def _collect(self) -> None:
        if self._running is not None:
            (keys, launched), self._running = self._running, None
            self._vectors.append(self._stored(launched.cpu().numpy()))
            self._keys.extend(keys)

    def _stored(self, matrix: np.ndarray) -> np.ndarray:
        dtype = self.extractor.dtype
        with np.errstate(over="ignore"):
            stored = matrix.astype(dtype)
        bad = int((~np.isfinite(stored)).any(axis=1).sum())
        if bad:
            raise UserError(
                f"{self.extractor.name} gives values for {bad} images that {dtype} cannot hold. Expected finite values"
                + (" up to 65,504: give --dtype float32." if dtype == "float16" else ": check its weights.")
            )
        return stored
