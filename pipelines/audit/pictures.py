"""Pictures compared by the details in them, however they were compressed, resized, turned or brightened."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from scipy import ndimage

from dermfuse.features.images.decoder import BadImage, decode
from dermfuse.pipelines.audit.check import Pairs

# Over HAM10000 (5,984 lesions, one picture each), of the 1,231 pairs nearest by embedding three agree to 0.91 or more,
# by eye the same lesion, and the rest to at most 0.88. Copies of 400 pictures, saved again as JPEG, agree to at least
# 0.96 when compressed (quality 50), halved, doubled, mirrored, turned or brightened, and to 0.90 when cropped by 5 or
# 10 %.
AGREEMENT = 0.9
WORTH_ZOOMING = 0.5
SIDE = 64
FINE, COARSE, CONTRAST, FLOOR = 0.7, 3.0, 4.0, 1.0  # pixels of a thumbnail; grey levels
SHIFT = 5
ZOOMS = (1.05, 1.1)
SHOWN_SIDE = 112
THREADS = min(8, os.cpu_count() or 1)


class Pictures:
    """Images of a dataset as small patterns of local contrast, which can be compared.

    Parameters
    ----------
    paths : list of str or Path
    """

    def __init__(self, paths: list[str | Path]):
        self._paths = paths
        self._kept: dict[int, np.ndarray | None] = {}

    def agreements(self, pairs: list[tuple[int, int]]) -> np.ndarray:
        """:meth:`agreement` of each pair, (n,) float; files are read and compared by several threads."""
        rows = sorted({row for pair in pairs for row in pair})
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._grey, rows))
            return np.array(list(pool.map(lambda pair: self.agreement(*pair), pairs)), float)

    def agreement(self, a: int, b: int) -> float:
        """How well the details of two pictures agree, 1 for copies; NaN where one cannot be read.

        The largest normalised cross-correlation over shifts, the eight flips and turns, and small zooms.
        """
        left, right = self._grey(a), self._grey(b)
        if left is None or right is None:
            return float("nan")
        best = _correlation(pattern(left), pattern(right))
        if WORTH_ZOOMING <= best < AGREEMENT:
            zoomed = [_correlation(pattern(_zoomed(left, z)), pattern(right)) for z in ZOOMS]
            zoomed += [_correlation(pattern(left), pattern(_zoomed(right, z))) for z in ZOOMS]
            best = max(best, *zoomed)
        return best

    def shown(self, pairs: list[tuple[int, int]], agreement: np.ndarray) -> Pairs:
        """Small colour pictures of `pairs`."""
        left, right = (np.stack([_small(self._paths[pair[side]], SHOWN_SIDE) for pair in pairs]) for side in (0, 1))
        return Pairs(left, right, np.asarray(agreement, float))

    def _grey(self, row: int) -> np.ndarray | None:
        if row not in self._kept:
            try:
                small = _small(self._paths[row], SIDE).astype(np.float32)
                self._kept[row] = small @ np.array([0.299, 0.587, 0.114], np.float32)
            except BadImage:
                self._kept[row] = None
        return self._kept[row]


def pattern(grey: np.ndarray) -> np.ndarray:
    """Details of a thumbnail, their contrast made even over the picture, of unit length; shape (64, 64).

    Without even contrast, two dark spots on plain skin would agree, whatever they are.
    """
    band = ndimage.gaussian_filter(grey, FINE, mode="nearest") - ndimage.gaussian_filter(grey, COARSE, mode="nearest")
    even = band / (np.sqrt(ndimage.gaussian_filter(band * band, CONTRAST, mode="nearest")) + FLOOR)
    even = even * _WINDOW
    even -= even.mean()
    length = np.linalg.norm(even)
    return even / length if length > 0 else even


_EDGE = np.hanning(SIDE + 2)[1:-1].astype(np.float32)
_WINDOW = np.outer(_EDGE, _EDGE)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    turned = np.stack([turn[:, ::step] for turn in (np.rot90(b, k) for k in range(4)) for step in (1, -1)])
    product = np.fft.rfft2(a)[None] * np.conj(np.fft.rfft2(turned))
    shifts = np.fft.irfft2(product, s=(SIDE, SIDE))
    near = np.r_[-SHIFT : SHIFT + 1]
    return float(shifts[:, near[:, None], near[None, :]].max())


def _zoomed(grey: np.ndarray, zoom: float) -> np.ndarray:
    from PIL import Image

    margin = SIDE * (1 - 1 / zoom) / 2
    box = (margin, margin, SIDE - margin, SIDE - margin)
    return np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box))


def _small(path: Path, side: int) -> np.ndarray:
    """An image squeezed to a square, (side, side, 3) uint8."""
    from PIL import Image

    pixels = np.ascontiguousarray(decode(Path(path)).pixels.permute(1, 2, 0).numpy())
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))
