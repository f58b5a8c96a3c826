"""The ``recipe.json`` of a block: which extractor, which recipe, which width and type its rows have."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from dermfuse.cache.atomic import atomic_write
from dermfuse.cache.errors import UserError
from dermfuse.cache.recipe import recipe_key
from dermfuse.cache.record import DTYPES, SCHEMA, DamagedShard, is_key, read_bytes

RECIPE_FILE = "recipe.json"


class DamagedBlock(UserError):  # noqa: N818
    """A block's ``recipe.json`` is not what was written, so nobody can say what its shards hold.

    Parameters
    ----------
    folder : Path
        The block's folder.
    reason : str
        What is wrong, in words.
    """

    def __init__(self, folder: Path, reason: str):
        self.folder = folder
        self.reason = reason
        super().__init__(
            f"damaged cache block {folder}: {reason}. Extract with the same recipe again, or delete the folder"
        )

    def __reduce__(self):  # a worker process sends it to its parent by pickle
        return type(self), (self.folder, self.reason)


@dataclass(frozen=True)
class Manifest:
    """What is known of a block before any row of it.

    Attributes
    ----------
    name : str
        Of the extractor.
    key : str
        Of the recipe, 64 hexadecimal digits.
    recipe : dict
        As read back from JSON, tuples are lists.
    width : int
        Length of one embedding.
    dtype : str
        ``"float16"`` or ``"float32"``, the type on disk.
    created : str
        ISO 8601, UTC.
    """

    name: str
    key: str
    recipe: dict
    width: int
    dtype: str
    created: str


def new_manifest(name: str, recipe: dict, width: int, dtype: str) -> Manifest:
    """The manifest of a block that is created now.

    Parameters
    ----------
    name, recipe, width, dtype
        As in :class:`Manifest`.

    Returns
    -------
    Manifest

    Raises
    ------
    ValueError
        If width or dtype are impossible, or a float in the recipe is not finite.
    TypeError
        If the recipe holds a type that has no canonical JSON.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype is one of {', '.join(DTYPES)}. Got {dtype!r}")
    if type(width) is not int or width < 1:
        raise ValueError(f"width is an int of at least 1. Got {width!r}")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Manifest(name, recipe_key(recipe), json.loads(json.dumps(recipe)), width, dtype, created)


def folder_name(name: str, key: str) -> str:
    """Name of the folder for an extractor's name and a key: ``<name>-<first 16 digits>``."""
    return f"{name}-{key[:16]}"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a block's ``recipe.json``, whole or not at all; the caller holds the block's lock.

    Parameters
    ----------
    folder : Path
        The block's folder.
    manifest : Manifest
        What to write.

    Raises
    ------
    UserError
        If the disk is full or cannot be written to.
    """
    text = json.dumps({"schema": SCHEMA, **asdict(manifest)}, indent=1)
    atomic_write(folder / RECIPE_FILE, text.encode("ascii"))


def read_manifest(folder: Path) -> Manifest | None:
    """Read a block's ``recipe.json``.

    Parameters
    ----------
    folder : Path
        The block's folder.

    Returns
    -------
    Manifest or None
        None when the folder or the file does not exist.

    Raises
    ------
    DamagedBlock
        If the file is no valid JSON, or its content does not agree with itself or the folder's name.
    UserError
        If it was written by another version, or may not be read.
    """
    path = folder / RECIPE_FILE
    if not path.exists():
        return None
    try:
        fields = json.loads(read_bytes(path))
    except DamagedShard as error:
        raise DamagedBlock(folder, error.reason) from error
    except (ValueError, RecursionError) as error:
        raise DamagedBlock(folder, f"{RECIPE_FILE} is no valid JSON") from error
    if isinstance(fields, dict) and type(fields.get("schema")) is int and fields["schema"] != SCHEMA:
        raise UserError(f"{path} has schema {fields['schema']}, but expected {SCHEMA}. Use another cache folder")
    reason = _wrong_in(fields, folder.name)
    if reason:
        raise DamagedBlock(folder, reason)
    del fields["schema"]
    return Manifest(**fields)


def _wrong_in(fields: object, folder: str) -> str | None:
    """What the file lacks, or None when it is sound."""
    expected = {"schema", *Manifest.__annotations__}
    if not isinstance(fields, dict) or fields.keys() != expected:
        return f"{RECIPE_FILE} does not have the fields {', '.join(sorted(expected))}"
    if type(fields["recipe"]) is not dict or not all(type(fields[name]) is str for name in ("name", "created")):
        return f"{RECIPE_FILE} holds a field of a wrong type"
    if type(fields["width"]) is not int or fields["width"] < 1 or fields["dtype"] not in DTYPES:
        return f"the width or dtype in {RECIPE_FILE} is impossible"
    try:
        key = recipe_key(fields["recipe"])
    except ValueError:
        return f"the recipe in {RECIPE_FILE} holds a number that is not finite"
    if not is_key(fields["key"]) or fields["key"] != key:
        return f"the recipe in {RECIPE_FILE} does not have the key that is written there"
    if folder != folder_name(fields["name"], key):
        return f"{RECIPE_FILE} belongs to {folder_name(fields['name'], key)}"
    return None
