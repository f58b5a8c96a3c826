"""Every backbone: frozen, true to torchvision, and told in full by its recipe. Weights are drawn, not downloaded."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights
from torchvision.transforms.functional import normalize, to_pil_image

from dermfuse.cache.errors import UserError
from dermfuse.cache.recipe import canonical_json, recipe_key
from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.extractors.backbones import BACKBONES, FrozenBackbone
from dermfuse.features.extractors.networks import build, preferred
from dermfuse.features.extractors.weights import Weights, find_weights, state_digest
from dermfuse.features.images.decoder import decode
from dermfuse.features.images.transforms import ResizeAndCrop
from tests.features.pictures import scene

HEAVY = ("resnet101", "vgg16", "densenet169", "efficientnet_b3", "efficientnet_b4", "convnext_tiny", "vit_b_16")
WIDTHS = {
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "resnet101": 2048,
    "vgg16": 512,
    "densenet121": 1024,
    "densenet169": 1664,
    "mobilenet_v2": 1280,
    "mobilenet_v3_small": 576,
    "mobilenet_v3_large": 960,
    "efficientnet_b0": 1280,
    "efficientnet_b1": 1280,
    "efficientnet_b2": 1408,
    "efficientnet_b3": 1536,
    "efficientnet_b4": 1792,
    "convnext_tiny": 768,
    "vit_b_16": 768,
    "efficientnet_lite0": 1280,
}
# The contract's list in DESIGN.md, "Cache".
CONTRACT = {
    *("schema", "weights", "architecture", "levels", "views", "resize", "interpolation", "antialias", "crop"),
    *("mean", "std", "decode", "precision", "dtype"),
}
# Of the largest value: sums of a batch are taken in another order than those of one image. Measured: up to 3e-6.
TOLERANCE = 3e-5


def drawn_weights(name: str, seed: int = 0) -> Weights:
    """Weights of a network that was not trained, drawn so that its vectors tell pictures apart.

    The networks' own initial weights let the signal die in depthwise convolutions: all pictures get one vector.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = build(name).eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                module.train().momentum = 0.9
        network(torch.stack([picture(s, 224, 224) for s in range(2)]).float() / 128 - 1)
    state = network.state_dict()
    return Weights(state, state_digest(state), preferred(name), "drawn", local=True)


def picture(seed: int, height: int, width: int) -> Tensor:
    """A smooth picture with some noise on it, as the decoder gives it."""
    noise = torch.randint(-20, 21, (3, height, width), generator=torch.Generator().manual_seed(seed))
    return (torch.from_numpy(scene(seed, height, width)).permute(2, 0, 1) + noise).clamp(0, 255).to(torch.uint8)


def close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= TOLERANCE * b.abs().max())


@dataclass
class Case:
    """One backbone with a batch and the vectors that it made of it."""

    extractor: FrozenBackbone
    weights: Weights
    batch: Tensor
    vectors: Tensor


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=pytest.mark.slow) if n in HEAVY else n for n in BACKBONES]
)
def case(request) -> Case:
    weights = drawn_weights(request.param)
    extractor = FrozenBackbone(request.param, weights)
    rows = 8 if request.config.getoption("--long") else 2
    batch = torch.stack([extractor.prepare(picture(seed, 300, 400)) for seed in range(rows)])
    return Case(extractor, weights, batch, extractor.forward(batch))


def test_an_embedding_is_one_finite_float32_vector_an_image(case):
    assert case.extractor.width == WIDTHS[case.extractor.name]
    assert case.vectors.shape == (len(case.batch), case.extractor.width)
    assert case.vectors.dtype == torch.float32
    assert case.vectors.isfinite().all()
    first, second = case.vectors[:2]
    assert (first - second).abs().max() > 100 * TOLERANCE * first.abs().max()


def test_the_network_is_in_eval_mode_and_nothing_wants_a_gradient(case):
    assert not any(module.training for module in case.extractor.body.modules())
    assert not any(parameter.requires_grad for parameter in case.extractor.body.parameters())
    assert not case.vectors.requires_grad


