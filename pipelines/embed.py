"""Stage 1 for a dataset with splits: frozen extractors, and learned ones that see the training split only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cache.errors import UserError, usage_error
from cache.store import Store
from features import autoencoder, learned
from features.content import Content, open_index, read_content
from features.dataset import Dataset
from features.extract import ExtractSummary, extract
from features.extractors import Extractor, check_names, choose_device, frozen_extractor
from pipelines.splits import join_same_files, learning_rows, locked_test

DTYPES = ("float16", "float32")


@dataclass(frozen=True)
class Stage1Options:
    """What a person chose for ``extract``.

    Attributes
    ----------
    features : list of str
        Names of extractors.
    weights_dir : Path or None
        Folder with state dicts; None has torchvision download.
    device : str
    dtype : str
        How embeddings are stored.
    batch_size, workers : int or None
        None chooses by device and cores.
    seed : int
        Of the locked test split, and of the autoencoder.
    verify : bool
        Read every image again, also those whose size and time are as they were.
    """

    features: list[str]
    weights_dir: Path | None = None
    device: str = "auto"
    dtype: str = "float16"
    batch_size: int | None = None
    workers: int | None = None
    seed: int = 0
    verify: bool = False

    def check(self) -> None:
        """Refuse impossible choices before any work.

        Raises
        ------
        UserError
            With exit code 2.
        """
        check_names(self.features)
        if self.dtype not in DTYPES:
            raise usage_error(f"unknown --dtype {self.dtype!r}. Known: {', '.join(DTYPES)}.")


def embed_dataset(dataset: Dataset, options: Stage1Options, cache: Path, console) -> ExtractSummary:
    """Embed every image of a dataset into the cache.

    Raises
    ------
    UserError
        Unknown names, no images, weights that cannot be had, a full disk.
    """
    names = check_names(options.features)
    if not dataset.has_images:
        raise UserError(
            f"no image files below {dataset.folder}. Expected JPEG, PNG, WebP, BMP or TIFF files beside the table."
        )
    device = choose_device(options.device)
    store = Store(cache, on_problem=console.say)
    # Weights that are missing should stop the run before any file is hashed.
    made: dict[str, Extractor] = {
        name: frozen_extractor(name, store, options.weights_dir, device, options.dtype)
        for name in names
        if name != autoencoder.NAME
    }
    with open_index(store, console) as index:
        content = read_content(dataset.rows["path"], index, console, options.verify)
    dataset = join_groups(dataset, content, console)
    if autoencoder.NAME in names:
        made[autoencoder.NAME] = _autoencoder(dataset, content, store, options, device, console)
    extractors = [made[name] for name in names]
    return extract(dataset, content, extractors, store, console, options.batch_size, options.workers)


def join_groups(dataset: Dataset, content: Content, console) -> Dataset:
    """The dataset with groups joined that share an identical image file; told when there are any."""
    before = dataset.rows["group"].to_numpy(str)
    after = join_same_files(before, content.keys)
    if len(set(after)) == len(set(before)):
        return dataset
    joined = len(set(before)) - len(set(after))
    console.notice(f"{dataset.layout.group_word} joined with another that has an identical image file: {joined:,}")
    return replace(dataset, rows=dataset.rows.assign(group=after))


def locked_split(dataset: Dataset, seed: int) -> np.ndarray:
    """Rows of the dataset's locked test split, (n,) bool."""
    return locked_test(*_labels_and_groups(dataset), seed)


def _autoencoder(dataset: Dataset, content: Content, store: Store, options: Stage1Options, device: str, console):
    test = locked_split(dataset, options.seed)
    learn = learning_rows(*_labels_and_groups(dataset), options.seed)
    locked = content.chosen(test)
    return learned.autoencoder_for(
        content.paths(dataset),
        sorted(content.chosen(learn) - locked),
        content.chosen(~test) - locked,
        store,
        autoencoder.AutoencoderConfig(seed=options.seed),
        device,
        options.dtype,
        console,
        options.workers,
    )


def _labels_and_groups(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    return dataset.rows["label"].to_numpy(str), dataset.rows["group"].to_numpy(str)
