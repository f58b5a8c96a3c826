"""The nearest rows of other groups: exact up to a size, above it in the nearest cells of a k-means, and how well.

Comparing all pairs takes hours for some hundred thousand rows. Above `EXACT_ROWS` each row is therefore compared with
the rows of the few cells nearest to it alone, as in the inverted file of Jegou, Douze and Schmid, "Product quantization
for nearest neighbor search", TPAMI 33 (2011), whose work grows with ``n ** 1.5``. How many cells are enough is read
from rows that were also searched exactly, and what share of other such rows found their neighbour is the recall.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

TILE = 1024  # rows of a block of the similarity matrix
EXACT_ROWS = 12_000
RECALL = 0.98  # wanted of the cells; what came of it is measured and told
SAMPLE = 1000  # rows searched exactly, to choose by and again as many to measure on
ROWS_OF_A_CENTRE = 50  # that k-means learns from
NO_WORSE = 1e-5  # of a similarity: what rounding may change
MOST_CELLS = 2**16


@dataclass(frozen=True)
class Neighbours:
    """The most similar row of another group, for every row.

    Attributes
    ----------
    nearest : ndarray of int, shape (n,)
        -1 where all rows are of one group.
    first, second : ndarray of float, shape (n,)
        Cosine similarity to the nearest and to the second nearest row of another group.
    recall : float or None
        Share of the rows searched exactly whose neighbour was found; None where all were searched exactly.
    measured_on : int
        How many rows that share is of.
    """

    nearest: np.ndarray
    first: np.ndarray
    second: np.ndarray
    recall: float | None = None
    measured_on: int = 0

    def words(self) -> str:
        """How they were searched, for a sentence; empty where the search was exact."""
        if self.recall is None:
            return ""
        share = math.floor(1000 * self.recall) / 10
        return (
            f"the search was approximate: {share:.1f} % of {self.measured_on:,} rows drawn by seed found the neighbour "
            "that an exact search finds"
        )


def neighbours(matrix: np.ndarray, groups: np.ndarray, seed: int = 0, exact_rows: int | None = None) -> Neighbours:
    """Nearest neighbours across groups, by cosine of standardised columns.

    Similarities are made in tiles, so memory grows with the rows and not with their square: one standardised copy of
    `matrix` is the largest thing in it.

    Parameters
    ----------
    matrix : ndarray of float32, shape (n, width)
    groups : ndarray of str, shape (n,)
    seed : int
        Of the cells and of the rows that recall is measured on.
    exact_rows : int, optional
        Up to so many rows the search is exact; `EXACT_ROWS` if not given.

    Returns
    -------
    Neighbours
    """
    owner = np.unique(groups, return_inverse=True)[1]
    unit = _unit_rows(matrix)
    if len(unit) <= (EXACT_ROWS if exact_rows is None else exact_rows):
        return _exact(unit, owner).found()
    return _in_cells(unit, owner, np.random.default_rng(seed))


class _Best:
    """The two largest similarities of each row, and where the largest is."""

    def __init__(self, n: int):
        self.nearest = np.full(n, -1)
        self.first, self.second = np.full(n, -np.inf, np.float32), np.full(n, -np.inf, np.float32)

    def add(self, rows: np.ndarray, columns: np.ndarray, similarity: np.ndarray) -> None:
        """Take note of the similarity (rows, columns) of `rows` to `columns`, each pair of which is told once."""
        at = np.arange(len(rows))
        place = similarity.argmax(axis=1)
        top, known = similarity[at, place], self.first[rows]
        similarity[at, place] = -np.inf
        runner = np.maximum(similarity.max(axis=1), np.minimum(top, known))
        similarity[at, place] = top  # a copy of the tile would be the largest thing in memory
        self.second[rows] = np.maximum(self.second[rows], runner)
        better = top > known
        self.nearest[rows] = np.where(better, columns[place], self.nearest[rows])
        self.first[rows] = np.maximum(known, top)

    def found(self, recall: float | None = None, measured_on: int = 0) -> Neighbours:
        """What was found."""
        return Neighbours(self.nearest, self.first.astype(float), self.second.astype(float), recall, measured_on)


def _exact(unit: np.ndarray, owner: np.ndarray) -> _Best:
    """Every pair, each tile of the similarities used for its rows and for its columns."""
    best = _Best(len(unit))
    tiles = list(_tiles(np.arange(len(unit))))
    for number, rows in enumerate(tiles):
        for columns in tiles[number:]:
            similarity = _across(unit, owner, rows, columns)
            best.add(rows, columns, similarity)
            if rows is not columns:
                best.add(columns, rows, similarity.T)
    return best


def _exact_of(chosen: np.ndarray, unit: np.ndarray, owner: np.ndarray, best: _Best) -> None:
    """Search some rows exactly, and note what is found in `best`, which knows nothing of them yet."""
    for rows in _tiles(chosen):
        for columns in _tiles(np.arange(len(unit))):
            best.add(rows, columns, _across(unit, owner, rows, columns))


def _in_cells(unit: np.ndarray, owner: np.ndarray, rng: np.random.Generator) -> Neighbours:
    """Each row among the rows of its nearest cells."""
    exact, best = _Best(len(unit)), _Best(len(unit))
    sample = rng.choice(len(unit), min(2 * SAMPLE, len(unit)), replace=False)
    choosing, measuring = np.sort(sample[: len(sample) // 2]), np.sort(sample[len(sample) // 2 :])
    _exact_of(np.sort(sample), unit, owner, exact)
    centres = _centres(unit, rng)
    home = np.concatenate([(unit[rows] @ centres.T).argmax(axis=1) for rows in _tiles(np.arange(len(unit)))])
    probes = _cells_needed(unit, centres, home, choosing, exact)
    for queries, members in _meetings(unit, centres, home, probes):
        for rows in _tiles(queries):
            best.add(rows, members, _across(unit, owner, rows, members))
    # Where all of the nearest cells hold one large group, nothing is known of a row.
    _exact_of(np.flatnonzero(best.nearest < 0), unit, owner, best)
    known = measuring[exact.nearest[measuring] >= 0]
    met = best.first[known] >= exact.first[known] - NO_WORSE
    return best.found(float(met.mean()) if len(known) else 1.0, len(known))


def _centres(unit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Centres of about ``sqrt(n)`` cells, of unit length, (cells, width)."""
    from sklearn.cluster import MiniBatchKMeans

    cells = min(round(math.sqrt(len(unit))), MOST_CELLS)
    learned = np.sort(rng.choice(len(unit), min(ROWS_OF_A_CENTRE * cells, len(unit)), replace=False))
    # Small batches, unlike Lloyd's algorithm, give the same centres whatever the number of threads.
    means = MiniBatchKMeans(
        cells,
        init="random",
        n_init=1,
        batch_size=4096,
        max_iter=10,
        compute_labels=False,
        random_state=int(rng.integers(2**31)),
    )
    return _of_unit_length(means.fit(unit[learned]).cluster_centers_.astype(np.float32))


