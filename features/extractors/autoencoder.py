"""The convolutional autoencoder: the network, its training on the training split, and the extractor it becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from dermfuse.features.extractors.backbones import RECIPE_SCHEMA
from dermfuse.features.extractors.weights import state_digest
from dermfuse.features.images.decoder import decoder_recipe
from dermfuse.features.images.transforms import ResizeAndCrop
from dermfuse.features.runtimes.runtime import REFERENCE, Runtime

NAME = "cae"


@dataclass(frozen=True)
class AutoencoderConfig:
    """Everything that decides how an autoencoder is trained, beside its images.

    Attributes
    ----------
    size : int
        Side of the square input in pixels; a multiple of 16.
    channels : tuple of int
        Channels after each of the four halvings.
    latent : int
        Length of the embedding.
    epochs, patience : int
        Most epochs, and epochs without a better validation loss after which training stops.
    batch : int
        Images a step.
    learning_rate : float
        Peak of Adam's one-cycle schedule.
    validation : float
        Share of the learning images held back for early stopping.
    max_images : int
        Most images learned from; a larger training split is subsampled, and told.
    seed : int
        Of initial weights, order, flips and the validation part.
    """

    size: int = 64
    channels: tuple[int, ...] = (16, 32, 64, 128)
    latent: int = 128
    epochs: int = 30
    patience: int = 4
    batch: int = 64
    learning_rate: float = 2e-3
    validation: float = 0.1
    max_images: int = 8192
    seed: int = 0


@dataclass
class TrainingCurve:
    """Mean squared error an epoch, on pixels in [0, 1]."""

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    best_epoch: int = 0


class ConvAutoencoder(nn.Module):
    """Four strided convolutions to a linear bottleneck, and their mirror image back to pixels.

    Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science 313 (2006), with
    convolutions as in Masci et al., "Stacked convolutional auto-encoders", ICANN 2011.
    """

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        side, widths = config.size // 16, (3, *config.channels)
        down = [_down(a, b) for a, b in zip(widths, widths[1:], strict=False)]
        flat = widths[-1] * side * side
        self.trunk = nn.Sequential(*down)
        self.to_latent = nn.Linear(flat, config.latent)
        back = widths[::-1]
        up = [_up(a, b) for a, b in zip(back[:-2], back[1:-1], strict=True)]
        self.decoder = nn.Sequential(
            nn.Linear(config.latent, flat),
            nn.Unflatten(1, (widths[-1], side, side)),
            *up,
            nn.ConvTranspose2d(back[-2], 3, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )

    def encode(self, images: Tensor) -> Tensor:
        """Pixels (n, 3, size, size) in [0, 1] to embeddings (n, latent)."""
        return self.to_latent(self.trunk(images).flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct pixels (n, 3, size, size) in [0, 1]."""
        return self.decoder(self.encode(images))


