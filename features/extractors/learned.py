"""Autoencoders kept beside the embeddings: when a trained one serves again, and what it learned from."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dermfuse.cache.atomic import atomic_write, check_room, make_folder
from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.cache.upkeep import locked
from dermfuse.features.extractors.autoencoder import (
    NAME,
    AutoencoderConfig,
    AutoencoderExtractor,
    config_as_dict,
    config_from_dict,
    train_autoencoder,
)
from dermfuse.features.extractors.weights import read_state, save_state
from dermfuse.features.images.decoder import decode
from dermfuse.features.images.transforms import ResizeAndCrop
from dermfuse.features.images.workers import Task, default_workers, prepared_images

RECORD = "record.json"
SHOWN = 8
FEWEST_IMAGES = 16


def autoencoder_for(
    paths: dict[str, str | Path],
    learn: list[str],
    allowed: set[str],
    store: Store,
    config: AutoencoderConfig,
    device: str,
    dtype: str,
    console,
    workers: int | None = None,
) -> AutoencoderExtractor:
    """A kept autoencoder that fits, else a newly trained one.

    A kept one fits when it was trained with the same configuration and every image it learned from is among
    `allowed`; so new images do not make it train again.

    Parameters
    ----------
    paths : dict of str to str or Path
        Row key (SHA-256 of the file's bytes) to image file.
    learn : list of str
        Row keys to learn from.
    allowed : set of str
        Row keys of the whole training split.

    Raises
    ------
    UserError
        Too few readable images.
    """
    # Of two processes, the second finds what the first has trained.
    with locked(make_folder(store.root / "learned"), console.say):
        return _found_or_trained(paths, learn, allowed, store, config, device, dtype, console, workers)


def _found_or_trained(paths, learn, allowed, store, config, device, dtype, console, workers) -> AutoencoderExtractor:
    for record in _records(store):
        if record["config"] == config_as_dict(config) and allowed.issuperset(record["rows"]):
            return load_autoencoder(store, record["weights"], device, dtype)
    needed = len(paths) * config.latent * np.dtype(dtype).itemsize
    check_room(store.root, needed, f"{len(paths):,} images embedded by {NAME}")
    if len(learn) > config.max_images:
        console.notice(f"{NAME} learns from {config.max_images:,} of {len(learn):,} training images, drawn by seed")
        drawn = np.random.default_rng(config.seed).choice(len(learn), config.max_images, replace=False)
        learn = [learn[i] for i in sorted(drawn)]
    rows, images = _small_pictures(learn, paths, config.size, console, workers)
    if len(rows) < FEWEST_IMAGES:
        raise UserError(
            f"{NAME} needs at least {FEWEST_IMAGES} readable training images, got {len(rows)}. "
            f"Leave {NAME} out of --features, or give more images."
        )
    return _train_and_keep(rows, images, store, config, device, dtype, console)


def load_autoencoder(store: Store, weights: str, device: str, dtype: str) -> AutoencoderExtractor:
    """The kept autoencoder whose weights have this hash.

    Raises
    ------
    UserError
        It is gone or damaged.
    """
    folder = store.learned_folder(NAME, weights)
    record = _read_record(folder)
    if record is None:
        raise UserError(f"the autoencoder {weights[:12]} is not in {folder.parent}. Run 'extract' and 'fit' again.")
    state = read_state(folder / "weights.safetensors")
    extractor = AutoencoderExtractor(config_from_dict(record["config"]), state, record["rows"], device, dtype)
    if extractor.recipe()["weights"] != weights:
        raise UserError(
            f"{folder / 'weights.safetensors'} is damaged: its hash differs. Delete the folder, extract again."
        )
    return extractor


def learning_record(store: Store, weights: str) -> dict:
    """What is known of a kept autoencoder: rows, losses, configuration."""
    return _read_record(store.learned_folder(NAME, weights)) or {}


def reconstructions(store: Store, weights: str) -> Path:
    """File with a few validation images and their reconstructions (npz: originals, reconstructions)."""
    return store.learned_folder(NAME, weights) / "reconstructions.npz"


def _records(store: Store) -> list[dict]:
    folders = (store.root / "learned").glob(f"{NAME}-*") if (store.root / "learned").is_dir() else []
    whole = [folder for folder in sorted(folders) if (folder / "weights.safetensors").is_file()]
    records = [record for folder in whole if (record := _read_record(folder)) is not None]
    return sorted(records, key=lambda record: record["created"], reverse=True)


def _read_record(folder: Path) -> dict | None:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(record, dict) and {"created", "config", "weights", "rows"} <= record.keys()
    return record if whole else None


def _small_pictures(learn, paths, size: int, console, workers: int | None) -> tuple[list[str], np.ndarray]:
    tasks = (Task(key, paths[key], (0,)) for key in learn)
    workers = default_workers() if workers is None else workers
    rows, images = [], np.empty((len(learn), 3, size, size), np.uint8)
    with console.progress(f"reading images for {NAME}", len(learn)) as advance:
        workers = min(workers, len(learn))
        for image in prepared_images(tasks, [ResizeAndCrop(size, size)], workers, decode, tell=console.notice):
            advance()
            if image.bad is None:  # the extraction that follows sets the bad ones aside and tells
                images[len(rows)] = image.images[0]
                rows.append(image.key)
    return rows, images[: len(rows)]


def _train_and_keep(rows, images, store, config, device, dtype, console) -> AutoencoderExtractor:
    started = time.perf_counter()
    with console.progress(f"training {NAME}", config.epochs * len(rows)) as advance:
        state, curve, validation = train_autoencoder(images, config, device, advance)
    extractor = AutoencoderExtractor(config, state, rows, device, dtype)
    weights = extractor.recipe()["weights"]
    folder = store.learned_folder(NAME, weights)
    save_state(folder / "weights.safetensors", state)
    _keep_reconstructions(folder, extractor, images[validation[:SHOWN]])
    record = {
        "created": time.time(),
        "config": config_as_dict(config),
        "weights": weights,
        "rows": rows,
        "curve": asdict(curve),
        "rows_held_back": len(validation),
        "seconds": round(time.perf_counter() - started, 2),
    }
    # The record goes last: only with it is the autoencoder there.
    atomic_write(folder / RECORD, json.dumps(record).encode())
    console.say(
        f"{NAME}: learned from {len(rows):,} training images in {len(curve.train_loss)} epochs, "
        f"validation error {min(curve.validation_loss):.5f}"
    )
    return extractor


def _keep_reconstructions(folder: Path, extractor: AutoencoderExtractor, images: np.ndarray) -> None:
    import io

    import torch

    buffer = io.BytesIO()
    made = extractor.reconstruct(torch.from_numpy(images)).numpy()
    np.savez_compressed(buffer, originals=images.transpose(0, 2, 3, 1), reconstructions=made.transpose(0, 2, 3, 1))
    atomic_write(folder / "reconstructions.npz", buffer.getvalue())
