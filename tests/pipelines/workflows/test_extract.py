"""Which rows are locked away and which may be learned from, where a dataset brings a split of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.features.console import Console
from dermfuse.features.data.content import Content
from dermfuse.features.data.dataset import Dataset, load_dataset
from dermfuse.features.extractors import learned
from dermfuse.features.tables.columns import Layout
from dermfuse.pipelines.evaluation import splits
from dermfuse.pipelines.options.extract import Stage1Options
from dermfuse.pipelines.workflows.extract import embed_dataset
from dermfuse.pipelines.workflows.inputs import join_groups, learning_split, locked_split
from tests.features.folders import write_plain


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


def test_the_autoencoder_learns_from_no_row_of_the_own_split(tmp_path, monkeypatch):
    names = [f"p{i}.jpg" for i in range(8)]
    lines = [
        f"{name},{'nv' if i % 2 else 'mel'},g{i // 2},{'test' if i in (0, 5) else ''}" for i, name in enumerate(names)
    ]
    write_plain(tmp_path, "\n".join(["file,kind,lesion,part", *lines]) + "\n", names)
    (tmp_path / "dataset.toml").write_text('image = "file"\nlabel = "kind"\ngroup = "lesion"\nsplit = "part"\n')
    seen = {}

    class AskedForError(Exception):
        pass

    def noted(paths, learn, allowed, *rest):
        names = {key: Path(path).name for key, path in paths.items()}
        seen.update(learn={names[key] for key in learn}, allowed={names[key] for key in allowed})
        raise AskedForError

    monkeypatch.setattr(learned, "autoencoder_for", noted)
    with pytest.raises(AskedForError):
        embed_dataset(
            load_dataset(tmp_path), Stage1Options(["cae"], device="cpu"), tmp_path / "cache", Console(quiet=True)
        )
    # Groups g0 and g2 have a row in the own test split.
    assert seen == {name: {"p2.jpg", "p3.jpg", "p6.jpg", "p7.jpg"} for name in ("learn", "allowed")}
