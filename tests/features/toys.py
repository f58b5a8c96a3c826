"""A small extractor that counts what it is asked to do, and folders that become datasets for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dermfuse.cache.hashes import ContentIndex
from dermfuse.features.data.content import Content, read_content
from dermfuse.features.data.dataset import Dataset, load_dataset
from dermfuse.features.runtimes.runtime import REFERENCE, Runtime
from dermfuse.features.tables.columns import Layout
from tests.features.pictures import write_pictures


@dataclass(frozen=True)
class Corner:
    """Cuts the upper left corner out of an image."""

    shape = (3, 24, 24)

    def __call__(self, image: Tensor) -> Tensor:
        return image[:, :24, :24]


class MeanColours:
    """Embeds an image as the mean colours of its four quarters: 12 numbers."""

    width = 12
    learned_from = None
    views = 1
    prepare = Corner()
    device = torch.device("cpu")
    body = torch.nn.Identity()
    runtime = Runtime(REFERENCE, body, device)

    def __init__(self, name: str = "colours", dtype: str = "float32", scale: float = 1.0):
        self.name, self.dtype, self.scale = name, dtype, scale
        self.batches: list[int] = []

    @property
    def seen(self) -> int:
        """Images that were embedded."""
        return sum(self.batches)

    def recipe(self) -> dict:
        precision = self.runtime.precision
        return {"extractor": self.name, "scale": self.scale, "precision": precision, "dtype": self.dtype}

    def forward(self, batch: Tensor) -> Tensor:
        self.batches.append(len(batch))
        return torch.nn.functional.avg_pool2d(batch.float(), 12).flatten(1) * self.scale / 255


def dataset_of(folder: Path, names: list[str]) -> Dataset:
    """A dataset whose table names these image files of `folder`, whatever they hold."""
    lines = ["file,kind", *(f'"{name}",{("nv", "mel")[i % 2]}' for i, name in enumerate(names))]
    table, text = folder / "table.csv", "\n".join(lines) + "\n"
    if not table.exists() or table.read_text() != text:  # another process may be reading it
        table.write_text(text)
    return load_dataset(folder, Layout(image="file", label="kind"))


def pictures(folder: Path, count: int, first: int = 0) -> list[str]:
    """Names of `count` new image files in `folder`."""
    names = [f"p{number:03}.jpg" for number in range(first, first + count)]
    write_pictures(folder, names)
    return names


def content_of(dataset: Dataset, console) -> Content:
    """The dataset's content, read without a memo that would outlive it."""
    with ContentIndex(dataset.folder / ".memo.sqlite") as index:
        return read_content(dataset.rows["path"], index, console.progress)


def expected(extractor: MeanColours, dataset: Dataset) -> np.ndarray:
    """What the extractor gives for every row, computed without the cache."""
    from dermfuse.features.images.decoder import decode

    plain = MeanColours(scale=extractor.scale)
    vectors = [plain.forward(plain.prepare(decode(path).pixels)[None]).numpy()[0] for path in dataset.rows["path"]]
    return np.stack(vectors).astype(extractor.dtype).astype(np.float32)
