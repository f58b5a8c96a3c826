"""Runtimes: batches of any size, memory that runs out, and agreement of every candidate with the reference."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dermfuse.cache.errors import UserError
from dermfuse.features.runtimes import runtime
from dermfuse.features.runtimes.runtime import REFERENCE, Candidate, Runtime, candidates

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]


class Body(nn.Module):
    """A small network with what the real ones have: convolution, normalisation, pooling."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3))
        self.eval().requires_grad_(False)

    def forward(self, images):
        return self.layers(images.float() / 255).mean((2, 3)).float()


BODY = Body()
IMAGES = torch.randint(0, 256, (11, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def recorded(sizes, most=None, static=False) -> Candidate:
    """A candidate that notes the sizes of its batches, and has memory for `most` images."""

    def build(body, device, shape):
        def run(images):
            sizes.append(len(images))
            assert not static or len(images) == shape[0]
            if most is not None and len(images) > most:
                raise torch.OutOfMemoryError("out of memory")
            return body(images)

        return run

    return Candidate("recorded", "float32", build, static=static)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 4, 11, 64])
def test_any_number_of_images_is_cut_into_batches_and_gives_the_same_vectors(batch, static):
    sizes = []
    got = Runtime(recorded(sizes, static=static), BODY, CPU, batch)(IMAGES)
    torch.testing.assert_close(got, BODY(IMAGES), rtol=1e-5, atol=1e-6)
    assert max(sizes) <= batch
    assert set(sizes) == {batch} if static else sum(sizes) == len(IMAGES)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("most", [1, 2, 5])
def test_batches_that_do_not_fit_are_halved_until_they_do_and_stay_so(most, static):
    sizes = []
    made = Runtime(recorded(sizes, most, static), BODY, CPU, 8)
    torch.testing.assert_close(made(IMAGES), BODY(IMAGES), rtol=1e-5, atol=1e-6)
    assert made.halved
    assert made.batch <= most
    sizes.clear()
    made(IMAGES)
    assert max(sizes) <= most


def test_memory_for_not_even_one_image_is_told_with_the_way_out():
    with pytest.raises(UserError, match="does not hold one image's work.*--device cpu"):
        Runtime(recorded([], most=0), BODY, CPU, 8)(IMAGES)


def test_what_fits_is_not_halved():
    made = Runtime(recorded([]), BODY, CPU, 4)
    made(IMAGES)
    assert (made.batch, made.halved) == (4, False)


def test_a_runtime_is_built_at_its_first_batch_and_once():
    built = []
    candidate = Candidate("counted", "float32", lambda body, device, shape: built.append(shape) or body)
    made = Runtime(candidate, BODY, CPU, 4)
    assert built == []
    made(IMAGES)
    made(IMAGES)
    assert built == [(4, 3, 16, 16)]


def test_a_candidate_that_divides_its_images_itself_is_given_all_of_them():
    sizes = []
    made = Runtime(replace(recorded(sizes), divides=True), BODY, CPU, 4)
    torch.testing.assert_close(made(IMAGES), BODY(IMAGES), rtol=1e-5, atol=1e-6)
    assert sizes == [11]


@pytest.mark.parametrize("images", [1, 3, 4, 11])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_openvino_gives_each_image_its_own_vector_whatever_the_size_of_its_requests(size, images, monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setattr(runtime, "_REQUEST_SIZES", (size,))
    openvino = next(c for c in candidates(CPU) if c.name == "OpenVINO")
    made = Runtime(openvino, BODY, CPU, 8)
    for given in (IMAGES[:images], IMAGES[:images].contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(made(given), BODY(IMAGES[:images]), rtol=1e-4, atol=1e-5)


def test_building_loads_no_compiler_and_warns_of_nothing():
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    code = (
        "import sys, warnings, torch\n"
        "from dermfuse.features.runtimes import runtime\n"
        "body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LayerNorm(12)).eval()\n"
        "class Bytes(torch.nn.Module):\n"
        "    def __init__(self): super().__init__(); self.body = body\n"
        "    def forward(self, images): return self.body(images.float())\n"
        "warnings.simplefilter('error')\n"
        "images = torch.zeros((4, 3, 2, 2), dtype=torch.uint8)\n"
        "candidate = next(c for c in runtime.candidates(torch.device('cpu')) if c.name == 'OpenVINO')\n"
        "runtime.Runtime(candidate, Bytes(), torch.device('cpu'), 4)(images)\n"
        "print([name for name in ('torch._dynamo', 'torch.distributed.tensor', 'sympy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_a_network_whose_weights_have_changed_is_converted_anew():
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    openvino = next(c for c in candidates(CPU) if c.name == "OpenVINO")
    body = copy.deepcopy(BODY)
    torch.testing.assert_close(Runtime(openvino, body, CPU, 4)(IMAGES), BODY(IMAGES), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for tensor in body.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(0.5)
    expected = body(IMAGES)
    assert not torch.allclose(expected, BODY(IMAGES), rtol=1e-2)
    torch.testing.assert_close(Runtime(openvino, body, CPU, 4)(IMAGES), expected, rtol=1e-4, atol=1e-5)


def test_an_interrupt_waits_for_what_openvino_is_still_computing():
    class Queue:
        waited = False

        def set_callback(self, callback):
            pass

        def start_async(self, *given, **how):
            raise KeyboardInterrupt

        def wait_all(self):
            self.waited = True

    queue = Queue()
    with pytest.raises(KeyboardInterrupt):
        runtime._divided(queue, 1)(IMAGES)
    assert queue.waited


def test_few_images_at_a_time_are_spread_over_the_cores(monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    sizes = []
    divided = runtime._divided
    monkeypatch.setattr(runtime, "_divided", lambda queue, size: sizes.append(size) or divided(queue, size))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    openvino = next(c for c in candidates(CPU) if c.name == "OpenVINO")
    for batch in (1, 2, 4, 8):
        Runtime(openvino, BODY, CPU, batch)(IMAGES)
    assert sizes == [1, 1, 1, 2, 1, 2]


def test_the_reference_comes_first_and_names_are_distinct():
    for device in ("cpu", "cuda"):
        every = candidates(torch.device(device))
        assert every[0] is REFERENCE
        assert len({c.name for c in every}) == len(every)
        assert {c.precision for c in every} <= set(runtime.PRECISIONS)


@pytest.mark.parametrize("candidate", candidates(CPU), ids=lambda c: c.name)
def test_every_candidate_of_a_cpu_agrees_with_the_reference_as_far_as_its_precision_goes(candidate):
    if candidate.name.startswith("OpenVINO"):
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    weights = {name: value.clone() for name, value in BODY.state_dict().items()}
    made = Runtime(candidate, BODY, CPU, 4)
    expected = BODY(IMAGES)
    tolerance = {"float32": 1e-5, "bfloat16": 0.05}[candidate.precision]
    for _ in range(2):
        got = made(IMAGES)
        assert got.dtype == torch.float32
        assert (got - expected).norm() / expected.norm() < tolerance
    for name, value in BODY.state_dict().items():
        assert torch.equal(value, weights[name])


@pytest.mark.parametrize("name", ["reference", "channels last", "TF32"])
def test_only_the_candidate_of_that_name_lets_a_gpu_use_tensorfloat_32(name):
    allowed = []

    class Watching(nn.Module):
        def forward(self, images):
            allowed.append(torch.backends.cudnn.allow_tf32)
            return images.flatten(1).float()

    (candidate,) = [c for c in candidates(torch.device("cuda")) if c.name == name]
    Runtime(candidate, Watching(), CPU)(IMAGES)
    assert allowed == [candidate.precision == "tf32"]
