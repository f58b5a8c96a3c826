"""Odd and bad image files, made here, each with the pixels it holds or the reason for which it is set aside."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.features.pictures import encoded, huge_png, scene, turned

HEIGHT, WIDTH = 60, 80
SCENE = scene(1, HEIGHT, WIDTH)
PICTURE = Image.fromarray(SCENE)
GREY = np.asarray(PICTURE.convert("L"))
WHITE = np.full_like(SCENE, 255)
NOT_AN_IMAGE = "not a JPEG, PNG, WEBP, BMP, TIFF image"
JPEG_NEAR, LOSSY_NEAR = 12, 40
EOI = b"\xff\xd9"


@dataclass(frozen=True)
class Odd:
    """One file.

    Attributes
    ----------
    name : str
        With the suffix that it is given.
    data : bytes or callable
        Its bytes; or a function that makes it at a path.
    pixels : ndarray, shape (height, width, 3), uint8, or None
        What it must decode to.
    near : int
        By how many of 255 levels a value may differ.
    reason : str
        Regular expression of the reason, where it must be set aside.
    several : bool
        It holds more pictures than the first.
    """

    name: str
    data: bytes | Callable[[Path], None]
    pixels: np.ndarray | None = None
    near: int = 0
    reason: str = ""
    several: bool = False

    def write(self, folder: Path) -> Path:
        """Make the file in `folder`."""
        path = folder / self.name
        if callable(self.data):
            self.data(path)
        else:
            path.write_bytes(self.data)
        return path


def good(name: str, data: bytes, pixels: np.ndarray = SCENE, near: int = 0, several: bool = False) -> Odd:
    """A file that decodes."""
    return Odd(name, data, _rgb(pixels), near, several=several)


def bad(name: str, data: bytes | Callable[[Path], None], reason: str) -> Odd:
    """A file that is set aside."""
    return Odd(name, data, reason=reason)


def corpus() -> list[Odd]:
    """All files that can be made here; names differ."""
    makers = (oriented, transparent, jpegs, bad_jpegs, deep, pngs, bad_pngs, webps, tiffs, bmps, shapes, strangers, cut)
    found = [odd for make in (*makers, no_files) for odd in make()]
    assert len({odd.name for odd in found}) == len(found)
    return found


def chunk(kind: bytes, body: bytes, wrong: int = 0) -> bytes:
    """A PNG chunk; with another checksum than its own where `wrong` is not 0."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ wrong)


