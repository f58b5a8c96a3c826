"""The cache key changes with every field of the recipe and with nothing else."""

from __future__ import annotations

import enum
import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermfuse.cache.recipe import canonical_json, differing_fields, recipe_in_words, recipe_key

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False, width=16),
    st.text("ab.é\udc80", max_size=3),
)
NAMES = st.text("abc.", max_size=2)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
RECIPES = st.dictionaries(NAMES, VALUES, max_size=4)


class Mode(enum.StrEnum):
    FAST = "fast"


def reordered(value, turn):
    """The same recipe with the fields of every dict in another order and lists as tuples."""
    if isinstance(value, dict):
        names = list(value)
        names = names[turn % max(len(names), 1) :] + names[: turn % max(len(names), 1)]
        return {name: reordered(value[name], turn) for name in reversed(names)}
    if isinstance(value, list):
        return tuple(reordered(inner, turn) for inner in value)
    return value


def leaf_paths(value, path=()):
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaf_paths(inner, (*path, name))
    else:
        yield path


def with_leaf(value, path, leaf):
    return {**value, path[0]: with_leaf(value[path[0]], path[1:], leaf)} if path else leaf


@given(RECIPES, st.integers(0, 5))
@settings(deadline=None, max_examples=100)
def test_order_of_fields_and_tuples_do_not_change_the_key(recipe, turn):
    assert recipe_key(reordered(recipe, turn)) == recipe_key(recipe)


@given(RECIPES.filter(bool), LEAVES, st.data())
@settings(deadline=None, max_examples=200)
def test_every_changed_field_changes_the_key(recipe, leaf, data):
    path = data.draw(st.sampled_from(sorted(leaf_paths(recipe), key=repr)))
    changed = with_leaf(recipe, path, leaf)
    if canonical_json(changed) != canonical_json(recipe):
        assert recipe_key(changed) != recipe_key(recipe)
        assert len(differing_fields(recipe, changed)) == 1


@given(RECIPES, RECIPES)
@settings(deadline=None, max_examples=200)
def test_fields_differ_exactly_when_keys_differ(a, b):
    assert bool(differing_fields(a, b)) == (recipe_key(a) != recipe_key(b))


@given(RECIPES)
@settings(deadline=None, max_examples=100)
def test_a_recipe_read_back_from_json_has_the_same_key(recipe):
    assert recipe_key(json.loads(json.dumps(recipe))) == recipe_key(recipe)


def test_the_key_of_a_known_recipe_never_changes():
    recipe = {"schema": 1, "mean": (0.485, 0.1), "decode": {"exif": True, "alpha": None}, "arch": "Café"}
    text = r'{"arch":"Caf\u00e9","decode":{"alpha":null,"exif":true},"mean":[0.485,0.1],"schema":1}'
    assert canonical_json(recipe) == text
    assert recipe_key(recipe) == "fb3fbd6e6b172ca3a7143e3e7df512ff3578cd11ec11ed5832ee2bcca2b481ba"


@pytest.mark.parametrize("pair", [(1, True), (1, 1.0), (0, False), (0.0, -0.0), ("1", 1), (None, "null")])
def test_values_that_python_or_json_confuse_have_different_keys(pair):
    assert recipe_key({"views": pair[0]}) != recipe_key({"views": pair[1]})
    assert len(differing_fields({"views": pair[0]}, {"views": pair[1]})) == 1


@pytest.mark.parametrize(
    "value",
    [
        np.float64(1.0),
        np.float32(1.0),
        np.int64(1),
        np.bool_(True),
        np.zeros(2),
        pathlib.Path("a"),
        b"a",
        {1, 2},
        Mode.FAST,
        1j,
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_types_are_refused_by_name(value):
    with pytest.raises(TypeError, match=r"recipe\.crop\[1\] is .* of type .*expected str, int"):
        canonical_json({"crop": [224, value]})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_without_a_value_are_refused(value):
    with pytest.raises(ValueError, match=r"recipe\.mean\[0\] is .*expected a finite number"):
        canonical_json({"mean": (value,)})


def test_keys_other_than_str_are_refused_because_json_would_merge_them():
    with pytest.raises(TypeError, match="key 1 of type int"):
        canonical_json({"levels": {1: "a", "1": "b"}})


@pytest.mark.parametrize("recipe", [None, [], "text", (("a", 1),)])
def test_a_recipe_is_a_dict(recipe):
    with pytest.raises(TypeError, match="a recipe is a dict"):
        recipe_key(recipe)


def test_differences_are_told_a_line_a_field():
    old = {"views": 1, "crop": {"size": 224, "at": "center"}, "mean": [0.5, 0.5], "same": 1}
    new = {"views": 8, "crop": {"size": 256, "at": "center"}, "mean": [0.5, 0.4], "same": 1, "new": None}
    assert differing_fields(old, new) == [
        "crop.size: 224 -> 256",
        "mean: [0.5,0.5] -> [0.5,0.4]",
        "new: (absent) -> null",
        "views: 1 -> 8",
    ]
    assert differing_fields(new, old)[2] == "new: null -> (absent)"


def test_long_hashes_are_cut_in_differences():
    assert differing_fields({"weights": "a" * 64}, {"weights": "b" * 64}) == ['weights: "aaaaaaaa..." -> "bbbbbbbb..."']


def test_a_dotted_name_is_not_taken_for_a_nested_one():
    assert len(differing_fields({"a.b": 1}, {"a": {"b": 1}})) == 2


def test_a_recipe_reads_in_words():
    recipe = {"weights": "ab" * 32, "decode": {"alpha": "white", "exif": True}, "mean": (0.5, 1), "cut": None}
    assert recipe_in_words(recipe) == ("cut none, decode.alpha white, decode.exif yes, mean [0.5, 1], weights abababab")
