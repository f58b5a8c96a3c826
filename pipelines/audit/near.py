"""Near-duplicates: nearest neighbours by embedding, confirmed by comparing their pixels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from features.images import BadImage, decode
from pipelines.audit.check import Check, Pairs, Question, offending, plural
from pipelines.audit.given import AuditInput
from pipelines.audit.groups import sides

NEAR = Question("NEAR_DUPLICATE", "No picture has a copy in another group", "warning")

TILE = 1024  # rows of a block of the similarity matrix
CANDIDATES = 400  # pairs whose pixels are compared, for each of two ways to rank them
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
SHOWN, SHOWN_SIDE = 6, 112


@dataclass(frozen=True)
class Neighbours:
    """The most similar row of another group, for every row.

    Attributes
    ----------
    nearest : ndarray of int, shape (n,)
        -1 where all rows are of one group.
    first, second : ndarray of float, shape (n,)
        Cosine similarity to the nearest and to the second nearest row of another group.
    """

    nearest: np.ndarray
    first: np.ndarray
    second: np.ndarray


def check_near(given: AuditInput) -> tuple[Check, Pairs | None]:
    """Copies in other groups, and pictures of the worst of them."""
    block = _block(given)
    if block is None:
        return NEAR.not_applicable("no embeddings; run extract"), None
    if not given.dataset.has_images:
        return NEAR.not_applicable("the folder holds no images"), None
    matrix = given.table.X[given.table.columns.images[block]].to_numpy(np.float32)
    found = neighbours(matrix, given.groups)
    candidates = candidate_pairs(found)
    pictures = Pictures(list(given.dataset.rows["path"]))
    agreement = np.array([pictures.agreement(a, b) for a, b in candidates])
    copies = [pair for pair, value in zip(candidates, agreement, strict=True) if value >= AGREEMENT]
    looked = f"{plural(len(candidates), 'pair')}, nearest by {block}, compared pixel by pixel"
    if not copies:
        most = f"; they agree to {np.nanmax(agreement):.2f} at most" if len(agreement) else ""
        return NEAR.passed(f"{looked}{most}."), None
    values = agreement[agreement >= AGREEMENT]
    order = np.argsort(-values, kind="stable")
    copies, values = [copies[i] for i in order], values[order]
    return _found(given, copies, values, looked), pictures.shown(copies[:SHOWN], values[:SHOWN])


def neighbours(matrix: np.ndarray, groups: np.ndarray) -> Neighbours:
    """Exact nearest neighbours across groups, by cosine of standardised columns.

    The similarity matrix is made in tiles of `TILE` x `TILE`, so memory does not grow with its square.

    Parameters
    ----------
    matrix : ndarray of float32, shape (n, width)
    groups : ndarray of str, shape (n,)

    Returns
    -------
    Neighbours
    """
    n = len(matrix)
    _, owner = np.unique(groups, return_inverse=True)
    mean, spread = _moments(matrix)
    best = _Best(n)
    starts = range(0, n, TILE)
    for i in starts:
        upper = _unit((matrix[i : i + TILE] - mean) / spread)
        for j in range(i, n, TILE):
            lower = upper if i == j else _unit((matrix[j : j + TILE] - mean) / spread)
            similarity = upper @ lower.T
            similarity[owner[i : i + TILE, None] == owner[None, j : j + TILE]] = -np.inf
            best.add(i, j, similarity)
            if i != j:
                best.add(j, i, similarity.T)
    return best.found()


def candidate_pairs(found: Neighbours, most: int = CANDIDATES) -> list[tuple[int, int]]:
    """Pairs worth comparing: the most similar, and those whose neighbour stands out from the second nearest.

    The latter is the ratio of distances of Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60
    (2004); a copy that was cropped or made smaller is not very similar, but nothing else comes near it.
    """
    near = np.flatnonzero((found.nearest >= 0) & np.isfinite(found.first))
    ratio = (1 - found.first[near]) / np.maximum(1 - np.where(np.isfinite(found.second), found.second, -1)[near], 1e-9)
    pairs: dict[tuple[int, int], None] = {}
    for order in (np.argsort(-found.first[near], kind="stable"), np.argsort(ratio, kind="stable")):
        ranked = (tuple(sorted((int(i), int(found.nearest[i])))) for i in near[order])
        pairs |= dict.fromkeys(itertools.islice(dict.fromkeys(ranked), most))
    return list(pairs)


class _Best:
    """The two largest similarities of each row, and where the largest is."""

    def __init__(self, n: int):
        self._nearest = np.full(n, -1)
        self._first, self._second = np.full(n, -np.inf, np.float32), np.full(n, -np.inf, np.float32)

    def add(self, row: int, column: int, similarity: np.ndarray) -> None:
        """Take note of a tile that begins at `row` and `column`."""
        rows = slice(row, row + len(similarity))
        at = np.arange(len(similarity))
        place = similarity.argmax(axis=1)
        top = similarity[at, place]
        similarity[at, place] = -np.inf
        runner = np.maximum(similarity.max(axis=1), np.minimum(top, self._first[rows]))
        similarity[at, place] = top  # a copy of the tile would be the largest thing in memory
        self._second[rows] = np.maximum(self._second[rows], runner)
        better = top > self._first[rows]
        self._nearest[rows] = np.where(better, place + column, self._nearest[rows])
        self._first[rows] = np.maximum(self._first[rows], top)

    def found(self) -> Neighbours:
        """What was found."""
        return Neighbours(self._nearest, self._first.astype(float), self._second.astype(float))


def _moments(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, a tile of rows at a time; 1 for a column that never varies."""
    mean = matrix.mean(axis=0, dtype=np.float64).astype(np.float32)
    starts = range(0, len(matrix), TILE)
    squares = sum(np.square(matrix[i : i + TILE] - mean).sum(axis=0, dtype=np.float64) for i in starts)
    spread = np.sqrt(squares / len(matrix)).astype(np.float32)
    return mean, np.where(spread > 0, spread, np.float32(1.0))


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


class Pictures:
    """Images of a dataset as small patterns of local contrast, which can be compared.

    Parameters
    ----------
    paths : list of str or Path
    """

    def __init__(self, paths: list[str | Path]):
        self._paths = paths
        self._kept: dict[int, np.ndarray | None] = {}

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


def _block(given: AuditInput) -> str | None:
    """The image block to search: one that learned nothing from these images, if there is one."""
    names = list(given.table.columns.images) if given.table is not None else []
    return min(names, key=lambda name: given.learned.get(name) != set(), default=None)


def _found(given: AuditInput, copies: list[tuple[int, int]], values: np.ndarray, looked: str) -> Check:
    ids, groups, labels = given.ids, given.groups, given.labels
    where = sides(given.fold) if given.fold is not None else np.full(len(ids), "no split")
    rows, test, across, mixed = [], 0, 0, 0
    for number, ((a, b), value) in enumerate(zip(copies, values, strict=True), start=1):
        rows += [(i, f"pair {number}, agreement {value:.2f}, {where[i]}, {labels[i]}") for i in (a, b)]
        across += where[a] != where[b]
        test += given.fold is not None and (given.fold[a] < 0) != (given.fold[b] < 0)
        mixed += labels[a] != labels[b]
    places, words = zip(*rows, strict=True)
    table = offending(ids[list(places)], groups[list(places)], list(words))
    detail = f"Near-copies in different groups: {plural(len(copies), 'pair')}"
    if given.fold is not None:
        detail += f"; on two sides of a split {across:,}, of them in training and locked test {test:,}"
    detail += f"; with different labels {mixed:,}. {looked}."
    return NEAR.found(len(copies), detail, table, "error" if test else None)