def test_embedding_changes_no_weight_and_no_batch_norm_statistic_by_a_bit(case):
    before = state_digest(case.extractor.body.state_dict())
    case.extractor.forward(case.batch[:2])
    assert state_digest(case.extractor.body.state_dict()) == before
    given = {tensor.sum().item() for tensor in case.weights.state.values() if tensor.is_floating_point()}
    assert {t.sum().item() for t in case.extractor.body.stages.state_dict().values() if t.is_floating_point()} <= given


def test_an_image_has_the_same_vector_alone_and_in_a_batch(case):
    assert close(case.extractor.forward(case.batch[:1]), case.vectors[:1])


def test_the_vector_is_what_the_published_network_gives_its_classifier(case):
    network = build(case.extractor.name)
    network.load_state_dict(case.weights.state)
    network.eval()
    head = network._fc if case.extractor.name == "efficientnet_lite0" else list(network.children())[-1]
    seen = []
    first = next(module for module in head.modules() if isinstance(module, nn.Linear))
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    transform = case.weights.entry.transforms()
    with torch.no_grad():
        network(normalize(case.batch[:1].float() / 255, transform.mean, transform.std))
    expected = seen[0]
    if case.extractor.name == "vgg16":  # its classifier reads the 7 x 7 maps, which are averaged here
        expected = expected.unflatten(1, (512, 49)).mean(2)
    assert close(case.vectors[:1], expected)


def test_the_maps_are_what_pooling_reduced(case):
    maps = case.extractor.spatial_maps(case.batch[:1])
    assert maps.ndim == 4
    assert maps.shape[:2] == (1, case.extractor.width)
    assert maps.shape[2] == maps.shape[3] >= 7
    assert maps.dtype == torch.float32
    if case.extractor.name == "vit_b_16":  # its vector is the class token, which has no place in the picture
        assert not any(close(column, case.vectors[0]) for column in maps[0].flatten(1).T)
    elif case.extractor.name != "convnext_tiny":  # it normalises after pooling
        assert close(maps.mean((2, 3)), case.vectors[:1])


def test_a_change_in_a_corner_of_the_picture_shows_in_that_corner_of_the_maps(case):
    changed = case.batch[:1].clone()
    sixth = changed.shape[3] // 6
    changed[:, :, :sixth, -sixth:] = 255 - changed[:, :, :sixth, -sixth:]
    before, after = (case.extractor.spatial_maps(batch) for batch in (case.batch[:1], changed))
    shown = (after - before).abs().sum(1)[0]
    row, column = divmod(int(shown.argmax()), shown.shape[1])
    assert row < shown.shape[0] / 2 <= column


def test_the_recipe_holds_the_contract_and_is_canonical(case):
    recipe = case.extractor.recipe()
    assert set(recipe) >= CONTRACT
    assert all(value not in (None, "", [], {}) for value in recipe.values())
    assert canonical_json(recipe) == canonical_json(case.extractor.recipe())
    assert recipe["weights"] == case.weights.digest
    assert recipe["architecture"] == case.extractor.name


@pytest.mark.parametrize("size", [(450, 600), (600, 450), (90, 120), (256, 256), (232, 300)])
def test_an_image_is_prepared_as_the_published_transforms_do_to_within_a_level(case, size):
    image = picture(5, *size)
    transform = case.weights.entry.transforms()
    mean, std = (torch.tensor(values)[:, None, None] for values in (transform.mean, transform.std))
    expected = ((transform(to_pil_image(image)) * std + mean) * 255).round()
    got = case.extractor.prepare(image)
    assert got.dtype == torch.uint8
    assert got.shape == (3, transform.crop_size[0], transform.crop_size[0])
    far = (got - expected).abs() > 1
    # Bicubic overshoots are cut off between two passes, not quite alike; one pixel in a thousand would be a lot.
    assert far.float().mean() <= (1e-4 if transform.interpolation.value == "bicubic" else 0)
    assert (got - expected).abs().max() <= 2


# what one backbone shows for all


