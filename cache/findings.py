"""What audits found, kept beside the blocks: one JSON document for each part, found by the digest of what it is of."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from dermfuse.cache.atomic import atomic_write, make_folder
from dermfuse.cache.recipe import recipe_key

AUDITS = "audits"
DIGITS = 16


def find_part(root: Path, name: str, recipe: dict, version: str) -> tuple[dict | None, str | None]:
    """A part that was kept of an audit of the same things by the same version.

    Parameters
    ----------
    root : Path
        The cache's folder.
    name : str
        Of the part.
    recipe : dict
        All that it depends on but the version; see :func:`dermfuse.cache.recipe.canonical_json`.
    version : str
        Of the code that computes it.

    Returns
    -------
    dict or None
        Its content; None where there is none that can be believed.
    str or None
        Where a part is there and was not taken, why, in words.
    """
    path, key = _path(root, name, recipe), recipe_key(recipe)
    if not path.exists():
        return None, None
    damage = part_damage(path)
    if damage is not None:
        return None, damage
    document = json.loads(path.read_bytes())
    if (document["name"], document["key"]) != (name, key):
        return None, f"{path.name} is of other data"
    if document["version"] != version:
        return None, f"{path.name} was made by another version"
    with suppress(OSError):  # in a cache that may not be written to, nothing is stamped
        os.utime(path)
    return document["content"], None


def keep_part(root: Path, name: str, recipe: dict, version: str, content: dict) -> None:
    """Keep a part, in place of one of another version; see :func:`find_part`.

    Raises
    ------
    UserError
        The folder cannot be written to.
    TypeError, ValueError
        `content` holds what has no canonical JSON.
    """
    document = {"name": name, "key": recipe_key(recipe), "version": version, "content": content}
    document["sha256"] = recipe_key(document)
    make_folder(root / AUDITS)
    atomic_write(_path(root, name, recipe), json.dumps(document).encode("ascii"))


def part_damage(path: Path) -> str | None:
    """Why a kept part cannot be what was written, in words, or None when its digest is right."""
    try:
        document = json.loads(path.read_bytes())
        told = document.pop("sha256")
        right = told == recipe_key(document) and {"name", "key", "version", "content"} <= document.keys()
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror or error})"
    except (ValueError, RecursionError):
        return f"{path.name} is no valid JSON"
    except (AttributeError, KeyError, TypeError):
        right = False
    return None if right else f"{path.name} is not as it was written"


def _path(root: Path, name: str, recipe: dict) -> Path:
    return root / AUDITS / f"{name}-{recipe_key(recipe)[:DIGITS]}.json"