def png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    rows: list[bytes],
    before: bytes = b"",
    after: bytes = b"",
    wrong_header: int = 0,
    wrong_data: int = 0,
) -> bytes:
    """A PNG by its parts; colour type 0 is grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0), wrong_header)
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)), wrong_data)
    return b"\x89PNG\r\n\x1a\n" + header + before + data + after + chunk(b"IEND", b"")


def rgb_png(**parts) -> bytes:
    """The scene as PNG, with more parts."""
    return png(WIDTH, HEIGHT, 8, 2, [row.tobytes() for row in SCENE], **parts)


def tiff(
    data: bytes, width: int, height: int, bits: int = 8, photometric: int = 1, samples: int = 1, **more: int
) -> bytes:
    """A little-endian TIFF of one strip; ``next``, ``planar``, ``format`` and ``count`` (of strips) may be given."""
    count = more.get("count", 1)
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, photometric)]
    entries += [(273, 4, count, 0), (277, 3, 1, samples), (278, 4, 1, height), (279, 4, count, len(data))]
    entries += [(284, 3, 1, more.get("planar", 1)), (339, 3, 1, more.get("format", 1))]
    start = 8 + 2 + 12 * len(entries) + 4
    out = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, kind, n, value in entries:
        out += struct.pack("<HHII", tag, kind, n, start if tag == 273 else value)
    return out + struct.pack("<I", more.get("next", 0)) + data


def _rgb(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


def _upright(orientation: int) -> np.ndarray:
    """What a viewer shows of the scene stored with this EXIF orientation (CIPA DC-008, 4.6.5)."""
    s = SCENE
    swapped = s.swapaxes(0, 1)
    both = s[::-1, ::-1]
    return (s, s[:, ::-1], both, s[::-1], swapped, np.rot90(s, -1), both.swapaxes(0, 1), np.rot90(s))[orientation - 1]


def oriented() -> Iterator[Odd]:
    """EXIF orientations, stored in every way."""
    for n in range(1, 9):
        yield good(f"orientation-{n}.jpg", encoded(SCENE, exif=turned(n)), _upright(n), JPEG_NEAR)
    for kind in ("PNG", "TIFF"):
        yield good(f"orientation-6.{kind.lower()}", encoded(SCENE, kind, exif=turned(6)), _upright(6))
    webp = encoded(SCENE, "WEBP", exif=turned(8), lossless=True)
    yield good("orientation-8.webp", webp, _upright(8))
    entry = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x06\0\0\0\0"
    yield good("orientation-as-long.jpg", encoded(SCENE, exif=entry), _upright(6), JPEG_NEAR)
    xmp = b'<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/>'
    yield good("orientation-in-xmp.jpg", encoded(SCENE, xmp=xmp), _upright(3), JPEG_NEAR)
    broken = b"Exif\0\0" + b"\xff" * 40
    yield good("exif-broken.jpg", encoded(SCENE, exif=broken), near=JPEG_NEAR)
    yield good("exif-broken.png", encoded(SCENE, "PNG", exif=broken))
    yield good("exif-broken.webp", encoded(SCENE, "WEBP", exif=broken, lossless=True))


def transparent() -> Iterator[Odd]:
    """Alpha and transparent colours, over white."""
    alpha = np.linspace(0, 255, WIDTH).round().astype(np.uint8) * np.ones((HEIGHT, 1), np.uint8)
    share = alpha[:, :, None] / 255
    over = np.rint(SCENE * share + 255 * (1 - share)).astype(np.uint8)
    rgba = np.dstack([SCENE, alpha])
    yield good("alpha.png", encoded(rgba, "PNG"), over, 1)
    yield good("alpha.tif", encoded(rgba, "TIFF"), over, 1)
    yield good("alpha.webp", encoded(rgba, "WEBP", lossless=True, exact=True), over, 1)
    grey_over = np.rint(GREY * share[:, :, 0] + 255 * (1 - share[:, :, 0])).astype(np.uint8)
    la = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)])
    yield good("grey-alpha.png", encoded(la, "PNG"), grey_over, 1)
    yield good("grey-alpha.tif", encoded(la, "TIFF"), grey_over, 1)
    yield good("clear.png", encoded(np.dstack([SCENE, 0 * alpha]), "PNG"), WHITE)
    yield good("clear.webp", encoded(np.dstack([SCENE, 0 * alpha]), "WEBP", lossless=True), WHITE)
    colours = bytes([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    names = [bytes([0b00011011])] * 2
    shown = np.array([[[10, 20, 30], [255, 255, 255], [162, 167, 172], [100, 110, 120]]] * 2, np.uint8)
    parts = chunk(b"PLTE", colours) + chunk(b"tRNS", b"\xff\x00\x80")
    yield good("palette-alpha.png", png(4, 2, 2, 3, names, parts), shown, 1)
    # Transparent colours of grey pictures are given in the file's own depth.
    ramp = np.array([[0, 255, 170, 255]] * 2, np.uint8)
    yield good("clear-2-bit.png", png(4, 2, 2, 0, names, chunk(b"tRNS", b"\0\x01")), ramp)
    sixteen = [struct.pack(">4H", 0, 20_000, 40_000, 65_535)] * 2
    shown = np.array([[0, 255, 156, 255]] * 2, np.uint8)
    yield good("clear-16-bit.png", png(4, 2, 16, 0, sixteen, chunk(b"tRNS", struct.pack(">H", 20_000))), shown)
    colour = [struct.pack(">12H", *range(20_000, 32_000, 1_000))] * 2
    key = chunk(b"tRNS", struct.pack(">3H", 20_000, 21_000, 22_000))
    yield bad("clear-16-bit-colour.png", png(4, 2, 16, 2, colour, key), "transparent colour of 16 bits")


def jpegs() -> Iterator[Odd]:
    """Whole JPEGs of every make."""
    plain = encoded(SCENE)
    makes = {
        "progressive": {"progressive": True},
        "444": {"subsampling": "4:4:4"},
        "411": {"subsampling": "4:1:1"},
        "422": {"subsampling": "4:2:2"},
        "restarts": {"restart_marker_blocks": 2},
        "restart-rows": {"restart_marker_rows": 1},
        "stored-as-rgb": {"keep_rgb": True, "subsampling": "4:4:4"},
        "optimised": {"optimize": True},
        "low-quality": {"quality": 30},
        "profile-broken": {"icc_profile": b"no profile at all" * 20},
        "comment-long": {"comment": b"<script>\n" * 7000},
    }
    from PIL import ImageCms

    makes["profile"] = {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}
    for name, options in makes.items():
        near = LOSSY_NEAR if name == "low-quality" else JPEG_NEAR
        yield good(f"{name}.jpg", encoded(SCENE, **options), near=near)
    yield good("grey.jpg", encoded(GREY), GREY, JPEG_NEAR)
    yield good("cmyk.jpg", encoded(PICTURE.convert("CMYK")), near=JPEG_NEAR)
    yield good("trailing-bytes.jpg", plain + b"\0garbage" * 99 + EOI, near=JPEG_NEAR)
    yield good("trailing-jpeg.jpg", plain + encoded(WHITE), near=JPEG_NEAR)
    small = encoded(PICTURE.resize((16, 12)))
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + small
    yield good("thumbnail.jpg", encoded(SCENE, exif=exif), near=JPEG_NEAR)
    several = encoded(SCENE, "MPO", save_all=True, append_images=[Image.fromarray(255 - SCENE)])
    yield good("several.jpg", several, near=JPEG_NEAR, several=True)
    # The last pixels are what a decoder fills a gap with, and yet nothing lacks.
    framed = SCENE.copy()
    framed[-24:] = framed[:, -24:] = 128
    for name, options in {"grey-frame": {}, "grey-frame-progressive": {"progressive": True}}.items():
        yield good(f"{name}.jpg", encoded(framed, quality=100, subsampling="4:4:4", **options), framed, LOSSY_NEAR)
    # Without tables of its own, as a film's frames are, a file means the standard's.
    yield good("no-tables.jpg", plain[: plain.index(b"\xff\xc4")] + plain[_scan_of(plain) :], near=JPEG_NEAR)
    yield good("mid-grey.jpg", encoded(np.full_like(SCENE, 128)), np.full_like(SCENE, 128), 1)
    yield good("mid-grey-restarts.jpg", encoded(0 * SCENE + 128, restart_marker_blocks=1), 0 * SCENE + 128, 1)
    ycck = bytearray(encoded(PICTURE.convert("CMYK")))
    place = ycck.index(b"Adobe")
    ycck[place + 11] = 2  # the colours are now read as YCCK
    yield good("ycck.jpg", bytes(ycck), np.asarray(Image.open(io.BytesIO(bytes(ycck))).convert("RGB")))


def bad_jpegs() -> Iterator[Odd]:
    """JPEGs that lack something, some of them with an end all the same."""
    for name, options in {
        "plain": {},
        "grey": {"mode": "L"},
        "cmyk": {"mode": "CMYK"},
        "turned": {"exif": turned(6)},
        "restarts": {"restart_marker_blocks": 2},
        "444": {"subsampling": "4:4:4"},
    }.items():
        whole = encoded(SCENE, **options)
        start = _scan_of(whole)
        for share in (0.2, 0.5, 0.8):
            end = start + int((len(whole) - start) * share)
            yield bad(f"cut-and-ended-{name}-{share}.jpg", whole[:end] + EOI, "cannot be decoded: image data end early")
        yield bad(f"no-end-{name}.jpg", whole[:-2], "truncated")
        middle = start + (len(whole) - start) // 2
        yield bad(f"zeros-{name}.jpg", whole[:middle] + bytes(len(whole) - middle), "truncated")
    plain = encoded(SCENE)
    frame = plain.index(b"\xff\xc0")
    for name, height, width in (("taller", 2 * HEIGHT, WIDTH), ("wider", HEIGHT, 2 * WIDTH)):
        claimed = plain[: frame + 5] + struct.pack(">HH", height, width) + plain[frame + 9 :]
        yield bad(f"header-{name}-than-data.jpg", claimed, "image data end early")
    flat = plain[: frame + 5] + struct.pack(">HH", 0, WIDTH) + plain[frame + 9 :]
    yield bad("no-height.jpg", flat, NOT_AN_IMAGE)
    yield bad("12-bit.jpg", plain[: frame + 4] + b"\x0c" + plain[frame + 5 :], NOT_AN_IMAGE)
    yield bad("lossless.jpg", plain[: frame + 1] + b"\xc3" + plain[frame + 2 :], "cannot be decoded|not a")
    yield bad("header-alone.jpg", plain[: _scan_of(plain)] + EOI, "cannot be decoded|not a JPEG")


def _scan_of(data: bytes) -> int:
    return data.index(b"\xff\xda")


def deep() -> Iterator[Odd]:
    """More than eight bits."""
    ramp = np.linspace(0, 65_535, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype("<u2")
    shown = np.rint(ramp / 257).astype(np.uint8)
    yield good("grey-16.png", encoded(ramp.astype(np.uint16), "PNG"), shown)
    yield good("grey-16.tif", encoded(ramp.astype(np.uint16), "TIFF"), shown)
    big = Image.frombytes("I;16B", (WIDTH, HEIGHT), ramp.astype(">u2").tobytes())
    yield good("grey-16-big-endian.tif", encoded(big, "TIFF"), shown)
    yield good("grey-16-white-is-0.tif", tiff(ramp.tobytes(), WIDTH, HEIGHT, 16, photometric=0), 255 - shown)
    yield good("grey-12.tif", tiff(b"\x80\x08\x00" * (HEIGHT * WIDTH // 2), WIDTH, HEIGHT, 12), 0 * shown + 128, 1)
    colour = (SCENE.astype(">u2") * 257).astype(">u2")
    yield good("colour-16.png", png(WIDTH, HEIGHT, 16, 2, [row.tobytes() for row in colour]))
    rgba = np.dstack([colour, np.full((HEIGHT, WIDTH), 65_535, ">u2")]).astype(">u2")
    yield good("colour-alpha-16.png", png(WIDTH, HEIGHT, 16, 6, [row.tobytes() for row in rgba]))
    la = np.dstack([ramp, np.full_like(ramp, 65_535)]).astype(">u2")
    yield good("grey-alpha-16.png", png(WIDTH, HEIGHT, 16, 4, [row.tobytes() for row in la]), shown, 1)
    for name, dtype in (("int32", np.int32), ("float32", np.float32)):
        yield bad(f"{name}.tif", encoded(ramp.astype(dtype), "TIFF"), "no stated range")
    yield bad("signed-16.tif", tiff(ramp.tobytes(), WIDTH, HEIGHT, 16, format=2), "no stated range")


def pngs() -> Iterator[Odd]:
    """Whole PNGs of every make."""
    palette = PICTURE.quantize(16)
    yield good("palette.png", encoded(palette, "PNG"), np.asarray(palette.convert("RGB")))
    bits = PICTURE.convert("1")
    yield good("1-bit.png", encoded(bits, "PNG"), np.asarray(bits) * np.uint8(255))
    yield good("interlaced.png", _interlaced(SCENE))
    yield good("trailing-bytes.png", rgb_png() + b"\0garbage" * 99)
    frames = [Image.fromarray(255 - SCENE), Image.fromarray(SCENE[::-1].copy())]
    animated = encoded(SCENE, "PNG", save_all=True, append_images=frames)
    yield good("animated.png", animated, several=True)
    yield good("too-many-rows.png", png(WIDTH, HEIGHT, 8, 2, [row.tobytes() for row in [*SCENE, *SCENE]]))


def _interlaced(pixels: np.ndarray) -> bytes:
    """A PNG in the seven passes of Adam7 (PNG specification, 8.1)."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = [b"\0" + row.tobytes() for y, x, dy, dx in passes for row in pixels[y::dy, x::dx]]
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def bad_pngs() -> Iterator[Odd]:
    """PNGs with wrong checksums, that lack something, or that would fill the memory."""
    note = b"Comment\0x"
    yield bad("header-checksum.png", rgb_png(wrong_header=1), NOT_AN_IMAGE)
    yield bad("data-checksum.png", rgb_png(wrong_data=1), "unreadable header: broken PNG file")
    yield bad("note-checksum.png", rgb_png(before=chunk(b"tEXt", note, 1)), NOT_AN_IMAGE)
    yield bad("last-note-checksum.png", rgb_png(after=chunk(b"tEXt", note, 1)), "broken PNG file")
    yield bad("no-end.png", rgb_png()[:-12], "truncated PNG file")
    yield bad("too-few-rows.png", png(WIDTH, HEIGHT, 8, 2, [row.tobytes() for row in SCENE[:20]]), "truncated")
    yield bad("no-palette.png", png(4, 2, 2, 3, [bytes([0b00011011])] * 2), "palette")
    short = chunk(b"PLTE", bytes(range(6)))
    yield bad("short-palette.png", png(4, 2, 2, 3, [bytes([0b00011011])] * 2, short), "palette")
    bomb = zlib.compress(bytes(2**26), 9)
    yield bad("note-bomb.png", rgb_png(before=chunk(b"zTXt", b"Comment\0\0" + bomb)), "too large")
    yield bad("last-note-bomb.png", rgb_png(after=chunk(b"zTXt", b"Comment\0\0" + bomb)), "too large")
    yield bad("unicode-note-bomb.png", rgb_png(before=chunk(b"iTXt", b"C\0\1\0\0\0" + bomb)), "too large")
    yield bad("profile-bomb.png", rgb_png(before=chunk(b"iCCP", b"p\0\0" + bomb)), "too large")
    yield bad("huge-header.png", huge_png(20_000, 20_000), "more than the cap|exceeds limit")
    yield bad("hugest-header.png", huge_png(2**31 - 1, 2**31 - 1), "more than the cap|exceeds limit")
    yield bad("no-width.png", png(0, HEIGHT, 8, 2, []), NOT_AN_IMAGE)


