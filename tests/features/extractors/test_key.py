"""What makes an embedding another one is a miss in the cache; what only makes it faster is a hit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from dermfuse.cache.recipe import recipe_key
from dermfuse.features.data.content import Content
from dermfuse.features.embedding.loop import Work, extract
from dermfuse.features.extractors.backbones import FrozenBackbone
from dermfuse.features.extractors.weights import Weights
from dermfuse.features.runtimes.choice import runtime_of
from tests.features.extractors.test_backbones import drawn_weights
from tests.features.toys import content_of, dataset_of, pictures

NAME = "mobilenet_v3_small"


class Entry:
    """A published entry whose transforms were changed."""

    def __init__(self, entry, **changes):
        self._entry, self._changes = entry, changes

    def transforms(self):
        made = self._entry.transforms()
        for name, value in self._changes.items():
            setattr(made, name, value)
        return made


@pytest.fixture(scope="module")
def weights() -> Weights:
    return drawn_weights(NAME)


def with_transforms(weights, **changes):
    return FrozenBackbone(NAME, replace(weights, entry=Entry(weights.entry, **changes)))


def in_bfloat16(weights):
    made = FrozenBackbone(NAME, weights)
    made.runtime = runtime_of("bfloat16", made)
    return made


CHANGES = {
    "weights": lambda w: FrozenBackbone(NAME, drawn_weights(NAME, seed=1)),
    "architecture": lambda w: FrozenBackbone("resnet18", drawn_weights("resnet18")),
    "levels": lambda w: FrozenBackbone(NAME, w, levels="multi"),
    "views": lambda w: FrozenBackbone(NAME, w, views=2),
    "resize": partial(with_transforms, resize_size=[240]),
    "crop": partial(with_transforms, crop_size=[192]),
    "mean": partial(with_transforms, mean=[0.5, 0.5, 0.5]),
    "std": partial(with_transforms, std=[0.5, 0.5, 0.5]),
    "precision": in_bfloat16,
    "dtype": lambda w: FrozenBackbone(NAME, w, dtype="float32"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_what_determines_an_embedding_is_a_miss(what, weights, store):
    before, after = FrozenBackbone(NAME, weights), CHANGES[what](weights)
    assert recipe_key(before.recipe()) == recipe_key(FrozenBackbone(NAME, weights).recipe())
    store.open_block(NAME, before.recipe(), before.width, before.dtype)
    assert store.find(NAME, recipe_key(before.recipe())) is not None
    assert store.find(NAME, recipe_key(after.recipe())) is None
    changed = {name for name in before.recipe() if after.recipe().get(name) != before.recipe()[name]}
    # A head that was trained with a network is no part of it, but its weights are; stages belong to their levels.
    assert what in changed
    assert changed <= {what, "weights", "resize", "crop"} if what == "architecture" else changed == {what}


@pytest.mark.parametrize("field", ["antialias", "interpolation", "decode", "schema", "extractor"])
def test_every_other_field_of_a_recipe_counts_too(field, weights):
    recipe = FrozenBackbone(NAME, weights).recipe()
    assert recipe_key({**recipe, field: "another"}) != recipe_key(recipe)


@pytest.mark.parametrize(
    "work", [Work(batch_size=1, workers=0), Work(batch_size=7, workers=0), Work(workers=1), Work(workers=3)]
)
def test_batch_size_and_workers_are_a_hit(work, weights, store, tmp_path, console):
    (tmp_path / "data").mkdir()
    dataset = dataset_of(tmp_path / "data", pictures(tmp_path / "data", 6))
    content: Content = content_of(dataset, console)
    first = extract(dataset, content, [FrozenBackbone(NAME, weights)], store, console, Work(workers=0))
    again = extract(dataset, content, [FrozenBackbone(NAME, weights)], store, console, work)
    assert (first.blocks[0].computed, first.blocks[0].reused) == (6, 0)
    assert (again.blocks[0].computed, again.blocks[0].reused) == (0, 6)


def test_the_device_is_no_part_of_a_recipe(weights):
    made = FrozenBackbone(NAME, weights)
    recipe = made.recipe()
    made.device = "another"
    assert made.recipe() == recipe
    assert "cpu" not in str(recipe)
