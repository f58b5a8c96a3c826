"""Stage 1 on a Ray cluster: the same cache as one process makes, also when a worker is lost on the way."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermfuse.cache.errors import USAGE, UserError
from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.demo.synthetic import make_dataset
from dermfuse.features.embedding.parts import Part
from dermfuse.features.embedding.summary import BlockSummary, ExtractSummary
from dermfuse.features.images.quarantine import SetAside
from dermfuse.pipelines.options.extract import Stage1Options
from dermfuse.pipelines.workflows import cluster
from dermfuse.pipelines.workflows.cluster import (
    FEWEST_IMAGES,
    MOST_IMAGES,
    Job,
    Outcome,
    embed_part,
    fits_on,
    part_count,
)
from dermfuse.pipelines.workflows.extract import embed_dataset
from tests.cache.helpers import assert_same_rows
from tests.pipelines.tables import evidence_of, problem

WORKERS = 2


def with_ray(test):
    """Run where Ray is installed; starting it takes seconds."""
    return pytest.mark.slow(
        pytest.mark.skipif(not _installed(), reason="Ray is not installed; it is the extra [ray]")(test)
    )


def _installed() -> bool:
    from importlib.util import find_spec

    return find_spec("ray") is not None


def dying_part(job: Job, dataset) -> Outcome:
    """As :func:`embed_part`; the first worker that gets here dies once it has written something."""
    from dermfuse.features.embedding import sink
    from dermfuse.features.extractors.autoencoder import AutoencoderExtractor

    sink.SHARD_SECONDS, plain = 0.0, AutoencoderExtractor.forward
    AutoencoderExtractor.forward = lambda self, batch: (time.sleep(0.05), plain(self, batch))[1]
    died, mine = job.cache.parent / "died", f"-{os.getpid()}"
    try:
        (job.cache.parent / "first").touch(exist_ok=False)
    except FileExistsError:
        return embed_part(job, dataset)

    def die() -> None:
        while not any(job.cache.glob("blocks/cae-*/shard-*.json")):
            time.sleep(0.01)
        died.write_text(mine)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die, daemon=True).start()
    return embed_part(job, dataset)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with drawn data, and with the cache that one process makes of them."""
    folder = tmp_path_factory.mktemp("cluster")
    make_dataset(folder / "data", lesions=60, size=64, seed=0)
    embed_dataset(load_dataset(folder / "data"), options(), folder / "single", Console(quiet=True))
    return folder


def options(**more) -> Stage1Options:
    return Stage1Options(["cae"], batch_size=2, workers=0, precision="exact", **more)


@pytest.fixture
def two_workers(monkeypatch):
    monkeypatch.setattr(cluster, "default_workers", lambda: WORKERS)
    monkeypatch.setattr(cluster, "FEWEST_IMAGES", 12)


def cache_with_autoencoder(place: Path, folder: Path) -> Path:
    """A cache that holds the same autoencoder as the single process's, and nothing else."""
    import shutil

    shutil.copytree(place / "single" / "learned", folder / "cache" / "learned")
    return folder / "cache"


def assert_equal(cache: Path, single: Path) -> None:
    """The same rows with the same values, each held once, nothing left over."""
    assert_same_rows(cache, single, "cae")
    assert Store(cache).verify() == []
    assert (cache / "quarantine.csv").read_text() == (single / "quarantine.csv").read_text()


@with_ray
@pytest.mark.timeout(300)
def test_a_lost_worker_changes_nothing(place, tmp_path, two_workers, monkeypatch):
    cache = cache_with_autoencoder(place, tmp_path)
    monkeypatch.setattr(cluster, "embed_part", dying_part)
    dataset, console = load_dataset(place / "data"), Console(quiet=True)
    summary = embed_dataset(dataset, options(engine="ray"), cache, console)
    assert (tmp_path / "died").exists()
    assert_equal(cache, place / "single")
    [block] = summary.blocks
    assert summary.images == len(dataset.rows)
    assert block.computed + block.reused + len(summary.set_aside) == summary.images
    assert len({row.path for row in summary.set_aside}) == len(summary.set_aside) == 3
    assert summary.part is None
    again = embed_dataset(dataset, options(engine="ray"), cache, console)
    assert [block.computed for block in again.blocks] == [0]


def failing_part(job: Job, dataset) -> Outcome:
    raise ValueError("a defect")


def refusing_part(job: Job, dataset) -> Outcome:
    return Outcome("somewhere", error="the disk is full")


@with_ray
@pytest.mark.timeout(300)
def test_errors_of_tasks_are_told_as_if_they_were_here(place, tmp_path, two_workers, monkeypatch):
    pytest.importorskip("ray").init(
        address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="error"
    )
    try:
        cache, dataset = cache_with_autoencoder(place, tmp_path), load_dataset(place / "data")
        monkeypatch.setattr(cluster, "embed_part", refusing_part)
        with pytest.raises(UserError, match=r"^shard ./6 on somewhere: the disk is full$"):
            embed_dataset(dataset, options(engine="ray"), cache, Console(quiet=True))
        monkeypatch.setattr(cluster, "embed_part", failing_part)
        with pytest.raises(ValueError, match="^a defect$"):
            embed_dataset(dataset, options(engine="ray"), cache, Console(quiet=True))
        monkeypatch.setattr(cluster, "absent_here", lambda marker, sizes: marker)
        with pytest.raises(UserError, match="does not see the cache folder .*all nodes"):
            embed_dataset(dataset, options(engine="ray"), cache, Console(quiet=True))
        assert list(cache.glob(".tmp-*")) == []
        if not sys.modules["torch"].cuda.is_available():
            with pytest.raises(UserError, match="no GPU"):
                cluster._slots(sys.modules["ray"], options(engine="ray", device="cuda"))
    finally:
        sys.modules["ray"].shutdown()


