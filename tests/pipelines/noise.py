"""Rows of a small table, probabilities of a score, and a table of one image block and three fields."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dermfuse.pipelines.model.table import Columns

BLOCK = Columns({"cae": ["cae:0000", "cae:0001"]}, ["age"], ["sex", "site"])


def rows(n: int, columns: Columns, seed: int = 0) -> pd.DataFrame:
    """`n` rows of noise in these columns."""
    rng = np.random.default_rng(seed)
    image = {name: rng.normal(size=n).astype(np.float32) for names in columns.images.values() for name in names}
    numbers = {name: rng.normal(50, 10, n).astype(np.float32) for name in columns.numeric}
    categories = {name: rng.choice(["a", "b", "c"], n).astype(object) for name in columns.categorical}
    return pd.DataFrame({**image, **numbers, **categories})


def sigmoid_of(score) -> np.ndarray:
    """Probabilities of two classes, (n, 2)."""
    second = 1 / (1 + np.exp(-np.asarray(score, dtype=float)))
    return np.column_stack([1 - second, second])
