"""Small tables with known signal, in the form that stage 2 works on, and a run of stage 2 over them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dermfuse.features.console import Console
from dermfuse.pipelines.evaluation import splits
from dermfuse.pipelines.evaluation.out_of_fold import Evidence, cross_validate
from dermfuse.pipelines.model.balance import smote_neighbors
from dermfuse.pipelines.model.table import Columns, Table, assemble, block_columns
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.runs.environment import Stopwatch

SITES = ("back", "face", "hand", "leg")


@dataclass(frozen=True)
class Problem:
    """A table, the column of each row's true class, and its fold (-1 in the locked test split)."""

    table: Table
    truth: np.ndarray
    fold: np.ndarray

    @property
    def train(self) -> np.ndarray:
        """Rows outside the locked test split."""
        return self.fold >= 0

    def with_x(self, X: pd.DataFrame) -> Problem:
        """The same problem over other values."""
        return replace(self, table=replace(self.table, X=X))


def problem(
    classes: int = 4,
    groups: int = 72,
    widths: dict[str, int] | None = None,
    metadata: bool = True,
    signal: float = 2.0,
    spread: float = 0.5,
    folds: int = 3,
    seed: int = 0,
) -> Problem:
    """Rows in groups of one to three of one class; the first block, age and site tell the class, the rest is noise.

    Parameters
    ----------
    classes, groups : int
    widths : dict of str to int, optional
        Image blocks; the first one carries the signal.
    metadata : bool
        Have the fields age, sex and site, about a tenth of them missing.
    signal : float
        Distance of the classes in the informative block.
    spread : float
        How far the rows of one group lie apart; groups themselves lie 1 apart.
    folds, seed : int
    """
    rng = np.random.default_rng(seed)
    widths = {"alpha": 8, "beta": 5} if widths is None else widths
    owner = np.repeat(np.arange(groups), rng.integers(1, 4, groups))
    truth = owner % classes
    centres = rng.normal(size=(classes, max(widths.values(), default=1)))
    vectors = {}
    for position, (name, width) in enumerate(widths.items()):
        told = signal * centres[truth, :width] if position == 0 else 0.0
        noise = rng.normal(size=(groups, width))[owner] + spread * rng.normal(size=(len(owner), width))
        vectors[name] = (told + noise).astype(np.float32)
    fields = _fields(owner, truth, groups, signal, rng)
    columns = Columns(
        {name: block_columns(name, width) for name, width in widths.items()},
        ["age"] if metadata else [],
        ["sex", "site"] if metadata else [],
    )
    ids = np.array([f"image{i:04d}" for i in range(len(owner))])
    names = np.array([f"lesion{i:03d}" for i in owner])
    labels = np.array([f"class{k}" for k in truth])
    content = np.array([hashlib.sha256(i.encode()).hexdigest() for i in ids])
    table = Table(assemble(columns, vectors, fields[columns.metadata]), labels, names, ids, content, columns)
    return Problem(table, truth, split(labels, names, seed, folds))


def split(labels: np.ndarray, groups: np.ndarray, seed: int, folds: int) -> np.ndarray:
    """Each row's fold; -1 in the locked test split."""
    fold = np.full(len(labels), -1)
    train = ~splits.locked_test(labels, groups, seed)
    fold[train] = splits.folds_of(labels[train], groups[train], seed, folds)
    return fold


def evidence_of(given: Problem, model: str = "logreg", balance: str = "smote", seed: int = 0, **options) -> Evidence:
    """What `cross_validate` finds, quietly and on one core."""
    folds = int(given.fold.max()) + 1
    chosen = FitOptions(model, balance=balance, folds=folds, seed=seed, **{"jobs": 1, **options})
    smallest = min(np.bincount(given.truth[given.train & (given.fold != k)]).min() for k in range(folds))
    neighbors = smote_neighbors(int(smallest)) if balance == "smote" else None
    return cross_validate(
        given.table, given.truth, [given.fold], chosen, neighbors, Console(quiet=True).progress, Stopwatch()
    )


def _fields(owner, truth, groups: int, signal: float, rng: np.random.Generator) -> pd.DataFrame:
    age = 45 + 4 * signal * truth + rng.normal(0, 10, groups)[owner]
    age[rng.random(len(owner)) < 0.1] = np.nan
    at_home = rng.random(groups)[owner] < 0.25 * min(signal, 2.0)
    site = np.where(at_home, np.take(SITES, truth % len(SITES)), rng.choice(SITES, groups)[owner]).astype(object)
    sex = rng.choice(["female", "male"], groups)[owner].astype(object)
    for column in (site, sex):
        column[rng.random(len(owner)) < 0.1] = None
    return pd.DataFrame({"age": age, "sex": sex, "site": site})
