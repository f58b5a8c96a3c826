"""Stage 1's loop: every image is decoded once, fed to every extractor that lacks it, and kept."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from cache.errors import UserError
from cache.recipe import recipe_key
from cache.store import SHARD_ROWS, Block, Damage, Store
from cache.upkeep import mark_used
from features.content import Content
from features.dataset import Dataset
from features.decoding import Task, default_workers, prepared_images
from features.extractors import Extractor
from features.images import decode
from features.quarantine import SetAside, update_quarantine

# Small batches keep a layer's activations in a CPU's cache; measured 192 img/s at 16 and 48 at 64 (mobilenet_v2).
CPU_BATCH = 16
GPU_BATCH = 128
# A shard is written when it is full, or when this much time was spent on it: a kill costs no more than that.
SHARD_SECONDS = 5.0


@dataclass
class BlockSummary:
    """What one extractor did: rows computed now, and rows that the cache held already."""

    name: str
    key: str
    computed: int
    reused: int


@dataclass
class ExtractSummary:
    """What one extraction did.

    Attributes
    ----------
    images : int
        Rows of the dataset.
    blocks : list of BlockSummary
    set_aside : list of SetAside
        Images that could not be used, and why.
    frames_left_out : int
        Images decoded now that hold more pictures than the first, which was taken.
    quarantine : Path or None
        The list of images set aside.
    seconds : float
    """

    images: int
    blocks: list[BlockSummary] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    frames_left_out: int = 0
    quarantine: Path | None = None
    seconds: float = 0.0


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

    Whatever ends the work early, what was computed before is kept, and the next call goes on from there.

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
        Decoding processes; one a core when None, 0 to decode in this process.

    Returns
    -------
    ExtractSummary
        With the images that were set aside; they are also in ``quarantine.csv`` of the cache.

    Raises
    ------
    UserError
        The cache cannot be written to, an embedding does not fit the stored type, or decoding cannot start.
    """
    started = time.perf_counter()
    paths = content.paths(dataset)
    summary = ExtractSummary(len(dataset.rows), set_aside=list(content.unreadable))
    with ExitStack() as stack:
        blocks = [_open_block(extractor, store, console) for extractor in extractors]
        # One order for every process: two that want the same blocks must not wait for each other.
        for block in sorted(blocks, key=lambda block: block.folder.name):
            stack.enter_context(block.writer(console.say, lambda damage: _tell_damage(damage, console)))
            mark_used(block.folder)
        sinks = [_Sink(e, b, b.missing(paths), batch_size) for e, b in zip(extractors, blocks, strict=True)]
        wanted = [key for key in paths if any(key in sink.missing for sink in sinks)]
        bad, summary.frames_left_out = _run(wanted, paths, sinks, console, workers)
    for key, path in zip(content.keys, dataset.rows["path"], strict=True):
        if key in bad:  # every file of that content, not only the one that was read
            summary.set_aside.append(SetAside(str(Path(path).absolute()), bad[key], _size(path), key))
    for sink in sinks:
        reused = len(paths) - len(sink.missing)
        summary.blocks.append(BlockSummary(sink.extractor.name, sink.block.key, sink.written, reused))
    if summary.frames_left_out:
        console.notice(f"images with several frames, of which the first was taken: {summary.frames_left_out:,}")
    looked_at = {str(Path(p).absolute()) for p in dataset.rows["path"]}
    summary.quarantine = update_quarantine(store.root, looked_at, summary.set_aside)
    summary.seconds = time.perf_counter() - started
    return summary


def embed(paths: dict[str, Path], extractor: Extractor, console, workers: int | None = None) -> tuple[dict, dict]:
    """Embed images without keeping them: (row key to vector, row key to the reason it was set aside)."""
    vectors: dict[str, np.ndarray] = {}
    sink = _Sink(extractor, None, list(paths), None, keep=vectors.update)
    bad, _ = _run(list(paths), paths, [sink], console, workers)
    return vectors, bad