def webps() -> Iterator[Odd]:
    """WebP in its kinds."""
    yield good("lossy.webp", encoded(SCENE, "WEBP"), near=LOSSY_NEAR)
    yield good("lossless.webp", encoded(SCENE, "WEBP", lossless=True))
    frames = [Image.fromarray(255 - SCENE), Image.fromarray(SCENE[::-1].copy())]
    animated = encoded(SCENE, "WEBP", save_all=True, append_images=frames, lossless=True)
    yield good("animated.webp", animated, several=True)


def tiffs() -> Iterator[Odd]:
    """TIFF in its kinds, and some that name more than they hold."""
    for kind in ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate"):
        yield good(f"{kind}.tif", encoded(SCENE, "TIFF", compression=kind))
    yield good("jpeg-inside.tif", encoded(SCENE, "TIFF", compression="jpeg"), near=LOSSY_NEAR)
    bits = PICTURE.convert("1")
    yield good("group4.tif", encoded(bits, "TIFF", compression="group4"), np.asarray(bits) * np.uint8(255))
    yield good("cmyk.tif", encoded(PICTURE.convert("CMYK"), "TIFF"), near=1)
    yield good("big.tif", encoded(SCENE, "TIFF", big_tiff=True))
    other = [Image.fromarray(255 - SCENE)]
    yield good("pages.tif", encoded(SCENE, "TIFF", save_all=True, append_images=other), several=True)
    yield good("white-is-0.tif", tiff(GREY.tobytes(), WIDTH, HEIGHT, photometric=0), 255 - GREY)
    yield good("planes.tif", _planes(SCENE))
    yield good("loop.tif", tiff(GREY.tobytes(), WIDTH, HEIGHT, next=8), GREY)
    yield bad("tags-without-end.tif", b"II*\0\x08\0\0\0\xff\xff" + bytes(50), NOT_AN_IMAGE)
    absurd = tiff(GREY.tobytes(), WIDTH, HEIGHT, count=0x3FFFFFFF)
    yield bad("strips-without-end.tif", absurd, "cannot be decoded|unreadable header|not a")
    yield bad("no-width.tif", tiff(GREY.tobytes(), 0, HEIGHT), NOT_AN_IMAGE)