class Encoder(nn.Module):
    """The half of an autoencoder that embeds: bytes to vectors."""

    def __init__(self, network: ConvAutoencoder):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 3, size, size) uint8 to embeddings (n, latent) float32."""
        return self.network.encode(images.float() / 255).float()


class AutoencoderExtractor:
    """A trained autoencoder as a frozen extractor.

    Parameters
    ----------
    config : AutoencoderConfig
    state : dict of str to Tensor
        The trained weights; their hash is part of the cache key.
    learned_from : frozenset of str
        Row keys of the images it was trained or early-stopped on.
    device, dtype : str
        Where it runs, and how embeddings are stored.
    """

    name = NAME
    views = 1

    def __init__(self, config, state, learned_from=frozenset(), device: str = "cpu", dtype: str = "float16"):
        self.config, self.dtype, self.width = config, dtype, config.latent
        self.learned_from = frozenset(learned_from)
        self.prepare = ResizeAndCrop(config.size, config.size)
        self.device = torch.device(device)
        self._weights_digest = state_digest(state)
        network = ConvAutoencoder(config)
        network.load_state_dict(state)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.body = Encoder(self.network).eval()
        self.runtime = Runtime(REFERENCE, self.body, self.device)

    def recipe(self) -> dict:
        """All that determines an embedding, for the cache key."""
        return {
            "schema": RECIPE_SCHEMA,
            "extractor": "autoencoder",
            "architecture": {"channels": list(self.config.channels), "latent": self.config.latent},
            "weights": self._weights_digest,
            "levels": "last",
            "views": 1,
            **self.prepare.recipe(),
            "decode": decoder_recipe(),
            "precision": self.runtime.precision,
            "dtype": self.dtype,
        }

    @torch.inference_mode()
    def forward(self, batch: Tensor) -> Tensor:
        """Embed a batch (n, 3, size, size) uint8 as (n, latent) float32 on the device."""
        return self.runtime(batch)

    @torch.inference_mode()
    def spatial_maps(self, batch: Tensor) -> Tensor:
        """The maps before the bottleneck, (n, channels, size/16, size/16), float32."""
        return self.network.trunk(self._pixels(batch)).cpu()

    @torch.inference_mode()
    def reconstruct(self, batch: Tensor) -> Tensor:
        """Reconstruct a batch (n, 3, size, size) uint8; same shape and dtype."""
        return (self.network(self._pixels(batch)) * 255).round().to(torch.uint8).cpu()

    def _pixels(self, batch: Tensor) -> Tensor:
        return batch.to(self.device).float() / 255


def train_autoencoder(
    images: np.ndarray,
    config: AutoencoderConfig,
    device: str = "cpu",
    on_step: Callable[[int, str | None], None] = lambda n, note: None,
) -> tuple[dict[str, Tensor], TrainingCurve, np.ndarray]:
    """Train on uint8 pictures, stopping when the validation loss no longer falls.

    Parameters
    ----------
    images : ndarray, shape (n, 3, size, size), uint8
        Pictures of the training split only.
    config : AutoencoderConfig
    device : str
    on_step : callable
        ``on_step(images, note)`` after every batch.

    Returns
    -------
    state : dict of str to Tensor
        Weights of the best epoch.
    curve : TrainingCurve
    validation : ndarray of int
        Positions of the images that were held back for early stopping.
    """
    generator = torch.Generator().manual_seed(config.seed)
    order = torch.randperm(len(images), generator=generator).numpy()
    held = max(1, round(len(images) * config.validation))
    validation, train = np.sort(order[:held]), np.sort(order[held:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = ConvAutoencoder(config).to(device, memory_format=torch.channels_last)
    steps = config.epochs * -(-len(train) // config.batch)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=max(steps, 2))
    curve, best, best_loss = TrainingCurve(), None, float("inf")
    for epoch in range(config.epochs):
        network.train()
        total, seen = 0.0, 0
        for batch in _batches(train, config.batch, generator):
            pixels = _augmented(images[batch], generator).to(device)
            loss = nn.functional.mse_loss(network(pixels), pixels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total, seen = total + loss.item() * len(batch), seen + len(batch)
            on_step(len(batch), None)
        curve.train_loss.append(total / seen)
        curve.validation_loss.append(_validation_loss(network, images, validation, config.batch, device))
        on_step(0, f"epoch {epoch + 1}, validation error {curve.validation_loss[-1]:.5f}")
        if curve.validation_loss[-1] < best_loss:
            best_loss, curve.best_epoch = curve.validation_loss[-1], epoch
            best = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
        elif epoch - curve.best_epoch >= config.patience:
            break
    return best, curve, validation


def config_as_dict(config: AutoencoderConfig) -> dict:
    """The configuration as plain values, for records and keys."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}


def config_from_dict(values: dict) -> AutoencoderConfig:
    """The inverse of :func:`config_as_dict`."""
    return AutoencoderConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _batches(rows: np.ndarray, size: int, generator: torch.Generator) -> list[np.ndarray]:
    shuffled = rows[torch.randperm(len(rows), generator=generator).numpy()]
    batches = [shuffled[i : i + size] for i in range(0, len(shuffled), size)]
    # Batch normalisation has no statistics for a single image.
    return [b for b in batches if len(b) > 1] or batches


def _augmented(images: np.ndarray, generator: torch.Generator) -> Tensor:
    """Random flips and right-angle turns of a batch: a lesion has no up."""
    pixels = torch.from_numpy(images).float() / 255
    flips = torch.randint(0, 2, (len(pixels), 3), generator=generator).bool()
    for column, turn in enumerate((lambda x: x.flip(2), lambda x: x.flip(3), lambda x: x.transpose(2, 3))):
        chosen = flips[:, column]
        pixels[chosen] = turn(pixels[chosen])
    return pixels.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def _validation_loss(network: nn.Module, images: np.ndarray, rows: np.ndarray, size: int, device: str) -> float:
    network.eval()
    total = 0.0
    for i in range(0, len(rows), size):
        pixels = (torch.from_numpy(images[rows[i : i + size]]).float() / 255).to(device)
        total += nn.functional.mse_loss(network(pixels), pixels).item() * len(pixels)
    return total / len(rows)
