"""A Ray cluster: stage 1 as tasks, each of them safe to lose and to run again; the fits of stage 2 through joblib."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from dermfuse.cache.atomic import make_folder
from dermfuse.cache.errors import UserError, usage_error
from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.features.data.content import content_of
from dermfuse.features.data.dataset import Dataset
from dermfuse.features.embedding.loop import extract, tell_damage
from dermfuse.features.embedding.parts import Part
from dermfuse.features.embedding.summary import BlockSummary, ExtractSummary
from dermfuse.features.extractors import autoencoder, learned
from dermfuse.features.extractors.registry import Extractor
from dermfuse.features.images.quarantine import FILE as QUARANTINE
from dermfuse.features.images.workers import default_workers
from dermfuse.pipelines.options.extract import Stage1Options
from dermfuse.pipelines.options.shared import EngineOptions
from dermfuse.pipelines.workflows.stage1 import frozen_extractors, work_of

# A part is what a lost worker costs; below so many images, starting it costs more than it saves.
FEWEST_IMAGES, MOST_IMAGES = 256, 4096
PARTS_A_SLOT = 8
# Tasks that are handed to Ray at once, for each that can run: a cluster that grows finds some waiting.
AHEAD = 4
# Decoding processes beside a task that has one core.
DECODERS_A_CPU = 1
RETRIES = 3
OBJECT_STORE_BYTES = 256 * 2**20
CANCEL_SECONDS = 30.0
PROBE_SECONDS = 120.0
CONNECT_SECONDS = 10.0
_MARKER = ".tmp-ray-"
_COUNTED = re.compile(r"(.*): ([0-9,]+)")


@dataclass(frozen=True)
class Job:
    """What every task of one extraction is told.

    Attributes
    ----------
    token : str
        Differs between extractions: a worker keeps its networks from task to task of one.
    options : Stage1Options
        Device and number of decoding processes as for one task.
    cache : Path
    learned : str or None
        Weights hash of the autoencoder that was trained for this extraction.
    images_ahead : int
        About how many images one worker is going to embed.
    """

    token: str
    options: Stage1Options
    cache: Path
    learned: str | None
    images_ahead: int


@dataclass(frozen=True)
class Outcome:
    """What became of one part: its summary, or the one line of what stopped it."""

    node: str
    summary: ExtractSummary | None = None
    notices: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Slots:
    """How many tasks can run at once, and what each of them takes."""

    count: int
    device: str
    resources: dict[str, float]
    decoders: int


def embed_on_ray(
    dataset: Dataset,
    options: Stage1Options,
    store: Store,
    extractors: list[Extractor],
    console,
    task: Callable[[Job, Dataset], Outcome] | None = None,
) -> ExtractSummary:
    """Embed every image of a dataset by tasks on a Ray cluster.

    The rows are cut into parts as by ``--shard``. A part whose worker is lost is run again, and finds what was written
    already; that counts as reused then.

    Parameters
    ----------
    dataset : Dataset
    options : Stage1Options
    store : Store
        In a folder that every node has at the same path.
    extractors : list of Extractor
        Made here, so that weights are found, and the autoencoder is trained, once.
    console : Console
    task : callable, optional
        What a part is embedded with; :func:`embed_part` when omitted.

    Returns
    -------
    ExtractSummary
        Of all parts together.

    Raises
    ------
    UserError
        Ray is not installed or not to be had, a node lacks the data or the cache, or a part failed.
    """
    started = time.perf_counter()
    cache = make_folder(store.root.absolute())
    dataset = dataset.with_paths([str(Path(path).absolute()) for path in dataset.rows["path"]])
    with _cluster(options.ray_address) as ray:
        _refuse_blind_nodes(ray, cache, dataset)
        slots = _slots(ray, options)
        job = _job(options, slots, cache, extractors, len(dataset.rows))
        count = part_count(len(dataset.rows), slots.count)
        parts = [Part(number, count) for number in range(1, count + 1)]
        blocks = [block for e in extractors for block in _blocks_of(e, store)]
        for block in blocks:
            block.tidy(None, console.say, lambda damage: tell_damage(damage, console.notice))
        remote = ray.remote(max_retries=RETRIES, retry_exceptions=False, **slots.resources)(task or embed_part)
        title = f"extracting {'+'.join(options.features)} on {slots.count} workers"
        merged = _Merged(ExtractSummary(len(dataset.rows)), console)
        outcomes = _run(ray, remote, job, dataset, parts, slots.count)
        with console.progress(title, len(dataset.rows)) as advance, closing(outcomes):
            for part, outcome in outcomes:
                if outcome.error is not None:
                    raise UserError(f"shard {part} on {outcome.node}: {outcome.error}")
                merged.take(outcome)
                advance(outcome.summary.images, f"{merged.parts} of {count} parts")
        for block in [block for e in extractors for block in _blocks_of(e, store)]:
            block.tidy((), console.say)  # what lost workers left behind
    merged.tell()
    summary = merged.summary
    summary.quarantine = store.root / QUARANTINE
    summary.seconds = time.perf_counter() - started
    return summary


@contextmanager
def fits_on(engine: str, address: str | None) -> Iterator[None]:
    """Where joblib runs stage 2's fits inside the block: ``local``, its own processes; ``ray``, tasks on a cluster.

    Raises
    ------
    UserError
        Another engine (exit code 2), or Ray is missing or cannot be reached.
    """
    EngineOptions(engine=engine, ray_address=address).check()
    if engine == "local":
        yield
        return
    with _cluster(address):
        from joblib import parallel_config
        from ray.util.joblib import register_ray

        register_ray()
        with parallel_config(backend="ray"):
            yield


def part_count(images: int, slots: int) -> int:
    """How many parts: some for each worker, none small unless everything is, none so large that losing it hurts."""
    wanted = max(slots * PARTS_A_SLOT, -(-images // MOST_IMAGES))
    return max(1, min(wanted, images // FEWEST_IMAGES))


def embed_part(job: Job, dataset: Dataset) -> Outcome:
    """A task: embed one part of a dataset, beside others, in a worker of the cluster.

    Parameters
    ----------
    job : Job
    dataset : Dataset
        The part's rows alone.

    Returns
    -------
    Outcome
    """
    console = Console(quiet=True)
    store = Store(job.cache, on_problem=console.notice)
    try:
        kept = _extractors(job, store)
        # Once networks have their runtimes, they keep them.
        precision = "exact" if kept.settled else job.options.precision
        work = replace(work_of(job.options), shared=True, tidy=False, ahead=job.images_ahead, precision=precision)
        content = content_of(dataset, store, console.progress, job.options.verify)
        summary = extract(dataset, content, kept.extractors, store, console, work)
        kept.settled = kept.settled or bool(summary.runtimes)
    except UserError as error:
        return Outcome(socket.gethostname(), error=str(error))
    return Outcome(socket.gethostname(), summary, tuple(console.notices))


class _Merged:
    """The summaries of parts, as one."""

    def __init__(self, summary: ExtractSummary, console):
        self.summary, self.parts = summary, 0
        self._console = console
        self._counted: dict[str, int] = {}

    def take(self, outcome: Outcome) -> None:
        """Add one part's."""
        self.parts += 1
        whole, part = self.summary, outcome.summary
        for block in part.blocks:
            known = next((b for b in whole.blocks if (b.name, b.key) == (block.name, block.key)), None)
            if known is None:
                known = BlockSummary(block.name, block.key, 0, 0)
                whole.blocks.append(known)
            known.computed += block.computed
            known.reused += block.reused
        whole.set_aside.extend(part.set_aside)
        whole.frames_left_out += part.frames_left_out
        whole.bytes += part.bytes
        for name, seconds in vars(part.stages).items():
            setattr(whole.stages, name, getattr(whole.stages, name) + seconds)
        known = {(choice.machine, choice.network) for choice in whole.runtimes}
        whole.runtimes.extend(c for c in part.runtimes if (c.machine, c.network) not in known)
        for notice in outcome.notices:
            match = _COUNTED.fullmatch(notice)
            if match is None:
                self._console.notice(notice)
            else:  # told once, when all are counted
                self._counted[match[1]] = self._counted.get(match[1], 0) + int(match[2].replace(",", ""))

    def tell(self) -> None:
        """Notices that end in a number, with the sum of the parts' numbers."""
        for text, number in self._counted.items():
            self._console.notice(f"{text}: {number:,}")


