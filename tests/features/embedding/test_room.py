"""Room for embeddings is looked at before any image is decoded; what the cache holds already needs none."""

from __future__ import annotations

import shutil

import pytest

from dermfuse.cache import atomic
from dermfuse.cache.errors import UserError
from dermfuse.features.console import Console
from dermfuse.features.embedding import room
from dermfuse.features.embedding.loop import Work, extract
from dermfuse.features.embedding.room import BLOCK_BYTES, KEY_BYTES
from tests.cache.test_faults import on_a_small_disk
from tests.features.toys import MeanColours, content_of, dataset_of, pictures

IMAGES = 20
QUIET = Console(quiet=True)


class Wide(MeanColours):
    """As an extractor whose rows take 100 kB."""

    width = 25_000

    def forward(self, batch):
        return super().forward(batch).repeat(1, 8_334)[:, : self.width]


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "data").mkdir()
    return dataset_of(tmp_path / "data", pictures(tmp_path / "data", IMAGES))


@pytest.fixture
def leave(monkeypatch):
    """Set how many bytes are free."""

    def set_free(free: int) -> None:
        usage = type("usage", (), {"total": 10**9, "free": free})
        monkeypatch.setattr(atomic.shutil, "disk_usage", lambda folder: usage)

    return set_free


def run(dataset, store, extractor, precision: str = "exact"):
    return extract(dataset, content_of(dataset, QUIET), [extractor], store, QUIET, Work(workers=0, precision=precision))


@pytest.mark.parametrize("precision", ["exact", "float32", "auto"])
def test_rows_without_room_are_refused_before_an_image_is_decoded(dataset, store, leave, precision, monkeypatch):
    monkeypatch.setattr("dermfuse.features.embedding.loop._choose_runtimes", lambda *given: [])
    extractor = Wide()
    needed = IMAGES * (4 * Wide.width + KEY_BYTES) + BLOCK_BYTES
    leave(needed - 1)
    with pytest.raises(UserError) as caught:
        run(dataset, store, extractor, precision)
    assert str(caught.value) == (
        f"no room for 20 images embedded by colours: at least 2.0 MB are needed, 2.0 MB are free in {store.root}. "
        "Make room there or choose a folder on another disk, then run again."
    )
    assert extractor.seen == 0
    assert not store.folders()
    leave(needed)
    assert run(dataset, store, extractor, precision).blocks[0].computed == IMAGES


@pytest.mark.parametrize("precision", ["exact", "auto"])
def test_rows_that_the_cache_holds_need_no_room(dataset, store, leave, precision):
    run(dataset, store, Wide())
    leave(0)
    summary = run(dataset, store, Wide(), precision)
    assert (summary.blocks[0].computed, summary.blocks[0].reused) == (0, IMAGES)


def test_only_absent_rows_are_counted(dataset, store, leave):
    run(dataset, store, Wide())
    more = dataset_of(
        dataset.folder, pictures(dataset.folder, 3, first=IMAGES) + [f"p{i:03}.jpg" for i in range(IMAGES)]
    )
    leave(200_000)
    with pytest.raises(
        UserError, match="no room for 3 images embedded by colours: at least 316.6 kB are needed, 200.0"
    ):
        run(more, store, Wide())


def test_where_there_is_plenty_nothing_is_looked_up(dataset, store, monkeypatch):
    monkeypatch.setattr(room, "_held", lambda *given: pytest.fail("looked up"))
    run(dataset, store, Wide())


def test_on_a_disk_that_is_really_small(dataset, store):
    extractor = Wide()

    def work():
        with pytest.raises(UserError, match="no room for 20 images.*are free in"):
            run(dataset, store, extractor)
        assert extractor.seen == 0
        assert shutil.disk_usage(store.root).used < 100_000

    store.root.mkdir(parents=True, exist_ok=True)
    on_a_small_disk(store.root, 1_000_000, work)