@pytest.fixture(scope="module")
def small() -> FrozenBackbone:
    return FrozenBackbone("mobilenet_v3_small", drawn_weights("mobilenet_v3_small"))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 5), (1000, 20)])
def test_images_of_every_size_are_prepared(small, size):
    assert small.prepare(picture(0, *size)).shape == (3, 224, 224)


def test_the_memory_layout_of_an_image_does_not_change_what_is_prepared(small):
    image = picture(0, 300, 400)
    turned = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not turned.is_contiguous()
    assert torch.equal(small.prepare(turned), small.prepare(image))


def test_preparing_leaves_the_image_as_it_is(small):
    image = picture(0, 300, 400)
    before = image.clone()
    small.prepare(image)
    assert torch.equal(image, before)


def test_an_image_of_the_right_size_is_not_touched():
    image = picture(0, 64, 64)
    assert torch.equal(ResizeAndCrop(64, 64)(image), image)


def test_the_middle_of_an_image_is_kept():
    image = torch.zeros(3, 64, 128, dtype=torch.uint8)
    image[:, :, 32:96] = 200
    assert (ResizeAndCrop(64, 64)(image) == 200).all()


def test_the_key_tells_weights_architecture_dtype_and_decoder(small, monkeypatch):
    first = drawn_weights("mobilenet_v3_small")
    keys = {
        recipe_key(small.recipe()),
        recipe_key(FrozenBackbone("mobilenet_v3_small", drawn_weights("mobilenet_v3_small", seed=1)).recipe()),
        recipe_key(FrozenBackbone("mobilenet_v3_large", drawn_weights("mobilenet_v3_large")).recipe()),
        recipe_key(FrozenBackbone("mobilenet_v3_small", first, dtype="float32").recipe()),
    }
    monkeypatch.setattr("dermfuse.features.extractors.backbones.decoder_recipe", lambda: {"jpeg": "another"})
    keys.add(recipe_key(small.recipe()))
    assert len(keys) == 5


def test_the_key_does_not_tell_where_it_runs_or_where_weights_came_from(small):
    weights = drawn_weights("mobilenet_v3_small")
    elsewhere = Weights(weights.state, weights.digest, weights.entry, "/elsewhere", local=False)
    assert FrozenBackbone("mobilenet_v3_small", elsewhere, device="cpu").recipe() == small.recipe()


def test_the_published_transforms_of_the_weights_are_used():
    weights = drawn_weights("mobilenet_v2")
    first, second = get_model_weights("mobilenet_v2")
    sizes = {
        FrozenBackbone("mobilenet_v2", Weights(weights.state, weights.digest, entry, "", True)).recipe()["resize"]
        for entry in (first, second)
    }
    assert sizes == {first.transforms().resize_size[0], second.transforms().resize_size[0]}
    assert len(sizes) == 2


def test_weights_of_another_network_are_refused(small):
    with pytest.raises(UserError, match="the weights in drawn do not fit MobileNetV2: .*Expected the published"):
        FrozenBackbone("mobilenet_v2", drawn_weights("mobilenet_v3_small"))


def test_a_backbone_learns_from_no_image(small):
    assert small.learned_from is None


@pytest.mark.real_data
def test_the_real_mobilenet_embeds_real_images(shared):
    extractor = FrozenBackbone("mobilenet_v2", find_weights("mobilenet_v2", shared / "weights"))
    rows = load_dataset(shared / "ham10000").rows
    images = [decode(path).pixels for path in rows.path[:4]]
    assert {tuple(image.shape) for image in images} == {(3, 224, 224)}
    vectors = extractor.forward(torch.stack([extractor.prepare(image) for image in images]))
    assert vectors.shape == (4, 1280)
    assert vectors.isfinite().all()
    assert (vectors >= 0).all()  # after a ReLU6
    assert vectors.max() <= 6
    # Trained features tell images of lesions from one another far beyond rounding, and are not all alike.
    distances = torch.cdist(vectors, vectors)[~torch.eye(4, dtype=bool)]
    assert distances.min() > 1
    assert vectors.std(0).mean() > 0.05
