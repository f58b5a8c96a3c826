"""The choice of a runtime: the fastest that agrees, the time that building costs, what is remembered and told."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn

from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.features.embedding.loop import remember
from dermfuse.features.runtimes import choice as module
from dermfuse.features.runtimes.choice import Choices, choose, kept_precision, network_key, runtime_of
from dermfuse.features.runtimes.runtime import REFERENCE, Candidate, Runtime
from tests.cache.helpers import embeddings, row_keys

CPU = torch.device("cpu")
PROBE = torch.randint(0, 256, (8, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


class Clock:
    """A clock that only work moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Flat(nn.Module):
    """Embeds an image as its pixels; on a made-up machine the reference takes 0.1 s an image."""

    def forward(self, images):
        return images.flatten(1).float() + 1


class Extractor:
    """What the choice needs of an extractor."""

    name, views, device, width, dtype = "flat", 1, CPU, 48, "float32"

    def __init__(self, body=None):
        self.body = body or Flat()
        self.runtime = Runtime(REFERENCE, self.body, CPU)

    def recipe(self):
        return {"extractor": "flat", "views": self.views, "precision": self.runtime.precision, "crop": 4}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def machine(monkeypatch, clock):
    """Make a machine of candidates: name -> seconds an image, seconds to build, error, and what is promised."""

    def timed(seconds, build_seconds=0.0, error=0.0, fails=None):
        def build(body, device, shape):
            if fails:
                raise fails
            clock.now += build_seconds

            def run(images):
                clock.now += seconds * len(images)
                vectors = body(images)
                noise = torch.linspace(-1, 1, vectors.shape[1])
                return vectors + error * noise * vectors.norm(dim=1, keepdim=True)

            return run

        return build

    def make(**others):
        monkeypatch.setattr(module, "REFERENCE", Candidate("reference", "float32", timed(0.1)))
        built = [
            Candidate(
                name,
                facts.get("precision", "float32"),
                timed(facts["seconds"], facts.get("build", 0), facts.get("error", 0), facts.get("fails")),
                static=facts.get("static", False),
                seconds=facts.get("build", 0),
                gain=facts.get("gain", 0.1 / facts["seconds"]),
            )
            for name, facts in others.items()
        ]
        monkeypatch.setattr(module, "candidates", lambda device: [module.REFERENCE, *built])

    return make


def outcomes(choice) -> dict[str, str]:
    return {trial.name: trial.outcome for trial in choice.trials}


def test_the_fastest_that_agrees_is_chosen_and_set(machine, clock):
    machine(fast={"seconds": 0.01}, slower={"seconds": 0.02, "gain": 20})
    extractor = Extractor()
    made = choose(extractor, PROBE, 1000, 4, clock=clock)
    assert (made.chosen, made.precision, made.probe, made.images_left) == ("fast", "float32", 8, 1000)
    assert made.images_per_second == pytest.approx(100)
    assert "10.0 times the reference" in made.why
    assert extractor.runtime.candidate.name == "fast"
    assert extractor.runtime.batch == 4
    assert outcomes(made) == {"reference": "slower", "fast": "chosen", "slower": "slower"}


def test_one_whose_vectors_differ_is_dropped_however_fast_and_so_is_its_precision(machine, clock):
    machine(
        half={"seconds": 0.001, "error": 0.2, "precision": "bfloat16"},
        other_half={"seconds": 0.002, "precision": "bfloat16"},
        exact={"seconds": 0.05},
    )
    made = choose(Extractor(), PROBE, 1000, 4, clock=clock)
    assert made.chosen == "exact"
    assert "dropped: its vectors differ" in outcomes(made)["half"]
    assert outcomes(made)["other_half"] == "not tried: half gave other vectors than the reference"
    dropped = made.trials[1]
    assert dropped.lowest_cosine < 0.999
    assert dropped.largest_error > 0.1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_that_gives_no_numbers_is_dropped(machine, clock, value, monkeypatch):
    machine(broken={"seconds": 0.001, "error": value})
    made = choose(Extractor(), PROBE, 1000, 4, clock=clock)
    assert made.chosen == "reference"
    assert "dropped" in outcomes(made)["broken"]
    json.dumps(asdict(made), allow_nan=False)  # as a run's config.json is written


