"""Splits keep groups whole, depend on nothing but names and seed, and stay put when images are added."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermfuse.cache.errors import UserError
from dermfuse.pipelines.evaluation import splits

QUICK = settings(max_examples=60, deadline=None)


def cohort(rng: np.random.Generator, groups_by_class: list[int], prefix: str = "g"):
    """Labels and groups: so many groups of each class, of one to four rows, in random order."""
    label = np.repeat(np.arange(len(groups_by_class)), groups_by_class)
    owner = np.repeat(np.arange(len(label)), rng.integers(1, 5, len(label)))
    owner = rng.permutation(owner)
    return np.array([f"class{k}" for k in label[owner]]), np.array([f"{prefix}{i}" for i in owner])


@st.composite
def cohorts(draw, least: int = 2, most: int = 40):
    counts = draw(st.lists(st.integers(least, most), min_size=2, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return (*cohort(rng, counts), rng)


@st.composite
def mixed_cohorts(draw):
    """Groups whose rows may carry several labels, as a patient with several lesions does."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(8, 120))
    labels = rng.choice(["a", "b", "c"], n)
    groups = rng.choice([f"patient{i}" for i in range(max(3, n // 3))], n)
    return labels, groups, rng


seeds = st.integers(0, 1000)


@QUICK
@given(st.one_of(cohorts(), mixed_cohorts()), seeds)
def test_no_group_is_on_both_sides_of_the_locked_test_split(given_cohort, seed):
    labels, groups, _ = given_cohort
    test = splits.locked_test(labels, groups, seed)
    assert not set(groups[test]) & set(groups[~test])


@QUICK
@given(st.one_of(cohorts(), mixed_cohorts()), seeds)
def test_the_locked_test_split_does_not_depend_on_the_order_of_rows(given_cohort, seed):
    labels, groups, rng = given_cohort
    order = rng.permutation(len(labels))
    shuffled = splits.locked_test(labels[order], groups[order], seed)
    assert np.array_equal(shuffled, splits.locked_test(labels, groups, seed)[order])


@QUICK
@given(cohorts(), seeds)
def test_one_seed_gives_one_split(given_cohort, seed):
    labels, groups, _ = given_cohort
    assert np.array_equal(splits.locked_test(labels, groups, seed), splits.locked_test(labels, groups, seed))


def test_another_seed_gives_another_split():
    labels, groups = cohort(np.random.default_rng(0), [40, 40])
    chosen = {tuple(splits.locked_test(labels, groups, seed)) for seed in range(5)}
    assert len(chosen) == 5


def test_the_split_of_named_groups_is_the_same_on_every_machine():
    groups = np.array([f"lesion{i}" for i in range(20)])
    labels = np.array(["nv", "mel"] * 10)
    # Written down once: a changed hash or order would move test rows of existing runs into training.
    expected = {0: {"lesion2", "lesion3", "lesion10", "lesion17"}, 1: {"lesion1", "lesion4", "lesion5", "lesion6"}}
    for seed, held in expected.items():
        assert set(groups[splits.locked_test(labels, groups, seed)]) == held


@QUICK
@given(cohorts(), seeds)
def test_every_class_of_two_groups_or_more_is_on_both_sides(given_cohort, seed):
    labels, groups, _ = given_cohort
    test = splits.locked_test(labels, groups, seed)
    assert set(labels[test]) == set(labels[~test]) == set(labels)


@QUICK
@given(cohorts(), seeds)
def test_the_test_split_takes_fifteen_percent_of_each_class_to_the_next_whole_group(given_cohort, seed):
    labels, groups, _ = given_cohort
    test = splits.locked_test(labels, groups, seed)
    for label in set(labels):
        of_class = labels == label
        all_groups, held = set(groups[of_class]), set(groups[of_class & test])
        assert 0 <= len(held) / len(all_groups) - splits.TEST_FRACTION < 1 / len(all_groups) + 1e-9


def test_the_share_of_rows_in_the_test_split_is_near_fifteen_percent_in_each_class():
    labels, groups = cohort(np.random.default_rng(1), [600, 200, 200])
    test = splits.locked_test(labels, groups, seed=0)
    shares = [test[labels == label].mean() for label in sorted(set(labels))]
    assert shares == pytest.approx([0.15, 0.15, 0.15], abs=0.035)


@QUICK
@given(cohorts(), seeds, st.integers(1, 12))
def test_added_groups_move_only_groups_at_the_border(given_cohort, seed, added):
    labels, groups, rng = given_cohort
    new_labels, new_groups = cohort(rng, [added] * len(set(labels)), prefix="new")
    before = splits.locked_test(labels, groups, seed)
    after = splits.locked_test(np.append(labels, new_labels), np.append(groups, new_groups), seed)[: len(labels)]
    for label in set(labels):
        old, now = set(groups[before & (labels == label)]), set(groups[after & (labels == label)])
        assert old <= now or now <= old, "groups left the test split while others came in"
        assert len(old ^ now) <= added


@QUICK
@given(cohorts(), seeds)
def test_added_images_of_known_groups_move_nothing(given_cohort, seed):
    labels, groups, rng = given_cohort
    again = rng.integers(0, len(labels), 30)
    before = splits.locked_test(labels, groups, seed)
    after = splits.locked_test(np.append(labels, labels[again]), np.append(groups, groups[again]), seed)
    assert np.array_equal(after[: len(labels)], before)


@QUICK
@given(st.one_of(cohorts(), mixed_cohorts()), seeds)
def test_learned_extractors_see_no_row_of_the_test_split(given_cohort, seed):
    labels, groups, _ = given_cohort
    learn, test = splits.learning_rows(labels, groups, seed), splits.locked_test(labels, groups, seed)
    assert not set(groups[learn]) & set(groups[test])


@QUICK
@given(cohorts(least=8, most=60), seeds)
def test_learned_extractors_stay_clear_of_the_test_split_after_five_percent_more_groups(given_cohort, seed):
    labels, groups, rng = given_cohort
    sizes = [len(set(groups[labels == label])) for label in sorted(set(labels))]
    new_labels, new_groups = cohort(rng, [int(np.ceil(0.05 * n)) for n in sizes], prefix="new")
    learned_from = set(groups[splits.learning_rows(labels, groups, seed)])
    labels, groups = np.append(labels, new_labels), np.append(groups, new_groups)
    assert not learned_from & set(groups[splits.locked_test(labels, groups, seed)])


def test_learned_extractors_are_left_most_of_the_training_split():
    labels, groups = cohort(np.random.default_rng(0), [200, 100])
    assert splits.learning_rows(labels, groups, seed=0).mean() == pytest.approx(0.80, abs=0.03)


def test_a_group_with_several_labels_counts_for_its_most_frequent_one():
    labels = np.array(["rare"] * 6 + ["common"] * 60)
    groups = np.array([f"r{i}" for i in range(6)] + [f"c{i}" for i in range(60)])
    # One row of a common group is labelled rare: the group must still be ranked among the common ones.
    labels, groups = np.append(labels, ["rare", "common"]), np.append(groups, ["c0", "c0"])
    for seed in range(20):
        held = set(groups[splits.locked_test(labels, groups, seed)])
        assert len({g for g in held if g[0] == "r"}) == 1
        assert len({g for g in held if g[0] == "c"}) == 9


@QUICK
@given(cohorts(least=6), st.integers(2, 5), seeds)
def test_folds_hold_every_row_out_once_and_keep_groups_whole(given_cohort, folds, seed):
    labels, groups, _ = given_cohort
    fold = splits.folds_of(labels, groups, seed, folds)
    assert set(fold) == set(range(folds))
    assert all(len(set(fold[groups == group])) == 1 for group in set(groups))


def test_folds_are_stratified():
    labels, groups = cohort(np.random.default_rng(0), [200, 50])
    fold = splits.folds_of(labels, groups, seed=0)
    share = (labels == "class1").mean()
    assert [(labels[fold == k] == "class1").mean() for k in range(5)] == pytest.approx([share] * 5, abs=0.02)


def test_folds_are_the_same_for_the_same_seed_only():
    labels, groups = cohort(np.random.default_rng(0), [40, 40])
    assert np.array_equal(splits.folds_of(labels, groups, 3), splits.folds_of(labels, groups, 3))
    assert not np.array_equal(splits.folds_of(labels, groups, 3), splits.folds_of(labels, groups, 4))


def test_a_class_too_small_for_the_folds_is_refused_with_its_size_and_what_to_do():
    labels, groups = cohort(np.random.default_rng(0), [20, 5])
    with pytest.raises(UserError) as caught:
        splits.check_class_sizes(labels, groups, 5, "lesions")
    message = str(caught.value)
    assert "too few lesions" in message and "'class1' has 5" in message and "at least 6" in message
    assert "--folds" in message and "\n" not in message
    assert caught.value.exit_code == 1


def test_images_of_one_lesion_do_not_make_a_class_large_enough():
    labels, groups = np.array(["a"] * 50 + ["b"] * 50), np.array(["a0"] * 50 + [f"b{i}" for i in range(50)])
    with pytest.raises(UserError, match="'a' has 1"):
        splits.check_class_sizes(labels, groups, 5, "lesions")


def test_a_class_just_large_enough_is_accepted():
    labels, groups = cohort(np.random.default_rng(0), [20, 6])
    splits.check_class_sizes(labels, groups, 5, "lesions")


def test_a_single_class_is_refused():
    with pytest.raises(UserError, match="all rows have the label 'nv'") as caught:
        splits.check_class_sizes(np.array(["nv"] * 9), np.arange(9).astype(str), 3, "lesions")
    assert caught.value.exit_code == 1


def test_one_group_for_all_rows_cannot_be_split():
    labels = np.array(["a", "b"] * 20)
    with pytest.raises(UserError, match="all 40 rows are of one group.*cannot be split.*group column") as caught:
        splits.check_class_sizes(labels, np.array(["clinic"] * 40), 5, "lesions")
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ([i < 6 for i in range(20)], "class 'class0' 4 lesions for training and 6 for the locked test split"),
        ([i < 14 and i > 9 for i in range(20)], "class 'class0' 10 lesions for training and 0 for the"),
        ([i % 10 < 2 for i in range(20)], None),
    ],
    ids=["too few to learn from", "none to test", "enough"],
)
def test_an_own_split_must_leave_every_class_on_both_sides(test, message):
    labels, groups = np.repeat(["class0", "class1"], 10), np.arange(20).astype(str)
    if message is None:
        splits.check_class_sizes(labels, groups, 5, "lesions", np.array(test))
        return
    with pytest.raises(UserError, match=message):
        splits.check_class_sizes(labels, groups, 5, "lesions", np.array(test))


@QUICK
@given(cohorts(), st.floats(0, 1), seeds)
def test_whole_groups_leave_no_group_on_both_sides(given_cohort, share, seed):
    _, groups, rng = given_cohort
    test = rng.random(len(groups)) < share
    whole, crossing = splits.whole_groups(test, groups)
    assert whole[test].all()
    assert not set(groups[whole]) & set(groups[~whole])
    assert set(groups[whole]) == set(groups[test])
    assert crossing == len(set(groups[test]) & set(groups[~test]))


@pytest.mark.parametrize("folds", [1, 0, -3])
def test_fewer_than_two_folds_are_a_usage_error(folds):
    labels, groups = cohort(np.random.default_rng(0), [20, 20])
    with pytest.raises(UserError, match=f"--folds {folds}") as caught:
        splits.check_class_sizes(labels, groups, folds, "lesions")
    assert caught.value.exit_code == 2


def test_groups_that_share_a_file_are_joined_and_others_keep_their_names():
    groups = np.array(["c", "b", "a", "d", "e", "e"])
    keys = ["x", "x", "y", "z", "y", None]
    assert splits.join_same_files(groups, keys).tolist() == ["b", "b", "a", "d", "a", "a"]


def test_groups_are_joined_along_a_chain_of_files():
    groups = np.array(["a", "b", "b", "c"])
    assert splits.join_same_files(groups, ["x", "x", "y", "y"]).tolist() == ["a"] * 4


def test_unreadable_and_empty_files_join_nothing():
    groups = np.array(["a", "b", "c", "d"])
    keys = [None, None, splits.EMPTY_FILE, splits.EMPTY_FILE]
    assert splits.join_same_files(groups, keys).tolist() == groups.tolist()
