"""Pretrained weights: where they are looked for, what is read from a file, and what is said when there are none."""

from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
import torch
from torchvision.models import get_model, get_model_weights

from dermfuse.cache.errors import FAILED, UserError
from dermfuse.features.extractors.backbones import FrozenBackbone
from dermfuse.features.extractors.weights import find_weights, read_state, save_state, state_digest, weights_at_hand

NAME = "mobilenet_v2"
FIRST, SECOND = get_model_weights(NAME)
FIRST_FILE, SECOND_FILE = (Path(entry.url).name for entry in (FIRST, SECOND))


def small_state(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"layer.weight": torch.full((2, 3), value), "layer.seen": torch.tensor(7)}


def write(path: Path, value: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_state(path, small_state(value))
    else:
        torch.save(small_state(value), path)
    return path


def value_of(weights) -> float:
    return float(weights.state["layer.weight"][0, 0])


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torchvision's own folder, empty, behind a network that nothing passes."""

    def refuse(*_args, **_kwargs):
        raise URLError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    return tmp_path / "torch" / "hub" / "checkpoints"


# looking


@pytest.mark.parametrize("name", [f"{NAME}.pth", f"{NAME}.pt", f"{NAME}.safetensors", FIRST_FILE, SECOND_FILE])
def test_weights_in_a_folder_are_found_under_every_known_name(name, tmp_path):
    write(tmp_path / name)
    weights = find_weights(NAME, tmp_path)
    assert weights.source == str(tmp_path / name) == weights_at_hand(NAME, tmp_path)
    assert weights.local
    assert weights.digest == state_digest(small_state())


def test_published_names_go_before_plain_ones_and_pth_before_safetensors(tmp_path):
    order = [FIRST_FILE, SECOND_FILE, f"{NAME}.pth", f"{NAME}.pt", f"{NAME}.safetensors"]
    for value, name in enumerate(order):
        write(tmp_path / name, value)
    for value, name in enumerate(order):
        assert value_of(find_weights(NAME, tmp_path)) == value
        (tmp_path / name).unlink()


def test_a_published_name_brings_its_own_transforms_and_a_plain_one_the_newest(tmp_path):
    for name, entry in ((FIRST_FILE, FIRST), (SECOND_FILE, SECOND), (f"{NAME}.pth", SECOND)):
        path = write(tmp_path / name)
        assert find_weights(NAME, tmp_path).entry == entry
        path.unlink()


def test_weights_of_another_network_are_not_taken(tmp_path):
    write(tmp_path / "resnet18.pth")
    write(tmp_path / "mobilenet_v3_small.pth")
    with pytest.raises(UserError):
        find_weights(NAME, tmp_path)


def test_a_folder_without_weights_is_refused_with_the_names_and_the_flag(tmp_path):
    with pytest.raises(UserError) as caught:
        find_weights(NAME, tmp_path)
    for words in (NAME, str(tmp_path), SECOND_FILE, f"{NAME}.pth", f"{NAME}.safetensors", "--weights-dir"):
        assert words in str(caught.value)
    assert caught.value.exit_code == FAILED


def test_a_folder_that_is_not_there_is_refused_with_the_flag(tmp_path):
    with pytest.raises(UserError, match="no such weights folder: .*absent.*--weights-dir"):
        find_weights(NAME, tmp_path / "absent")


def test_a_folder_in_the_place_of_the_file_is_not_taken(tmp_path):
    (tmp_path / f"{NAME}.pth").mkdir()
    with pytest.raises(UserError, match="no weights of mobilenet_v2"):
        find_weights(NAME, tmp_path)


# downloading


def test_what_torchvision_downloaded_before_needs_no_network(hub):
    write(hub / SECOND_FILE, 5.0)
    weights = find_weights(NAME, None)
    assert value_of(weights) == 5.0
    assert (weights.entry, weights.local, weights.source) == (SECOND, False, str(hub / SECOND_FILE))
    assert weights_at_hand(NAME, None) == str(hub / SECOND_FILE)


@pytest.mark.parametrize(
    "error",
    [
        URLError("no route"),
        HTTPError("https://x", 403, "Forbidden", None, None),
        TimeoutError("timed out"),
        RuntimeError("invalid hash value"),
        ConnectionResetError("reset"),
        OSError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failed_download_is_told_with_the_file_the_places_and_the_flag(error, hub, monkeypatch):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(torch.hub, "urlopen", fail)
    with pytest.raises(UserError) as caught:
        find_weights(NAME, None)
    for words in (NAME, SECOND_FILE, str(hub), "download.pytorch.org", f"{NAME}.pth", "--weights-dir"):
        assert words in str(caught.value)
    assert (str(error) or "OSError") in str(caught.value)
    assert weights_at_hand(NAME, None) is None


def test_a_download_has_a_time_limit_that_ends_with_it(hub, monkeypatch):
    limits = []

    def note(*_args, **_kwargs):
        limits.append(socket.getdefaulttimeout())
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "urlopen", note)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(777)
    try:
        with pytest.raises(UserError):
            find_weights(NAME, None)
        assert socket.getdefaulttimeout() == 777
    finally:
        socket.setdefaulttimeout(before)
    assert 0 < limits[0] <= 60


def test_a_folder_of_weights_is_never_left_for_a_download(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "urlopen", lambda *_a, **_k: pytest.fail("downloaded"))
    with pytest.raises(UserError, match="no weights of"):
        find_weights(NAME, tmp_path)


# reading


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_state_dict_is_read_as_it_was_written(suffix, tmp_path):
    state = read_state(write(tmp_path / f"x{suffix}", 3.0))
    assert state_digest(state) == state_digest(small_state(3.0))
    assert {name: tensor.dtype for name, tensor in state.items()} == {
        "layer.weight": torch.float32,
        "layer.seen": torch.int64,
    }


class Evil:
    """Pickled code that leaves a file behind when it runs."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["torch.save", "old torch.save", "pickle", "in a state dict"])
def test_pickled_code_is_refused_and_not_run(how, tmp_path):
    path, mark = tmp_path / "x.pth", tmp_path / "ran"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Evil(mark)))
    elif how == "in a state dict":
        torch.save({**small_state(), "layer.bias": Evil(mark)}, path)
    else:
        torch.save(Evil(mark), path, _use_new_zipfile_serialization=how == "torch.save")
    with pytest.raises(UserError, match="cannot read weights from"):
        read_state(path)
    assert not mark.exists()


def test_pickled_code_among_earlier_downloads_is_refused_and_not_run(hub, tmp_path):
    hub.mkdir(parents=True)
    torch.save({**small_state(), "layer.bias": Evil(tmp_path / "ran")}, hub / SECOND_FILE)
    with pytest.raises(UserError, match=f"cannot be read from .*{SECOND_FILE}.*Delete that file"):
        find_weights(NAME, None)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"\0", b"<!DOCTYPE html>", b"\x80\x02.", b"PK\x03\x04", b"\xff" * 999])
def test_a_file_that_holds_no_weights_is_refused(content, suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"x{suffix}") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_ends_early_is_refused(share, suffix, tmp_path):
    path = write(tmp_path / f"x{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match="cannot read weights from"):
        read_state(path)


@pytest.mark.parametrize(
    "content",
    [
        [torch.ones(2)],
        torch.ones(2),
        {"state_dict": {"a": torch.ones(2)}, "epoch": 3},
        {"a": 1.0},
        {0: torch.ones(2)},
        {},
        None,
    ],
    ids=["list", "tensor", "checkpoint", "numbers", "numbered", "nothing in it", "nothing"],
)
def test_what_is_no_state_dict_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no state dict of tensors. Save one with torch.save"):
        read_state(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.eye(3).to_sparse(), "is sparse"),
        (torch.empty(3, 3, device="meta"), "no values"),
        (torch.tensor([1.0, float("nan")]), "NaN or infinity"),
        (torch.tensor([1.0, float("-inf")], dtype=torch.float16), "NaN or infinity"),
        (torch.zeros(2, dtype=torch.complex64), "complex"),
        (torch.zeros(1).expand(10_000_000), "would grow"),
    ],
    ids=["sparse", "meta", "nan", "infinity", "complex", "expanded"],
)
def test_a_tensor_that_no_network_has_is_refused_by_its_name(tensor, said, tmp_path):
    path = tmp_path / f"{NAME}.pth"
    torch.save(small_state() | {"odd.weight": tensor}, path)
    with pytest.raises(UserError, match=f"'odd.weight' .*{said}") as caught:
        read_state(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["another network", "a name", "a shape", "one less"])
def test_weights_that_do_not_fit_the_network_are_refused_with_their_source(change, tmp_path):
    state = get_model("resnet18" if change == "another network" else NAME, weights=None).state_dict()
    if change == "a name":
        state["module.x"] = state.pop("classifier.1.bias")
    elif change == "a shape":
        state["classifier.1.bias"] = torch.zeros(7)
    elif change == "one less":
        del state["features.0.0.weight"]
    torch.save(state, tmp_path / f"{NAME}.pth")
    with pytest.raises(UserError) as caught:
        FrozenBackbone(NAME, find_weights(NAME, tmp_path))
    assert f"the weights in {tmp_path / NAME}.pth do not fit MobileNetV2" in str(caught.value)
    assert "\n" not in str(caught.value)


# identity


def test_the_digest_is_of_the_content_and_not_of_its_order_or_strides():
    state = small_state()
    other = dict(reversed(state.items()))
    other["layer.weight"] = torch.full((3, 2), 1.0).t()
    assert not other["layer.weight"].is_contiguous()
    assert state_digest(other) == state_digest(state)


@pytest.mark.parametrize(
    "change",
    [
        {"layer.weight": torch.full((2, 3), 1.0).index_fill(0, torch.tensor([0]), 1 + 2**-20)},
        {"layer.weight": torch.ones(3, 2)},
        {"layer.weight": torch.ones(2, 3, dtype=torch.float64)},
        {"layer.weight": torch.ones(2, 3, dtype=torch.bfloat16)},
        {"layer.seen": torch.tensor(7).view(torch.float64)},
        {"layer.seen": torch.tensor([7])},
        {"layer.bias": torch.zeros(0)},
    ],
    ids=["value", "shape", "float64", "bfloat16", "the same bytes as another type", "rank", "an empty tensor more"],
)
def test_the_digest_tells_every_change(change):
    assert state_digest({**small_state(), **change}) != state_digest(small_state())


def test_the_digest_tells_renamed_tensors():
    state = small_state()
    state["layer.other"] = state.pop("layer.weight")
    assert state_digest(state) != state_digest(small_state())


def test_the_digest_survives_both_file_forms(tmp_path):
    state = get_model("mobilenet_v3_small", weights=None).state_dict()
    torch.save(state, tmp_path / "x.pth")
    save_state(tmp_path / "deep" / "x.safetensors", state)
    digests = {state_digest(read_state(p)) for p in (tmp_path / "x.pth", tmp_path / "deep" / "x.safetensors")}
    assert digests == {state_digest(state)}
