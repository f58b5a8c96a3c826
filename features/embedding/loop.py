"""Stage 1's loop: every image is decoded once, fed to every extractor that lacks it, and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from dermfuse.cache.atomic import in_units, make_folder
from dermfuse.cache.errors import UserError
from dermfuse.cache.recipe import recipe_key
from dermfuse.cache.store import Block, Damage, DamagedBlock, Store
from dermfuse.cache.upkeep import locked, mark_used
from dermfuse.features.data.content import Content
from dermfuse.features.data.dataset import Dataset
from dermfuse.features.embedding.room import check_room_for_rows
from dermfuse.features.embedding.sink import BackgroundWriter, Sink, batch_size
from dermfuse.features.embedding.summary import BlockSummary, ExtractSummary, Stages
from dermfuse.features.extractors.registry import Extractor
from dermfuse.features.images.decoder import decode
from dermfuse.features.images.quarantine import SetAside, read_quarantine, update_quarantine
from dermfuse.features.images.workers import Task, default_workers, prepared_images
from dermfuse.features.runtimes.choice import (
    PROBE_IMAGES,
    Choice,
    Choices,
    choose,
    kept_precision,
    machine,
    network_key,
    runtime_of,
)
from dermfuse.features.runtimes.recall import CHECKED_IMAGES, keep_built, recall

# For fewer images, measuring and building another runtime than the reference takes longer than it saves.
WORTH_CHOOSING = 32 * PROBE_IMAGES


@dataclass(frozen=True)
class Work:
    """How the work is done; none of it is part of a cache key.

    Attributes
    ----------
    batch_size : int or None
        Images a forward pass; by device when None.
    workers : int or None
        Decoding processes; one a core when None, 0 to decode in this process.
    precision : str
        ``auto`` looks for the fastest runtime that agrees with the reference, which is ``exact``; any other is the
        precision to compute in. The precision class of what is found is part of the key.
    shared : bool
        Hold a block's lock only while a shard is written, since other processes write other rows of it.
    tidy : bool
        False when the caller has just put shared blocks in order, see :meth:`dermfuse.cache.block.Block.tidy`.
    ahead : int
        Images that this process is going to embed by this call and others like it, where that is known to be more.
    """

    batch_size: int | None = None
    workers: int | None = None
    precision: str = "exact"
    shared: bool = False
    tidy: bool = True
    ahead: int = 0

    def processes(self, images: int) -> int:
        """Decoding processes for so many images."""
        return min(default_workers() if self.workers is None else self.workers, images)


def extract(
    dataset: Dataset, content: Content, extractors: list[Extractor], store: Store, console, work: Work | None = None
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
    work : Work, optional

    Returns
    -------
    ExtractSummary
        With the images that were set aside; they are also in ``quarantine.csv`` of the cache.

    Raises
    ------
    UserError
        The cache has no room or cannot be written to, an embedding does not fit its type, or decoding cannot start.
    """
    started, work = time.perf_counter(), work or Work()
    paths = content.paths(dataset)
    summary = ExtractSummary(len(dataset.rows), set_aside=list(content.unreadable))
    if work.shared and not paths:  # an empty part should begin no block that others then have to follow
        extractors = []
    check_room_for_rows(extractors, list(paths), store, work.precision)
    if work.precision == "auto":
        summary.runtimes = _choose_runtimes(extractors, paths, store, console, work)
    elif work.precision != "exact":
        for extractor in extractors:
            extractor.runtime = runtime_of(work.precision, extractor, strict=True)
    with ExitStack() as stack:
        blocks = [_open_block(extractor, store, console.notice) for extractor in extractors]
        # One order for every process: two that want the same blocks must not wait for each other.
        for block in sorted(blocks, key=lambda block: block.folder.name):
            on_damage = partial(tell_damage, tell=console.notice)
            if not work.shared:
                stack.enter_context(block.writer(console.say, on_damage))
            elif work.tidy:
                block.tidy(paths, console.say, on_damage)
            mark_used(block.folder)
        absent = [block.missing(paths) for block in blocks]
        keepers = [_Keeper(block, work.shared, console.say) for block in blocks]
        bad = _run(paths, list(zip(extractors, absent, keepers, strict=True)), summary, console, work)
    for extractor in extractors if summary.runtimes else []:
        try:
            keep_built(extractor, store)
        except (OSError, UserError) as error:  # the embeddings are whole without it
            console.notice(f"{extractor.name}: what was built for its runtime is not kept: {error}")
    for key, path in zip(content.keys, dataset.rows["path"], strict=True):
        if key in bad:  # every file of that content, not only the one that was read
            summary.set_aside.append(SetAside(str(Path(path).absolute()), bad[key], _size(path), key))
    for extractor, keeper, missing in zip(extractors, keepers, absent, strict=True):
        held = len(paths) - len(missing) + keeper.left_out
        summary.blocks.append(BlockSummary(extractor.name, keeper.block.key, keeper.written, held))
    if summary.frames_left_out:
        console.notice(f"images with several frames, of which the first was taken: {summary.frames_left_out:,}")
    summary.quarantine = update_quarantine(store.root, dataset.rows["path"], summary.set_aside, console.say)
    summary.seconds = time.perf_counter() - started
    return summary