@with_ray
def test_a_cluster_that_is_not_there_is_one_line():
    with pytest.raises(UserError, match="--ray-address 127.0.0.1:1") as caught, cluster._cluster("127.0.0.1:1"):
        pass
    assert "\n" not in str(caught.value)


def test_without_ray_the_extra_is_named(place, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    cache = cache_with_autoencoder(place, tmp_path)
    with pytest.raises(UserError, match=r"pip install .*\[ray\]") as caught:
        embed_dataset(load_dataset(place / "data"), options(engine="ray"), cache, Console(quiet=True))
    assert caught.value.exit_code == USAGE


def test_a_node_sees_files_by_name_and_size(tmp_path):
    marker, image = tmp_path / "marker", tmp_path / "image"
    image.write_bytes(b"12345")
    sizes = {str(image): 5}
    assert cluster.absent_here(str(marker), sizes) == str(marker)
    marker.touch()
    assert cluster.absent_here(str(marker), sizes) is None
    assert cluster.absent_here(str(marker), {str(image): 6}) == str(image)


@given(images=st.integers(0, 20_000_000), slots=st.integers(1, 5000))
def test_parts_are_neither_small_nor_so_large_that_losing_one_hurts(images, slots):
    count = part_count(images, slots)
    smallest, largest = images // count, -(-images // count)
    assert count >= 1
    assert count == 1 or smallest >= FEWEST_IMAGES
    assert largest <= MOST_IMAGES
    if images >= slots * FEWEST_IMAGES * cluster.PARTS_A_SLOT:
        assert count >= slots * cluster.PARTS_A_SLOT


def test_summaries_of_parts_become_one():
    console = Console(quiet=True)
    merged = cluster._Merged(ExtractSummary(10), console)
    for part in range(2):
        summary = ExtractSummary(5, [BlockSummary("cae", "k", 3, 1)], [SetAside(f"/{part}.jpg", "empty", 0, "")], 2)
        summary.bytes, summary.stages.network = 100, 1.5
        merged.take(Outcome("here", summary, ("several frames: 1,002", "the memo cannot be used")))
    merged.tell()
    assert [vars(block) for block in merged.summary.blocks] == [
        {"name": "cae", "key": "k", "computed": 6, "reused": 2},
    ]
    assert [row.path for row in merged.summary.set_aside] == ["/0.jpg", "/1.jpg"]
    assert (merged.summary.frames_left_out, merged.summary.bytes, merged.summary.stages.network) == (4, 200, 3.0)
    assert console.notices == ["the memo cannot be used", "several frames: 2,004"]


@pytest.mark.parametrize(
    ("have", "device", "expected"),
    [
        ({"CPU": 8.0}, "auto", (8, "cpu", {"num_cpus": 1})),
        ({"CPU": 8.0, "GPU": 2.0}, "auto", (2, "cuda", {"num_cpus": 1, "num_gpus": 1})),
        ({"CPU": 8.0, "GPU": 2.0}, "cpu", (8, "cpu", {"num_cpus": 1})),
    ],
)
def test_every_task_has_a_gpu_where_there_are_any_else_a_core(have, device, expected):
    slots = cluster._slots(SimpleNamespace(cluster_resources=lambda: have), options(engine="ray", device=device))
    assert (slots.count, slots.device, slots.resources) == expected
    assert slots.decoders >= 1


def test_an_interruption_interrupts_every_task_that_runs():
    cancelled = []
    fake = SimpleNamespace(
        cancel=lambda reference, force: cancelled.append((reference, force)),
        wait=lambda references, **_: (references[:1], references[1:]),
    )

    def interrupted(references, **_):
        fake.wait = lambda references, **_: (references[:1], references[1:])
        raise KeyboardInterrupt

    fake.wait = interrupted
    numbers = iter(range(100))
    remote = SimpleNamespace(remote=lambda job, dataset: next(numbers))
    dataset = SimpleNamespace()
    parts = [SimpleNamespace(of=lambda d: d) for _ in range(3)]
    with pytest.raises(KeyboardInterrupt):
        list(cluster._run(fake, remote, None, dataset, parts, 1))
    assert cancelled == [(0, False), (1, False), (2, False), (1, True), (2, True)]
    assert str(Part(1, 2)) == "1/2"


@with_ray
def test_fits_on_ray_find_what_fits_here_find():
    given = problem(folds=3)
    here = evidence_of(given, "logreg", jobs=2)
    with fits_on("ray", None):
        there = evidence_of(given, "logreg", jobs=2)
    assert there.probabilities == pytest.approx(here.probabilities, abs=1e-6)


@pytest.mark.parametrize(
    ("engine", "address", "message"), [("dask", None, "expected local or ray"), ("local", "a:1", "both")]
)
def test_another_engine_for_fits_is_refused(engine, address, message):
    with pytest.raises(UserError, match=message) as refused, fits_on(engine, address):
        pass
    assert refused.value.exit_code == USAGE
