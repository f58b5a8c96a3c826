"""One safe decoder for every image file, and the reasons for which a file is set aside."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch

from dermfuse.features.console import printable

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
JPEGS = ("JPEG", "MPO")
END_OF_IMAGE = b"\xff\xd9"
MID_GREY = 128
EXIF_ORIENTATION = 0x0112
# First row, first column and their steps in the seven passes of an interlaced PNG (PNG specification, 8.1).
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0
MAX_PIXELS = 100_000_000
# Twice the side that the largest network here wants (384 pixels), so that resizing has no less to work with.
KEPT_SIDE = 768
MAX_ASPECT = 50  # a longer strip, its shorter side brought to a network's input, would fill the memory
MAX_BYTES = 512 * 1024**2  # a file is read whole before it is decoded

# Bytes that mean something anywhere in a scan, also where a restart is due.
_MORE_SCAN = b"\0" + b"\x5a" * 64 + b"".join(bytes([0xFF, 0xD0 + i]) + b"\x5a" * 64 for i in range(8))


@dataclass(frozen=True)
class Picture:
    """One decoded image.

    Attributes
    ----------
    pixels : Tensor, shape (3, height, width), uint8
        RGB; EXIF orientation applied, alpha composited over white, 16-bit values scaled.
    frames_left_out : bool
        The file is an animation or holds several pictures, and this is the first.
    """

    pixels: torch.Tensor
    frames_left_out: bool = False


class BadImage(Exception):  # noqa: N818
    """A file that cannot be used as an image; the message is the reason."""


def decoder_recipe() -> dict:
    """All of the decode policy that can change a pixel, for an extractor's recipe."""
    import PIL

    from dermfuse.features.images.vision import torchvision

    pillow = f"pillow {PIL.__version__}"
    return {
        "jpeg": f"torchvision {torchvision.__version__.split('+')[0]}" if _torchvision_jpeg() else pillow,
        "other": pillow,
        "reduced": f"large JPEG to 1/2, 1/4 or 1/8 while the shorter side keeps {KEPT_SIDE}",
        "exif_orientation": "applied, from EXIF or XMP",
        "alpha": "over white, a transparent colour too",
        "depth": "9 to 16 bits scaled to 8",
        "animation": "first frame",
    }


def decode(path: Path, sha256: str | None = None) -> Picture:
    """Read one image file as 8-bit RGB.

    Parameters
    ----------
    path : Path
        A JPEG, PNG, WebP, BMP or TIFF file. The format is found in the bytes, not in the name.
    sha256 : str, optional
        What the bytes should hash to, so that no picture is taken for another that was there before.

    Returns
    -------
    Picture

    Raises
    ------
    BadImage
        With the reason, on one line: not an image, another format, truncated, damaged, empty, more than `MAX_BYTES`
        bytes or `MAX_PIXELS` pixels, or one side more than `MAX_ASPECT` times the other; or changed since `sha256`.
    """
    try:
        data = _read(Path(path))
    except OSError as error:
        raise BadImage(error.strerror or "cannot be read") from None
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise BadImage("changed while the images were read; extract again")
    return decode_bytes(data)


def decode_bytes(data: bytes) -> Picture:
    """Decode the bytes of one image file; see :func:`decode`."""
    import warnings

    if not data:
        raise BadImage("empty file")
    with warnings.catch_warnings():
        # Pillow's warnings name no file; the caps and the reasons do.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        with _opened(data) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BadImage(f"{width} x {height} pixels, more than the cap of {MAX_PIXELS:,}")
            if max(width, height) > MAX_ASPECT * min(width, height):
                raise BadImage(f"{width} x {height} pixels, one side more than {MAX_ASPECT} times the other")
            try:
                several = bool(getattr(image, "is_animated", False))
                return Picture(_decode_jpeg(data, image) if image.format in JPEGS else _decode_other(image), several)
            except Exception as error:  # a decoder's failure is a property of the file
                # torchvision puts its own source line before the reason.
                reason = (str(error).strip() or type(error).__name__).splitlines()[0].rsplit(", ", 1)[-1]
                raise BadImage(printable(f"cannot be decoded: {reason}")) from None


def _read(path: Path) -> bytes:
    """The bytes of a regular file that is not too large; opening a pipe would wait for its other end."""
    facts = path.stat()
    if stat.S_ISDIR(facts.st_mode):
        raise BadImage("Is a directory")
    if not stat.S_ISREG(facts.st_mode):
        raise BadImage("not a regular file")
    if facts.st_size > MAX_BYTES:
        raise BadImage(f"{facts.st_size:,} bytes, more than the cap of {MAX_BYTES:,}")
    return path.read_bytes()


def _opened(data: bytes):
    """The image of some bytes, its header read."""
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.format == "PNG":
            # Pillow's decoder passes over checksums of pixels, over what should follow them, and over missing rows.
            Image.open(io.BytesIO(data), formats=("PNG",)).verify()
            _refuse_missing_rows(data)
        return image
    except UnidentifiedImageError:
        raise BadImage(f"not a {', '.join(FORMATS)} image (begins with {data[:12]!r})") from None
    except Exception as error:  # Pillow's parsers raise many types on hostile headers
        reason = str(error).strip() or type(error).__name__
        raise BadImage(printable(f"unreadable header: {reason}")) from None


