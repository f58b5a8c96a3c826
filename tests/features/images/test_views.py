"""The eight symmetries of a square: which, in which order, and that a mean over them does not know a turn."""

from __future__ import annotations

import pytest
import torch

from dermfuse.features.choices import VIEWS
from dermfuse.features.images.views import views_of

IMAGES = torch.randint(0, 256, (2, 3, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def symmetries(images):
    """All flips and quarter turns, made in another way."""
    turns = [torch.rot90(images, k, (2, 3)) for k in range(4)]
    return turns + [turn.flip(3) for turn in turns]


@pytest.mark.parametrize("count", VIEWS)
def test_views_are_that_many_different_symmetries_the_image_itself_first(count):
    views = list(views_of(IMAGES, count))
    assert len(views) == count
    assert torch.equal(views[0], IMAGES)
    found = [next(i for i, s in enumerate(symmetries(IMAGES)) if torch.equal(s, view)) for view in views]
    assert len(set(found)) == count


def test_two_and_four_views_keep_the_axes_of_the_image():
    flips = [IMAGES, IMAGES.flip(3), IMAGES.flip(2), IMAGES.flip((2, 3))]
    for count in (2, 4):
        for view, expected in zip(views_of(IMAGES, count), flips, strict=False):
            assert torch.equal(view, expected)


@pytest.mark.parametrize("turned", range(8))
def test_the_set_of_eight_views_is_the_same_for_a_turned_image(turned):
    def as_set(images):
        return sorted(view[0].flatten().tolist() for view in views_of(images, 8))

    assert as_set(symmetries(IMAGES)[turned]) == as_set(IMAGES)


def test_views_have_the_channels_of_a_pixel_together():
    assert all(view.is_contiguous(memory_format=torch.channels_last) for view in views_of(IMAGES, 8))
