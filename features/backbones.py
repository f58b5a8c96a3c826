"""Frozen torchvision networks as extractors: one vector per image, and the maps that pooling reduced."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cache.errors import UserError
from features.images import decoder_recipe
from features.transforms import ResizeAndCrop
from features.weights import Weights

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
)


class FrozenBackbone:
    """A torchvision network cut before its classifier, in eval mode, without gradients.

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

    Attributes
    ----------
    width : int
        Length of one embedding.
    prepare : ResizeAndCrop
        The published transforms up to normalisation, which follows in :meth:`forward`, a batch at a time.
    """

    learned_from = None

    def __init__(self, name: str, weights: Weights, device: str = "cpu", dtype: str = "float16"):
        from torchvision.models import get_model

        self.name = name
        self.dtype = dtype
        self.device = torch.device(device)
        self._weights_digest = weights.digest
        self._transform = weights.entry.transforms()
        network = get_model(name, weights=None)
        _load(network, weights)
        self.network = network.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        self._trunk, self._after_pool = _cut(self.network)
        mean, std = (
            torch.tensor(v)[:, None, None].to(self.device) for v in (self._transform.mean, self._transform.std)
        )
        self._mean, self._std = mean, std
        self.prepare = resize_and_crop(self._transform)
        self.width = self.forward(torch.zeros(1, *self.prepare.shape, dtype=torch.uint8)).shape[1]

    def recipe(self) -> dict:
        """All that determines an embedding, for the cache key."""
        return {
            "schema": RECIPE_SCHEMA,
            "extractor": "backbone",
            "architecture": self.name,
            "weights": self._weights_digest,
            "levels": "last",
            "views": 1,
            **transform_recipe(self._transform),
            "decode": decoder_recipe(),
            "precision": "float32",
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
        Tensor, shape (n, width), float32, on the CPU
        """
        vectors = self._after_pool(self._trunk(self._normalised(batch)))
        return vectors.float().cpu()

    @torch.inference_mode()
    def spatial_maps(self, batch: Tensor) -> Tensor:
        """The maps that pooling reduces to the embedding, for attribution: (n, channels, rows, columns), float32."""
        maps = self._trunk(self._normalised(batch))
        if maps.ndim == 3:  # a transformer's tokens: the class token, then the patches row by row
            side = int((maps.shape[1] - 1) ** 0.5)
            maps = maps[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        return maps.float().cpu()

    def _normalised(self, batch: Tensor) -> Tensor:
        batch = batch.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        return (batch.float() / 255 - self._mean) / self._std


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
            "Expected torchvision's own state dict of that network."
        ) from None


def _cut(network: nn.Module) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Split a network before its classifier: images -> maps, and maps -> vector."""
    kind = type(network).__name__
    if kind == "ResNet":
        return nn.Sequential(*list(network.children())[:-2]), _mean_pool
    if kind == "DenseNet":
        return nn.Sequential(network.features, nn.ReLU()), _mean_pool
    if kind == "ConvNeXt":
        norm = network.classifier[0]
        return network.features, lambda maps: norm(maps.mean((2, 3), keepdim=True)).flatten(1)
    if kind == "VisionTransformer":
        return lambda images: _tokens(network, images), lambda tokens: tokens[:, 0]
    return network.features, _mean_pool


def _mean_pool(maps: Tensor) -> Tensor:
    return maps.mean((2, 3))


def _tokens(network: nn.Module, images: Tensor) -> Tensor:
    tokens = network._process_input(images)
    class_token = network.class_token.expand(len(tokens), -1, -1)
    return network.encoder(torch.cat([class_token, tokens], dim=1))
