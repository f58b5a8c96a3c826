"""The table joins each image's embeddings to its own row, and refuses features that it must not use."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.features.data.dataset import Dataset
from dermfuse.features.tables.columns import Layout
from dermfuse.pipelines.model.table import METADATA, Columns, assemble, block_columns, build_table, find_blocks


def row_keys(n: int, prefix: str = "image") -> list[str]:
    return [hashlib.sha256(f"{prefix} {i}".encode()).hexdigest() for i in range(n)]


def filled(store: Store, name: str, keys: list[str], width: int = 3, **recipe):
    """A block whose row for key i is i, i + 0.25, i + 0.5 and so on."""
    block = store.open_block(name, {"extractor": "test", "name": name, **recipe}, width)
    number = {key: i for i, key in enumerate(row_keys(100))}
    with block.writer():
        block.append(keys, np.array([[number.get(key, 0) + 0.25 * c for c in range(width)] for key in keys]))
    return block


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "cache")


def dataset(n: int = 6, numeric=("age",), categorical=("site",)) -> Dataset:
    rows = pd.DataFrame(
        {
            "id": [f"i{k}" for k in range(n)],
            "path": [Path(f"i{k}.jpg") for k in range(n)],
            "label": ["nv", "mel"] * (n // 2),
            "group": [f"g{k // 2}" for k in range(n)],
            "age": [50.0, np.nan, *range(n - 2)],
            "site": pd.Series(["back", None, *["face"] * (n - 2)], dtype=object),
        }
    )
    return Dataset("toy", Path("."), Layout(numeric=tuple(numeric), categorical=tuple(categorical)), rows)


def nothing_learned(block) -> set[str]:
    return set()


def test_every_row_gets_the_embedding_of_its_own_image(store):
    keys = row_keys(6)
    block = filled(store, "alpha", keys[::-1])
    table = build_table(dataset(), keys, [block], use_metadata=True)
    assert table.X["alpha:0000"].tolist() == [0, 1, 2, 3, 4, 5]
    assert table.X["alpha:0002"].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    assert table.ids.tolist() == [f"i{k}" for k in range(6)] and table.content.tolist() == keys


def test_two_files_of_the_same_bytes_share_their_embedding(store):
    keys = row_keys(5) + row_keys(1)
    table = build_table(dataset(), keys, [filled(store, "alpha", row_keys(5))], use_metadata=False)
    assert table.X["alpha:0000"].tolist() == [0, 1, 2, 3, 4, 0]


def test_blocks_and_metadata_stand_side_by_side_under_their_names(store):
    keys = row_keys(6)
    blocks = [filled(store, "alpha", keys), filled(store, "beta", keys, width=2)]
    table = build_table(dataset(), keys, blocks, use_metadata=True)
    assert list(table.X) == ["alpha:0000", "alpha:0001", "alpha:0002", "beta:0000", "beta:0001", "age", "site"]
    assert table.columns == Columns(
        {"alpha": block_columns("alpha", 3), "beta": block_columns("beta", 2)}, ["age"], ["site"]
    )


def test_numbers_are_float32_and_missing_values_are_nan_in_every_column(store):
    keys = row_keys(6)
    X = build_table(dataset(), keys, [filled(store, "alpha", keys)], use_metadata=True).X
    assert {X[c].dtype for c in X if c != "site"} == {np.dtype(np.float32)}
    assert X["site"].dtype == object
    assert np.isnan(X["age"].iloc[1]) and isinstance(X["site"].iloc[1], float) and np.isnan(X["site"].iloc[1])


def test_metadata_can_be_left_out(store):
    keys = row_keys(6)
    table = build_table(dataset(), keys, [filled(store, "alpha", keys)], use_metadata=False)
    assert table.columns.metadata == [] and list(table.X) == block_columns("alpha", 3)


def test_images_can_be_left_out():
    table = build_table(dataset(), None, [], use_metadata=True)
    assert list(table.X) == ["age", "site"] and set(table.content) == {""}


def test_neither_images_nor_metadata_is_a_usage_error():
    with pytest.raises(UserError, match="no features are left") as caught:
        build_table(dataset(numeric=(), categorical=()), None, [], use_metadata=True)
    assert caught.value.exit_code == 2


def test_players_are_single_metadata_fields_and_whole_image_blocks():
    columns = Columns({"cae": ["cae:0000", "cae:0001"]}, ["age"], ["sex"])
    assert columns.players() == {"age": ["age"], "sex": ["sex"], "cae": ["cae:0000", "cae:0001"]}
    assert [columns.block_of(player) for player in columns.players()] == [METADATA, METADATA, "cae"]


def test_assembling_keeps_rows_apart_from_their_index():
    fields = pd.DataFrame({"age": [1.0, 2.0]}, index=["b", "a"])
    columns = Columns({"cae": ["cae:0000"]}, ["age"], [])
    X = assemble(columns, {"cae": np.array([[10.0], [20.0]])}, fields)
    assert X["cae:0000"].tolist() == [10, 20] and X["age"].tolist() == [1, 2]


def test_all_whole_blocks_are_found_when_none_is_named(store):
    keys = row_keys(4)
    filled(store, "beta", keys)
    filled(store, "alpha", keys)
    assert [b.name for b in find_blocks(store, None, keys, set(), nothing_learned)] == ["alpha", "beta"]


def test_named_blocks_come_in_the_order_named(store):
    keys = row_keys(4)
    for name in ("alpha", "beta", "gamma"):
        filled(store, name, keys)
    found = find_blocks(store, ["gamma", "alpha"], keys, set(), nothing_learned)
    assert [b.name for b in found] == ["gamma", "alpha"]


def test_a_name_that_is_given_twice_is_taken_once(store):
    keys = row_keys(6)
    filled(store, "alpha", keys)
    found = find_blocks(store, ["alpha", "alpha"], keys, set(), nothing_learned)
    assert [block.name for block in found] == ["alpha"]


def test_of_several_blocks_of_one_name_the_one_written_last_is_taken(store):
    import os

    keys = row_keys(4)
    blocks = [filled(store, "alpha", keys, weights=str(i)) for i in range(3)]
    for age, block in zip((30, 10, 20), blocks, strict=True):
        for path in block.folder.glob("shard-*.json"):
            time = path.stat().st_mtime_ns - age * 10**9
            os.utime(path, ns=(time, time))
    (found,) = find_blocks(store, ["alpha"], keys, set(), nothing_learned)
    assert found.recipe["weights"] == "1"


def test_a_feature_that_was_never_extracted_is_refused_with_the_command_to_run(store):
    with pytest.raises(UserError, match="'alpha' has been extracted for 0 of 4 images") as caught:
        find_blocks(store, ["alpha"], row_keys(4), set(), nothing_learned)
    assert "cli.py extract --features alpha" in str(caught.value) and caught.value.exit_code == 1


def test_a_feature_extracted_in_part_tells_how_many_images_it_holds(store):
    filled(store, "alpha", row_keys(3))
    with pytest.raises(UserError, match="for 3 of 4 images"):
        find_blocks(store, ["alpha"], row_keys(4), set(), nothing_learned)


def test_an_empty_cache_is_refused(store):
    with pytest.raises(UserError, match="no feature has been extracted"):
        find_blocks(store, None, row_keys(4), set(), nothing_learned)


def test_features_of_other_images_in_the_same_cache_are_passed_over_silently(store):
    told = []
    filled(store, "alpha", row_keys(4))
    filled(store, "beta", row_keys(4, "another dataset's image"))
    found = find_blocks(store, None, row_keys(4), set(), nothing_learned, told.append)
    assert [b.name for b in found] == ["alpha"] and told == []


def test_a_feature_left_out_because_it_is_not_whole_is_told(store):
    told = []
    filled(store, "alpha", row_keys(4))
    filled(store, "beta", row_keys(2))
    find_blocks(store, None, row_keys(4), set(), nothing_learned, told.append)
    assert len(told) == 1 and "'beta'" in told[0] and "2 of 4" in told[0]


@pytest.mark.parametrize("named", [True, False])
def test_a_feature_that_learned_from_the_test_split_is_refused(store, named):
    keys = row_keys(4)
    filled(store, "cae", keys)
    with pytest.raises(UserError, match="'cae' learned from 1 images of this run's locked test split"):
        find_blocks(store, ["cae"] if named else None, keys, {keys[3]}, lambda block: {keys[2], keys[3]})


def test_a_feature_that_learned_from_unknown_rows_is_refused(store):
    keys = row_keys(4)
    filled(store, "cae", keys)
    with pytest.raises(UserError, match="'cae' learned from an unknown number of images"):
        find_blocks(store, ["cae"], keys, {keys[3]}, lambda block: None)


def test_a_clean_block_is_taken_before_a_newer_one_that_saw_the_test_split(store):
    keys = row_keys(4)
    filled(store, "cae", keys, weights="clean")
    filled(store, "cae", keys, weights="saw it")
    seen = {"clean": {keys[0]}, "saw it": {keys[3]}}
    (found,) = find_blocks(store, ["cae"], keys, {keys[3]}, lambda block: seen[block.recipe["weights"]])
    assert found.recipe["weights"] == "clean"


def test_a_feature_left_out_because_it_saw_the_test_split_is_told(store):
    keys, told = row_keys(4), []
    filled(store, "alpha", keys)
    filled(store, "cae", keys)
    learned = {"alpha": set(), "cae": {keys[3]}}
    found = find_blocks(store, None, keys, {keys[3]}, lambda block: learned[block.name], told.append)
    assert [b.name for b in found] == ["alpha"]
    assert len(told) == 1 and "'cae' learned from 1 images" in told[0]


@pytest.mark.parametrize("name", ["alpha", "alpha:0000"])
def test_metadata_named_like_an_image_block_is_refused_by_name(store, name):
    keys, given = row_keys(6), dataset(categorical=())
    given = replace(given, layout=replace(given.layout, categorical=(name,)), rows=given.rows.assign(**{name: "a"}))
    with pytest.raises(UserError, match=f"'{name}' is named like the image block 'alpha'"):
        build_table(given, keys, [filled(store, "alpha", keys)], use_metadata=True)