def embed(paths: dict[str, str | Path], extractor: Extractor, console, workers: int | None = None) -> tuple[dict, dict]:
    """Embed images without keeping them: (row key to vector, row key to the reason it was set aside)."""
    vectors: dict[str, np.ndarray] = {}

    def keep(keys: list[str], matrix: np.ndarray) -> None:
        vectors.update(zip(keys, matrix.astype(np.float32), strict=True))

    bad = _run(paths, [(extractor, list(paths), keep)], ExtractSummary(len(paths)), console, Work(workers=workers))
    return vectors, bad


def quicken(extractor: Extractor, paths: dict[str, str | Path], left: int, store: Store, console) -> None:
    """Give an extractor the fastest runtime of its precision, where that pays for the images that are left.

    Parameters
    ----------
    extractor : Extractor
        Its ``runtime`` is set.
    paths : dict of str to str or Path
        Some of the images, by row key.
    left : int
        Images to embed, these included.
    store : Store
        Knows what was measured on this machine before.
    console : Console
    """
    if left < WORTH_CHOOSING:
        return
    _chosen([(extractor, extractor.runtime.precision, left)], paths, Work(), store, console)


class _Keeper:
    """Puts rows into a block."""

    def __init__(self, block: Block, shared: bool, say: Callable[[str], None]):
        self.block, self.written, self.left_out = block, 0, 0
        self._shared, self._say = shared, say

    def __call__(self, keys: list[str], matrix: np.ndarray) -> None:
        if self._shared:
            added = self.block.add(keys, matrix, self._say)
            self.written += added
            self.left_out += len(keys) - added
            return
        # After an interruption, the last shard may be complete already.
        missing = set(self.block.missing(keys))
        if len(missing) < len(keys):
            rows = [row for row, key in enumerate(keys) if key in missing]
            keys, matrix = [keys[row] for row in rows], matrix[rows]
        self.block.append(keys, matrix)
        self.written += len(keys)


def _run(
    paths: dict[str, str | Path], parts: list[tuple], summary: ExtractSummary, console, work: Work
) -> dict[str, str]:
    """Decode each image that an extractor lacks once, for all that lack it; reasons of the bad ones by row key.

    `parts` are (extractor, row keys it lacks, what keeps its rows).
    """
    bad: dict[str, str] = {}
    with BackgroundWriter() as writer:
        sinks = [Sink(e, missing, keep, writer, work.batch_size) for e, missing, keep in parts]
        wanted = [key for key in paths if any(key in sink.missing for sink in sinks)]
        # Networks whose transforms are the same share what was prepared.
        preparations = list(dict.fromkeys(sink.extractor.prepare for sink in sinks))
        users = [[sink for sink in sinks if sink.extractor.prepare == p] for p in preparations]
        images = prepared_images(
            _tasks(wanted, paths, users),
            preparations,
            work.processes(len(wanted)),
            decode,
            in_turns=all(sink.extractor.device.type == "cpu" for sink in sinks),
            tell=console.notice,
        )
        names = "+".join(sink.extractor.name for sink in sinks if sink.missing)
        try:
            with console.progress(f"extracting {names}", len(wanted)) as advance:
                for image in _timed(images, summary.stages):
                    if image.bad is not None:
                        bad[image.key] = image.bad
                    summary.frames_left_out += image.frames_left_out
                    for i, prepared in image.images.items():
                        for sink in users[i]:
                            if image.key in sink.missing:
                                sink.add(image.key, prepared)
                    advance(1, f"{in_units(sum(sink.bytes for sink in sinks))} embedded")
                for sink in sinks:
                    sink.finish()
        except BaseException:
            for sink in sinks:
                sink.rescue()
            raise
        finally:
            images.close()
    for sink in sinks:
        summary.bytes += sink.bytes
        summary.stages.network += sink.seconds
        if sink.extractor.runtime.halved:
            console.notice(
                f"{sink.extractor.name}: batches did not fit into the device's memory; "
                f"{sink.extractor.runtime.batch} were used"
            )
    summary.stages.write += writer.waited
    return bad


def _tasks(wanted: list[str], paths: dict[str, str | Path], users: list[list[Sink]]) -> Iterator[Task]:
    """What to decode, and which preparations of it anybody lacks."""
    for key in wanted:
        yield Task(key, paths[key], tuple(i for i, s in enumerate(users) if any(key in sink.missing for sink in s)))


def _timed(images, stages: Stages):
    """The same images; the time that was waited for them is added up."""
    while True:
        started = time.perf_counter()
        image = next(images, None)
        stages.decode += time.perf_counter() - started
        if image is None:
            return
        yield image


