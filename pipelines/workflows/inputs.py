"""What ``fit``, ``ablate`` and ``audit`` work on: the usable rows, their images, the locked split, the image blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Block, Store
from dermfuse.features.data.content import Content
from dermfuse.features.data.dataset import Dataset
from dermfuse.features.extractors import learned
from dermfuse.features.images.quarantine import read_quarantine
from dermfuse.pipelines.evaluation.splits import (
    check_class_sizes,
    folds_of,
    join_same_files,
    learning_rows,
    locked_test,
    whole_groups,
)
from dermfuse.pipelines.model.table import find_blocks
from dermfuse.pipelines.options.fit import FitOptions


@dataclass(frozen=True)
class Inputs:
    """Rows that are used, and what lies ready of them.

    Attributes
    ----------
    dataset : Dataset
        Usable rows, groups joined that share an identical image file. Its `whole` is the table as it stands.
    keys : list of str or None
        SHA-256 of each row's image file; None without images.
    test : ndarray of bool, shape (n,)
        Rows of the locked test split.
    blocks : list of Block
        Image blocks, each of which holds every one of `keys`; empty without images.
    """

    dataset: Dataset
    keys: list[str] | None
    test: np.ndarray
    blocks: list[Block]

    def check_class_sizes(self, folds: int) -> None:
        """Refuse classes that are too small to be divided; see :func:`.splits.check_class_sizes`."""
        own = self.test if self.dataset.own_test is not None else None
        check_class_sizes(self.dataset.y, self.dataset.groups, folds, self.dataset.layout.group_word, own)

    def folds(self, seed: int, folds: int) -> np.ndarray:
        """Fold of each row, (n,) int; -1 in the locked test split."""
        fold, learn = np.full(len(self.test), -1), ~self.test
        fold[learn] = folds_of(self.dataset.y[learn], self.dataset.groups[learn], seed, folds)
        return fold

    def for_fit(self, store: Store, options: FitOptions, console) -> Inputs:
        """The same rows with the image blocks of these options, none of which learned from the locked split.

        Raises
        ------
        UserError
            Classes too small, told before features are looked for; or features that were not extracted.
        """
        self.check_class_sizes(options.folds)
        if self.keys is None:
            return self
        locked = {key for key, is_test in zip(self.keys, self.test, strict=True) if is_test}
        wanted = {"views": options.views, "levels": options.levels}
        told = learned_from(store), console.notice, wanted
        return replace(self, blocks=find_blocks(store, options.features, self.keys, locked, *told))

    def of(self, options: FitOptions) -> Inputs:
        """What one arm of an ablation takes of them: its own blocks, or the same rows without images."""
        if not options.use_images:
            return replace(self, keys=None, blocks=[])
        return replace(self, blocks=[block for block in self.blocks if block.name in options.features])


def inputs_of(dataset: Dataset, content: Content | None, store: Store, seed: int, console) -> Inputs:
    """Usable rows and their locked split, without image blocks.

    The split is made before unreadable images are left out, as ``extract`` makes it for the autoencoder.

    Parameters
    ----------
    dataset : Dataset
    content : Content or None
        Row keys of its images; None without images.
    store : Store
        Tells which images were set aside.
    seed : int
        Draws the split, where the dataset has none of its own.
    console : Console

    Raises
    ------
    UserError
        Every image was set aside; the dataset's own split leaves nothing to learn from.
    """
    if content is None:
        return Inputs(dataset, None, locked_split(dataset, seed, console), [])
    joined = join_groups(dataset, content, console)
    test = locked_split(joined, seed, console)
    usable = _usable_rows(content, store, console)
    keys = [key for key, use in zip(content.keys, usable, strict=True) if use]
    return Inputs(replace(joined.keep(usable), table=dataset.whole), keys, test[usable], [])


def join_groups(dataset: Dataset, content: Content, console) -> Dataset:
    """The dataset with groups joined that share an identical image file; told when there are any."""
    before, after = dataset.groups, join_same_files(dataset.groups, content.keys)
    joined = len(set(before)) - len(set(after))
    if not joined:
        return dataset
    console.notice(f"{dataset.layout.group_word} joined with another that has an identical image file: {joined:,}")
    return replace(dataset, rows=dataset.rows.assign(group=after))


def locked_split(dataset: Dataset, seed: int, console=None) -> np.ndarray:
    """Rows of the locked test split, (n,) bool: the dataset's own in whole groups, else one drawn by `seed`.

    Raises
    ------
    UserError
        The dataset's own split leaves nothing to learn from, once its groups are whole.
    """
    if dataset.own_test is None:
        return locked_test(dataset.y, dataset.groups, seed)
    groups = dataset.groups
    test, crossing = whole_groups(dataset.own_test, groups)
    if test.all():
        raise UserError(
            f"every one of the {len(set(groups)):,} {dataset.layout.group_word} has an image in the dataset's own "
            "test split, so none is left to learn from. Mend the split column, or leave 'split' out of dataset.toml."
        )
    if crossing and console is not None:
        console.notice(
            f"{dataset.layout.group_word} on both sides of the dataset's own split, locked away whole: {crossing:,} "
            f"({int((test & ~dataset.own_test).sum()):,} rows)"
        )
    return test


def learning_split(dataset: Dataset, seed: int) -> np.ndarray:
    """Rows that extractors may learn from, (n,) bool: no row of the locked test split."""
    if dataset.own_test is None:
        return learning_rows(dataset.y, dataset.groups, seed)
    # The margin of a drawn split is for borders that move; this one does not.
    return ~locked_split(dataset, seed)


def learned_from(store: Store) -> Callable[[Block], set[str] | None]:
    """A function from a block to the row keys that its extractor learned from; None where no record is left."""

    def of(block: Block) -> set[str] | None:
        if block.recipe.get("extractor") != "autoencoder":
            return set()
        record = learned.learning_record(store, block.recipe["weights"])
        return set(record["rows"]) if record else None

    return of


def _usable_rows(content: Content, store: Store, console) -> np.ndarray:
    """Which rows have an image that was not set aside, (n,) bool."""
    aside = {row.content for row in read_quarantine(store.root)}
    usable = np.array([key is not None and key not in aside for key in content.keys])
    if not usable.any():
        raise UserError(f"all {len(usable)} images were set aside; see quarantine.csv in {store.root}.")
    if not usable.all():
        console.notice(f"{int((~usable).sum())} unreadable images left out, as listed in the cache's quarantine.csv")
    return usable
