"""Embedding blocks and metadata, joined into one named table with labels and groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dermfuse.cache.errors import UserError, usage_error
from dermfuse.cache.recipe import differing_fields
from dermfuse.cache.store import Block, Store
from dermfuse.cache.upkeep import mark_used
from dermfuse.features.data.dataset import Dataset

METADATA = "metadata"


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are what.

    Attributes
    ----------
    images : dict of str to list of str
        Image block to its columns, ``mobilenet_v2:0007``.
    numeric, categorical : list of str
        Metadata columns.
    """

    images: dict[str, list[str]]
    numeric: list[str]
    categorical: list[str]

    @property
    def metadata(self) -> list[str]:
        """All metadata columns."""
        return [*self.numeric, *self.categorical]

    def players(self) -> dict[str, list[str]]:
        """What importance is told for: each metadata field by itself, each image block as a whole."""
        return {**{name: [name] for name in self.metadata}, **self.images}

    def block_of(self, player: str) -> str:
        """``metadata``, or the image block itself."""
        return player if player in self.images else METADATA


@dataclass(frozen=True)
class Table:
    """Stage 2's input, rows in the dataset's order.

    Attributes
    ----------
    X : DataFrame
        Image columns float32, numeric metadata float32 with NaN, categorical metadata object with None.
    labels, groups, ids, content : ndarray of str, shape (n,)
        `content` is the SHA-256 of each image file, empty without images.
    columns : Columns
    """

    X: pd.DataFrame
    labels: np.ndarray
    groups: np.ndarray
    ids: np.ndarray
    content: np.ndarray
    columns: Columns


def find_blocks(
    store: Store,
    names: list[str] | None,
    keys: list[str],
    avoid: set[str],
    learned_from,
    tell=lambda text: None,
    wanted: dict[str, object] | None = None,
) -> list[Block]:
    """The cached blocks that hold every one of `keys`: of `names`, or of all extractors when None.

    Where a name has several blocks (other weights, another seed), the one written last is taken, and that is told.

    Parameters
    ----------
    store : Store
    names : list of str or None
        One that is given twice is taken once.
    keys : list of str
        Row keys that must be there.
    avoid : set of str
        Row keys of the locked test split: no extractor may have learned from them.
    learned_from : callable
        Block to the row keys it learned from; None where that is unknown, and then it could be any.
    tell : callable
        Given a line for each extractor that holds some of these images and yet is left out, when `names` is None,
        and for each that has several blocks to choose from.
    wanted : dict of str to object, optional
        Fields that the recipe of a pretrained network must have, ``views`` and ``levels``; None leaves a field open.

    Raises
    ------
    UserError
        A feature was not extracted, or not for every image, or learned from the test split.
    """
    chosen, left_out = [], []
    for name in dict.fromkeys(names or sorted({block.name for block in store.blocks()})):
        blocks = [block for block in store.blocks(name) if _fits(block, wanted or {})]
        whole = [block for block in blocks if not block.missing(keys)]
        clean = [block for block in whole if _clear_of(avoid, learned_from(block))]
        if clean:
            chosen.append(clean[0])
            if len(clean) > 1:
                tell(_several(clean))
        elif names is not None:
            raise _why_not(name, blocks, whole, keys, avoid, learned_from, wanted)
        elif any(_held(block, keys) for block in blocks):
            left_out.append(_why_not(name, blocks, whole, keys, avoid, learned_from, wanted))
    if not chosen and left_out:
        raise left_out[0]
    if not chosen:
        raise UserError(
            f"no feature has been extracted for these images into {store.root}. "
            "Run 'python cli.py extract' with the same --data and --cache first."
        )
    for reason in left_out:
        tell(f"left out: {reason}")
    return chosen


def _clear_of(avoid: set[str], learned: set[str] | None) -> bool:
    return learned is not None and avoid.isdisjoint(learned)


def _held(block: Block, keys: list[str]) -> int:
    absent = set(block.missing(keys))
    return sum(key not in absent for key in keys)


