"""Groups and splits: what an image-level split would leak, and labels that disagree within a lesion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dermfuse.pipelines.audit.groups import check_groups, sibling_share
from tests.pipelines.audit.planting import group_across


@pytest.mark.parametrize("sizes", [[1] * 40 + [2] * 30, [5] * 12, [1, 1, 1, 30, 2]])
def test_the_share_with_a_sibling_in_training_is_what_random_splits_give(sizes):
    owner = np.repeat(np.arange(len(sizes)), sizes)
    rng, test = np.random.default_rng(0), round(0.2 * len(owner))
    shares = []
    for _ in range(4000):
        order = rng.permutation(len(owner))
        shares.append(np.isin(owner[order[:test]], owner[order[test:]]).mean())
    assert sibling_share(np.array(sizes)) == pytest.approx(np.mean(shares), abs=0.01)


def test_groups_of_one_leak_nothing_and_a_group_too_large_for_the_test_part_leaks_always():
    assert sibling_share(np.ones(50, int)) == 0
    assert sibling_share(np.array([50])) == 1
    assert np.isnan(sibling_share(np.array([1, 1])))


def test_the_rows_of_a_group_on_two_sides_are_listed(clean):
    given = group_across(clean)
    check = check_groups(given)[0]
    assert (check.state, check.count) == ("found", 1)
    assert check.rows["group"].nunique() == 1
    assert {"the locked test split"} < set(check.rows["what"])


def test_patients_may_have_lesions_of_several_classes_and_rows_without_groups_ask_nothing(clean):
    patients = replace(clean.dataset, layout=replace(clean.dataset.layout, group_word="patients"))
    assert check_groups(replace(clean, dataset=patients))[2].state == "not applicable"
    alone = replace(clean.dataset, layout=replace(clean.dataset.layout, group=None))
    assert {check.state for check in check_groups(replace(clean, dataset=alone))} == {"not applicable"}


@pytest.mark.real_data
def test_an_image_level_split_of_ham10000_would_leak_what_was_published(shared):
    table = pd.read_csv(shared / "ham10000" / "HAM10000_metadata.csv")
    assert sibling_share(table["lesion_id"].value_counts().to_numpy()) == pytest.approx(0.387, abs=0.0005)
