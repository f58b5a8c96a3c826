"""A small drawn dataset with its embeddings, and runs of stage 2 over it, made once for all tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.features.data.content import Content, content_of
from dermfuse.features.data.dataset import Dataset, load_dataset
from dermfuse.features.demo.synthetic import make_dataset
from dermfuse.features.embedding.loop import Work, extract
from dermfuse.features.extractors.autoencoder import AutoencoderConfig
from dermfuse.features.extractors.learned import autoencoder_for
from dermfuse.pipelines.evaluation import splits
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.workflows.fit import fit_dataset

TINY = AutoencoderConfig(size=32, channels=(4, 8, 8, 8), latent=12, epochs=2, batch=16)
FOLDS = 3


@dataclass(frozen=True)
class Demo:
    """The dataset, its cache with the blocks ``cae`` and ``toy``, and a folder for runs."""

    dataset: Dataset
    content: Content
    store: Store
    runs: Path

    @property
    def folder(self) -> Path:
        """Where table and images lie."""
        return self.dataset.folder

    def fit(self, name: str | None = None, store: Store | None = None, console=None, **options) -> Path:
        """Fit quietly, on one core, with three folds and logistic regression unless told otherwise."""
        chosen = FitOptions(**{"model": "logreg", "folds": FOLDS, "jobs": 1, "features": ["cae"], **options})
        console = console or Console(quiet=True)
        return fit_dataset(self.dataset, store or self.store, chosen, self.runs, name, console)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """One thread: the networks here are tiny, and other work shares the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Demo:
    """Sixty drawn lesions of 64 pixels, a real but tiny autoencoder, and a block that was filled by hand."""
    root = tmp_path_factory.mktemp("demo")
    make_dataset(root / "data", lesions=60, size=64)
    console = Console(quiet=True)
    dataset = load_dataset(root / "data")
    store = Store(root / "cache")
    content = content_of(dataset, store, console.progress)
    extract(dataset, content, [autoencoder(dataset, content, store)], store, console, Work(workers=1))
    fill_by_hand(dataset, content, store, "toy")
    return Demo(dataset, content, store, root / "runs")


@pytest.fixture(scope="session")
def finished(demo) -> Path:
    """The run ``full``: images and metadata, explained."""
    return demo.fit("full")


@pytest.fixture(scope="session")
def without_images(demo) -> Path:
    """The run ``no-images``."""
    return demo.fit("no-images", use_images=False, features=None)


@pytest.fixture(scope="session")
def without_metadata(demo) -> Path:
    """The run ``no-metadata``, not explained."""
    return demo.fit("no-metadata", use_metadata=False, explain=False)


def autoencoder(dataset: Dataset, content: Content, store: Store, rows: np.ndarray | None = None):
    """A tiny autoencoder, trained on `rows`, or on what it may learn from for seed 0."""
    labels, groups = dataset.rows["label"].to_numpy(str), dataset.rows["group"].to_numpy(str)
    learn = content.chosen(splits.learning_rows(labels, groups, 0) if rows is None else rows)
    return autoencoder_for(
        content.paths(dataset), sorted(learn), learn, store, TINY, "cpu", "float16", Console(quiet=True)
    )


def fill_by_hand(dataset: Dataset, content: Content, store: Store, name: str, missing: int = 0) -> None:
    """A block of random embeddings that lean on the label, without the last `missing` images."""
    keys = sorted(content.paths(dataset))[: len(content.keys) - missing]
    label = dict(zip(content.keys, dataset.rows["label"], strict=True))
    number = {name: i for i, name in enumerate(dataset.classes)}
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(len(keys), 5)) + np.array([number[label[key]] for key in keys])[:, None] / 3
    block = store.open_block(name, {"extractor": "by hand", "dtype": "float16"}, 5)
    with block.writer():
        block.append(keys, matrix)
