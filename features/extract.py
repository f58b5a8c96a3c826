"""Stage 1's loop: every image is read and decoded once, fed to every extractor that lacks it, and kept."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from cache.errors import UserError
from cache.files import ContentIndex
from cache.store import SHARD_ROWS, Block, Store
from features.dataset import Dataset
from features.extractors import Extractor
from features.images import BadImage, decode
from features.quarantine import SetAside, update_quarantine

# Small batches keep a layer's activations in a CPU's cache; measured 192 img/s at 16 and 48 at 64 (mobilenet_v2).
CPU_BATCH = 16
GPU_BATCH = 128


@dataclass
class BlockSummary:
    """What one extractor did: rows computed now, and rows that the cache held already."""

    name: str
    key: str
    computed: int
    reused: int


@dataclass
class ExtractSummary:
    """What one extraction did."""

    images: int
    blocks: list[BlockSummary] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    quarantine: Path | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Content:
    """Row keys of a dataset's images: SHA-256 of each file's bytes, None where a file cannot be read."""

    keys: list[str | None]
    unreadable: list[SetAside]

    def paths(self, dataset: Dataset) -> dict[str, Path]:
        """Row key to one file with that content."""
        pairs = zip(self.keys, dataset.rows["path"], strict=True)
        return {key: path for key, path in pairs if key is not None}

    def chosen(self, rows: np.ndarray) -> set[str]:
        """Row keys of the rows where `rows` (bool, one per row) is true."""
        return {key for key, use in zip(self.keys, rows, strict=True) if use and key is not None}


def open_index(store: Store, console) -> ContentIndex:
    """The cache's memo of file digests."""
    return ContentIndex(store.root / "files.sqlite", on_problem=console.say)


def read_content(paths: Iterable[Path], index: ContentIndex, console, workers: int = 4) -> Content:
    """Hash every image file, sparing those the index knows unchanged."""
    paths = [Path(p) for p in paths]

    def key_of(path: Path) -> str | SetAside:
        try:
            if not path.is_file():
                return SetAside(str(path.absolute()), "not a file", -1, "")
            return index.sha256_of(path)
        except OSError as error:
            return SetAside(str(path.absolute()), error.strerror or "cannot be read", -1, "")

    with ThreadPoolExecutor(workers) as pool, console.progress("hashing files", len(paths)) as advance:
        found = []
        for key in pool.map(key_of, paths):
            found.append(key)
            advance()
    keys = [key if isinstance(key, str) else None for key in found]
    return Content(keys, [key for key in found if isinstance(key, SetAside)])


def extract(
    dataset: Dataset,
    content: Content,
    extractors: list[Extractor],
    store: Store,
    console,
    batch_size: int | None = None,
    workers: int | None = None,
) -> ExtractSummary:
    """Embed every image of `dataset` with every extractor; what the cache holds is not computed again.

    Parameters
    ----------
    dataset : Dataset
    content : Content
        Row keys aligned to ``dataset.rows``.
    extractors : list of Extractor
    store : Store
    console : Console
    batch_size : int, optional
        Images a forward pass; by device when None.
    workers : int, optional
        Decoding threads; one a core when None.

    Returns
    -------
    ExtractSummary
        With the images that were set aside; they are also in ``quarantine.csv`` of the cache.
    """
    started = time.perf_counter()
    paths = content.paths(dataset)
    summary = ExtractSummary(len(dataset.rows), set_aside=list(content.unreadable))
    with ExitStack() as stack:
        blocks = [store.open_block(e.name, e.recipe(), e.width, e.dtype) for e in extractors]
        # One order for every process: two that want the same blocks must not wait for each other.
        for block in sorted(blocks, key=lambda block: block.folder.name):
            stack.enter_context(block.writer(console.say, lambda damage: console.notice(str(damage))))
        sinks = [_Sink(e, b, b.missing(paths), batch_size) for e, b in zip(extractors, blocks, strict=True)]
        wanted = [key for key in paths if any(key in sink.missing for sink in sinks)]
        bad = _run(wanted, paths, sinks, console, workers or os.cpu_count() or 1)
    for key, path in zip(content.keys, dataset.rows["path"], strict=True):
        if key in bad:  # every file of that content, not only the one that was read
            summary.set_aside.append(SetAside(str(Path(path).absolute()), bad[key], _size(path), key))
    for sink in sinks:
        reused = len(paths) - len(sink.missing)
        summary.blocks.append(BlockSummary(sink.extractor.name, sink.block.key, sink.written, reused))
    looked_at = {str(Path(p).absolute()) for p in dataset.rows["path"]}
    summary.quarantine = update_quarantine(store.root, looked_at, summary.set_aside)
    summary.seconds = time.perf_counter() - started
    return summary


