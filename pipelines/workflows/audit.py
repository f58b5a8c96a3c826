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
from dermfuse.pipelines.model.table import build_table, find_blocks
from dermfuse.pipelines.workflows.inputs import Inputs, inputs_of, learned_from


def audit_dataset(dataset: Dataset, store: Store, features: list[str] | None, seed: int, folds: int, console) -> Audit:
    """Audit a dataset before any model is fitted, with what embeddings a cache holds of it.

    Parameters
    ----------
    dataset : Dataset
        The rows that would be used; its `whole` is looked at, too.
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
    content = content_of(dataset, store, console.progress) if dataset.has_images else None
    inputs = inputs_of(dataset, content, store, seed, console)
    dataset, keys = inputs.dataset, inputs.keys
    blocks = blocks_of(store, features, keys, console) if keys else []
    fold = _split_of(inputs, seed, folds, console)
    table = build_table(dataset, keys, blocks, True) if blocks else None
    learned = {block.name: learned_from(store)(block) for block in blocks}
    given = AuditInput(dataset, dataset.whole, fold, keys, table, learned, tuple(dataset.metadata_fields), seed)
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


def _split_of(inputs: Inputs, seed: int, folds: int, console) -> np.ndarray | None:
    """Fold of each row as ``fit`` would make it, -1 in the locked test split; None where classes are too small.

    Raises
    ------
    UserError
        Fewer than two folds.
    """
    try:
        inputs.check_class_sizes(folds)
        return inputs.folds(seed, folds)
    except UserError as error:
        if folds < 2:
            raise
        console.notice(f"audited without splits: {error}")
        return None