def _planes(pixels: np.ndarray) -> bytes:
    """A TIFF that holds red, green and blue one after the other."""
    height, width, _ = pixels.shape
    size, entries = height * width, 10
    more = 8 + 2 + 12 * entries + 4  # values that do not fit into an entry, then the planes
    start = more + 3 * 2 + 3 * 4 + 3 * 4
    fields = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, more), (259, 3, 1, 1), (262, 3, 1, 2)]
    fields += [(273, 4, 3, more + 6), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 3, more + 18), (284, 3, 1, 2)]
    out = b"II*\0" + struct.pack("<IH", 8, entries) + b"".join(struct.pack("<HHII", *field) for field in fields)
    out += struct.pack("<I3H3I3I", 0, 8, 8, 8, *(start + i * size for i in range(3)), size, size, size)
    return out + b"".join(pixels[:, :, i].tobytes() for i in range(3))


def bmps() -> Iterator[Odd]:
    """BMP in its kinds."""
    palette = PICTURE.quantize(16)
    yield good("palette.bmp", encoded(palette, "BMP"), np.asarray(palette.convert("RGB")))
    bits = PICTURE.convert("1")
    yield good("1-bit.bmp", encoded(bits, "BMP"), np.asarray(bits) * np.uint8(255))
    whole = encoded(SCENE[::-1].copy(), "BMP")
    yield good("top-down.bmp", whole[:22] + struct.pack("<i", -HEIGHT) + whole[26:])
    # Run-length coding: every row is one run of one colour.
    rows = b"".join(bytes([WIDTH, y, 0, 0]) for y in range(HEIGHT)) + b"\0\1"
    colours = b"".join(bytes([y, y, y, 0]) for y in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 1, len(rows), 0, 0, 256, 0)
    start = 14 + len(header) + len(colours)
    packed = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + colours + rows
    stripes = np.arange(HEIGHT, dtype=np.uint8)[::-1, None] * np.ones((1, WIDTH), np.uint8)
    yield good("runs.bmp", packed, stripes)
    yield bad("no-width.bmp", whole[:18] + struct.pack("<i", 0) + whole[22:], "cannot be decoded|unreadable|not a")


