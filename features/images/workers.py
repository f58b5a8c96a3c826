"""Decoding in worker processes: an image that crashes or hangs its decoder costs itself, not the run."""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import math
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import connection
from pathlib import Path

import numpy as np

from dermfuse.cache.atomic import in_units
from dermfuse.cache.errors import UserError
from dermfuse.features.console import printable
from dermfuse.features.images.shared_memory import Ring
from dermfuse.features.main_program import without_main_program
from dermfuse.features.own_modules import modules_from_here

# The work on one image may take this long before it is given up.
IMAGE_SECONDS = 60.0
# Images that one worker may have decoded, or be asked for, ahead of the consumer.
DEPTH = 32
# A crash may be the machine's fault (memory taken by others), so an image gets a second try in a fresh worker.
TRIES = 2
START_SECONDS = 120.0
# A worker tells what it has done once all it was asked for is done, or this much time has passed.
ANSWER_SECONDS = 0.1
# Less than a pipe holds, so that handing out never waits for a worker that hangs.
_MOST_UNREAD = 7_000
_LONGEST_REASON = 300
_PRELOADED = (__name__, "dermfuse.features.images.decoder", "dermfuse.features.images.vision")


@dataclass(frozen=True)
class Task:
    """One image to decode.

    Attributes
    ----------
    key : str
        SHA-256 that the file's bytes should have.
    path : str or Path
    wanted : tuple of int
        Which of the preparations to make.
    """

    key: str
    path: str | Path
    wanted: tuple[int, ...]


@dataclass(frozen=True)
class Prepared:
    """What became of one image.

    Attributes
    ----------
    key : str
    images : dict of int to ndarray, shape (3, crop, crop), uint8
        By preparation; to be copied before the next image is asked for. Empty for a bad image.
    bad : str or None
        Why the image is set aside.
    frames_left_out : bool
        The file holds more pictures than the first.
    """

    key: str
    images: dict[int, np.ndarray]
    bad: str | None = None
    frames_left_out: bool = False