def test_one_that_cannot_run_here_is_dropped_and_named(machine, clock):
    machine(compiled={"seconds": 0.001, "fails": RuntimeError("no C++ compiler\nlong story")}, plain={"seconds": 0.05})
    made = choose(Extractor(), PROBE, 1000, 4, clock=clock)
    assert made.chosen == "plain"
    assert outcomes(made)["compiled"] == "dropped: it cannot run here (RuntimeError: no C++ compiler)"


@pytest.mark.parametrize(("left", "chosen"), [(50, "reference"), (100_000, "compiled")])
def test_the_time_that_building_costs_counts_against_the_images_left(machine, clock, left, chosen):
    machine(compiled={"seconds": 0.01, "build": 30})
    made = choose(Extractor(), PROBE, left, 4, clock=clock)
    assert made.chosen == chosen
    if chosen == "reference":
        assert outcomes(made)["compiled"].startswith("not tried: promised 30.5 s for all images, reference takes 5.0 s")
        assert clock.now < 5


def test_views_count_as_images(machine, clock):
    machine(compiled={"seconds": 0.01, "build": 30})
    extractor = Extractor()
    extractor.views = 8
    assert choose(extractor, PROBE, 50, 4, clock=clock).chosen == "compiled"


def test_what_was_measured_before_replaces_the_first_guess(machine, clock):
    machine(overrated={"seconds": 0.09, "build": 20, "gain": 50}, good={"seconds": 0.02, "build": 1, "gain": 2})
    first = choose(Extractor(), PROBE, 2000, 4, clock=clock)
    assert first.chosen == "good"
    clock.now = 0
    second = choose(Extractor(), PROBE, 2000, 4, known=first, clock=clock)
    assert second.chosen == "good"
    assert outcomes(second)["overrated"].startswith("not tried: promised")
    assert clock.now < 5
    assert {t.name: t.images_per_second for t in second.joined(first).trials}["overrated"] is not None


def test_what_an_older_choice_measured_is_kept_without_its_outcome(machine, clock):
    machine(compiled={"seconds": 0.01, "build": 30})
    first = choose(Extractor(), PROBE, 100_000, 4, clock=clock)
    second = choose(Extractor(), PROBE, 3, 4, known=first, clock=clock).joined(first)
    assert (first.chosen, second.chosen) == ("compiled", "reference")
    assert second.trials[1].images_per_second == first.trials[1].images_per_second
    assert outcomes(second)["compiled"].startswith("not tried: promised")


def test_a_precision_that_once_differed_is_not_built_again(machine, clock):
    machine(half={"seconds": 0.001, "error": 0.2, "precision": "bfloat16", "build": 20}, good={"seconds": 0.02})
    first = choose(Extractor(), PROBE, 9000, 4, clock=clock)
    clock.now = 0
    second = choose(Extractor(), PROBE, 9000, 4, known=first, clock=clock)
    assert clock.now < 5
    assert outcomes(second)["half"] == "not tried: half gave other vectors than the reference"


def test_only_the_precision_that_the_cache_holds_is_looked_at(machine, clock):
    machine(half={"seconds": 0.02, "precision": "bfloat16"}, fast={"seconds": 0.001})
    made = choose(Extractor(), PROBE, 1000, 4, precision="bfloat16", clock=clock)
    assert (made.chosen, made.precision) == ("half", "bfloat16")
    assert choose(Extractor(), PROBE, 1000, 4, precision="float32", clock=clock).chosen == "fast"


def test_where_nothing_of_that_precision_agrees_the_reference_is_taken(machine, clock):
    machine(half={"seconds": 0.02, "precision": "bfloat16", "error": 0.3})
    extractor = Extractor()
    made = choose(extractor, PROBE, 1000, 4, precision="bfloat16", clock=clock)
    assert (made.chosen, made.precision) == ("reference", "float32")
    assert extractor.recipe()["precision"] == "float32"


def test_a_single_image_is_enough_of_a_probe(machine, clock):
    machine(fast={"seconds": 0.01, "static": True})
    assert choose(Extractor(), PROBE[:1], 1000, 4, clock=clock).chosen == "fast"


