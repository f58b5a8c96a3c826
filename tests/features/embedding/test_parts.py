"""Which rows a process of many takes, and where it learns that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermfuse.cache.errors import USAGE, UserError
from dermfuse.features.console import Console
from dermfuse.features.embedding.parts import MOST_PARTS, Part, part_wanted
from tests.features.toys import content_of, dataset_of, pictures

ARRAY = "SLURM_ARRAY_TASK_"


def array(task, count, first=None, step=None, **more) -> dict[str, str]:
    """An environment as SLURM makes it."""
    given = {"ID": task, "COUNT": count, "MIN": first, "STEP": step}
    return {f"{ARRAY}{name}": str(value) for name, value in given.items() if value is not None} | more


@given(rows=st.integers(0, 300), count=st.integers(1, 40))
def test_parts_are_disjoint_complete_and_balanced_within_one(rows, count):
    parts = [list(range(rows))[Part(number, count).rows] for number in range(1, count + 1)]
    assert sorted(row for part in parts for row in part) == list(range(rows))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_a_part_of_a_dataset_and_of_its_content_hold_the_same_rows(tmp_path):
    names = pictures(tmp_path, 7)
    dataset = dataset_of(tmp_path, names)
    (tmp_path / names[3]).unlink()
    (tmp_path / names[3]).mkdir()
    (tmp_path / names[4]).unlink()
    content = content_of(dataset, Console(quiet=True))
    parts = [Part(number, 3) for number in (1, 2, 3)]
    for part in parts:
        here, there = part.of_content(content, dataset), content_of(part.of(dataset), Console(quiet=True))
        assert here == there
        assert len(here.keys) == len(part.of(dataset).rows)
    assert sum(len(part.of_content(content, dataset).unreadable) for part in parts) == 2


@pytest.mark.parametrize(
    ("flag", "environment", "expected"),
    [
        (None, {}, None),
        ("3/8", {}, "3/8"),
        (" 3 / 8 ", {}, "3/8"),
        ("1/1", array(2, 4), None),
        ("2/3", array(2, 4), "2/3"),
        (None, array(1, 4, 1), "1/4 SLURM_ARRAY_TASK_ID"),
        (None, array(0, 4, 0), "1/4 SLURM_ARRAY_TASK_ID"),
        (None, array(3, 4, 0), "4/4 SLURM_ARRAY_TASK_ID"),
        (None, array(16, 4, 10, 2), "4/4 SLURM_ARRAY_TASK_ID"),
        (None, array(2, 4), "2/4 SLURM_ARRAY_TASK_ID"),
        (None, array(1, 1, 1), None),
        (None, array(5, None), None),
        (None, array("", 4), None),
        (None, {"RANK": "0", "WORLD_SIZE": "2"}, "1/2 RANK"),
        (None, {"RANK": "1", "WORLD_SIZE": "2"}, "2/2 RANK"),
        (None, {"RANK": "1"}, None),
        (None, {"RANK": "0", "WORLD_SIZE": "1"}, None),
        (None, array(1, 4, 1, RANK="1", WORLD_SIZE="2"), "1/4 SLURM_ARRAY_TASK_ID"),
    ],
)
def test_the_flag_goes_before_an_array_and_that_before_a_rank(flag, environment, expected):
    part = part_wanted(flag, environment)
    assert expected == (None if part is None else " ".join(filter(None, (str(part), part.source))))


@pytest.mark.parametrize(
    "flag", ["", "3", "0/3", "4/3", "-1/3", "1/0", "a/b", "1/2/3", "1.0/2", "٣/8", "1/" + "9" * 99]
)
def test_a_flag_that_is_no_part_is_one_clear_line(flag):
    with pytest.raises(UserError, match="--shard .*I/N") as caught:
        part_wanted(flag, {})
    assert caught.value.exit_code == USAGE
    assert "\n" not in str(caught.value)


def test_more_parts_than_anybody_has_are_a_slip():
    assert part_wanted(f"1/{MOST_PARTS}", {}).count == MOST_PARTS
    with pytest.raises(UserError, match="1,000,000"):
        part_wanted(f"1/{MOST_PARTS + 1}", {})


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        (array(7, 3, 1), "SLURM_ARRAY_TASK_ID=7"),  # --array=1,5,7
        (array(0, 3, 1), "SLURM_ARRAY_TASK_ID=0"),
        (array(11, 3, 10, 2), "steps of 2"),
        (array("x", 3), "SLURM_ARRAY_TASK_ID='x'"),
        (array(1, "-3"), "SLURM_ARRAY_TASK_COUNT='-3'"),
        (array(1, 3, 1, 0, RANK="0"), None),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK='one'"),
    ],
)
def test_an_environment_that_names_no_part_is_refused_with_the_way_out(environment, named):
    if named is None:  # a step of 0 is SLURM's for a single task
        assert str(part_wanted(None, environment)) == "1/3"
        return
    with pytest.raises(UserError, match="--shard I/N; 1/1 is everything") as caught:
        part_wanted(None, environment)
    assert named in str(caught.value)
    assert caught.value.exit_code == USAGE
