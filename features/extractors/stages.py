"""Pretrained networks cut into stages, and pooled to one vector an image: the last level, or several."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Where `multi` pools: the last stage of each resolution from a stride of 8 on (4 where a network has only four
# stages in all), and a closing 1 x 1 convolution. Numbers are places in the network's own sequence.
_TAPS = {
    "resnet": (4, 5, 6, 7),
    "vgg16": (16, 23, 30),
    "densenet": (5, 7, 9, 12),
    "mobilenet_v2": (6, 13, 17, 18),
    "mobilenet_v3_small": (3, 8, 11, 12),
    "mobilenet_v3_large": (6, 12, 15, 16),
    "efficientnet_lite0": (5, 11, 16, 17),
    "efficientnet": (3, 5, 7, 8),
    "convnext": (1, 3, 5, 7),
    "vit": (3, 6, 9, 13),
}


class PooledStages(nn.Module):
    """A network before its classifier, as one module from bytes to vectors.

    Parameters
    ----------
    name : str
        One of :data:`dermfuse.features.extractors.backbones.BACKBONES`.
    network : nn.Module
        The whole network of that name, see :func:`dermfuse.features.extractors.networks.build`.
    mean, std : sequence of float
        Of the published normalisation, on pixels in [0, 1].
    levels : {"last", "multi"}
        ``last`` is the mean of the last maps, normalised where the network does so before its classifier, or a
        transformer's class token. ``multi`` joins mean and maximum of
        several stages, the last among them, as in Hariharan et al., "Hypercolumns", CVPR 2015, pooled over the
        image.
    """

    def __init__(self, name: str, network: nn.Module, mean, std, levels: str = "last"):
        super().__init__()
        stages, self._closing = _cut(network)
        self.stages = nn.ModuleList(stages)
        self.taps = taps_of(name) if levels == "multi" else ()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 3, side, side) uint8 to vectors (n, width) float32."""
        maps, pooled = self._normalised(images), []
        for place, stage in enumerate(self.stages):
            maps = stage(maps)
            if place in self.taps[:-1]:
                pooled += [_mean(maps), _maximum(maps)]
        pooled.append(self._closing(maps))
        if self.taps:
            pooled.append(_maximum(maps))
        return torch.cat([vector.float() for vector in pooled], dim=1) if self.taps else pooled[0].float()

    def maps(self, images: Tensor) -> Tensor:
        """The last maps, before pooling: (n, channels, rows, columns)."""
        maps = self._normalised(images)
        for stage in self.stages:
            maps = stage(maps)
        if maps.ndim == 3:  # a transformer's tokens: the class token, then the patches row by row
            side = int((maps.shape[1] - 1) ** 0.5)
            maps = maps[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        return maps

    def _normalised(self, images: Tensor) -> Tensor:
        return (images.float() / 255 - self.mean) / self.std


def taps_of(name: str) -> tuple[int, ...]:
    """After which stages ``multi`` pools."""
    return next(taps for start, taps in _TAPS.items() if name.startswith(start))


def _cut(network: nn.Module) -> tuple[list[nn.Module], object]:
    """A network's stages up to its last maps, and what pools these to one vector."""
    kind = type(network).__name__
    if kind == "ResNet":
        return list(network.children())[:-2], _mean
    if kind == "DenseNet":
        # The network's own forward ends with this ReLU, outside its features.
        return [*network.features, nn.ReLU()], _mean
    if kind == "ConvNeXt":
        return list(network.features), _NormedMean(network.classifier[0])
    if kind == "VisionTransformer":
        encoder = network.encoder
        return [_Tokens(network), *encoder.layers, encoder.ln], lambda tokens: tokens[:, 0]
    if hasattr(network, "_conv_stem"):  # EfficientNet-Lite, whose stages have no name in common
        stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        head = nn.Sequential(network._conv_head, network._bn1, network._swish)
        return [stem, *network._blocks, head], _mean
    return list(network.features), _mean


def _mean(maps: Tensor) -> Tensor:
    return maps.mean((2, 3)) if maps.ndim == 4 else maps[:, 1:].mean(1)


def _maximum(maps: Tensor) -> Tensor:
    return maps.amax((2, 3)) if maps.ndim == 4 else maps[:, 1:].amax(1)


class _NormedMean(nn.Module):
    """The mean of maps through the layer norm that comes before a ConvNeXt's classifier."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm = norm

    def forward(self, maps: Tensor) -> Tensor:
        return self.norm(maps.mean((2, 3), keepdim=True)).flatten(1)


class _Tokens(nn.Module):
    """A transformer's images as tokens, the class token first."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.network._process_input(images)
        class_token = self.network.class_token.expand(len(tokens), -1, -1)
        encoder = self.network.encoder
        return encoder.dropout(torch.cat([class_token, tokens], dim=1) + encoder.pos_embedding)
