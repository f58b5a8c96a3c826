"""The store: every block under one root, found by the extractor's name and the recipe's key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from dermfuse.cache.atomic import atomic_write, make_folder
from dermfuse.cache.block import SHARD_ROWS, Block, MissingRows
from dermfuse.cache.manifest import (
    RECIPE_FILE,
    DamagedBlock,
    Manifest,
    folder_name,
    new_manifest,
    read_manifest,
    write_manifest,
)
from dermfuse.cache.notices import Damage, warn
from dermfuse.cache.recipe import differing_fields, recipe_key
from dermfuse.cache.record import is_key
from dermfuse.cache.upkeep import locked

__all__ = ["SHARD_ROWS", "Block", "Damage", "DamagedBlock", "MissingRows", "Store", "atomic_write"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+=-]{0,99}")


class Store:
    """Embedding blocks on disk, content-addressed.

    Parameters
    ----------
    root : path-like
        The cache's folder. It is created by the first :meth:`open_block`, never by reading.
    on_problem : callable, optional
        Called with a line of text when a damaged block is passed over or its ``recipe.json`` written anew.
        Warns by default.
    """

    def __init__(self, root: str | Path, on_problem: Callable[[str], None] = warn):
        self.root = Path(root)
        self.on_problem = on_problem

    def open_block(self, name: str, recipe: dict, width: int, dtype: str = "float16") -> Block:
        """The block of a recipe, created when it does not exist.

        Parameters
        ----------
        name : str
            Of the extractor: up to 100 letters, digits and ``_ . @ + = -``.
        recipe : dict
            All that determines the embeddings, the stored dtype included; see
            :func:`dermfuse.cache.recipe.canonical_json`.
        width : int
            Length of one embedding.
        dtype : {"float16", "float32"}, default="float16"
            The type on disk.

        Returns
        -------
        Block

        Raises
        ------
        ValueError
            If the name, width or dtype are impossible, or the block exists with another width or dtype: then
            the recipe lacks something that determines the embeddings.
        TypeError
            If the recipe holds a type that has no canonical JSON.
        UserError
            If the folder cannot be written to, or was written by another version.
        """
        wanted = new_manifest(_checked_name(name), recipe, width, dtype)
        folder = self._blocks_folder / folder_name(name, wanted.key)
        found = self._read_or_tell(folder) or self._create(folder, wanted)
        if found.key != wanted.key:
            raise ValueError(f"{folder} belongs to key {found.key}, but the recipe has key {wanted.key}")
        if (found.width, found.dtype) != (width, dtype):
            raise ValueError(
                f"the recipe of {folder.name} was kept with width {found.width} and {found.dtype}. "
                f"Got width {width} and {dtype}: put what differs into the recipe"
            )
        return Block(folder, found)

    def blocks(self, name: str | None = None) -> list[Block]:
        """All blocks that can be read.

        Parameters
        ----------
        name : str, optional
            Only those of this extractor.

        Returns
        -------
        list of Block
            The one written last comes first; ties by name, then key. Damaged blocks are told and left out.
        """
        blocks = []
        for folder in self.folders():
            manifest = self._read_or_tell(folder)
            if manifest is not None and name in (None, manifest.name):
                blocks.append(Block(folder, manifest))
        blocks.sort(key=lambda block: (block.name, block.key))
        return sorted(blocks, key=lambda block: block.last_written, reverse=True)

    def find(self, name: str, key: str) -> Block | None:
        """The block of an extractor's name and a recipe's key, or None.

        Parameters
        ----------
        name : str
            Of the extractor.
        key : str
            See :func:`dermfuse.cache.recipe.recipe_key`.

        Returns
        -------
        Block or None

        Raises
        ------
        ValueError
            If the name or the key has not the form of one.
        DamagedBlock
            If the block is there, but its ``recipe.json`` cannot be believed.
        """
        folder = self._blocks_folder / folder_name(_checked_name(name), _checked_key(key))
        manifest = read_manifest(folder)
        return Block(folder, manifest) if manifest is not None and manifest.key == key else None

    def closest(self, name: str, recipe: dict) -> tuple[Block, list[str]] | None:
        """The block of this extractor whose recipe is another one, but differs in the fewest fields.

        Parameters
        ----------
        name : str
            Of the extractor.
        recipe : dict
            See :func:`dermfuse.cache.recipe.canonical_json`.

        Returns
        -------
        (Block, list of str) or None
            The block, of several equally close ones the one written last, and what differs from its recipe to
            this one, see :func:`dermfuse.cache.recipe.differing_fields`. None where there is no other block.
        """
        key = recipe_key(recipe)
        found = [(b, differing_fields(b.recipe, recipe)) for b in self.blocks(name) if b.key != key]
        return min(found, key=lambda pair: len(pair[1]), default=None)

    def verify(self, full: bool = True, advance: Callable[[], object] | None = None) -> list[Damage]:
        """Look for damage in every block, changing nothing.

        Parameters
        ----------
        full : bool, default=True
            Hash every shard again. Otherwise look at records, presence and sizes only.
        advance : callable, optional
            Called after each shard.

        Returns
        -------
        list of Damage
            Sorted by block and shard; empty when all is well.
        """
        found: list[Damage] = []
        for folder in self.folders():
            try:
                manifest = read_manifest(folder)
            except DamagedBlock as error:
                found.append(Damage(folder.name, None, error.reason))
                continue
            if manifest is None:
                found.extend(_without_recipe(folder))
            else:
                found.extend(Block(folder, manifest).verify(full, advance))
        return found

    def folders(self) -> list[Path]:
        """Folders of all blocks, also of those that cannot be read, by name."""
        if not self._blocks_folder.is_dir():
            return []
        return sorted(entry for entry in self._blocks_folder.iterdir() if entry.is_dir())

    def learned_folder(self, name: str, key: str) -> Path:
        """Where an extractor that was trained here keeps its weights; nothing is created.

        Parameters
        ----------
        name : str
            Of the extractor.
        key : str
            See :func:`dermfuse.cache.recipe.recipe_key`.

        Returns
        -------
        Path
            ``<root>/learned/<name>-<first 16 digits of the key>``.

        Raises
        ------
        ValueError
            If the name or the key has not the form of one.
        """
        return self.root / "learned" / folder_name(_checked_name(name), _checked_key(key))

    @property
    def _blocks_folder(self) -> Path:
        return self.root / "blocks"

    def _read_or_tell(self, folder: Path) -> Manifest | None:
        try:
            manifest = read_manifest(folder)
        except DamagedBlock as error:
            self.on_problem(str(error))
            return None
        if manifest is None:
            for damage in _without_recipe(folder):
                self.on_problem(str(damage))
        return manifest

    def _create(self, folder: Path, wanted: Manifest) -> Manifest:
        make_folder(folder)
        with locked(folder, self.on_problem):
            try:
                # Another process may have created the block while this one waited for the lock.
                found = read_manifest(folder)
            except DamagedBlock:
                found = None
            if found is None:
                write_manifest(folder, wanted)
        return found or wanted


def _without_recipe(folder: Path) -> list[Damage]:
    """Damage if shards lost their recipe; a folder without either is a creation that was interrupted."""
    if any(folder.glob("shard-*.json")):
        return [Damage(folder.name, None, f"{RECIPE_FILE} is missing")]
    return []


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"a block's name is up to 100 letters, digits and _ . @ + = -. Got {name!r}")
    return name


def is_block_folder(name: str) -> bool:
    """Whether a folder has a name as :func:`dermfuse.cache.manifest.folder_name` makes them."""
    extractor, _, digits = name.rpartition("-")
    return _NAME.fullmatch(extractor) is not None and re.fullmatch("[0-9a-f]{16}", digits) is not None


def _checked_key(key: str) -> str:
    if not is_key(key):
        raise ValueError(f"a key is 64 lower-case hexadecimal digits. Got {key!r}")
    return key
