"""Flips and right-angle turns of a square image: a lesion has no up, so its embedding is a mean over them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def views_of(images: Tensor, count: int) -> Iterator[Tensor]:
    """The first `count` of the eight symmetries of a square, each applied to every image.

    Parameters
    ----------
    images : Tensor, shape (n, channels, side, side)
    count : {1, 2, 4, 8}
        1 is the image itself; 2 adds its mirror image; 4 its half turn and the other mirror image; 8 the same
        of the transposed image, which are the quarter turns and the diagonal mirror images.

    Yields
    ------
    Tensor, shape (n, channels, side, side)
    """
    for number in range(count):
        view = images.transpose(2, 3) if number & 4 else images
        flips = [axis for bit, axis in ((1, 3), (2, 2)) if number & bit]
        view = view.flip(flips) if flips else view
        yield view.contiguous(memory_format=torch.channels_last)
