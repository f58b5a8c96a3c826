"""The cache key: the SHA-256 of the canonical JSON of a recipe, which is all that determines an embedding."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator

ABSENT = "(absent)"
_HASH = re.compile(r"[0-9a-f]{40,}")
_LONGEST_VALUE = 60


def canonical_json(recipe: dict) -> str:
    """One text for one recipe, whatever the order of its fields.

    Parameters
    ----------
    recipe : dict
        Nested dicts with string keys, lists, tuples, ``str``, ``int``, ``float``, ``bool`` and ``None``.
        Types are matched exactly: a NumPy scalar or a path is refused, because what it prints as may change
        with its library.

    Returns
    -------
    str
        ASCII JSON with sorted keys and no whitespace. A tuple reads as a list; ``1``, ``1.0`` and ``True``
        differ.

    Raises
    ------
    TypeError
        If the recipe is no dict or holds a value or a key of another type.
    ValueError
        If a float is NaN or infinite.

    Examples
    --------
    >>> canonical_json({"views": 1, "mean": (0.5, 0.25)})
    '{"mean":[0.5,0.25],"views":1}'
    """
    if type(recipe) is not dict:
        raise TypeError(f"a recipe is a dict. Got {recipe!r} of type {type(recipe).__name__}")
    _check(recipe, "recipe")
    return _dump(recipe)


def recipe_key(recipe: dict) -> str:
    """SHA-256 of :func:`canonical_json`, as 64 hexadecimal digits.

    Parameters
    ----------
    recipe : dict
        See :func:`canonical_json`.

    Returns
    -------
    str

    Raises
    ------
    TypeError, ValueError
        As :func:`canonical_json`.
    """
    return hashlib.sha256(canonical_json(recipe).encode("ascii")).hexdigest()


def differing_fields(a: dict, b: dict) -> list[str]:
    """What changed between two recipes, a line a field.

    Parameters
    ----------
    a, b : dict
        The recipe before and after; see :func:`canonical_json`.

    Returns
    -------
    list of str
        Lines such as ``crop.size: 224 -> 256``, sorted by field, with dotted names for nested dicts and
        ``(absent)`` for a field that only one side has. Empty exactly when both have the same key.

    Raises
    ------
    TypeError, ValueError
        As :func:`canonical_json`.

    Examples
    --------
    >>> differing_fields({"views": 1}, {"views": 8, "crop": {"size": 224}})
    ['crop: (absent) -> {"size":224}', 'views: 1 -> 8']
    """
    canonical_json(a), canonical_json(b)
    return list(_differences(a, b, ""))


def recipe_in_words(recipe: dict) -> str:
    """A recipe on one line for people: fields by name, long hashes cut to eight digits.

    Parameters
    ----------
    recipe : dict
        See :func:`canonical_json`.

    Returns
    -------
    str
        Meant for reading only: two recipes may read the same.

    Raises
    ------
    TypeError, ValueError
        As :func:`canonical_json`.

    Examples
    --------
    >>> recipe_in_words({"views": 1, "resize": {"size": 256, "antialias": True}, "levels": ["last"]})
    'levels [last], resize.antialias yes, resize.size 256, views 1'
    """
    canonical_json(recipe)
    return ", ".join(f"{name} {_spoken(value)}" for name, value in _leaves(recipe, ""))


def _check(value: object, where: str) -> None:
    """Walk the recipe and name the first field that JSON cannot keep exactly."""
    kind = type(value)
    if kind is dict:
        for name, inner in value.items():
            if type(name) is not str:
                raise TypeError(f"{where} has the key {name!r} of type {type(name).__name__}, but expected str")
            _check(inner, f"{where}.{name}")
    elif kind in (list, tuple):
        for position, inner in enumerate(value):
            _check(inner, f"{where}[{position}]")
    elif kind is float:
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value!r}, but expected a finite number")
    elif value is not None and kind not in (str, int, bool):
        raise TypeError(
            f"{where} is {value!r} of type {kind.__name__}, "
            "but expected str, int, float, bool, None, list, tuple or dict"
        )


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _differences(a: dict, b: dict, prefix: str) -> Iterator[str]:
    for name in sorted(a.keys() | b.keys()):
        old, new = a.get(name, ABSENT), b.get(name, ABSENT)
        if name in a and name in b:
            if type(old) is dict and type(new) is dict:
                yield from _differences(old, new, f"{prefix}{name}.")
                continue
            if _dump(old) == _dump(new):
                continue
        before, after = _short(old, name in a), _short(new, name in b)
        yield f"{prefix}{name}: {before} -> {after}"


def _short(value: object, present: bool) -> str:
    if not present:
        return ABSENT
    text = _HASH.sub(lambda match: match[0][:8] + "...", _dump(value))
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def _leaves(recipe: dict, prefix: str) -> Iterator[tuple[str, object]]:
    for name in sorted(recipe):
        value = recipe[name]
        if type(value) is dict and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _spoken(value: object) -> str:
    if value is None:
        return "none"
    if type(value) is bool:
        return "yes" if value else "no"
    if type(value) in (list, tuple):
        return "[" + ", ".join(_spoken(inner) for inner in value) + "]"
    if type(value) is str:
        return _HASH.sub(lambda match: match[0][:8], value)
    return _dump(value)
