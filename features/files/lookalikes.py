"""Pictures that are no photographs of lesions: masks, superpixels, thumbnails; by name, size and colours."""

from __future__ import annotations

import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from dermfuse.features.files.endings import ending_of, image_id
from dermfuse.features.images.decoder import FORMATS, BadImage, decode

# ISIC 2016 to 2018 (_segmentation, _superpixels, _attribute_*), PH2 (_lesion, _roi), and what people call them.
_NAMES = (
    r"segmentations?|seg|masks?|superpixels?|attribute\w*|ground_?truth|gt|annotations?|contours?|outlines?|overlays?|"
    r"thumb(nail)?s?|montages?|collages?|contact_?sheets?|previews?|heat_?maps?|grad_?cam|saliency"
)
_END = re.compile(rf"[_\-. ]({_NAMES})(\d*|[_\-. ]?\(?\d+\)?)$", re.IGNORECASE)
_BEGIN = re.compile(rf"^({_NAMES})[_\-. ]", re.IGNORECASE)
_FOLDER = re.compile(rf"(.*[_\-. ])?({_NAMES})([_\-. ]?v?\d+)?", re.IGNORECASE)
_NOT = re.compile(r"(^|[_\-. ])(no|non|without)[_\-. ]", re.IGNORECASE)
# A photograph may be called so too: its colours decide.
_PERHAPS = re.compile(r"[_\-. ](lesion|roi|labels?|binary|bw)\d*$", re.IGNORECASE)

LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".mpo", ".webp")
# Headers that are read of files that nothing makes suspicious: so many of a folder and ending, and of all folders.
SAMPLE, MOST_LOSSY, MOST_OTHERS = 24, 240, 4800
GREY_MODES = ("1", "L", "P")
PHOTOGRAPH_BITS = 0.6  # a pixel; photographs take more in every format here, masks and drawings less
SMALLEST_SIDE = 16
THUMBNAIL_SIDE = 256
LOOKED_AT, FLAT_SIDE = 128, 1024  # pixels a side: spread over the picture, and beside each other
DARK, BRIGHT, COLOURLESS = 32, 223, 16
BLACK_AND_WHITE, FLAT = 0.98, 0.85
NO_IMAGE = ("", (1, 1), 0)  # the header of what is none


def named_apart(below: str) -> bool:
    """Whether an image's path below its folder says that it is a mask, a thumbnail or another picture beside one.

    Examples
    --------
    >>> named_apart("ISIC_1_segmentation.png"), named_apart("masks/ISIC_1.png"), named_apart("ISIC_1_downsampled.jpg")
    (True, True, False)
    """
    *folders, name = below.split("/")
    stem = image_id(name)
    if _END.search(stem) or _BEGIN.match(stem):
        return not _NOT.search(stem)
    return any(_of_no_photographs(part) for part in folders)


@lru_cache(maxsize=1024)  # many images lie in one folder
def _of_no_photographs(folder: str) -> bool:
    return _FOLDER.fullmatch(folder) is not None and not _NOT.search(folder)


def drawn_apart(paths: Iterable[str]) -> dict[str, str]:
    """Pictures among some files that are no photographs by size or colours, with what they are.

    Headers of a sample are read for each folder and ending; where one of it is grey, tiny or takes few bits a pixel,
    all are, and the pixels of those. A folder whose sample is all of one kind is taken to be of it. So a folder of
    photographs costs a few headers.

    Parameters
    ----------
    paths : iterable of str

    Returns
    -------
    dict of str to str
        ``black and white``, ``flat colours`` or ``tiny`` by path.
    """
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in paths:
        perhaps = "?" if _PERHAPS.search(image_id(os.path.basename(path))) else ""
        groups[os.path.dirname(path), perhaps + ending_of(path)].append(path)
    found: dict[str, str] = {}
    left = {True: MOST_LOSSY, False: MOST_OTHERS}  # by whether files of an ending lose colours
    for (_, ending), files in groups.items():
        lossy, sample = ending in LOSSY, _spread(files, SAMPLE)
        if left[lossy] <= 0 and not ending.startswith("?"):
            continue
        if any(_suspicious(path) for path in sample):
            found |= _by_colours([path for path in files if _suspicious(path)])
        else:
            left[lossy] -= len(sample)
    return found


