"""What an audit looks at: the dataset, its splits, the bytes of its images and its embeddings."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from dermfuse.features.data.dataset import Dataset
from dermfuse.pipelines.model.table import Table


@dataclass(frozen=True)
class AuditInput:
    """Everything that is at hand; what is None makes the checks that need it not applicable.

    Attributes
    ----------
    dataset : Dataset
        The rows in use. Their groups may have been joined already, where images share the same bytes.
    whole : Dataset
        The table as it stands, rows without an image too (``Dataset.whole``), groups not joined.
    fold : ndarray of int, shape (n,), or None
        Fold of each row, -1 in the locked test split; aligned to ``dataset.rows``.
    keys : list of (str or None), or None
        SHA-256 of each image file.
    table : Table or None
        Embedding blocks and metadata of the same rows.
    learned : dict of str to (set of str or None)
        For each image block of `table`, the SHA-256 of the images its extractor learned from; None where unknown.
    used : tuple of str
        Metadata columns that are features.
    seed : int
    """

    dataset: Dataset
    whole: Dataset
    fold: np.ndarray | None = None
    keys: list[str | None] | None = None
    table: Table | None = None
    learned: dict[str, set[str] | None] = field(default_factory=dict)
    used: tuple[str, ...] = ()
    seed: int = 0

    @cached_property
    def ids(self) -> np.ndarray:
        """Image ids, (n,) str."""
        return self.dataset.rows["id"].to_numpy(str)

    @cached_property
    def groups(self) -> np.ndarray:
        """Groups in use, (n,) str."""
        return self.dataset.rows["group"].to_numpy(str)

    @cached_property
    def labels(self) -> np.ndarray:
        """Labels, (n,) str."""
        return self.dataset.rows["label"].to_numpy(str)

    @cached_property
    def table_groups(self) -> np.ndarray:
        """Groups as the table names them, before any were joined, (n,) str."""
        named = self.whole.rows.set_index("id")["group"]
        return named.loc[self.ids].to_numpy(str)

    @property
    def word(self) -> str:
        """What groups are called, in the plural."""
        return self.dataset.layout.group_word if self.dataset.layout.group else "rows"

    @property
    def one(self) -> str:
        """What a group is called."""
        return self.word.removesuffix("s")

    @property
    def learning(self) -> np.ndarray:
        """Rows whose labels may be looked at: all but the locked test split, (n,) bool."""
        return np.ones(len(self.dataset.rows), bool) if self.fold is None else self.fold >= 0
