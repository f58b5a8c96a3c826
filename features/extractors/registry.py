"""From a name on the command line, or a recipe in the cache, to the extractor that makes those embeddings."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch

from dermfuse.cache.errors import UserError, usage_error
from dermfuse.cache.recipe import differing_fields
from dermfuse.cache.store import Store
from dermfuse.features.extractors import autoencoder, learned
from dermfuse.features.extractors.backbones import BACKBONES, FrozenBackbone, transform_recipe
from dermfuse.features.extractors.networks import preferred, published
from dermfuse.features.extractors.weights import Weights, find_weights, read_state, save_state, state_digest
from dermfuse.features.images.transforms import ResizeAndCrop
from dermfuse.features.runtimes.choice import runtime_of
from dermfuse.features.runtimes.runtime import Runtime

KNOWN = (*BACKBONES, autoencoder.NAME)


class Extractor(Protocol):
    """What turns decoded images into embeddings; see :class:`dermfuse.features.extractors.backbones.FrozenBackbone`."""

    name: str
    width: int
    dtype: str
    device: torch.device
    views: int
    learned_from: frozenset[str] | None
    prepare: ResizeAndCrop
    body: torch.nn.Module
    runtime: Runtime

    def recipe(self) -> dict:
        """All that determines an embedding."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Stacked inputs to embeddings (n, width), float32 on the device."""

    def spatial_maps(self, batch: torch.Tensor) -> torch.Tensor:
        """The maps that pooling reduced, (n, channels, rows, columns)."""


def check_names(names: list[str]) -> list[str]:
    """The names, each once and each known.

    Raises
    ------
    UserError
        A name that is no extractor (exit code 2).
    """
    unknown = [n for n in names if n not in KNOWN]
    if unknown:
        raise usage_error(f"unknown feature {unknown[0]!r}. Known: {', '.join(KNOWN)}.")
    return list(dict.fromkeys(names))


def choose_device(wanted: str = "auto") -> str:
    """``auto`` to the best device at hand; anything else is checked.

    Raises
    ------
    UserError
        The device is unknown or not there.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=wanted).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise usage_error(f"device {wanted!r} cannot be used: {reason}. Give auto, cpu or cuda.") from None
    return wanted


def frozen_extractor(
    name: str, store: Store, weights_dir: Path | None, device: str, dtype: str, views: int = 1, levels: str = "last"
) -> FrozenBackbone:
    """A pretrained backbone with weights from `weights_dir`, its package or torchvision itself.

    Weights from a local folder are kept in the cache, so that ``predict`` needs no flag later.
    """
    weights = find_weights(name, weights_dir)
    extractor = FrozenBackbone(name, weights, device, dtype, views, levels)
    kept = kept_weights(store, name, weights.digest)
    if weights.local and not kept.exists():
        save_state(kept, weights.state)
    return extractor


def extractor_of(
    name: str, recipe: dict, store: Store, weights_dir: Path | None, device: str, tell: Callable[[str], None]
) -> Extractor:
    """Build again the extractor `name` that once had this `recipe`; told is in what it differs all the same.

    Raises
    ------
    UserError
        Its weights are no longer to be had.
    """
    if recipe["extractor"] == "autoencoder":
        extractor = learned.load_autoencoder(store, recipe["weights"], device, recipe["dtype"])
    else:
        weights = _weights_with_digest(name, recipe["weights"], store, weights_dir)
        weights = replace(weights, entry=_entry_of(name, recipe, weights.entry))
        extractor = FrozenBackbone(name, weights, device, recipe["dtype"], recipe["views"], recipe["levels"])
    extractor.runtime = runtime_of(recipe["precision"], extractor)
    for difference in differing_fields(recipe, extractor.recipe()):
        tell(f"{name}: new images are embedded with another {difference} than the cached ones")
    return extractor


def _weights_with_digest(name: str, digest: str, store: Store, weights_dir: Path | None) -> Weights:
    kept = kept_weights(store, name, digest)
    if kept.is_file():
        with suppress(UserError):  # a damaged copy is as good as none
            state = read_state(kept)
            if state_digest(state) == digest:
                return Weights(state, digest, preferred(name), str(kept), local=True)
    weights = find_weights(name, weights_dir)
    if weights.digest != digest:
        raise UserError(
            f"the weights of {name} in {weights.source} are not those that the run was made with "
            f"(hash {weights.digest[:12]}, expected {digest[:12]}). Name the right folder with --weights-dir."
        )
    return weights


def _entry_of(name: str, recipe: dict, otherwise):
    """The published entry whose transforms the recipe was made with: a kept copy has lost its published name."""
    fits = (e for e in published(name) if transform_recipe(e.transforms()).items() <= recipe.items())
    return next(fits, otherwise)


def kept_weights(store: Store, name: str, digest: str) -> Path:
    """Where the cache keeps weights that came from a local folder."""
    return store.root / "weights" / f"{name}-{digest[:16]}.safetensors"