def _refuse_missing_rows(data: bytes) -> None:
    """Count the bytes that the rows of a PNG unpack to."""
    import struct
    import zlib

    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if width * height > MAX_PIXELS:
        return  # refused for that
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    wanted = 0
    for y, x, dy, dx in ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // dx), -(-(height - y) // dy)
        wanted += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    unpack, place, found = zlib.decompressobj(), 8, 0
    while place < len(data) - 8 and found < wanted:
        (length,) = struct.unpack_from(">I", data, place)
        if data[place + 4 : place + 8] == b"IDAT":
            packed = data[place + 8 : place + 8 + length]
            while packed and found < wanted and not unpack.eof:
                found += len(unpack.decompress(packed, 1 << 20))
                packed = unpack.unconsumed_tail
        place += 12 + length
    found += len(unpack.flush()) if found < wanted else 0
    if found < wanted:
        raise ValueError("image file is truncated: rows are missing")


@cache
def _torchvision_jpeg():
    """torchvision's JPEG operator, or None where a build or a later version has none; Pillow reads the same pixels.

    It is faster than Pillow in several threads (measured 1450 against 850 images/s in two, 600 x 450 pixels). The
    operator is called, since from torchvision 0.29 on the function around it warns that it will go.
    """
    from dermfuse.features.images import vision  # noqa: F401  (registers the operator)

    return getattr(torch.ops.image, "decode_jpeg", None)


def _decode_jpeg(data: bytes, image) -> torch.Tensor:
    """Pixels of a JPEG: by torchvision where it gives what Pillow gives, else by Pillow."""
    scale = next(s for s in (8, 4, 2, 1) if s == 1 or min(image.size) // s >= KEPT_SIDE)
    plain = image.format == "JPEG" and image.mode in ("RGB", "L") and _orientation(image) == 1
    fast = _torchvision_jpeg() and plain and scale == 1
    start = _start_of_scan(data)
    if data.rfind(END_OF_IMAGE, start) < 0:
        raise ValueError("image file is truncated")
    read = _fast_jpeg if fast else partial(_slow_jpeg, scale=scale)
    pixels = read(data)
    # Both decoders fill what is missing before the end with mid-grey, and say nothing. More bytes there would then
    # change the picture, which they do not when it is whole. (The grey of a progressive file is smoothed.)
    corners = pixels[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    suspect = image.mode not in ("RGB", "L") or "progressive" in image.info or (corners == MID_GREY).all(0).any()
    if suspect:
        end = data.find(END_OF_IMAGE, start)
        if not torch.equal(read(data[:end] + _MORE_SCAN + data[end:]), pixels):
            raise ValueError("image data end early")
    return pixels


def _fast_jpeg(data: bytes) -> torch.Tensor:
    from dermfuse.features.images.vision import torchvision

    # A bytearray, since torch warns about read-only memory.
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return _torchvision_jpeg()(raw, torchvision.io.ImageReadMode.RGB.value, False)


def _slow_jpeg(data: bytes, scale: int) -> torch.Tensor:
    """By Pillow; a large picture at 1/2, 1/4 or 1/8, which the cosine transform gives at a fraction of the work."""
    import io

    from PIL import Image

    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))
    return _decode_other(image)


def _start_of_scan(data: bytes) -> int:
    """Where the first scan of a JPEG begins, so that nothing of a thumbnail is taken for the picture's."""
    place = 2
    while 0 <= place < len(data) - 3:
        marker = data[place + 1]
        if data[place] != 0xFF:
            place = data.find(b"\xff", place)
        elif marker == 0xFF:
            place += 1
        elif marker == 0xDA:
            return place
        elif marker in (0x00, 0x01, *range(0xD0, 0xD9)):
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return len(data)


def _orientation(image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or none that can be read."""
    try:
        found = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF data leave the picture as it lies
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _upright(image):
    from PIL import Image

    turn = Image.Transpose
    turns = (None, turn.FLIP_LEFT_RIGHT, turn.ROTATE_180, turn.FLIP_TOP_BOTTOM)
    turns += (turn.TRANSPOSE, turn.ROTATE_270, turn.TRANSVERSE, turn.ROTATE_90)
    how = turns[_orientation(image) - 1]
    if how is None:
        return image
    turned = image.transpose(how)
    turned.info = image.info  # with its transparent colour
    return turned


def _decode_other(image) -> torch.Tensor:
    import numpy as np
    from PIL import Image

    image.seek(0)
    raw_mode = str(image.tile[0][3]) if image.format == "PNG" and image.tile else ""
    transparent = image.info.get("transparency")
    if transparent is not None and raw_mode.startswith("RGB;16"):
        raise ValueError("a transparent colour of 16 bits is not supported")
    image.load()
    if isinstance(transparent, int):  # given in the file's own depth
        image.info["transparency"] = transparent * {"L;2": 85, "L;4": 17}.get(raw_mode, 1)
    if raw_mode and image.mode == "P" and image.getextrema()[1] >= len(image.getpalette("RGB") or ()) // 3:
        raise ValueError("a pixel names a colour that the palette lacks")
    tags = getattr(image, "tag_v2", {})
    image = _upright(image)
    if image.mode in ("F", "I"):
        raise ValueError(f"pixels of mode {image.mode} have no stated range")
    if image.mode.startswith("I;16"):
        image = _scaled(image, tags)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.array(image.convert("RGB"), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _scaled(image, tags):
    """16-bit grey as 8 bits; what a TIFF holds in fewer bits or with white as zero, and a transparent PNG grey, too."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image, dtype=np.float64)
    most = 2.0 ** tags.get(BITS_PER_SAMPLE, (16,))[0] - 1
    scaled = np.clip(np.rint(values / (most / 255)), 0, 255)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        scaled = 255 - scaled
    if "transparency" in image.info:
        scaled[values == image.info["transparency"]] = 255
    return Image.fromarray(scaled.astype(np.uint8))
