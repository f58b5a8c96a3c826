"""One safe decoder for every image file, and the reasons for which a file is set aside."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import torch

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
MAX_PIXELS = 100_000_000
MAX_ASPECT = 50  # a longer strip, its shorter side brought to a network's input, would fill the memory


class BadImage(Exception):  # noqa: N818
    """A file that cannot be used as an image; the message is the reason."""


def decoder_recipe() -> dict:
    """All of the decode policy that can change a pixel, for an extractor's recipe."""
    import PIL
    import torchvision

    pillow = f"pillow {PIL.__version__}"
    return {
        "jpeg": f"torchvision {torchvision.__version__.split('+')[0]}" if _torchvision_jpeg() else pillow,
        "other": pillow,
        "exif_orientation": "applied",
        "alpha": "over white",
        "depth": "16 bit scaled to 8",
        "animation": "first frame",
    }


def decode(path: Path, sha256: str | None = None) -> torch.Tensor:
    """Read one image file as 8-bit RGB.

    Parameters
    ----------
    path : Path
        A JPEG, PNG, WebP, BMP or TIFF file. The format is found in the bytes, not in the name.
    sha256 : str, optional
        What the bytes should hash to, so that no picture is taken for another that was there before.

    Returns
    -------
    Tensor, shape (3, height, width), uint8
        EXIF orientation applied, alpha composited over white, 16-bit values scaled, first frame of an animation.

    Raises
    ------
    BadImage
        With the reason: not an image, another format, truncated, empty, more than `MAX_PIXELS` pixels, or one side
        more than `MAX_ASPECT` times the other; or changed since `sha256`.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadImage(error.strerror or "cannot be read") from None
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise BadImage("changed while the images were read; extract again")
    return decode_bytes(data)


def decode_bytes(data: bytes) -> torch.Tensor:
    """Decode the bytes of one image file; see :func:`decode`."""
    import io
    import warnings

    from PIL import Image, UnidentifiedImageError

    if not data:
        raise BadImage("empty file")
    try:
        with warnings.catch_warnings():
            # Pillow's warnings name no file; the cap below and the reasons do.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise BadImage(f"not a {', '.join(FORMATS)} image (begins with {data[:12]!r})") from None
    except Exception as error:  # Pillow's parsers raise many types on hostile headers
        raise BadImage(f"unreadable header: {error}") from None
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise BadImage(f"{width} x {height} pixels, more than the cap of {MAX_PIXELS:,}")
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise BadImage(f"{width} x {height} pixels, one side more than {MAX_ASPECT} times the other")
        try:
            if image.format == "JPEG" and image.mode in ("RGB", "L") and _torchvision_jpeg():
                return _decode_jpeg(data)
            return _decode_other(image)
        except Exception as error:  # a decoder's failure is a property of the file
            # torchvision puts its own source line before the reason.
            reason = (str(error) or type(error).__name__).splitlines()[0].rsplit(", ", 1)[-1]
            raise BadImage(f"cannot be decoded: {reason}") from None


@cache
def _torchvision_jpeg():
    """torchvision's JPEG operator, or None where a build or a later version has none; Pillow reads the same pixels.

    It is faster than Pillow in several threads (measured 1450 against 850 images/s in two, 600 x 450 pixels). The
    operator is called, since from torchvision 0.29 on the function around it warns that it will go.
    """
    import torchvision.io  # noqa: F401  (registers the operator)

    return getattr(torch.ops.image, "decode_jpeg", None)


def _decode_jpeg(data: bytes) -> torch.Tensor:
    from torchvision.io import ImageReadMode

    # A bytearray, since torch warns about read-only memory.
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return _torchvision_jpeg()(raw, ImageReadMode.RGB.value, True)


def _decode_other(image) -> torch.Tensor:
    import numpy as np
    from PIL import Image, ImageOps

    image.seek(0)
    image = ImageOps.exif_transpose(image)
    if image.mode in ("F", "I"):
        raise ValueError(f"pixels of mode {image.mode} have no stated range")
    if image.mode.startswith("I;16"):
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray(np.clip(np.rint(values / 257.0), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.array(image.convert("RGB"), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