def _choose_runtimes(extractors, paths: dict[str, str | Path], store: Store, console, work: Work) -> list[Choice]:
    """Give each extractor that lacks rows the fastest runtime that agrees with the reference.

    Processes that share blocks must compute in one precision: the first chooses, and its blocks tell the others.
    """
    aside = {row.content for row in read_quarantine(store.root)}  # else a bad image would be chosen for each time
    paths = {key: path for key, path in paths.items() if key not in aside}
    first, choices = [], []
    if work.shared and paths:
        with locked(make_folder(store.root), console.say):
            first = [e for e in extractors if kept_precision(e, store, [], begun=True)[0] is None]
            choices = _chosen_runtimes(first, paths, store, console, work)
            remember(choices, store)
            for extractor in first:
                _open_block(extractor, store, console.notice)
    later = _chosen_runtimes([e for e in extractors if e not in first], paths, store, console, work)
    if later:
        with locked(make_folder(store.root), console.say):
            remember(later, store)
    return choices + later


def remember(choices: list[Choice], store: Store) -> None:
    """Keep choices; of two for one machine and network, that which was made for more images."""
    memory = Choices(store.root)
    for choice in choices:
        known = memory.known(choice.machine, choice.network)
        small = known is not None and known.precision == choice.precision and known.images_left > choice.images_left
        memory.keep(known.joined(choice) if small else choice.joined(known))


def _chosen_runtimes(extractors, paths: dict[str, str | Path], store: Store, console, work: Work) -> list[Choice]:
    choices, waiting = [], []
    for extractor in extractors:
        precision, held = kept_precision(extractor, store, list(paths), begun=work.shared)
        if precision is not None:
            extractor.runtime = runtime_of(precision, extractor, strict=True)
        if held < len(paths):
            waiting.append((extractor, precision, len(paths) - held))
    choices = _chosen(waiting, paths, work, store, console)
    precisions = {extractor.name: precision for extractor, precision, _ in waiting}
    for choice in choices:
        begun = precisions[choice.extractor]
        if work.shared and begun not in (None, choice.precision):
            raise UserError(
                f"{choice.extractor} was begun in {begun}, in which this machine cannot compute it. "
                f"Use machines of one kind, or another --cache with --precision exact for all."
            )
    return choices


def _chosen(waiting: list[tuple], paths: dict[str, str | Path], work: Work, store: Store, console) -> list[Choice]:
    """Give extractors their runtimes: what was chosen on this machine before, else what is measured to be best.

    `waiting` are (extractor, precision or None for any, images to embed).
    """
    found: dict[str, Choice] = {}
    for way, count in ((recall, CHECKED_IMAGES), (_measured, PROBE_IMAGES)):
        left_over = [one for one in waiting if one[0].name not in found and (way is _measured or _known(one[0], store))]
        probes = _probes([extractor for extractor, *_ in left_over], paths, work, count, console.notice)
        for (extractor, precision, left), probe in zip(left_over, probes, strict=True):
            if not len(probe):
                continue
            batch = batch_size(extractor.device, work.batch_size)
            choice = way(extractor, probe, max(left, work.ahead), batch, store, precision)
            if choice is not None:
                found[extractor.name] = choice
                console.say(f"{choice.extractor} runs with {choice.chosen} ({choice.precision}): {choice.why}")
    return [found[extractor.name] for extractor, *_ in waiting if extractor.name in found]


def _measured(extractor, probe: torch.Tensor, left: int, batch: int, store: Store, precision: str | None) -> Choice:
    return choose(extractor, probe, left, batch, _known(extractor, store), precision)


def _known(extractor, store: Store) -> Choice | None:
    return Choices(store.root).known(machine(extractor.device), network_key(extractor.recipe()))


def _probes(extractors: list[Extractor], paths: dict[str, Path], work: Work, count: int, tell) -> list[torch.Tensor]:
    """The first `count` good images of the dataset, prepared for each extractor."""
    everything = tuple(range(len(extractors)))
    tasks = (Task(key, path, everything) for key, path in paths.items())
    workers = work.processes(count)
    made = prepared_images(tasks, [e.prepare for e in extractors], workers, decode, tell=tell)
    good = ({i: a.copy() for i, a in p.images.items()} for p in made if p.bad is None) if extractors else ()
    images = list(islice(good, count))
    made.close()
    if not images:
        return [torch.empty(0) for _ in everything]
    stacks = (torch.from_numpy(np.stack([image[i] for image in images])) for i in everything)
    # Laid out as images come from the decoder.
    return [stack.contiguous(memory_format=torch.channels_last) for stack in stacks]


def _open_block(extractor: Extractor, store: Store, tell: Callable[[str], None]) -> Block:
    """The extractor's block; when the cache holds only other recipes, told is in what they differ."""
    recipe = extractor.recipe()
    try:
        known = store.find(extractor.name, recipe_key(recipe)) is not None
    except DamagedBlock:  # opening it tells, and writes its recipe anew
        known = True
    other = None if known else store.closest(extractor.name, recipe)
    block = store.open_block(extractor.name, recipe, extractor.width, extractor.dtype)
    if other is not None:
        nearest, differences = other
        tell(
            f"{extractor.name}: the cache holds {len(nearest.row_keys):,} images of another recipe "
            f"({'; '.join(differences)}); computing anew"
        )
    return block


def tell_damage(damage: Damage, tell: Callable[[str], None]) -> None:
    """Say that a damaged shard was set aside."""
    tell(f"damaged in the cache, set aside and computed anew: {damage}")


def _size(path: str | Path) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return -1
