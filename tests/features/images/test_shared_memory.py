"""Memory that processes share: its room is taken at once, and where there is none the work goes on and says so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dermfuse.features.images import shared_memory, workers
from dermfuse.features.images.shared_memory import Ring, SharedMemory
from dermfuse.features.images.transforms import ResizeAndCrop
from dermfuse.features.images.workers import Task, prepared_images
from tests.features.decoders import scripted
from tests.features.pictures import write_pictures

ROOT = Path(__file__).resolve().parents[3]
PREPARATION = ResizeAndCrop(32, 32)
EACH = 3 * 32 * 32


@pytest.fixture
def files(tmp_path):
    """Forty small pictures."""
    return write_pictures(tmp_path, [f"{i:02}.jpg" for i in range(40)])


def prepared(files, workers: int) -> tuple[list[np.ndarray], list[str]]:
    """All images, and what was told."""
    told: list[str] = []
    tasks = [Task(str(i), path, (0,)) for i, path in enumerate(files)]
    made = prepared_images(tasks, [PREPARATION], workers, scripted, 30.0, tell=told.append)
    return [p.images[0].copy() for p in made], told


@pytest.fixture
def room(monkeypatch):
    """Set how many bytes of memory may be shared at once."""

    def leave(most: int) -> None:
        def take(file: int, size: int) -> None:
            if size > most:
                raise OSError(28, "No space left on device")
            os.ftruncate(file, size)

        monkeypatch.setattr(shared_memory, "_take_room", take)

    return leave


@pytest.mark.parametrize(
    ("bytes_free", "says"),
    [
        (10**9, []),
        (40 * EACH, ["32 images are decoded ahead in place of 64"]),
        (2 * EACH + 16, ["2 images are decoded ahead in place of 64"]),
        (2 * EACH, ["images are decoded in the process itself.*no room for 6.1 kB of memory"]),
        (0, ["images are decoded in the process itself"]),
    ],
)
def test_with_less_room_the_images_are_the_same_and_it_is_told_once(bytes_free, says, files, room):
    expected, _ = prepared(files, 0)
    room(bytes_free)
    got, told = prepared(files, 2)
    assert np.array_equal(got, expected)
    assert len(told) == len(says)
    for line, pattern in zip(told, says, strict=True):
        assert "\n" not in line
        assert re.search(pattern, line)


def test_a_crash_is_contained_in_the_smallest_ring_too(files, room):
    room(EACH + 8)
    files[3].write_text("crash")
    tasks = [Task(str(i), path, (0,)) for i, path in enumerate(files[:8])]
    made = list(prepared_images(tasks, [PREPARATION], 1, scripted, 30.0, tell=lambda line: None))
    assert [p.key for p in made if p.bad is not None] == ["3"]


def test_processes_that_may_not_be_started_are_done_without(files, monkeypatch):
    def refuse(*given, **how):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    expected, _ = prepared(files, 0)
    monkeypatch.setattr(workers._Pool, "_start", refuse)
    got, [told] = prepared(files, 2)
    assert np.array_equal(got, expected)
    assert "cannot be started (Resource temporarily unavailable)" in told


def test_without_room_for_a_socket_processes_are_started_one_by_one(files, monkeypatch):
    from multiprocessing import forkserver

    def refuse() -> None:
        raise OSError(28, "No space left on device")

    expected, _ = prepared(files, 0)
    monkeypatch.setattr(forkserver, "ensure_running", refuse)
    got, told = prepared(files[:2], 1)
    assert (np.array_equal(got, expected[:2]), told) == (True, [])


def test_the_room_is_really_there():
    memory = SharedMemory(10_000_000)
    if hasattr(os, "memfd_create"):
        assert os.fstat(memory._file).st_blocks * 512 >= 10_000_000
    memory.view()[:] = 7
    assert Ring(SharedMemory(16 + 6), 2, 2).images().shape == (2, 3)
    assert not Ring.longest(2, 8, 100).images().any()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="files without a folder are Linux's")
def test_no_file_descriptor_is_left_open():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        SharedMemory(1000).view()[0] = 1
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("most", [0, 4 * EACH])
def test_a_limit_of_the_system_ends_nothing(most, files, tmp_path):
    script = tmp_path / "limited.py"
    script.write_text(
        "import resource, sys\n"
        "from tests.features.images.test_shared_memory import Path, prepared\n"
        "if __name__ == '__main__':\n"
        f"    resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))\n"
        "    images, told = prepared([Path(p) for p in sys.argv[1:]], 2)\n"
        "    print(len(images), sum(int(image.sum()) for image in images), *told)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, script, *map(str, files)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    count, total, told = done.stdout.split(maxsplit=2)
    assert (int(count), int(total)) == (40, sum(int(image.sum()) for image in prepared(files, 0)[0]))
    assert ("decoded ahead" if most else "in the process itself") in told
