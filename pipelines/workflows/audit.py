"""The audit of a dataset that nothing has been fitted to: splits as ``fit`` would make them, embeddings as they lie."""

from __future__ import annotations

import numpy as np

from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Block, Store
from dermfuse.features.data.content import content_of
from dermfuse.features.data.dataset import Dataset
from dermfuse.pipelines.audit.check import Audit
from dermfuse.pipelines.audit.given import AuditInput
from dermfuse.pipelines.audit.memo import findings_of
from dermfuse.pipelines.audit.whole import run_audit
from dermfuse.pipelines.evaluation import splits
from dermfuse.pipelines.model.table import build_table, find_blocks
from dermfuse.pipelines.workflows.extract import join_groups, locked_split
from dermfuse.pipelines.workflows.fit import learned_from, usable_rows


def audit_dataset(
    dataset: Dataset, whole: Dataset, store: Store, features: list[str] | None, seed: int, folds: int, console
) -> Audit:
    """Audit a dataset before any model is fitted, with what embeddings a cache holds of it.

    Parameters
    ----------
    dataset : Dataset
        The rows that would be used.
    whole : Dataset
        Every row of the table.
    store : Store
        The cache.
    features : list of str or None
        Image blocks to take; None takes every one that holds all images.
    seed, folds : int
        Of the splits, as ``fit`` makes them.
    console : Console

    Raises
    ------
    UserError
        A feature in `features` was not extracted for these images.
    """
    if features and not dataset.has_images:
        raise UserError(f"no image files below {dataset.folder}, so there are no features. Leave --features out.")
    keys, blocks, usable = None, [], np.ones(len(dataset.rows), bool)
    if dataset.has_images:
        content = content_of(dataset, store, console)
        dataset, usable = join_groups(dataset, content, console), usable_rows(content, store, console)
        keys = [key for key, use in zip(content.keys, usable, strict=True) if use]
        blocks = blocks_of(store, features, keys, console)
    # As fit does it: the split is made before unreadable images are left out.
    fold = split_of(dataset, usable, seed, folds, console)
    dataset = dataset.keep(usable)
    table = build_table(dataset, keys, blocks, True) if blocks else None
    learned = {block.name: learned_from(store)(block) for block in blocks}
    used = tuple(dataset.metadata_fields)
    given = AuditInput(dataset, whole, fold, keys, table, learned, used, seed)
    return run_audit(given, console, findings_of(store, console.say))


def blocks_of(store: Store, features: list[str] | None, keys: list[str], console) -> list[Block]:
    """Blocks that hold every image, whatever their extractors learned from; none where nothing was extracted."""
    if features is not None:
        return find_blocks(store, features, keys, set(), lambda block: set(), console.notice)
    whole: dict[str, Block] = {}
    for block in store.blocks():  # of several with one name, the one written last comes first
        if block.name not in whole and not block.missing(keys):
            whole[block.name] = block
    return [whole[name] for name in sorted(whole)]


def split_of(dataset: Dataset, usable: np.ndarray, seed: int, folds: int, console) -> np.ndarray | None:
    """Fold of each usable row as ``fit`` would make it, -1 in the locked test split; None where classes are too small.

    Raises
    ------
    UserError
        Fewer than two folds.
    """
    test = locked_split(dataset, seed)[usable]
    kept = dataset.keep(usable)
    labels, groups = kept.rows["label"].to_numpy(str), kept.rows["group"].to_numpy(str)
    try:
        own = test if dataset.own_test is not None else None
        splits.check_class_sizes(labels, groups, folds, dataset.layout.group_word, own)
        fold = np.full(len(labels), -1)
        fold[~test] = splits.folds_of(labels[~test], groups[~test], seed, folds)
        return fold
    except UserError as error:
        if folds < 2:
            raise
        console.notice(f"audited without splits: {error}")
        return None
