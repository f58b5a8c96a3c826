"""Several levels of a network: which stages are pooled, how, and that the last of them is the usual embedding."""

from __future__ import annotations

import copy

import pytest
import torch

from dermfuse.features.choices import VIEWS
from dermfuse.features.extractors.backbones import BACKBONES, FrozenBackbone
from dermfuse.features.extractors.networks import build
from dermfuse.features.extractors.stages import PooledStages, taps_of
from dermfuse.features.images.views import views_of
from tests.features.extractors.test_backbones import HEAVY, close, drawn_weights, picture

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=pytest.mark.slow) if n in HEAVY else n for n in BACKBONES]
)
def both(request) -> tuple[str, PooledStages, PooledStages]:
    """A network's name, its last level alone, and several."""
    name = request.param
    network = build(name)
    network.load_state_dict(drawn_weights(name).state)
    network.eval().requires_grad_(False)
    return name, PooledStages(name, network, MEAN, STD), PooledStages(name, network, MEAN, STD, "multi")


def test_mean_and_maximum_of_every_stage_are_joined_in_order(both):
    name, last, multi = both
    images = picture(0, 224, 224)[None]
    seen = {}
    hooks = [
        stage.register_forward_hook(lambda module, given, made, place=place: seen.update({place: made}))
        for place, stage in enumerate(multi.stages)
    ]
    got = multi(images)
    for hook in hooks:
        hook.remove()
    parts = []
    for place in taps_of(name):
        maps = seen[place] if seen[place].ndim == 4 else seen[place][:, 1:].transpose(1, 2)[..., None]
        flat = maps.flatten(2)
        parts += [flat.mean(2), flat.amax(2)]
    parts[-2] = last(images)
    assert got.dtype == torch.float32
    assert close(got, torch.cat(parts, 1))


def test_stages_go_from_fine_to_coarse_and_end_with_the_last(both):
    name, _, multi = both
    sizes = []
    hooks = [
        multi.stages[place].register_forward_hook(lambda module, given, made: sizes.append(made[0, 0].numel()))
        for place in taps_of(name)
    ]
    multi(picture(0, 224, 224)[None])
    for hook in hooks:
        hook.remove()
    assert len(sizes) == len(taps_of(name)) >= 3
    assert sizes == sorted(sizes, reverse=True)
    assert taps_of(name)[-1] == len(multi.stages) - 1


def test_all_that_a_network_computes_with_moves_with_it_to_a_device(both):
    _, last, _ = both
    images = torch.zeros(1, 3, 224, 224, dtype=torch.uint8, device="meta")
    assert copy.deepcopy(last).to("meta")(images).device.type == "meta"


def test_several_levels_are_in_the_recipe_and_make_a_wider_embedding():
    weights = drawn_weights("mobilenet_v3_small")
    last, multi = (FrozenBackbone("mobilenet_v3_small", weights, levels=levels) for levels in ("last", "multi"))
    assert (last.recipe()["levels"], multi.recipe()["levels"]) == ("last", "multi")
    assert multi.recipe()["stages"] == list(taps_of("mobilenet_v3_small"))
    assert last.width == 576
    assert multi.width == 2 * (24 + 48 + 96 + 576)


@pytest.mark.parametrize("views", VIEWS)
def test_an_embedding_is_the_mean_over_its_views(views):
    weights = drawn_weights("mobilenet_v3_small")
    one, many = (FrozenBackbone("mobilenet_v3_small", weights, views=v) for v in (1, views))
    batch = torch.stack([picture(seed, 224, 224) for seed in range(2)])
    expected = torch.stack([one.forward(view) for view in views_of(batch, views)]).mean(0)
    assert close(many.forward(batch), expected)
    assert many.recipe()["views"] == views


def test_with_eight_views_a_turned_image_has_the_same_embedding():
    made = FrozenBackbone("mobilenet_v3_small", drawn_weights("mobilenet_v3_small"), views=8)
    batch = picture(3, 224, 224)[None]
    for turned in (torch.rot90(batch, 1, (2, 3)), batch.flip(3), torch.rot90(batch, 3, (2, 3)).flip(2)):
        assert close(made.forward(turned), made.forward(batch))