def _cells_needed(unit, centres, home, choosing, exact: _Best) -> int:
    """How many of its nearest cells a row must look into, so that `RECALL` of the rows `choosing` meet their own."""
    known = choosing[exact.nearest[choosing] >= 0]
    if not len(known):
        return 1
    similarity = unit[known] @ centres.T
    target = similarity[np.arange(len(known)), home[exact.nearest[known]]]
    nearer = np.sort((similarity > target[:, None]).sum(axis=1))
    return int(nearer[min(math.ceil(RECALL * len(known)), len(known)) - 1]) + 1


def _meetings(unit, centres, home, probes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For every cell, the rows that look into it and the rows that lie in it."""
    nearest = np.empty((len(unit), probes), np.uint16)  # 16 bits are sorted in linear time
    for rows in _tiles(np.arange(len(unit))):
        similarity = unit[rows] @ centres.T
        nearest[rows] = np.argpartition(-similarity, probes - 1, axis=1)[:, :probes]
    looking, lying = _by_cell(nearest.ravel(), len(centres)), _by_cell(home.astype(np.uint16), len(centres))
    for queries, members in zip(looking, lying, strict=True):
        if len(queries) and len(members):
            yield queries // probes, members


def _by_cell(cell: np.ndarray, cells: int) -> list[np.ndarray]:
    """Places of each cell's number in `cell`, in rising order."""
    order = np.argsort(cell, kind="stable")
    return np.split(order, np.cumsum(np.bincount(cell, minlength=cells))[:-1])


def _across(unit: np.ndarray, owner: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Similarity of some rows to others, minus infinity within a group."""
    similarity = unit[rows] @ unit[columns].T
    similarity[owner[rows, None] == owner[None, columns]] = -np.inf
    return similarity


def _tiles(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[i : i + TILE] for i in range(0, len(rows), TILE))


def _unit_rows(matrix: np.ndarray) -> np.ndarray:
    """The rows with standardised columns and of unit length, (n, width) float32, made a tile at a time."""
    mean, spread = _moments(matrix)
    unit = np.empty(matrix.shape, np.float32)
    for rows in _tiles(np.arange(len(matrix))):
        unit[rows] = _of_unit_length((matrix[rows[0] : rows[-1] + 1] - mean) / spread)
    return unit


def _moments(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, a tile of rows at a time; 1 for a column that never varies."""
    mean = matrix.mean(axis=0, dtype=np.float64).astype(np.float32)
    starts = range(0, len(matrix), TILE)
    squares = sum(np.square(matrix[i : i + TILE] - mean).sum(axis=0, dtype=np.float64) for i in starts)
    spread = np.sqrt(squares / len(matrix)).astype(np.float32)
    return mean, np.where(spread > 0, spread, np.float32(1.0))


def _of_unit_length(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, np.float32(1.0))