def _fits(block: Block, wanted: dict[str, object]) -> bool:
    """Whether a block's recipe has the fields that were asked for; only pretrained networks have a choice."""
    if block.recipe.get("extractor") != "backbone":
        return True
    return all(block.recipe.get(name) == value for name, value in wanted.items() if value is not None)


def _several(blocks: list[Block]) -> str:
    """Which of several whole blocks was taken, and in what the next one differs."""
    differences = "; ".join(differing_fields(blocks[1].recipe, blocks[0].recipe))
    return (
        f"{blocks[0].name} was extracted with {len(blocks)} recipes for these images; the one written last is taken "
        f"(it differs from the one before in {differences})"
    )


def _flags(wanted: dict[str, object] | None) -> str:
    return "".join(f" --{name} {value}" for name, value in (wanted or {}).items() if value is not None)


def _why_not(name, blocks, whole, keys, avoid, learned_from, wanted) -> UserError:
    if whole:
        learned = learned_from(whole[0])
        seen = "an unknown number of" if learned is None else len(avoid & learned)
        return UserError(
            f"feature {name!r} learned from {seen} images of this run's locked test split (another --seed, another "
            f"table, or its record is gone). Run 'python cli.py extract --features {name}' with the same --data and "
            "--seed as fit."
        )
    most = max((_held(block, keys) for block in blocks), default=0)
    return UserError(
        f"feature {name!r}{_flags(wanted)} has been extracted for {most:,} of {len(keys):,} images. "
        f"Run 'python cli.py extract --features {name}{_flags(wanted)}' with the same --data and --cache first."
    )


def build_table(dataset: Dataset, keys: list[str] | None, blocks: list[Block], use_metadata: bool) -> Table:
    """Join `blocks` (rows looked up by `keys`) and the dataset's metadata.

    Raises
    ------
    UserError
        Neither images nor metadata are left, or a metadata column is named like an image block.
    """
    layout = dataset.layout
    images = {block.name: block_columns(block.name, block.width) for block in blocks}
    numeric = list(layout.numeric) if use_metadata else []
    categorical = list(layout.categorical) if use_metadata else []
    columns = Columns(images, numeric, categorical)
    alike = [name for name in columns.metadata if name.partition(":")[0] in images]
    if alike:
        raise UserError(
            f"the metadata column {alike[0]!r} is named like the image block {alike[0].partition(':')[0]!r}. Rename it "
            "in the table, or leave it out of the metadata."
        )
    if not columns.players():
        raise usage_error(
            f"no features are left: the dataset {dataset.name} has no metadata columns and no image block is used. "
            "Name metadata with --metadata-columns, or leave --no-images out."
        )
    for block in blocks:
        mark_used(block.folder)
    vectors = {block.name: block.gather(keys) for block in blocks}
    rows = dataset.rows
    return Table(
        assemble(columns, vectors, rows[columns.metadata]),
        rows["label"].to_numpy(str),
        rows["group"].to_numpy(str),
        rows["id"].to_numpy(str),
        np.array(keys if keys is not None else [""] * len(rows), dtype=str),
        columns,
    )


def assemble(columns: Columns, vectors: dict[str, np.ndarray], metadata: pd.DataFrame) -> pd.DataFrame:
    """The table's ``X`` from each block's matrix (n, width) and the metadata columns."""
    parts = [
        pd.DataFrame(vectors[name], columns=names, index=metadata.index, dtype=np.float32)
        for name, names in columns.images.items()
    ]
    fields = {name: metadata[name].astype(np.float32) for name in columns.numeric}
    # NaN, not None, marks a missing category: scikit-learn's encoders know only that in object columns of mixed type.
    fields |= {
        name: metadata[name].astype(object).where(metadata[name].notna(), np.nan) for name in columns.categorical
    }
    return pd.concat([*parts, pd.DataFrame(fields, index=metadata.index)], axis=1)


def block_columns(name: str, width: int) -> list[str]:
    """Column names of an image block: ``mobilenet_v2:0007``."""
    return [f"{name}:{i:04d}" for i in range(width)]
