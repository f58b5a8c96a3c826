"""From a decoded image to a network's input: the published transforms, on bytes, without the network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ResizeAndCrop:
    """Resize the shorter side with antialias, then cut the central square; bytes in and out.

    An extractor's ``prepare``. It holds no network, so that decoding processes can be given it.

    Attributes
    ----------
    resize : int
        Length of the shorter side in pixels before the cut.
    crop : int
        Side of the square in pixels.
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
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional as F

        if min(image.shape[1:]) != self.resize:
            mode = InterpolationMode(self.interpolation)
            image = F.resize(image, [self.resize], interpolation=mode, antialias=True)
        return F.center_crop(image, [self.crop, self.crop]).to(torch.uint8)
