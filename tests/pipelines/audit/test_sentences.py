"""What checks say: one sentence for each state, without double negation; and whose labels they look at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dermfuse.pipelines.audit.check import Question, sentence_of
from tests.pipelines.audit.planting import LEAKS, audited, checked, planted

DENIALS = ("does not hold", "This does not", "It does not", "not no ")


def questions() -> list[Question]:
    from dermfuse.pipelines.audit import columns, duplicates, extractors, groups, image_files, near, optimism

    rooms = (columns, duplicates, extractors, image_files, groups, near, optimism)
    return [value for room in rooms for value in vars(room).values() if isinstance(value, Question)]


def test_no_sentence_of_any_state_repeats_or_denies_another():
    for question in questions():
        passed, found = question.passed("40 rows"), question.found(2, "Two rows differ.")
        absent = question.not_applicable("there are no rows")
        assert passed.sentence == f"{question.title}: 40 rows."
        assert found.sentence == "Two rows differ."
        assert absent.sentence == f"{question.topic}: not asked (there are no rows)."
        assert question.topic and question.title not in absent.sentence + found.sentence
        assert not question.title.endswith(".") and not question.topic.endswith(".")


def test_every_check_of_a_clean_dataset_says_one_sentence_that_ends(clean):
    audit = audited(clean)
    bare = audited(replace(clean, table=None, keys=None, fold=None))
    for check in (*audit.checks, *bare.checks):
        assert check.sentence.endswith(".") and ".." not in check.sentence
        assert not [denial for denial in DENIALS if denial in check.sentence]
        if check.state == "passed":
            assert check.sentence.startswith(check.title)


@pytest.mark.parametrize("name", ["same file in two groups", "labels in a group", "leak column by its values"])
def test_what_was_found_is_said_and_the_fact_that_should_hold_is_not(clean_folder, tmp_path, name):
    leak = LEAKS[name]
    check = checked(planted(leak, clean_folder(0), tmp_path / "leak", 0), leak.code)
    assert check.state == "found"
    assert check.title not in check.sentence
    assert check.as_json()["sentence"] == check.detail == check.sentence


def test_a_title_that_says_a_column_tells_nothing_would_contradict_what_it_tells(clean):
    for check in audited(clean).checks:
        if check.state == "passed" and ("tells the most" in check.detail or "the most is told" in check.detail):
            assert "give the label away" in check.title or "gives the label away" in check.title


def test_one_and_many_agree_in_number(clean_folder, tmp_path):
    leak = LEAKS["same file in two groups"]
    given = planted(leak, clean_folder(0), tmp_path / "one", 0)
    assert checked(given, "SAME_FILE_GROUPS").sentence.startswith("1 file stands in two groups")


def test_without_a_sentence_of_what_it_looks_for_a_check_says_its_title():
    assert sentence_of("not applicable", "Groups are small", "no groups.") == "Groups are small: not asked (no groups)."


def contradictory(given):
    """The same with a group of two labels, a file under two labels and near-copies, all of the locked test split."""
    rows, keys = given.dataset.rows.copy(), list(given.keys)
    test = np.flatnonzero(given.fold < 0)
    keys[test[0]] = keys[test[1]]
    rows.loc[test[0], "path"] = rows.loc[test[1], "path"]
    X = given.table.X.copy()
    X.iloc[test[0]] = X.iloc[test[1]]
    return replace(given, dataset=replace(given.dataset, rows=rows), keys=keys, table=replace(given.table, X=X))


def test_checks_that_change_with_labels_of_the_locked_split_are_those_that_say_so(clean):
    given = contradictory(clean)
    before = audited(given)
    rng, rows = np.random.default_rng(0), given.dataset.rows.copy()
    locked = given.fold < 0
    changed = set()
    for _ in range(3):
        rows.loc[locked, "label"] = rng.permutation([f"other {i % 3}" for i in range(locked.sum())])
        after = audited(replace(given, dataset=replace(given.dataset, rows=rows)))
        for one, other in zip(before.checks, after.checks, strict=True):
            same_rows = (one.rows is None) == (other.rows is None) and (one.rows is None or one.rows.equals(other.rows))
            if one.as_json() != other.as_json() or not same_rows:
                changed.add(one.code)
    assert changed == {check.code for check in before.checks if check.as_json()["looks_at_test_labels"]}
    assert changed == {"GROUP_LABELS", "SAME_FILE_LABELS", "NEAR_DUPLICATE"}


def test_where_nothing_is_locked_away_no_check_says_that_it_looks_there(clean):
    assert not [check.code for check in audited(replace(clean, fold=None)).checks if check.test_labels]


def test_a_check_that_was_not_asked_looked_at_no_labels(clean):
    audit = audited(replace(clean, keys=None, table=None))
    assert [check.code for check in audit.checks if check.test_labels] == ["GROUP_LABELS"]
