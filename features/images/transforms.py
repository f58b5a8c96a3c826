"""From a decoded image to a network's input: the published transforms, on bytes, without the network."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class ResizeAndCrop:
    """Resize the shorter side with antialias, then cut the central square; bytes in and out.

    An extractor's ``prepare``. It holds no network, so that decoding processes can be given it.

    Attributes
    ----------
    resize : int
        Length of the shorter side in pixels before the cut.
    crop : int
        Side of the square in pixels, at most `resize`.
    interpolation : str
        Value of torchvision's ``InterpolationMode``: ``bilinear`` or ``bicubic``.
    """

    resize: int
    crop: int
    interpolation: str = "bilinear"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one prepared image."""
        return 3, self.crop, self.crop

    def recipe(self) -> dict:
        """What this does to a decoded image, for an extractor's recipe."""
        return {
            "resize": self.resize,
            "interpolation": self.interpolation,
            "antialias": True,
            "crop": self.crop,
        }

    def __call__(self, image: Tensor) -> Tensor:
        """Prepare one decoded image.

        Parameters
        ----------
        image : Tensor, shape (3, height, width), uint8

        Returns
        -------
        Tensor, shape (3, crop, crop), uint8
        """
        if min(image.shape[1:]) != self.resize:
            image = _resized(image, self.resize, self.interpolation)
        top, left = (round((side - self.crop) / 2) for side in image.shape[1:])
        return image[:, top : top + self.crop, left : left + self.crop]


def _resized(image: Tensor, shorter: int, mode: str) -> Tensor:
    """As ``torchvision.transforms.v2.functional.resize`` does with antialias, whose import takes a second."""
    height, width = image.shape[1:]
    longer = int(shorter * max(height, width) / min(height, width))
    size = [shorter, longer] if height <= width else [longer, shorter]
    given = image[None]
    if given.is_contiguous(memory_format=torch.channels_last):
        # One image says nothing of the step between images; with this one, the result is laid out alike.
        given = given.as_strided(given.shape, (given.numel(), *given.stride()[1:]))
    if mode == "bicubic" or _resizes_bytes():
        return interpolate(given, size, mode=mode, align_corners=False, antialias=True)[0]
    return interpolate(given.float(), size, mode=mode, align_corners=False, antialias=True)[0].round().to(torch.uint8)


def _resizes_bytes() -> bool:
    """Whether PyTorch has a kernel here that resizes bytes bilinearly."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") or platform.machine() in ("aarch64", "arm64")