def prepared_images(
    tasks: Iterable[Task],
    preparations: Sequence,
    workers: int,
    decoder: Callable,
    seconds: float = IMAGE_SECONDS,
    in_turns: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Iterator[Prepared]:
    """Decode and prepare images, in the order of the tasks.

    Parameters
    ----------
    tasks : iterable of Task
        Read only as far ahead as workers can use.
    preparations : sequence of callable
        Decoded image (3, height, width) uint8 to an array of its ``shape``, uint8, such as
        :class:`dermfuse.features.images.transforms.ResizeAndCrop`. Picklable.
    workers : int
        Processes; 0 decodes in this one, where a crash or a hang is not contained.
    decoder : callable
        ``decoder(path, sha256)`` gives a :class:`dermfuse.features.images.decoder.Picture` or raises
        :class:`dermfuse.features.images.decoder.BadImage`. Picklable.
    seconds : float
        A worker that takes longer for one image is killed, and the image set aside.
    in_turns : bool
        Decode only while the consumer waits, a ring of images at a time. Right where the consumer uses all cores: the
        threads of a network wait for each other, so a decoder that takes one core stops them all.
    tell : callable
        Given a line where there is no room for the memory that processes share, or for processes: fewer images are
        decoded ahead, or all in this process. The images are the same.

    Yields
    ------
    Prepared

    Raises
    ------
    UserError
        The processes end before their first image.
    """
    layout = Layout(preparations, decoder)
    tasks = iter(tasks)
    first = list(islice(tasks, 1)) if workers else []
    if workers and not first:  # processes are started only when there is work
        return
    tasks = itertools.chain(first, tasks)
    pool = _pool(layout, workers, seconds, in_turns, tell) if workers else None
    if pool is not None:
        with pool:
            yield from pool.run(tasks)
        return
    memory = np.empty(layout.bytes, np.uint8)
    for task in tasks:
        reason, left_out = layout.fill(memory, Path(task.path), task.key, task.wanted)
        yield layout.prepared(memory, task, reason, left_out)


class Layout:
    """Where each preparation of an image lies in a slot of memory, and how a slot is filled.

    The channels of a pixel lie together, as decoders give them and as networks on a CPU want them.
    """

    def __init__(self, preparations: Sequence, decoder: Callable):
        self.preparations, self.decoder = list(preparations), decoder
        ends = np.cumsum([0, *(math.prod(p.shape) for p in self.preparations)]).tolist()
        self._places = [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]
        self.bytes = ends[-1]

    def fill(self, slot: np.ndarray, path: Path, key: str, wanted: Iterable[int]) -> tuple[str | None, bool]:
        """Decode an image into a slot; the reason if it is bad, and whether frames were left out."""
        from dermfuse.features.images.decoder import BadImage

        try:
            picture = self.decoder(path, key)
            for i in wanted:
                self._view(slot, i)[...] = np.asarray(self.preparations[i](picture.pixels))
        except BadImage as bad:
            return str(bad)[:_LONGEST_REASON], False
        except Exception as error:  # one image's failure must not become the run's
            return printable(f"cannot be prepared: {type(error).__name__}: {error}")[:_LONGEST_REASON], False
        return None, picture.frames_left_out

    def prepared(self, slot: np.ndarray, task: Task, bad: str | None, left_out: bool) -> Prepared:
        """What a filled slot holds."""
        images = {} if bad is not None else {i: self._view(slot, i) for i in task.wanted}
        return Prepared(task.key, images, bad, left_out)

    def _view(self, slot: np.ndarray, i: int) -> np.ndarray:
        channels, height, width = self.preparations[i].shape
        return slot[self._places[i]].reshape(height, width, channels).transpose(2, 0, 1)


@dataclass(eq=False)
class _Worker:
    """One process, and the tasks it was handed, in order; the first is the one it works on."""

    process: multiprocessing.process.BaseProcess
    channel: connection.Connection
    working_on: np.ndarray  # (1,) int64, shared: the number of the task in work, written by the process
    handed: deque[tuple[int, int]] = field(default_factory=deque)  # (number of the task, bytes of its message)
    since: float = field(default_factory=time.monotonic)
    ready: bool = False

    def room(self, size: int) -> bool:
        unread = sum(bytes_ for _, bytes_ in self.handed)
        return not self.handed or (len(self.handed) < DEPTH and unread + size <= _MOST_UNREAD)


def _pool(layout: Layout, workers: int, seconds: float, in_turns: bool, tell: Callable[[str], None]) -> _Pool | None:
    """Workers, and as long a ring as there is room for; None, and told, where there is room for none."""
    here = "images are decoded in the process itself, where one that crashes its decoder ends the work: "
    wanted = workers * DEPTH
    ring = Ring.longest(workers, wanted, layout.bytes)
    if ring is None:
        tell(f"{here}no room for {in_units(workers * layout.bytes)} of memory that processes share")
        return None
    try:
        pool = _Pool(layout, ring, seconds, in_turns)
    except OSError as error:
        tell(f"{here}decoding processes cannot be started ({error.strerror or error})")
        return None
    if ring.slots < wanted:
        tell(
            f"{ring.slots} images are decoded ahead in place of {wanted}: no room for more memory that processes share"
        )
    return pool


class _Pool:
    """Workers around a ring of shared memory.

    Raises
    ------
    OSError
        They cannot be started.
    """

    def __init__(self, layout: Layout, ring: Ring, seconds: float, in_turns: bool):
        self._layout, self._seconds, self._in_turns = layout, seconds, in_turns
        self._window, self._shared, self._ring = ring.slots, ring, ring.images()
        self._context = multiprocessing.get_context("forkserver" if start_early() else "spawn")
        self._tasks: dict[int, Task] = {}  # handed out or waiting, not consumed
        self._waiting: deque[int] = deque()
        self._answers: dict[int, tuple[str | None, bool]] = {}
        self._crashes: dict[int, int] = {}
        self._workers: list[_Worker] = []
        try:
            for number in range(ring.workers):
                self._workers.append(self._start(number))
        except OSError:
            self.__exit__()
            raise

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_exception: object) -> None:
        for worker in self._workers:
            worker.channel.close()
        for worker in self._workers:
            worker.process.join(0.5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join(5)

    def run(self, tasks: Iterator[Task]) -> Iterator[Prepared]:
        """Prepared images in the order of the tasks."""
        numbered = enumerate(tasks)
        for number in itertools.count():
            if self._in_turns:
                self._decode_all(numbered)
            else:
                self._decode_until(number, numbered)
            if not self._tasks:
                return
            task, answer = self._tasks[number], self._answers.pop(number)
            yield self._layout.prepared(self._ring[number % self._window], task, *answer)
            del self._tasks[number]
            self._crashes.pop(number, None)

    def _decode_all(self, numbered: Iterator[tuple[int, Task]]) -> None:
        """Fill the ring once it is used up, while nobody does anything else."""
        if not self._tasks:
            self._take(numbered)
            while len(self._answers) < len(self._tasks):
                self._hand_out()
                self._receive(wait=True)

    def _decode_until(self, number: int, numbered: Iterator[tuple[int, Task]]) -> None:
        """Keep the workers busy, and wait for one image."""
        # Talking to them costs more than an image's share of a batch, so not after every image.
        while number not in self._answers or number % (DEPTH // 2) == 0:
            self._take(numbered)
            if not self._tasks:
                return
            self._hand_out()
            self._receive(wait=number not in self._answers)
            if number in self._answers:
                return

    def _take(self, numbered: Iterator[tuple[int, Task]]) -> None:
        for number, task in islice(numbered, self._window - len(self._tasks)):
            self._tasks[number] = task
            self._waiting.append(number)

    def _start(self, number: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        working_on = self._shared.working_on(number)
        working_on[0] = -1
        given = (theirs, self._shared, number, self._layout)
        process = self._context.Process(target=_work, args=given, daemon=True, name="decoder")
        try:
            with without_main_program():
                process.start()
        finally:
            theirs.close()
        return _Worker(process, ours, working_on)

    def _hand_out(self) -> None:
        parcels: dict[int, list[str]] = {}
        while self._waiting:
            number = self._waiting[0]
            task = self._tasks[number]
            text = json.dumps((number, os.fspath(task.path), task.key, task.wanted))
            free = [worker for worker in self._workers if worker.room(len(text))]
            if not free:
                break
            worker = min(free, key=lambda worker: len(worker.handed))
            if not worker.handed:
                worker.since = time.monotonic()
            worker.handed.append((self._waiting.popleft(), len(text)))
            parcels.setdefault(self._workers.index(worker), []).append(text)
        for index, texts in parcels.items():
            with suppress(OSError):  # it is gone, which _receive finds after what it still told
                self._workers[index].channel.send_bytes(f"[{','.join(texts)}]".encode("ascii"))

    def _receive(self, wait: bool) -> None:
        busy = [worker for worker in self._workers if worker.handed]
        due = min((worker.since + self._limit(worker) for worker in busy), default=0) - time.monotonic()
        heard = connection.wait([worker.channel for worker in busy], max(0, due) if wait else 0)
        for worker in busy:
            # Replacing another one may have taken long enough for this one to answer.
            if worker.channel in heard or worker.channel.poll():
                self._hear(worker)
            elif time.monotonic() - worker.since > self._limit(worker):
                self._replace(worker, crashed=False)

    def _limit(self, worker: _Worker) -> float:
        return self._seconds if worker.ready else max(START_SECONDS, self._seconds)

    def _hear(self, worker: _Worker) -> None:
        try:
            while True:
                answers = json.loads(worker.channel.recv_bytes())
                worker.since = time.monotonic()
                worker.ready = True
                for number, reason, left_out in answers:
                    worker.handed.popleft()
                    self._answers[number] = (reason, left_out)
                if not worker.channel.poll():
                    return
        except (EOFError, OSError):
            self._replace(worker, crashed=True)

    def _replace(self, worker: _Worker, crashed: bool) -> None:
        """Set the image aside that a worker died of, or give it another try, and go on with a fresh worker."""
        worker.process.kill()
        worker.process.join(5)
        worker.channel.close()
        how = _how_it_ended(worker.process.exitcode)
        if not worker.ready:
            raise _cannot_start(f"one {how} before its first image")
        handed = [number for number, _ in worker.handed]
        if handed:
            # What it did before and had not told is done again.
            culprit = int(worker.working_on[0]) if worker.working_on[0] in handed else handed[0]
            self._crashes[culprit] = self._crashes.get(culprit, 0) + 1
            if not crashed:
                self._answers[culprit] = (f"cannot be decoded: it took more than {self._seconds:.0f} s", False)
            elif self._crashes[culprit] >= TRIES:
                self._answers[culprit] = (f"cannot be decoded: the decoder {how}, {TRIES} times", False)
            again = [number for number in handed if number not in self._answers]
            self._waiting.extendleft(reversed(again))
        number = self._workers.index(worker)
        try:
            self._workers[number] = self._start(number)
        except OSError as error:
            raise _cannot_start(str(error)) from error


def start_early() -> bool:
    """Start what decoding processes are forked from, so that it loads its libraries while this process does.

    Such a process has no threads: forking it is quick, and safe beside a network that has threads.

    Returns
    -------
    bool
        False where a system has no such process, or no room for its socket in the folder of temporary files.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return False
    from multiprocessing import forkserver

    multiprocessing.get_context("forkserver").set_forkserver_preload(list(_PRELOADED))
    try:
        with modules_from_here():
            forkserver.ensure_running()
    except OSError:
        return False
    return True


def default_workers() -> int:
    """Decoding processes when nobody says how many: one a core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(channel: connection.Connection, shared: Ring, worker: int, layout: Layout) -> None:
    """A worker's life: tasks in, their slots filled, answers out, until the other end is gone."""
    for name in _PRELOADED:
        importlib.import_module(name)
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    ring, working_on = shared.images(), shared.working_on(worker)
    gc.freeze()  # no garbage collection need look at what was imported
    with suppress(EOFError, OSError):
        channel.send_bytes(b"[]")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libjpeg and libtiff print remarks there that name no file
        while True:
            parcel, answers, told = json.loads(channel.recv_bytes()), [], time.monotonic()
            for number, path, key, wanted in parcel:
                working_on[0] = number
                answers.append((number, *layout.fill(ring[number % len(ring)], Path(path), key, wanted)))
                if time.monotonic() - told > ANSWER_SECONDS:
                    channel.send_bytes(json.dumps(answers).encode("ascii"))
                    answers, told = [], time.monotonic()
            channel.send_bytes(json.dumps(answers).encode("ascii"))


def _end_with_parent() -> None:
    """A worker whose parent was killed ends, even in the middle of an image."""
    parent = multiprocessing.parent_process()
    connection.wait([parent.sentinel])
    os._exit(1)


def _cannot_start(why: str) -> UserError:
    return UserError(f"decoding processes cannot be started: {why}. Give --workers 0 to decode in the process itself.")


def _how_it_ended(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"ended with exit code {exitcode}"
    name = signal.Signals(-exitcode).name if -exitcode in set(signal.Signals) else f"signal {-exitcode}"
    return f"was ended by {name}"