# what is kept


def test_choices_are_kept_by_machine_and_network(tmp_path, machine, clock):
    machine(fast={"seconds": 0.01})
    choices, made = Choices(tmp_path / "cache"), choose(Extractor(), PROBE, 1000, 4, clock=clock)
    assert choices.all() == []
    choices.keep(made)
    assert choices.all() == [made]
    assert choices.of(Extractor().recipe()) == [made]
    assert choices.of({**Extractor().recipe(), "crop": 8}) == []
    choices.keep(made)
    made.machine = "another"
    choices.keep(made)
    assert len(choices.of(Extractor().recipe())) == 2


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"extractor": "x"}]', "\xff"])
def test_a_damaged_memory_only_costs_measuring_again(tmp_path, machine, clock, content):
    machine(fast={"seconds": 0.01})
    (tmp_path / module.FILE).write_text(content, encoding="latin-1")
    choices = Choices(tmp_path)
    assert choices.all() == []
    choices.keep(choose(Extractor(), PROBE, 1000, 4, clock=clock))
    assert len(json.loads((tmp_path / module.FILE).read_text())) == 1


def test_views_precision_and_stored_type_are_of_no_matter_to_how_a_network_runs():
    recipe = {"extractor": "backbone", "architecture": "a", "weights": "b", "levels": "last", "crop": 224}
    same = {**recipe, "views": 8, "precision": "bfloat16", "dtype": "float32", "decode": {"x": "y"}}
    assert network_key(recipe) == network_key(same)
    for name in recipe:
        assert network_key({**recipe, name: "other"}) != network_key(recipe)


def test_the_precision_of_most_rows_in_the_cache_goes_on(store):
    extractor, keys = Extractor(), row_keys(30)
    assert kept_precision(extractor, store, keys) == (None, 0)
    for precision, count in (("float32", 10), ("bfloat16", 20)):
        block = store.open_block("flat", {**extractor.recipe(), "precision": precision}, 5, "float32")
        assert kept_precision(extractor, store, keys[:0]) == (None, 0)
        with block.writer():
            block.append(keys[:count], embeddings(count, dtype="float32"))
    assert kept_precision(extractor, store, keys) == ("bfloat16", 20)
    assert kept_precision(extractor, store, row_keys(5, first=900)) == (None, 0)


def test_rows_whose_recipe_is_damaged_still_say_their_precision(tmp_path):
    said = []
    store, extractor, keys = Store(tmp_path / "cache", on_problem=said.append), Extractor(), row_keys(3)
    block = store.open_block("flat", {**extractor.recipe(), "precision": "bfloat16"}, extractor.width, extractor.dtype)
    with block.writer():
        block.append(keys, embeddings(3, extractor.width, "float32"))
    (block.folder / "recipe.json").write_text("{")
    assert kept_precision(extractor, store, keys) == ("bfloat16", 3)
    assert "recipe.json" in said[0]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_a_runtime_of_a_precision_needs_no_measuring(precision):
    made = runtime_of(precision, Extractor())
    assert made.precision == (precision if precision != "float64" else "float32")
    np.testing.assert_allclose(made(PROBE).numpy(), Flat()(PROBE).numpy(), rtol=0.01)


def test_a_precision_that_this_device_lacks_is_named_and_computes_nothing():
    extractor = Extractor()
    extractor.runtime = runtime_of("float64", extractor, strict=True)
    assert extractor.recipe()["precision"] == "float64"
    with pytest.raises(UserError, match="flat is to be computed in float64, in which cpu cannot compute"):
        extractor.runtime(PROBE)


def test_of_two_choices_the_one_for_more_images_is_what_the_report_tells(store, machine, clock):
    machine(fast={"seconds": 0.01, "build": 5})
    many = choose(Extractor(), PROBE, 5000, 4, clock=clock)
    few = choose(Extractor(), PROBE, 3, 4, known=many, clock=clock)
    assert (many.chosen, few.chosen) == ("fast", "reference")
    for choices in ([many, few], [few, many]):
        for choice in choices:
            remember([choice], store)
        [kept] = Choices(store.root).all()
        assert (kept.chosen, kept.images_left) == ("fast", 5000)
