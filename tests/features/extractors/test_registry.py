"""From names and recipes to extractors: what is known, what is kept in the cache, and what comes back from it."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torchvision.models import get_model, get_model_weights

from dermfuse.cache.errors import FAILED, USAGE, UserError
from dermfuse.features.extractors import registry
from dermfuse.features.extractors.autoencoder import AutoencoderConfig
from dermfuse.features.extractors.backbones import BACKBONES
from dermfuse.features.extractors.learned import autoencoder_for
from dermfuse.features.extractors.registry import KNOWN, check_names, choose_device, extractor_of, frozen_extractor
from dermfuse.features.extractors.weights import save_state
from tests.features.pictures import write_pictures
from tests.features.toys import content_of, dataset_of

NAME = "mobilenet_v2"
FIRST, SECOND = get_model_weights(NAME)
BATCH = torch.arange(3 * 224 * 224).remainder(251).to(torch.uint8).reshape(1, 3, 224, 224)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return get_model(NAME, weights=None).state_dict()


@pytest.fixture
def weights_dir(state, tmp_path):
    """A folder with weights of one network, under its plain name."""
    save_state(tmp_path / "weights" / f"{NAME}.safetensors", state)
    return tmp_path / "weights"


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    def refuse(*_args, **_kwargs):
        raise URLError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)


@pytest.fixture
def rebuilt(store, console):
    """Build an extractor again from its recipe, as ``predict`` does: after a round trip through JSON."""

    def rebuild(extractor, weights_dir=None):
        recipe = json.loads(json.dumps(extractor.recipe()))
        return extractor_of(extractor.name, recipe, store, weights_dir, "cpu", console.notice)

    return rebuild


def kept_copies(store) -> list[Path]:
    return sorted((store.root / "weights").glob("*"))


# names and devices


def test_every_backbone_and_the_autoencoder_are_known():
    assert set(KNOWN) == {*BACKBONES, "cae"}
    assert check_names(list(KNOWN)) == list(KNOWN)


def test_a_name_counts_once_and_order_is_kept():
    assert check_names(["cae", NAME, "cae"]) == ["cae", NAME]


@pytest.mark.parametrize("name", ["resnet19", "", "CAE", "mobilenet_v2 "])
def test_an_unknown_name_is_a_wrong_use_that_lists_the_known(name):
    with pytest.raises(UserError) as caught:
        check_names(["cae", name])
    assert repr(name) in str(caught.value)
    assert all(known in str(caught.value) for known in KNOWN)
    assert caught.value.exit_code == USAGE


def test_auto_is_the_best_device_at_hand(monkeypatch):
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert choose_device("auto") == expected
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["banana", "", "cuda:999", "meta", "cpu:x"])
def test_a_device_that_cannot_be_used_is_a_wrong_use(device):
    with pytest.raises(UserError, match="cannot be used: .*Give auto, cpu or cuda") as caught:
        choose_device(device)
    assert repr(device) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == USAGE


# kept weights


def test_weights_of_a_folder_are_kept_so_that_the_folder_is_not_needed_again(store, weights_dir, rebuilt, console):
    made = frozen_extractor(NAME, store, weights_dir, "cpu", "float16")
    assert len(kept_copies(store)) == 1
    for path in weights_dir.iterdir():
        path.unlink()
    again = rebuilt(made)
    assert again.recipe() == made.recipe()
    assert torch.equal(again.forward(BATCH), made.forward(BATCH))
    assert console.notices == []


def test_weights_are_kept_once(store, weights_dir):
    frozen_extractor(NAME, store, weights_dir, "cpu", "float16")
    before = kept_copies(store)[0].stat().st_mtime_ns
    frozen_extractor(NAME, store, weights_dir, "cpu", "float32")
    assert [path.stat().st_mtime_ns for path in kept_copies(store)] == [before]


def test_weights_that_torchvision_keeps_are_not_kept_twice(store, state, rebuilt, tmp_path):
    hub = tmp_path / "torch" / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    torch.save(state, hub / Path(SECOND.url).name)
    made = frozen_extractor(NAME, store, None, "cpu", "float16")
    assert kept_copies(store) == []
    assert rebuilt(made).recipe() == made.recipe()


@pytest.mark.parametrize("entry", [FIRST, SECOND], ids=["older transforms", "newer transforms"])
@pytest.mark.parametrize("from_folder", [False, True], ids=["from the cache", "from a folder"])
def test_the_transforms_come_back_with_the_weights(entry, from_folder, store, state, rebuilt, tmp_path, console):
    published, plain = tmp_path / "published", tmp_path / "plain"
    published.mkdir()
    torch.save(state, published / Path(entry.url).name)
    made = frozen_extractor(NAME, store, published, "cpu", "float16")
    assert made.recipe()["resize"] == entry.transforms().resize_size[0]
    if from_folder:  # where the same weights have a plain name
        kept_copies(store)[0].unlink()
        save_state(plain / f"{NAME}.safetensors", state)
    assert rebuilt(made, plain).recipe() == made.recipe()
    assert console.notices == []


@pytest.mark.parametrize("damage", ["truncated", "changed", "gone"])
def test_a_damaged_copy_is_passed_over_for_the_weights_of_a_folder(damage, store, weights_dir, rebuilt, state):
    made = frozen_extractor(NAME, store, weights_dir, "cpu", "float16")
    copy = kept_copies(store)[0]
    if damage == "truncated":
        copy.write_bytes(copy.read_bytes()[:-100])
    elif damage == "changed":
        save_state(copy, {**state, "features.0.0.weight": torch.ones(32, 3, 3, 3)})
    else:
        copy.unlink()
    again = rebuilt(made, weights_dir)
    assert again.recipe() == made.recipe()
    assert torch.equal(again.forward(BATCH), made.forward(BATCH))


def test_weights_that_are_gone_are_refused_with_the_flag(store, weights_dir, rebuilt):
    made = frozen_extractor(NAME, store, weights_dir, "cpu", "float16")
    kept_copies(store)[0].unlink()
    with pytest.raises(UserError, match="cannot be had.*--weights-dir") as caught:
        rebuilt(made)
    assert caught.value.exit_code == FAILED


def test_other_weights_of_the_same_network_are_refused(store, weights_dir, rebuilt, state, tmp_path):
    made = frozen_extractor(NAME, store, weights_dir, "cpu", "float16")
    kept_copies(store)[0].unlink()
    save_state(tmp_path / "other" / f"{NAME}.safetensors", {**state, "classifier.1.bias": torch.ones(1000)})
    with pytest.raises(UserError, match="are not those that the run was made with.*--weights-dir") as caught:
        rebuilt(made, tmp_path / "other")
    assert made.recipe()["weights"][:12] in str(caught.value)


def test_the_stored_dtype_comes_back(store, weights_dir, rebuilt):
    for dtype in ("float16", "float32"):
        made = frozen_extractor(NAME, store, weights_dir, "cpu", dtype)
        assert rebuilt(made).dtype == made.recipe()["dtype"] == dtype


def test_another_decoder_than_the_runs_is_told(store, weights_dir, console):
    made = frozen_extractor(NAME, store, weights_dir, "cpu", "float16")
    recipe = made.recipe()
    older = {**recipe, "decode": {**recipe["decode"], "jpeg": "torchvision 0.1"}}
    extractor_of(NAME, older, store, None, "cpu", console.notice)
    assert len(console.notices) == 1
    assert "decode.jpeg" in console.notices[0]
    assert "torchvision 0.1" in console.notices[0]


def test_an_autoencoder_comes_back_from_its_recipe(store, tmp_path, rebuilt, console):
    names = [f"p{i:03}.jpg" for i in range(20)]
    write_pictures(tmp_path / "data", names)
    dataset = dataset_of(tmp_path / "data", names)
    paths = content_of(dataset, console).paths(dataset)
    config = AutoencoderConfig(size=16, channels=(4, 4, 4, 8), latent=6, epochs=1)
    made = autoencoder_for(paths, sorted(paths), set(paths), store, config, "cpu", "float32", console)
    again = rebuilt(made)
    assert again.recipe() == made.recipe()
    assert again.learned_from == made.learned_from == set(paths)
    assert console.notices == []


def test_every_extractor_is_what_the_protocol_asks_for(store, weights_dir):
    made = frozen_extractor(NAME, store, weights_dir, "cpu", "float16")
    for attribute in registry.Extractor.__annotations__:
        assert hasattr(made, attribute)
    for method in ("recipe", "prepare", "forward", "spatial_maps"):
        assert callable(getattr(made, method))
