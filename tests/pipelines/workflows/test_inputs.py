"""What fit, ablate and audit work on: usable rows, which are locked away, and which may be learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.features.data.content import Content
from dermfuse.features.data.dataset import Dataset
from dermfuse.features.tables.columns import Layout
from dermfuse.pipelines.evaluation import splits
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.workflows.inputs import inputs_of, join_groups, learning_split, locked_split


def dataset_of(groups: str, own: str | None) -> Dataset:
    """One row a letter of `groups`; an x in `own` marks the rows of the own test split."""
    labels = ["nv" if i % 2 else "mel" for i in range(len(groups))]
    rows = pd.DataFrame({"id": [f"i{i}" for i in range(len(groups))], "path": None, "label": labels})
    rows["group"] = list(groups)
    layout = Layout(group="group", group_word="lesions", split="part")
    marks = None if own is None else np.array([mark == "x" for mark in own])
    return Dataset("toy", Path(), layout, rows, own_test=marks)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_own_split_is_locked_whatever_the_seed(seed):
    dataset = dataset_of("aabbccdd", "xx----xx")
    assert locked_split(dataset, seed).tolist() == dataset.own_test.tolist()
    assert learning_split(dataset, seed).tolist() == (~dataset.own_test).tolist()


def test_without_an_own_split_the_seed_draws_one():
    dataset = dataset_of("abcdefghijklmnopqrstuvwxyz", None)
    labels, groups = dataset.rows.label.to_numpy(str), dataset.rows.group.to_numpy(str)
    for seed in (0, 1):
        assert locked_split(dataset, seed).tolist() == splits.locked_test(labels, groups, seed).tolist()
        assert learning_split(dataset, seed).tolist() == splits.learning_rows(labels, groups, seed).tolist()


def test_a_group_on_both_sides_is_locked_away_whole_told_and_counted():
    console = Console(quiet=True)
    dataset = dataset_of("aaabbbccdd", "x---xx--xx")
    test = locked_split(dataset, 0, console)
    assert test.tolist() == [group in "abd" for group in dataset.rows.group]
    assert learning_split(dataset, 0).tolist() == [group == "c" for group in dataset.rows.group]
    assert console.notices == ["lesions on both sides of the dataset's own split, locked away whole: 2 (3 rows)"]


def test_whole_groups_need_no_notice():
    console = Console(quiet=True)
    locked_split(dataset_of("aabb", "xx--"), 0, console)
    assert console.notices == []


def test_an_own_split_that_leaves_no_whole_group_is_refused():
    with pytest.raises(UserError, match="every one of the 2 lesions has an image in the dataset's own test split"):
        locked_split(dataset_of("aabb", "x--x"), 0)


def test_an_image_file_in_training_and_test_is_locked_away_with_its_group():
    dataset = dataset_of("abcd", "x---")
    joined = join_groups(dataset, Content(["k0", "k1", "k0", "k3"], []), Console(quiet=True))
    assert locked_split(joined, 0).tolist() == [True, False, True, False]


def test_rows_without_a_readable_image_are_left_out_after_the_split_and_stay_in_the_whole_table(tmp_path):
    dataset = dataset_of("abcdefghijklmnopqrstuvwxyz", None)
    locked = locked_split(dataset, 0)
    row = int(np.flatnonzero(locked)[0])
    keys = [None if i == row else f"k{i}" for i in range(26)]
    console = Console(quiet=True)
    inputs = inputs_of(dataset, Content(keys, []), Store(tmp_path), 0, console)
    assert inputs.keys == [key for key in keys if key is not None]
    assert inputs.test.tolist() == np.delete(locked, row).tolist()
    assert len(inputs.dataset.rows) == 25 and inputs.dataset.whole is dataset
    assert console.notices == ["1 unreadable images left out, as listed in the cache's quarantine.csv"]


def test_groups_are_joined_in_the_rows_that_are_used_and_not_in_the_table_as_it_stands(tmp_path):
    dataset = dataset_of("abcdefgh", None)
    keys = ["same", "same", *(f"k{i}" for i in range(6))]
    inputs = inputs_of(dataset, Content(keys, []), Store(tmp_path), 0, Console(quiet=True))
    assert len(set(inputs.dataset.groups)) == 7 and len(set(inputs.dataset.whole.groups)) == 8
    assert inputs.test[0] == inputs.test[1]


def test_without_images_every_row_is_used_and_no_block_is_looked_for(tmp_path):
    dataset = dataset_of("abcdefghijklmnopqrstuvwxyz", None)
    inputs = inputs_of(dataset, None, Store(tmp_path), 0, Console(quiet=True))
    options = FitOptions(use_images=False, folds=2)
    assert inputs.dataset is dataset and inputs.keys is None
    assert inputs.for_fit(Store(tmp_path), options, Console(quiet=True)) is inputs


def test_classes_too_small_are_told_before_features_that_were_not_extracted(tmp_path):
    dataset = dataset_of("abcdefgh", None)
    inputs = inputs_of(dataset, Content([f"k{i}" for i in range(8)], []), Store(tmp_path), 0, Console(quiet=True))
    with pytest.raises(UserError, match="too few lesions for 5 folds"):
        inputs.for_fit(Store(tmp_path), FitOptions(features=["absent"], folds=5), Console(quiet=True))


def test_an_arm_takes_its_own_blocks_and_without_images_the_same_rows(demo):
    inputs = inputs_of(demo.dataset, demo.content, demo.store, 0, Console(quiet=True))
    both = inputs.for_fit(demo.store, FitOptions(features=["cae", "toy"], folds=3), Console(quiet=True))
    options = FitOptions(features=["toy"])
    assert [block.name for block in both.of(options).blocks] == ["toy"]
    alone = both.of(replace(options, use_images=False))
    assert (alone.keys, alone.blocks) == (None, []) and alone.dataset is both.dataset