def shapes() -> Iterator[Odd]:
    """The smallest, the longest, and names that say another format."""
    yield good("1x1.png", encoded(SCENE[:1, :1], "PNG"), SCENE[:1, :1])
    yield good("1x50.png", encoded(SCENE[:50, :1], "PNG"), SCENE[:50, :1])
    yield good("50x1.jpg", encoded(SCENE[:1, :50], subsampling="4:4:4"), SCENE[:1, :50], LOSSY_NEAR)
    yield bad("1x51.png", encoded(SCENE[:51, :1], "PNG"), "one side more than 50 times the other")
    yield good("UPPER.JPG", encoded(SCENE), near=JPEG_NEAR)
    yield good("Mixed.jPeG", encoded(SCENE), near=JPEG_NEAR)
    yield good("png-named.jpg", encoded(SCENE, "PNG"))
    yield good("jpeg-named.bmp", encoded(SCENE), near=JPEG_NEAR)
    yield good("two.suffixes.png.tiff", encoded(SCENE, "TIFF"))


def strangers() -> Iterator[Odd]:
    """Files of other kinds that are named like images."""
    for kind in ("GIF", "ICO", "PDF", "PPM", "TGA"):
        yield bad(f"{kind.lower()}-inside.jpg", encoded(SCENE, kind), NOT_AN_IMAGE)
    beginnings = {
        "psd": b"8BPS\0\1" + bytes(40),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
        "html": b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n",
        "text": b"image,label\r\na.jpg,nv\r\n",
        "zeros": bytes(5000),
        "newlines": b"\n" * 5000,
        "escapes": b"\x1b[31mred\x1b[0m" * 9,
        "one-byte": b"\xff",
        "noise": np.random.default_rng(7).bytes(5000),
    }
    for name, data in beginnings.items():
        yield bad(f"{name}.jpg", data, NOT_AN_IMAGE)
    yield bad("empty.jpg", b"", "^empty file$")


