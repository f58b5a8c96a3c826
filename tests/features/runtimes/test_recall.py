"""A choice that is taken up again: without measuring, never without comparing, and with what was built for it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch

from dermfuse.cache.beside import RUNTIMES, builders
from dermfuse.cache.store import Store
from dermfuse.features.runtimes import choice as module
from dermfuse.features.runtimes import recall as recalling
from dermfuse.features.runtimes.choice import Choice, Choices, Trial, machine, network_key
from dermfuse.features.runtimes.recall import keep_built, recall
from dermfuse.features.runtimes.runtime import REFERENCE, Candidate, Runtime, candidates
from tests.features.runtimes.test_choice import CPU, PROBE, Extractor

BATCH = 4


def noted(built: list[str], name: str, error: float = 0.0, fails: bool = False):
    """How to build a candidate that notes when it is built."""

    def build(body, device, shape):
        built.append(name)
        if fails:
            raise RuntimeError("no such kernel")

        def run(images):
            vectors = body(images)
            return vectors + error * torch.linspace(-1, 1, vectors.shape[1]) * vectors.norm(dim=1, keepdim=True)

        return run

    return build


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def built() -> list[str]:
    """Names of what was built, in order."""
    return []


@pytest.fixture
def make(monkeypatch, built):
    """Set the candidates of the machine: name -> how its vectors differ, and whether it fails; others as they are."""

    def offer(*more: Candidate, **others):
        made = [
            Candidate(name, "float32", noted(built, name, **how), seconds=1, gain=2) for name, how in others.items()
        ]
        for where in (module, recalling):
            monkeypatch.setattr(where, "candidates", lambda device: [REFERENCE, *made, *more])

    offer(fast={})
    return offer


def known(store: Store, chosen: str = "fast", **changed) -> Choice:
    """Keep a choice: the reference does 10 images/s, the chosen one 40."""
    trials = [
        Trial("reference", "float32", "slower", 10.0, 0.0),
        Trial("fast", "float32", "chosen", 40.0, 1.0, 1.0, 0.0),
    ]
    told = {
        "extractor": "flat",
        "machine": machine(CPU),
        "network": network_key(Extractor().recipe()),
        "chosen": chosen,
    }
    choice = Choice(**told, precision="float32", why="", batch=BATCH, probe=8, images_left=100, trials=trials)
    choice = replace(choice, **changed)
    Choices(store.root).keep(choice)
    return choice


def asked(store: Store, left: int = 100, precision: str | None = None):
    extractor = Extractor()
    return recall(extractor, PROBE[:2], left, BATCH, store, precision), extractor


def test_a_known_choice_is_taken_up_and_nothing_else_is_built(store, make, built):
    make(fast={}, other={})
    kept = known(store)
    choice, extractor = asked(store)
    assert choice == kept
    assert extractor.runtime.candidate.name == "fast"
    assert built == ["fast"]
    assert torch.equal(extractor.runtime(PROBE), extractor.body(PROBE))


def test_without_a_choice_there_is_nothing_to_take_up(store, make, built):
    choice, extractor = asked(store)
    assert (choice, extractor.runtime.candidate, built) == (None, REFERENCE, [])


@pytest.mark.parametrize(
    "changed",
    [{"machine": "another"}, {"network": "another"}, {"batch": 8}, {"precision": "bfloat16"}, {"chosen": "gone"}],
)
def test_a_choice_of_another_machine_network_batch_or_precision_is_measured_anew(changed, store, make, built):
    known(store, **changed)
    choice, extractor = asked(store, precision="float32")
    assert (choice, extractor.runtime.candidate, built) == (None, REFERENCE, [])


@pytest.mark.parametrize("how", [{"error": 0.2}, {"error": float("nan")}, {"fails": True}])
def test_one_that_no_longer_agrees_or_runs_is_measured_anew(how, store, make):
    make(fast=how)
    known(store)
    choice, extractor = asked(store)
    assert choice is None
    assert extractor.runtime.candidate is REFERENCE


def test_many_more_images_than_before_are_worth_measuring_what_was_not_tried(store, make):
    make(Candidate("thorough", "float32", noted([], "thorough"), seconds=60, gain=10), fast={})
    kept = known(store)
    assert asked(store, left=1000)[0] == kept
    assert asked(store, left=100_000)[0] is None
    tried = Trial("thorough", "float32", "dropped: it cannot run here (RuntimeError: no compiler)")
    known(store, trials=[*kept.trials, tried])
    assert asked(store, left=100_000)[0] is not None


def test_few_images_are_not_worth_building_it_again(store, make):
    known(store)
    assert asked(store, left=4)[0] is None  # 0.4 s with the reference, 1.1 s with the known one


def test_the_reference_is_taken_up_too(store, make, built):
    known(store, chosen="reference", images_left=5)
    choice, extractor = asked(store, left=5)
    assert choice is not None
    assert (extractor.runtime.candidate, built) == (REFERENCE, [])


# what was built


class Picture(torch.nn.Module):
    """A small network of 3 x 16 x 16 pixels."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = torch.nn.Conv2d(3, 6, 3)

    def forward(self, images):
        return self.layer(images.float() / 255).relu().mean((2, 3))