def what_it_looks_like(path: str) -> str | None:
    """``black and white``, ``flat colours`` or ``tiny`` where the pixels are those of no photograph; else None."""
    try:
        pixels = decode(path).pixels.numpy()
    except BadImage:
        return None  # it is set aside with its reason when it is read
    if max(pixels.shape[1:]) < SMALLEST_SIDE:
        return "tiny"
    rows, columns = (np.arange(n)[:: max(1, n // LOOKED_AT)] for n in pixels.shape[1:])
    some = pixels[:, rows[:, None], columns].astype(np.int16)
    spread, middle = some.max(0) - some.min(0), some.mean(0)
    extreme = (spread <= COLOURLESS) & ((middle <= DARK) | (middle >= BRIGHT))
    if extreme.mean() >= BLACK_AND_WHITE:
        return "black and white"
    if ending_of(path) not in LOSSY and min(_equal_share(pixels, 1), _equal_share(pixels, 2)) >= FLAT:
        return "flat colours"
    return None


def size_of(path: str) -> tuple[int, int] | None:
    """Width and height by the header; None for what is no image."""
    header = _header(path)
    return None if header is None else header[1]


def _equal_share(pixels: np.ndarray, axis: int) -> float:
    """The share of pixels, in the middle of a large picture, of exactly the colour of their neighbour along an axis."""
    tops = [max(0, (n - FLAT_SIDE) // 2) for n in pixels.shape[1:]]
    pixels = pixels[:, tops[0] : tops[0] + FLAT_SIDE, tops[1] : tops[1] + FLAT_SIDE]
    if pixels.shape[axis] < 2:
        return 0.0
    return float((np.diff(pixels, axis=axis) == 0).all(0).mean())


def _by_colours(files: list[str]) -> dict[str, str]:
    """What each of some suspicious files of one folder looks like; of many of one kind a sample is looked at."""
    sample = _spread(files, SAMPLE)
    kinds = {path: what_it_looks_like(path) for path in sample}
    bits = {path: _bits(_header(path) or NO_IMAGE) for path in files}
    first, single = kinds[sample[0]], len(set(kinds.values())) == 1
    packed = sorted(bits[path] for path in sample)
    for path in files:
        if path not in kinds:
            # A drawing packs as well as the others: what takes more may be a photograph, and what takes far less none.
            alike = bits[path] >= packed[0] / 4 if first is None else bits[path] <= 2 * packed[-1]
            kinds[path] = first if single and alike else what_it_looks_like(path)
    return {path: kind for path, kind in kinds.items() if kind is not None}


def _bits(header: tuple[str, tuple[int, int], int]) -> float:
    """Bits of a file for each of its pixels."""
    _, (width, height), size = header
    return 8 * size / max(1, width * height)


def _suspicious(path: str) -> bool:
    """Whether a header says what the header of a photograph in colour would not."""
    if _PERHAPS.search(image_id(os.path.basename(path))):
        return True
    header = _header(path)
    if header is None:
        return False
    return header[0] in GREY_MODES or max(header[1]) < SMALLEST_SIDE or _bits(header) < PHOTOGRAPH_BITS


def _header(path: str) -> tuple[str, tuple[int, int], int] | None:
    """Colour mode, width and height, and bytes of an image file; None for what is none."""
    from PIL import Image

    try:
        if not os.path.isfile(path):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # of a picture that is too large; the decoder says so
            with Image.open(path, formats=FORMATS) as image:
                return image.mode, image.size, os.path.getsize(path)
    except Exception:  # Pillow's parsers raise many types on damaged headers; the decoder gives the reason
        return None


def _spread(files: list[str], most: int) -> list[str]:
    """At most so many of some files, evenly over their order."""
    if len(files) <= most:
        return files
    return [files[i * len(files) // most] for i in range(most)]
