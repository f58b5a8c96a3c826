"""The image files that extraction is measured on: the dataset's, in their published size, few or many."""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SIZE, QUALITY = (600, 450), 90  # of HAM10000 as it is published
BACKBONE = "mobilenet_v2"
IN_A_FOLDER = 1000


@dataclass(frozen=True)
class Job:
    """A dataset folder of `files`, all measured alike."""

    data: Path
    files: list[Path]
    weights: Path
    scratch: Path

    @property
    def skip(self) -> int:
        """First images that the steady rate leaves out."""
        return min(256, len(self.files) // 4)


def dataset_images(folder: Path) -> list[Path]:
    """The image files of a dataset, in an order that mixes its folders."""
    found = sorted(folder.rglob("*.jpg"), key=lambda path: hashlib.sha256(path.name.encode()).digest())
    if not found:
        sys.exit(f"no .jpg files below {folder}. Name the dataset's folder with --data.")
    return found


def make_job(pictures: list[Path], folder: Path, weights_dir: Path) -> Job:
    """A dataset folder with these pictures in the size in which HAM10000 is published."""
    from PIL import Image

    (folder / "data" / "images").mkdir(parents=True)
    (folder / "scratch").mkdir()
    files = [folder / "data" / "images" / path.name for path in pictures]
    for path, file in zip(pictures, files, strict=True):
        with Image.open(path) as image:
            image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC).save(file, quality=QUALITY)
    write_table(folder / "data", [file.stem for file in files])
    return Job(folder / "data", files, weights_dir.resolve() / f"{BACKBONE}.pth", folder / "scratch")


def write_table(folder: Path, ids: list[str]) -> None:
    """A table in HAM10000's layout, which the program knows by its columns; labels play no part here."""
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("lesion_id", "image_id", "dx"))
        rows.writerows((f"lesion {i}", name, ("nv", "mel")[i % 2]) for i, name in enumerate(ids))


def random_weights(names: Sequence[str], folder: Path, files: list[Path]) -> Path:
    """A folder of state dicts of random values, batch norms fitted to `files`, so that no activation dies away."""
    import torch
    from torchvision.models import get_model, get_model_weights

    from dermfuse.features.images.decoder import decode

    folder.mkdir()
    transforms = get_model_weights(BACKBONE).DEFAULT.transforms()
    batch = torch.stack([transforms(decode(path).pixels) for path in files])
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        network = get_model(name, weights=None).train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the average over all that was seen
        with torch.no_grad():
            network(batch)
        torch.save(network.state_dict(), folder / f"{name}.pth")
    return folder


def many_files(pictures: list[Path], folder: Path, count: int) -> None:
    """Write `count` files that all hash differently, and their table."""
    contents = [path.read_bytes() for path in pictures]
    for i in range(count):
        where = folder / f"part {i // IN_A_FOLDER:03}"
        if i % IN_A_FOLDER == 0:
            where.mkdir(parents=True)
        (where / f"image_{i:06}.jpg").write_bytes(contents[i % len(contents)] + i.to_bytes(8, "big"))
    write_table(folder, [f"image_{i:06}" for i in range(count)])


def listed(job: Job, most: int | None = None) -> Path:
    """A text file with one image file a line, of all or the first `most`."""
    path = job.scratch / f"files {most}.txt"
    path.write_text("\n".join(map(str, job.files[:most])), encoding="utf-8")
    return path