@dataclass
class _Kept:
    """A worker's extractors, from task to task of one extraction; settled when their runtimes were chosen."""

    token: str
    extractors: list[Extractor]
    settled: bool = False


_kept: _Kept | None = None


def _extractors(job: Job, store: Store) -> _Kept:
    """The job's extractors, made at a worker's first task."""
    global _kept
    if _kept is None or _kept.token != job.token:
        options = job.options
        made = frozen_extractors(options, store, options.device)
        if job.learned is not None:
            made[autoencoder.NAME] = learned.load_autoencoder(store, job.learned, options.device, options.dtype)
        _kept = _Kept(job.token, [made[name] for name in options.features])
    return _kept


def _job(options: Stage1Options, slots: Slots, cache: Path, extractors: list[Extractor], images: int) -> Job:
    weights = next((e.recipe()["weights"] for e in extractors if e.name == autoencoder.NAME), None)
    workers = slots.decoders if options.workers is None else options.workers
    folder = None if options.weights_dir is None else options.weights_dir.absolute()
    options = replace(
        options,
        features=[e.name for e in extractors],
        weights_dir=folder,
        device=slots.device,
        workers=workers,
        engine="local",
        ray_address=None,
    )
    return Job(secrets.token_hex(8), options, cache, weights, -(-images // slots.count))


def _blocks_of(extractor: Extractor, store: Store) -> list:
    """Its blocks in any precision, since workers choose that."""
    recipe = extractor.recipe()
    return [b for b in store.blocks(extractor.name) if {**b.recipe, "precision": recipe["precision"]} == recipe]


def _slots(ray, options: Stage1Options) -> Slots:
    have = ray.cluster_resources()
    cpus, gpus = int(have.get("CPU", 0)), int(have.get("GPU", 0))
    if options.device.startswith("cuda") and not gpus:
        raise usage_error("--device cuda, but the Ray cluster has no GPU. Give --device cpu, or another --ray-address.")
    if gpus and options.device != "cpu":
        return Slots(gpus, "cuda", {"num_cpus": 1, "num_gpus": 1}, max(1, cpus // gpus - 1))
    if not cpus:
        raise UserError("the Ray cluster has no CPUs to run tasks on. Add a worker node, then run again.")
    return Slots(cpus, "cpu", {"num_cpus": 1}, DECODERS_A_CPU)


def _run(ray, remote, job: Job, dataset: Dataset, parts: list[Part], slots: int) -> Iterator[tuple[Part, Outcome]]:
    """Outcomes of all parts as they come; whatever stops this stops the tasks, and what they have written stays."""
    waiting, running = iter(parts), {}
    try:
        while True:
            while len(running) < slots * AHEAD and (part := next(waiting, None)) is not None:
                running[remote.remote(job, part.of(dataset))] = part
            if not running:
                return
            [done], _ = ray.wait(list(running), num_returns=1)
            part = running.pop(done)
            yield part, _outcome(ray, done, part)
    finally:
        _cancel(ray, list(running))


def _outcome(ray, reference, part: Part) -> Outcome:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise UserError(
            f"shard {part} was given up: its worker was lost {RETRIES + 1} times ({_line(error)}). "
            "What was written is kept; the same command goes on from there"
        ) from error


def _cancel(ray, running: list) -> None:
    """Interrupt tasks, so that they write what they have; those that do not end in time are killed."""
    for reference in running:
        ray.cancel(reference, force=False)
    with suppress(Exception):
        _, left = ray.wait(running, num_returns=len(running), timeout=CANCEL_SECONDS) if running else ([], [])
        for reference in left:
            ray.cancel(reference, force=True)


@contextmanager
def _cluster(address: str | None):
    """Ray, connected to a cluster; one that is started here ends here."""
    ray = _imported()
    if ray.is_initialized():  # by a program around this one
        yield ray
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address is None:
            ray.init(
                address="local",
                num_cpus=default_workers(),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **quiet,
            )
        else:
            _knock(address)
            ray.init(address=address, **quiet)
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        where = "started here" if address is None else f"reached at --ray-address {address}"
        raise UserError(f"Ray cannot be {where}: {_line(error)}") from error
    finally:
        for number, handler in handlers.items():  # Ray puts its own in their place
            signal.signal(number, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise where nobody listens, which Ray would find out after many minutes."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _imported():
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.exceptions
    except ModuleNotFoundError as error:
        raise usage_error("--engine ray needs Ray, the extra [ray]. Install it: pip install -e '.[ray]'.") from error
    return ray


def _refuse_blind_nodes(ray, cache: Path, dataset: Dataset) -> None:
    """Refuse nodes that lack the data, the cache or this code: they would fill a folder of their own."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    ends = (Path(dataset.rows["path"].iloc[end]) for end in (0, -1))
    seen = {str(path): path.stat().st_size for path in ends if path.is_file()}
    marker = cache / f"{_MARKER}{secrets.token_hex(8)}"
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    marker.touch()
    try:
        look = ray.remote(num_cpus=0, max_retries=RETRIES)(absent_here)
        for node in nodes:
            name = node.get("NodeManagerHostname") or node["NodeID"]
            task = look.options(scheduling_strategy=On(node["NodeID"], soft=False)).remote(str(marker), seen)
            try:
                absent = ray.get(task, timeout=PROBE_SECONDS)
            except ray.exceptions.RayError as error:
                raise UserError(
                    f"the Ray node {name} cannot run dermfuse: {_line(error)}. It needs the same environment and this "
                    "folder of code at the same path"
                ) from error
            if absent:
                what = "the cache folder" if absent == str(marker) else "the data"
                folder = cache if absent == str(marker) else Path(absent).parent
                raise UserError(
                    f"the Ray node {name} does not see {what} {folder}. Put data and cache on a file system that all "
                    "nodes have at the same path"
                )
    finally:
        marker.unlink(missing_ok=True)


def absent_here(marker: str, sizes: dict[str, int]) -> str | None:
    """A task: the first of these files that this node does not have, or has in another size."""
    for path, size in {marker: 0, **sizes}.items():
        try:
            if os.stat(path).st_size != size:
                return path
        except OSError:
            return path
    return None


def _line(error: BaseException) -> str:
    """The last line of an error that says something; Ray's own are pages long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
