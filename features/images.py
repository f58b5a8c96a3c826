"""One safe decoder for every image file, and the reasons for which a file is set aside."""

from __future__ import annotations

from pathlib import Path

import torch

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
MAX_PIXELS = 100_000_000


class BadImage(Exception):  # noqa: N818
    """A file that cannot be used as an image; the message is the reason."""


def decoder_recipe() -> dict:
    """All of the decode policy that can change a pixel, for an extractor's recipe."""
    import PIL
    import torchvision

    return {
        "jpeg": f"torchvision {torchvision.__version__.split('+')[0]}",
        "other": f"pillow {PIL.__version__}",
        "exif_orientation": "applied",
        "alpha": "over white",
        "depth": "16 bit scaled to 8",
        "animation": "first frame",
    }


def decode(path: Path) -> torch.Tensor:
    """Read one image file as 8-bit RGB.

    Parameters
    ----------
    path : Path
        A JPEG, PNG, WebP, BMP or TIFF file. The format is found in the bytes, not in the name.

    Returns
    -------
    Tensor, shape (3, height, width), uint8
        EXIF orientation applied, alpha composited over white, 16-bit values scaled, first frame of an animation.

    Raises
    ------
    BadImage
        With the reason: not an image, another format, truncated, empty, or more than `MAX_PIXELS` pixels.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadImage(error.strerror or "cannot be read") from None
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
            # The pixel cap below decides; Pillow's own warning would only be noise before it.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise BadImage(f"not a {', '.join(FORMATS)} image (begins with {data[:12]!r})") from None
    except Exception as error:  # Pillow's parsers raise many types on hostile headers
        raise BadImage(f"unreadable header: {error}") from None
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise BadImage(f"{width} x {height} pixels, more than the cap of {MAX_PIXELS:,}")
        try:
            if image.format == "JPEG" and image.mode in ("RGB", "L"):
                return _decode_jpeg(data)
            return _decode_other(image)
        except Exception as error:  # a decoder's failure is a property of the file
            # torchvision puts its own source line before the reason.
            reason = str(error).splitlines()[0].rsplit(", ", 1)[-1]
            raise BadImage(f"cannot be decoded: {reason}") from None


def _decode_jpeg(data: bytes) -> torch.Tensor:
    from torchvision.io import ImageReadMode, decode_image

    # A bytearray, since torch warns about read-only memory.
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return decode_image(raw, mode=ImageReadMode.RGB, apply_exif_orientation=True)


def _decode_other(image) -> torch.Tensor:
    import numpy as np
    from PIL import Image, ImageOps

    image.seek(0)
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no stated range")
    if image.mode.startswith("I"):
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray(np.clip(np.rint(values / 257.0), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.array(image.convert("RGB"), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