class _Sink:
    """Gathers prepared images of one extractor into batches, and its embeddings into shards."""

    def __init__(self, extractor, block: Block | None, missing: Iterable[str], batch_size: int | None, keep=None):
        self.extractor, self.block = extractor, block
        self.missing = set(missing)
        self.written = 0
        self._keep = keep
        size = batch_size or (CPU_BATCH if extractor.device.type == "cpu" else GPU_BATCH)
        self._batch = torch.empty((size, *extractor.prepare.shape), dtype=torch.uint8)
        self._waiting: list[str] = []
        self._keys: list[str] = []
        self._vectors: list[np.ndarray] = []
        self._begun = time.monotonic()

    def add(self, key: str, prepared: np.ndarray) -> None:
        """Take a copy of one prepared image."""
        self._batch[len(self._waiting)] = torch.from_numpy(prepared)
        self._waiting.append(key)
        if len(self._waiting) == len(self._batch):
            self._forward()
        if len(self._keys) >= SHARD_ROWS or time.monotonic() - self._begun > SHARD_SECONDS:
            self.write()

    def finish(self) -> None:
        """Embed and write what is left."""
        if self._waiting:
            self._forward()
        self.write()

    def write(self) -> None:
        """Write what is embedded."""
        if self._keys:
            matrix = np.concatenate(self._vectors)
            if self._keep is not None:
                self._keep(zip(self._keys, matrix.astype(np.float32), strict=True))
            else:
                # After an interruption, the last shard may be complete already.
                missing = set(self.block.missing(self._keys))
                rows = [row for row, key in enumerate(self._keys) if key in missing]
                self.block.append([self._keys[row] for row in rows], matrix[rows])
            self.written += len(self._keys)
            self._keys, self._vectors = [], []
        self._begun = time.monotonic()

    def _forward(self) -> None:
        keys, self._waiting = self._waiting, []
        self._vectors.append(self._stored(self.extractor.forward(self._batch[: len(keys)]).numpy()))
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


def _run(wanted: list[str], paths: dict[str, Path], sinks: list[_Sink], console, workers) -> tuple[dict[str, str], int]:
    """Decode each wanted image once, for every sink that misses it; reasons of the bad ones, and files with frames."""
    bad, frames_left_out = {}, 0
    names = "+".join(sink.extractor.name for sink in sinks if sink.missing)
    tasks = (Task(key, paths[key], tuple(i for i, s in enumerate(sinks) if key in s.missing)) for key in wanted)
    preparations = [sink.extractor.prepare for sink in sinks]
    workers = default_workers() if workers is None else workers
    images = prepared_images(tasks, preparations, min(workers, len(wanted)), decode)
    with console.progress(f"extracting {names}", len(wanted)) as advance:
        try:
            for image in images:
                advance()
                if image.bad is not None:
                    bad[image.key] = image.bad
                frames_left_out += image.frames_left_out
                for i, prepared in image.images.items():
                    sinks[i].add(image.key, prepared)
            for sink in sinks:
                sink.finish()
        except BaseException:
            for sink in sinks:
                with suppress(Exception):  # the first error is the one to tell
                    sink.write()
            raise
        finally:
            images.close()
    return bad, frames_left_out


def _open_block(extractor: Extractor, store: Store, console) -> Block:
    """The extractor's block; when the cache holds only other recipes, say in what they differ."""
    recipe = extractor.recipe()
    known = store.find(extractor.name, recipe_key(recipe)) is not None
    other = None if known else store.closest(extractor.name, recipe)
    block = store.open_block(extractor.name, recipe, extractor.width, extractor.dtype)
    if other is not None:
        nearest, differences = other
        console.notice(
            f"{extractor.name}: the cache holds {len(nearest.row_keys):,} images of another recipe "
            f"({'; '.join(differences)}); computing anew"
        )
    return block


def _tell_damage(damage: Damage, console) -> None:
    console.notice(f"damaged in the cache, set aside and computed anew: {damage}")


def _size(path: Path) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return -1
