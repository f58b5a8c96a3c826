"""The convolutional autoencoder: it learns, stops, repeats itself by seed, and is frozen as an extractor."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dermfuse.cache.recipe import canonical_json, recipe_key
from dermfuse.features.demo.drawing import CLASSES, draw, make_lesion
from dermfuse.features.extractors.autoencoder import (
    AutoencoderConfig,
    AutoencoderExtractor,
    ConvAutoencoder,
    config_as_dict,
    config_from_dict,
    train_autoencoder,
)
from dermfuse.features.extractors.weights import state_digest

TINY = AutoencoderConfig(size=32, channels=(8, 12, 16, 16), latent=12, epochs=25, patience=5, batch=16)
# The contract's list in DESIGN.md, "Cache", less the mean and standard deviation: pixels go in as shares of 255.
CONTRACT = {
    *("schema", "weights", "architecture", "levels", "views", "resize", "interpolation", "antialias", "crop"),
    *("decode", "precision", "dtype"),
}


@pytest.fixture(scope="module")
def lesions() -> np.ndarray:
    """A hundred drawn lesions, (100, 3, 32, 32) uint8."""
    drawn = []
    for i in range(100):
        lesion = make_lesion(CLASSES[i % len(CLASSES)], np.random.default_rng([i, 0]))
        drawn.append(draw(lesion, 32, np.random.default_rng([i, 1]))[0].transpose(2, 0, 1))
    return np.stack(drawn)


@pytest.fixture(scope="module")
def trained(lesions):
    """State, curve and held-back positions of one training."""
    return train_autoencoder(lesions, TINY)


@pytest.fixture(scope="module")
def extractor(trained) -> AutoencoderExtractor:
    return AutoencoderExtractor(TINY, trained[0], {"a" * 64})


def error_of(extractor: AutoencoderExtractor, images: np.ndarray) -> float:
    made = extractor.reconstruct(torch.from_numpy(images)).numpy()
    return float(((made / 255.0 - images / 255.0) ** 2).mean())


# the network


@pytest.mark.parametrize("size", [16, 32, 64])
def test_the_network_maps_pixels_to_a_latent_vector_and_back(size):
    config = replace(TINY, size=size)
    network = ConvAutoencoder(config).eval()
    pixels = torch.rand(2, 3, size, size)
    assert network.encode(pixels).shape == (2, TINY.latent)
    made = network(pixels)
    assert made.shape == pixels.shape
    assert made.min() >= 0
    assert made.max() <= 1


def test_the_default_network_is_of_the_default_sizes():
    config = AutoencoderConfig()
    assert ConvAutoencoder(config).eval().encode(torch.rand(1, 3, 64, 64)).shape == (1, 128)


# training


def test_training_lowers_the_validation_error_below_that_of_the_mean_picture(trained, lesions):
    _, curve, held = trained
    best = min(curve.validation_loss)
    learned_from = np.setdiff1d(np.arange(len(lesions)), held)
    mean = lesions[learned_from].mean(axis=0) / 255
    of_mean = ((lesions[held] / 255 - mean) ** 2).mean()
    assert best < 0.5 * curve.validation_loss[0]
    assert best < of_mean


def test_the_weights_are_those_of_the_best_epoch(lesions):
    # Steps this large soon make it worse.
    config = replace(TINY, epochs=40, patience=2, learning_rate=3.0)
    state, curve, held = train_autoencoder(lesions, config)
    assert curve.best_epoch == int(np.argmin(curve.validation_loss)) < len(curve.validation_loss) - 1
    pixels = torch.from_numpy(lesions[held]).float() / 255
    made = AutoencoderExtractor(config, state).network(pixels)
    error = float(((made - pixels) ** 2).mean())
    assert error == pytest.approx(min(curve.validation_loss), rel=1e-5)
    assert error != pytest.approx(curve.validation_loss[-1], rel=1e-4)


def test_training_ends_after_the_last_epoch_or_when_patience_does(lesions):
    few = train_autoencoder(lesions, replace(TINY, epochs=2))[1]
    assert len(few.train_loss) == len(few.validation_loss) == 2
    # Steps this large soon make it worse.
    config = replace(TINY, epochs=40, patience=2, learning_rate=3.0)
    stopped = train_autoencoder(lesions[:40], config)[1]
    assert len(stopped.validation_loss) == stopped.best_epoch + 1 + config.patience < 40


def test_a_tenth_of_the_images_is_held_back_and_at_least_one(lesions):
    once = replace(TINY, epochs=1)
    held = train_autoencoder(lesions, once)[2]
    assert len(held) == len(set(held)) == 10
    assert set(held) <= set(range(len(lesions)))
    assert len(train_autoencoder(lesions[:16], replace(once, validation=0.001))[2]) == 1


def test_images_that_are_held_back_are_not_learned_from(trained, lesions):
    state, _, held = trained
    spoiled = lesions.copy()
    spoiled[held] = 255 - spoiled[held]
    config = replace(TINY, epochs=1)
    first, other = (train_autoencoder(images, config)[0] for images in (lesions, spoiled))
    assert state_digest(first) == state_digest(other)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trained, lesions):
    again = train_autoencoder(lesions, TINY)
    other = train_autoencoder(lesions, replace(TINY, seed=1))
    assert state_digest(again[0]) == state_digest(trained[0])
    assert (again[1], again[2].tolist()) == (trained[1], trained[2].tolist())
    assert state_digest(other[0]) != state_digest(trained[0])
    assert other[2].tolist() != trained[2].tolist()


def test_the_global_random_state_neither_matters_nor_changes(trained, lesions):
    torch.manual_seed(1234)
    np.random.seed(1234)
    before = torch.get_rng_state(), np.random.get_state()[1]
    again = train_autoencoder(lesions, TINY)
    assert state_digest(again[0]) == state_digest(trained[0])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_training_leaves_the_images_as_they_are(lesions):
    before = lesions.copy()
    train_autoencoder(lesions, replace(TINY, epochs=1))
    assert (lesions == before).all()


def test_every_image_of_an_epoch_is_counted(lesions):
    steps = []
    train_autoencoder(lesions, replace(TINY, epochs=2), on_step=lambda n, note: steps.append((n, note)))
    assert sum(n for n, _ in steps) == 2 * 90
    assert [note.split(",")[0] for _, note in steps if note] == ["epoch 1", "epoch 2"]


def test_the_training_error_is_that_of_an_image_however_they_are_batched():
    # 19 equal images: 2 held back, and of 17 the last batch of one is left out.
    images = np.full((19, 3, 32, 32), 90, np.uint8)
    still = replace(TINY, epochs=1, learning_rate=1e-12)
    errors = [train_autoencoder(images, replace(still, batch=batch))[1].train_loss[0] for batch in (16, 17)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-4)


# the extractor


def test_an_embedding_is_one_finite_float32_vector_an_image(extractor, lesions):
    vectors = extractor.forward(torch.from_numpy(lesions[:5]))
    assert vectors.shape == (5, extractor.width) == (5, TINY.latent)
    assert vectors.dtype == torch.float32
    assert vectors.isfinite().all()
    assert (vectors[0] - vectors[1]).abs().max() > 0.01


def test_an_image_has_the_same_vector_alone_and_in_a_batch(extractor, lesions):
    batch = torch.from_numpy(lesions[:9])
    torch.testing.assert_close(extractor.forward(batch[:1]), extractor.forward(batch)[:1], rtol=1e-5, atol=1e-5)


def test_the_network_is_frozen(extractor, trained, lesions):
    assert not any(module.training for module in extractor.network.modules())
    assert not any(parameter.requires_grad for parameter in extractor.network.parameters())
    vectors = extractor.forward(torch.from_numpy(lesions[:8]))
    extractor.reconstruct(torch.from_numpy(lesions[:8]))
    assert not vectors.requires_grad
    assert state_digest(extractor.network.state_dict()) == state_digest(trained[0])


def test_the_maps_are_what_the_bottleneck_reduces(extractor, lesions):
    maps = extractor.spatial_maps(torch.from_numpy(lesions[:2]))
    assert maps.shape == (2, 16, 2, 2)
    vectors = extractor.network.to_latent(maps.flatten(1))
    torch.testing.assert_close(vectors, extractor.forward(torch.from_numpy(lesions[:2])))


@pytest.mark.parametrize("size", [(450, 600), (20, 10), (32, 32)])
def test_an_image_is_prepared_as_a_square_of_bytes(extractor, size):
    prepared = extractor.prepare(torch.randint(0, 256, (3, *size), dtype=torch.uint8))
    assert prepared.shape == (3, 32, 32)
    assert prepared.dtype == torch.uint8


def test_a_reconstruction_is_a_picture_like_its_original(extractor, lesions):
    made = extractor.reconstruct(torch.from_numpy(lesions[:3]))
    assert made.shape == (3, 3, 32, 32)
    assert made.dtype == torch.uint8
    assert error_of(extractor, lesions) < (lesions / 255).var()


def test_the_recipe_holds_the_contract_and_is_canonical(extractor):
    recipe = extractor.recipe()
    assert set(recipe) >= CONTRACT
    assert all(value not in (None, "", [], {}) for value in recipe.values())
    assert canonical_json(recipe) == canonical_json(extractor.recipe())


def test_the_key_tells_weights_and_dtype_but_not_how_they_were_learned(extractor, trained, lesions):
    other = train_autoencoder(lesions, replace(TINY, seed=1, epochs=1))[0]
    key = recipe_key(extractor.recipe())
    assert recipe_key(AutoencoderExtractor(TINY, other).recipe()) != key
    assert recipe_key(AutoencoderExtractor(TINY, trained[0], dtype="float32").recipe()) != key
    assert recipe_key(AutoencoderExtractor(replace(TINY, epochs=99, seed=7), trained[0]).recipe()) == key


def test_it_knows_what_it_learned_from(extractor):
    assert extractor.learned_from == {"a" * 64}


def test_a_configuration_survives_json():
    config = replace(TINY, learning_rate=0.5, validation=0.25, seed=3)
    assert config_from_dict(json.loads(json.dumps(config_as_dict(config)))) == config
