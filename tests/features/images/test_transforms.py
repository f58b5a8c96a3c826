"""Resizing and cutting: what torchvision's own transforms give, to the bit, without loading them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from dermfuse.features.images.transforms import ResizeAndCrop

ROOT = Path(__file__).resolve().parents[3]
SIZES = [
    (450, 600),
    (600, 450),
    (451, 603),
    (224, 224),
    (100, 90),
    (1, 1),
    (1, 40),
    (40, 1),
    (3, 5),
    (1000, 20),
    (231, 999),
]


def torchvisions(image: torch.Tensor, made: ResizeAndCrop) -> torch.Tensor:
    mode = InterpolationMode(made.interpolation)
    image = functional.resize(image, [made.resize], interpolation=mode, antialias=True)
    return functional.center_crop(image, [made.crop, made.crop])


@pytest.mark.parametrize("capability", ["AVX2", "DEFAULT"])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIZES)
def test_bytes_are_those_of_torchvision(size, mode, capability, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    drawn = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    layouts = (drawn, drawn.permute(1, 2, 0).contiguous().permute(2, 0, 1), drawn.transpose(1, 2).contiguous().mT)
    for made in (ResizeAndCrop(256, 224, mode), ResizeAndCrop(232, 225, mode), ResizeAndCrop(64, 64, mode)):
        for image in layouts:
            got, expected = made(image), torchvisions(image, made)
            assert got.dtype == torch.uint8
            assert got.shape == made.shape
            assert torch.equal(got, expected)
            assert got.stride() == expected.stride()


def test_decoding_and_building_networks_load_no_compiler():
    code = (
        "import sys, torch\n"
        "from dermfuse.features.extractors import networks\n"
        "from dermfuse.features.images import decoder\n"
        "from dermfuse.features.images.transforms import ResizeAndCrop\n"
        "networks.build('mobilenet_v2'); networks.preferred('mobilenet_v2').transforms(); decoder.decoder_recipe()\n"
        "ResizeAndCrop(32, 32)(torch.zeros(3, 40, 50, dtype=torch.uint8))\n"
        "print([name for name in ('torch._dynamo', 'torch._dynamo.utils', 'sympy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_compiler_is_there_as_soon_as_it_is_asked():
    code = (
        "from dermfuse.features.images.vision import torchvision\n"
        "import sys, torch\n"
        "from torchvision.ops import roi_align\n"
        "boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]\n"
        "assert roi_align(torch.ones(1, 1, 8, 8), boxes, 2).eq(1).all()\n"
        "assert torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)) == 2\n"
        "assert sys.modules['torch._dynamo.utils'].__file__\n"
        "print('done')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "done", done.stderr