def embed(paths: dict[str, Path], extractor: Extractor, console, workers: int | None = None) -> tuple[dict, dict]:
    """Embed images without keeping them: (row key to vector, row key to the reason it was set aside)."""
    vectors: dict[str, np.ndarray] = {}
    sink = _Sink(extractor, None, list(paths), None, keep=vectors.update)
    bad = _run(list(paths), paths, [sink], console, workers or os.cpu_count() or 1)
    return vectors, bad


class _Sink:
    """Gathers prepared images of one extractor into batches, and its embeddings into shards."""

    def __init__(self, extractor, block: Block | None, missing: Iterable[str], batch_size: int | None, keep=None):
        self.extractor, self.block = extractor, block
        self.missing = set(missing)
        self.written = 0
        self._keep = keep
        device = getattr(extractor, "device", torch.device("cpu"))
        self._batch_size = batch_size or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)
        self._waiting: list[tuple[str, torch.Tensor]] = []
        self._keys: list[str] = []
        self._vectors: list[np.ndarray] = []

    def add(self, key: str, prepared: torch.Tensor) -> None:
        self._waiting.append((key, prepared))
        if len(self._waiting) >= self._batch_size:
            self._forward()
        if len(self._keys) >= SHARD_ROWS:
            self._write()

    def finish(self) -> None:
        if self._waiting:
            self._forward()
        self._write()

    def _forward(self) -> None:
        keys, images = zip(*self._waiting, strict=True)
        self._waiting = []
        self._vectors.append(self.extractor.forward(torch.stack(images)).numpy())
        self._keys.extend(keys)

    def _write(self) -> None:
        if not self._keys:
            return
        matrix = self._stored(np.concatenate(self._vectors))
        if self._keep is not None:
            self._keep(zip(self._keys, matrix.astype(np.float32), strict=True))
        else:
            # After an interruption, the last shard may be complete already.
            missing = set(self.block.missing(self._keys))
            rows = [row for row, key in enumerate(self._keys) if key in missing]
            self.block.append([self._keys[row] for row in rows], matrix[rows])
        self.written += len(self._keys)
        self._keys, self._vectors = [], []

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


def _run(wanted: list[str], paths: dict[str, Path], sinks: list[_Sink], console, workers: int) -> dict[str, str]:
    """Decode each wanted image once and hand it to every sink that misses it; row key to reason of the bad ones."""
    bad = {}
    names = "+".join(sink.extractor.name for sink in sinks if sink.missing)
    with ThreadPoolExecutor(workers) as pool, console.progress(f"extracting {names}", len(wanted)) as advance:
        try:
            for key, prepared in _decoded(wanted, paths, sinks, pool, window=8 * workers):
                advance()
                if isinstance(prepared, BadImage):
                    bad[key] = str(prepared)
                    continue
                for sink, image in prepared:
                    sink.add(key, image)
        except KeyboardInterrupt:
            # What was computed is kept: the next extract goes on from here.
            for sink in sinks:
                sink.finish()
            raise
        for sink in sinks:
            sink.finish()
    return bad


def _size(path: Path) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return -1


def _decoded(wanted, paths, sinks, pool, window: int) -> Iterator[tuple[str, list | BadImage]]:
    """Decoded and prepared images in order, at most `window` ahead of the consumer."""

    def work(key: str):
        try:
            image = decode(paths[key], key)
            return key, [(sink, sink.extractor.prepare(image)) for sink in sinks if key in sink.missing]
        except BadImage as bad:
            return key, bad

    ahead: deque = deque()
    for key in wanted:
        ahead.append(pool.submit(work, key))
        if len(ahead) >= window:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()