def cut() -> Iterator[Odd]:
    """Every format, ended early."""
    kinds = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "BMP": "bmp"}
    for kind, suffix in kinds.items():
        whole = encoded(SCENE, kind)
        for share in (0.02, 0.3, 0.7, 0.99):
            yield bad(f"cut-{share}.{suffix}", whole[: int(len(whole) * share)], "truncated|not a|cannot be|unreadable")
    lzw = encoded(SCENE, "TIFF", compression="tiff_lzw")
    yield bad("cut-lzw.tif", lzw[: len(lzw) // 2], "cannot be decoded|unreadable|not a")
    progressive = encoded(SCENE, progressive=True)
    yield bad("cut-progressive.jpg", progressive[: len(progressive) // 2], "truncated")
    animated = encoded(SCENE, "PNG", save_all=True, append_images=[Image.fromarray(255 - SCENE)])
    yield bad("cut-animated.png", animated[:-500], "[Tt]runcated")


def no_files() -> Iterator[Odd]:
    """What has an image's name and is no file, or none that may be read."""
    yield bad("folder.jpg", Path.mkdir, "Is a directory|not a file")
    yield bad("dangling.jpg", lambda path: path.symlink_to("nowhere.jpg"), "No such file|not a file")
    yield bad("link-loop.jpg", lambda path: path.symlink_to("link-loop.jpg"), "symbolic links|not a file")
    if hasattr(os, "mkfifo"):
        yield bad("pipe.jpg", os.mkfifo, "not a (regular )?file")
    yield bad("sparse.jpg", lambda path: sparse(path, 600 * 1024**2), "629,145,600 bytes, more than the cap")
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        yield bad("locked.jpg", _locked, "Permission denied")


def sparse(path: Path, size: int) -> None:
    """A file of `size` bytes that takes no room."""
    with open(path, "wb") as file:
        file.write(b"\xff\xd8\xff\xe0")
        file.truncate(size)


def _locked(path: Path) -> None:
    path.write_bytes(encoded(SCENE))
    path.chmod(0)
