"""Frozen pretrained networks as extractors: one vector per image, and the maps that pooling reduced."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dermfuse.cache.errors import UserError
from dermfuse.features.extractors.networks import EFFICIENTNET_LITE0, build
from dermfuse.features.extractors.stages import PooledStages, taps_of
from dermfuse.features.extractors.weights import Weights
from dermfuse.features.images.decoder import decoder_recipe
from dermfuse.features.images.transforms import ResizeAndCrop
from dermfuse.features.images.views import views_of
from dermfuse.features.runtimes.runtime import REFERENCE, Runtime

RECIPE_SCHEMA = 1

BACKBONES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "vgg16",
    "densenet121",
    "densenet169",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "convnext_tiny",
    "vit_b_16",
    EFFICIENTNET_LITE0,
)


class FrozenBackbone:
    """A pretrained network cut before its classifier, in eval mode, without gradients.

    Parameters
    ----------
    name : str
        One of `BACKBONES`.
    weights : Weights
        State dict, with the published entry whose transforms are used.
    device : str
        Where :meth:`forward` runs.
    dtype : str
        ``float16`` or ``float32``: how embeddings are stored.
    views : {1, 2, 4, 8}
        Flips and turns of an image that are averaged, see :func:`dermfuse.features.images.views.views_of`.
    levels : {"last", "multi"}
        Which stages are pooled, see :class:`dermfuse.features.extractors.stages.PooledStages`.

    Attributes
    ----------
    width : int
        Length of one embedding.
    prepare : ResizeAndCrop
        The published transforms up to normalisation, which follows in :meth:`forward`, a batch at a time.
    body : PooledStages
        The network, bytes to vectors, for one view.
    runtime : Runtime
        How the body is run; the reference unless a faster one was found that agrees with it; see
        :mod:`dermfuse.features.runtimes.choice`.
    """

    learned_from = None

    def __init__(
        self,
        name: str,
        weights: Weights,
        device: str = "cpu",
        dtype: str = "float16",
        views: int = 1,
        levels: str = "last",
    ):
        self.name, self.dtype = name, dtype
        self.views, self.levels = views, levels
        self.device = torch.device(device)
        self._weights_digest = weights.digest
        self._transform = weights.entry.transforms()
        self.prepare = resize_and_crop(self._transform)
        network = build(name)
        _load(network, weights)
        body = PooledStages(name, network, self._transform.mean, self._transform.std, levels)
        self.body = body.eval().requires_grad_(False).to(self.device)
        self.runtime = Runtime(REFERENCE, self.body, self.device)
        self.width = self.runtime(torch.zeros(1, *self.prepare.shape, dtype=torch.uint8)).shape[1]

    def recipe(self) -> dict:
        """All that determines an embedding, for the cache key."""
        taps = {"stages": list(taps_of(self.name)), "pooling": "mean and maximum"} if self.levels == "multi" else {}
        return {
            "schema": RECIPE_SCHEMA,
            "extractor": "backbone",
            "architecture": self.name,
            "weights": self._weights_digest,
            "levels": self.levels,
            **taps,
            "views": self.views,
            **transform_recipe(self._transform),
            "decode": decoder_recipe(),
            "precision": self.runtime.precision,
            "dtype": self.dtype,
        }

    @torch.inference_mode()
    def forward(self, batch: Tensor) -> Tensor:
        """Embed a batch.

        Parameters
        ----------
        batch : Tensor, shape (n, 3, crop, crop), uint8

        Returns
        -------
        Tensor, shape (n, width), float32
            On :attr:`device`, where it may still be being computed: moving it to the CPU waits for that.
        """
        total = None
        for view in views_of(batch.to(self.device, non_blocking=True), self.views):
            vectors = self.runtime(view)
            total = vectors if total is None else total + vectors
        return total / self.views

    @torch.inference_mode()
    def spatial_maps(self, batch: Tensor) -> Tensor:
        """The maps that pooling reduces to the embedding, for attribution: (n, channels, rows, columns), float32."""
        return self.body.maps(batch.to(self.device)).float().cpu()


def transform_recipe(transform) -> dict:
    """What a published entry's transforms do to a decoded image, for a recipe."""
    return {**resize_and_crop(transform).recipe(), "mean": list(transform.mean), "std": list(transform.std)}


def resize_and_crop(transform) -> ResizeAndCrop:
    """The part of a published entry's transforms that comes before normalisation."""
    return ResizeAndCrop(transform.resize_size[0], transform.crop_size[0], transform.interpolation.value)


def _load(network: nn.Module, weights: Weights) -> None:
    try:
        network.load_state_dict(dict(weights.state))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise UserError(
            f"the weights in {weights.source} do not fit {type(network).__name__}: {lines[-1][:200]}. "
            "Expected the published state dict of that network."
        ) from None