class Pictures(Extractor):
    """An extractor around it, run by OpenVINO."""

    name, width = "picture", 6

    def __init__(self, mean: float = 0.5):
        super().__init__(Picture().eval().requires_grad_(False))
        self.mean = mean

    def recipe(self):
        return {**super().recipe(), "extractor": "picture", "mean": self.mean}


IMAGES = torch.randint(0, 256, (9, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def keep(store: Store, extractor: Extractor) -> torch.Tensor:
    """Build an extractor's network, keep it, and give its vectors."""
    candidate = next(c for c in candidates(CPU) if c.name == "OpenVINO")
    extractor.runtime = Runtime(candidate, extractor.body, CPU, BATCH)
    vectors = extractor.runtime(IMAGES)
    keep_built(extractor, store)
    return vectors


@pytest.fixture
def kept(store):
    """A store that keeps what OpenVINO built for a network, and the vectors that it gave."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    vectors = keep(store, Pictures())
    slow = Trial("reference", "float32", "slower", 10.0, 0.0)
    fast = Trial("OpenVINO", "float32", "chosen", 400.0, 2.0, 1.0, 0.0)
    known(store, chosen="OpenVINO", network=network_key(Pictures().recipe()), trials=[slow, fast])
    return store, vectors


def again(store: Store):
    extractor = Pictures()
    return recall(extractor, IMAGES[:4], 100, BATCH, store), extractor


def files(store: Store) -> list:
    return sorted((store.root / RUNTIMES).iterdir())


def test_what_was_built_is_loaded_and_gives_the_same_vectors_to_the_bit(kept, monkeypatch):
    import openvino

    store, vectors = kept
    monkeypatch.setattr(openvino, "convert_model", lambda *given, **how: pytest.fail("built again"))
    choice, extractor = again(store)
    assert choice.chosen == "OpenVINO"
    assert torch.equal(extractor.runtime(IMAGES), vectors)
    before = files(store)
    keep_built(extractor, store)
    assert files(store) == before


@pytest.mark.parametrize("damage", ["changed", "truncated", "gone"])
def test_a_damaged_file_is_not_loaded_and_is_replaced(damage, kept):
    store, vectors = kept
    (path,) = files(store)
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[:-7] if damage == "truncated" else whole[:-7] + b"another")
    choice, extractor = again(store)
    assert choice is not None  # it was built again
    torch.testing.assert_close(extractor.runtime(IMAGES), vectors, rtol=1e-4, atol=1e-5)
    keep_built(extractor, store)
    (mended,) = files(store)
    assert mended.name.rpartition("-")[2] == f"{hashlib.sha256(mended.read_bytes()).hexdigest()[:16]}.bin"


def test_what_was_built_is_kept_under_the_versions_that_built_it(kept):
    (path,) = files(kept[0])
    assert path.name.startswith(f"picture@{builders()}@")


def test_another_normalisation_is_another_network(kept):
    store, _ = kept
    keep(store, Pictures(mean=0.4))
    assert len(files(store)) == 2


def test_no_more_than_the_newest_are_kept(kept, monkeypatch):
    store, _ = kept
    monkeypatch.setattr(recalling, "MOST_KEPT", 2)
    (first,) = files(store)
    for mean in (0.3, 0.4):
        keep(store, Pictures(mean=mean))
    assert len(files(store)) == 2
    assert first not in files(store)


def test_a_runtime_that_built_nothing_keeps_nothing(store):
    extractor = Pictures()
    extractor.runtime(IMAGES)
    keep_built(extractor, store)
    assert not (store.root / RUNTIMES).exists()
