"""Decoding in worker processes: the same images in the same order, whatever becomes of a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.features.images import workers
from dermfuse.features.images.decoder import decode
from dermfuse.features.images.transforms import ResizeAndCrop
from dermfuse.features.images.workers import Prepared, Task, default_workers, prepared_images
from tests.features.decoders import refused, scripted
from tests.features.pictures import encoded, scene, write_pictures

PREPARATIONS = [ResizeAndCrop(16, 16), ResizeAndCrop(24, 12, "bicubic")]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def files(tmp_path):
    """Sixty small pictures."""
    return write_pictures(tmp_path, [f"{i:02}.jpg" for i in range(60)])


def tasks(files, wanted=(0, 1)) -> list[Task]:
    return [Task(str(i), path, wanted) for i, path in enumerate(files)]


def run(tasks, workers=2, decoder=scripted, seconds=30.0, preparations=PREPARATIONS, in_turns=False) -> list[Prepared]:
    """All results, with copies of their images."""
    made = prepared_images(tasks, preparations, workers, decoder, seconds, in_turns)
    return [Prepared(p.key, {i: a.copy() for i, a in p.images.items()}, p.bad, p.frames_left_out) for p in made]


def order(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_images_come_in_order_and_are_the_same_with_any_number_of_workers(files, workers):
    got = run(tasks(files), workers)
    assert [p.key for p in got] == [str(i) for i in range(60)]
    for p, path in zip(got, files, strict=True):
        pixels = decode(path).pixels
        assert p.bad is None
        for i, preparation in enumerate(PREPARATIONS):
            assert p.images[i].dtype == np.uint8
            assert (p.images[i] == preparation(pixels).numpy()).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_only_what_is_wanted_is_prepared(files, workers):
    mixed = [Task(str(i), path, [(0,), (1,), (0, 1), ()][i % 4]) for i, path in enumerate(files)]
    for p, task in zip(run(mixed, workers), mixed, strict=True):
        assert tuple(p.images) == task.wanted


@pytest.mark.parametrize("workers", [0, 2])
def test_no_task_gives_nothing_and_starts_nothing(workers, monkeypatch):
    monkeypatch.setattr("dermfuse.features.images.workers._Pool", None)
    assert run([], workers) == []


def test_tasks_are_read_only_as_far_ahead_as_the_ring_is_long(files):
    read = []

    def counted():
        for task in tasks(files) * 20:
            read.append(task)
            yield task

    images = prepared_images(counted(), PREPARATIONS, 1, scripted)
    next(images)
    assert len(read) <= workers.DEPTH + 1
    images.close()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_bad_image_is_a_reason_in_its_place(files, workers):
    files[5].write_bytes(b"<html>")
    files[6].write_bytes(b"")
    files[7].unlink()
    files[8].write_text("raise")
    files[9].write_text("fill")
    got = run(tasks(files), workers)
    assert [i for i, p in enumerate(got) if p.bad is not None] == [5, 6, 7, 8, 9]
    assert "not a JPEG" in got[5].bad
    assert got[6].bad == "empty file"
    assert got[7].bad.startswith("cannot be prepared: FileNotFoundError")
    assert got[8].bad == "cannot be prepared: RuntimeError: no such luck"
    assert got[9].bad.startswith("cannot be prepared: MemoryError")
    assert not got[5].images


@pytest.mark.parametrize("in_turns", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("what", "how"), [("crash", "SIGSEGV"), ("exit", "exit code 7")])
def test_an_image_that_crashes_its_decoder_costs_only_itself(files, workers, what, how, in_turns):
    for i in (0, 17, 18, 59):
        order(files[i], what)
    got = run(tasks(files), workers, in_turns=in_turns)
    assert [p.key for p in got] == [str(i) for i in range(60)]
    assert [i for i, p in enumerate(got) if p.bad is not None] == [0, 17, 18, 59]
    assert how in got[17].bad
    assert "2 times" in got[17].bad


@pytest.mark.parametrize("in_turns", [False, True])
def test_an_image_that_hangs_its_decoder_costs_only_itself(files, in_turns):
    for i in (3, 40):
        order(files[i], "hang")
    started = time.monotonic()
    got = run(tasks(files), 2, seconds=1.5, in_turns=in_turns)
    assert time.monotonic() - started < 30
    assert [i for i, p in enumerate(got) if p.bad is not None] == [3, 40]
    assert got[3].bad == "cannot be decoded: it took more than 2 s"


@pytest.mark.parametrize("in_turns", [False, True])
def test_a_worker_that_answers_while_another_is_replaced_is_not_blamed(files, in_turns, monkeypatch):
    replace = workers._Pool._replace

    def slowly(pool, worker, crashed):
        time.sleep(1.5)
        replace(pool, worker, crashed)

    monkeypatch.setattr(workers._Pool, "_replace", slowly)
    order(files[0], "hang")
    for path in files[1:12]:
        order(path, "slow")
    got = run(tasks(files[:12]), 2, seconds=1.0, in_turns=in_turns)
    assert [i for i, p in enumerate(got) if p.bad is not None] == [0]


@pytest.mark.parametrize("in_turns", [False, True])
def test_slow_images_may_take_longer_together_than_one_may_alone(files, in_turns):
    for path in files[:10]:
        order(path, "slow")
    got = run(tasks(files[:10]), 1, seconds=1.0, in_turns=in_turns)
    assert [p.key for p in got if p.bad is not None] == []


def test_every_image_may_crash_or_hang(tmp_path):
    files = [order(tmp_path / f"{i}.jpg", ("crash", "hang", "exit")[i % 3]) for i in range(6)]
    assert all(p.bad for p in run(tasks(files), 2, seconds=0.5))


def test_a_worker_killed_by_the_machine_does_not_blame_the_image(files):
    for i in (2, 30):
        order(files[i], "once")
    assert [p.key for p in run(tasks(files), 2) if p.bad is not None] == []


def test_slow_images_do_not_change_the_order(files):
    for i in (0, 1, 20):
        order(files[i], "slow")
    got = run(tasks(files), 3)
    assert [p.key for p in got] == [str(i) for i in range(60)]
    assert (got[20].images[0] == 128).all()


def test_images_are_decoded_in_other_processes_unless_there_are_none(files):
    assert {p.bad for p in run(tasks(files), 0, refused)} == {str(os.getpid())}
    elsewhere = {p.bad for p in run(tasks(files), 2, refused)}
    assert str(os.getpid()) not in elsewhere
    assert len(elsewhere) == 2


def test_workers_end_when_the_consumer_stops_early(files):
    pids = set()
    images = prepared_images(iter(tasks(files)), PREPARATIONS, 2, refused)
    for _, p in zip(range(40), images, strict=False):
        pids.add(int(p.bad))
    images.close()
    assert pids
    for pid in pids:
        assert not alive(pid)


def test_workers_end_when_their_parent_is_killed(tmp_path):
    files = [order(tmp_path / "0.jpg", "hang"), order(tmp_path / "1.jpg", "hang")]
    script = tmp_path / "parent.py"
    script.write_text(
        "import multiprocessing, os, signal, sys, threading, time\n"
        "from pathlib import Path\n"
        "from dermfuse.features.images.workers import Task, prepared_images\n"
        "from dermfuse.features.images.transforms import ResizeAndCrop\n"
        "from tests.features.decoders import scripted\n"
        "def die():\n"
        "    while len(multiprocessing.active_children()) < 2:\n"
        "        time.sleep(0.05)\n"
        "    time.sleep(4)\n"
        "    print(*(p.pid for p in multiprocessing.active_children()), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    threading.Thread(target=die).start()\n"
        f"    files = {[str(f) for f in files]!r}\n"
        "    tasks = [Task(f, Path(f), (0,)) for f in files]\n"
        "    list(prepared_images(tasks, [ResizeAndCrop(16, 16)], 2, scripted))\n"
    )
    done = subprocess.run(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def test_processes_that_cannot_start_are_told_with_the_way_out(files, tmp_path):
    class Unpicklable:
        shape = (3, 8, 8)

        def __reduce__(self):
            return os._exit, (9,)

    with pytest.raises(UserError, match="cannot be started.*exit code 9.*--workers 0"):
        run(tasks(files), 1, preparations=[Unpicklable()])


@pytest.mark.parametrize(
    "name", ["two\nlines.jpg", 'quo"te.jpg', "<script>.jpg", "=1.jpg", os.fsdecode(b"caf\xe9.jpg")]
)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_of_any_name_is_decoded(tmp_path, name, workers):
    path = tmp_path / name
    path.write_bytes(encoded(scene(3)))
    [p] = run(tasks([path]), workers)
    assert p.bad is None
    assert (p.images[0] == PREPARATIONS[0](decode(path).pixels).numpy()).all()


def test_paths_longer_than_a_pipe_do_not_block(tmp_path):
    folder = tmp_path.joinpath(*[os.fsdecode(b"\xe9" * 200)] * 15)
    os.makedirs(folder)
    files = write_pictures(folder, [f"{i}.jpg" for i in range(40)])
    assert all(p.bad is None for p in run(tasks(files), 1))


def test_frames_that_were_left_out_are_told(tmp_path):
    from PIL import Image

    frames = [Image.fromarray(255 - scene(1))]
    (tmp_path / "a.png").write_bytes(encoded(scene(0), "PNG", save_all=True, append_images=frames))
    (tmp_path / "b.png").write_bytes(encoded(scene(0), "PNG"))
    got = run(tasks([tmp_path / "a.png", tmp_path / "b.png"]), 1)
    assert [p.frames_left_out for p in got] == [True, False]


def test_as_many_workers_as_cores_that_this_process_may_use():
    assert 1 <= default_workers() <= (os.cpu_count() or 1)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
