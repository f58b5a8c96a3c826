"""Image files and dataset folders that the tests make up."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HEADER = "lesion_id,image_id,dx,dx_type,age,sex,localization"
EXIF_ORIENTATION = 0x0112


def scene(seed: int = 0, height: int = 24, width: int = 32) -> np.ndarray:
    """A smooth colour picture, uint8 (height, width, 3), that JPEG keeps well and no symmetry maps onto itself."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    a, b, c = rng.uniform(0.2, 1, 3)
    planes = [a * x + 0.2 * y, b * y + 0.1 * x * x, c * (x - y) ** 2 + 0.3]
    return np.clip(np.stack(planes, axis=2) * 255, 0, 255).astype(np.uint8)


def encoded(image: np.ndarray | Image.Image, kind: str = "JPEG", mode: str | None = None, **options) -> bytes:
    """The bytes of an image file."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    if mode is not None:
        picture = picture.convert(mode)
    if kind in ("JPEG", "WEBP"):
        options.setdefault("quality", 95)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    """EXIF data with an orientation."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    return exif


def huge_png(width: int, height: int) -> bytes:
    """A PNG of under a hundred bytes whose header claims `width` x `height` pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 16)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def write_pictures(folder: Path, names: list[str], size: tuple[int, int] = (24, 32)) -> list[Path]:
    """One JPEG a name, each of another content."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(encoded(scene(zlib.crc32(name.encode()), *size)))
    return [folder / name for name in names]


def table_rows(names: list[str]) -> list[list[str]]:
    """Rows under `HEADER`, two images a lesion."""
    labels, sexes, sites = ("nv", "mel", "bkl"), ("male", "female"), ("back", "face")
    return [
        [f"HAM_{n:04}", name, labels[n % 3], "histo", str(30 + 5 * (i % 9)), sexes[n % 2], sites[n % 2]]
        for i, name in enumerate(names)
        for n in (i // 2,)
    ]


def write_ham(
    folder: Path,
    names: list[str],
    table: str = "HAM10000_metadata.csv",
    delimiter: str = ",",
    header: str = HEADER,
    rows: list[list[str]] | None = None,
) -> Path:
    """A folder as HAM10000 is published: a table, and images in two parts."""
    half = (len(names) + 1) // 2
    write_pictures(folder / "HAM10000_images_part_1", [f"{n}.jpg" for n in names[:half]])
    write_pictures(folder / "HAM10000_images_part_2", [f"{n}.jpg" for n in names[half:]])
    lines = [header.split(","), *(table_rows(names) if rows is None else rows)]
    (folder / table).write_text("".join(delimiter.join(cells) + "\n" for cells in lines))
    return folder
