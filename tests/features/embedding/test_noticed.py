"""What was noticed when embeddings were made is kept with their blocks, each line once."""

from __future__ import annotations

import pytest

from dermfuse.features.embedding.noticed import FILE, MOST, keep_noticed, noticed


def keep(root, keys, *texts) -> None:
    keep_noticed(root, keys, list(texts), lambda text: None)


def test_lines_are_kept_by_block_each_once(tmp_path):
    keep(tmp_path, ["a", "b"], "one", "two")
    keep(tmp_path, ["a"], "two", "three")
    assert noticed(tmp_path, "a") == ["one", "two", "three"]
    assert noticed(tmp_path, "b") == ["one", "two"] and noticed(tmp_path, "c") == []


def test_of_very_many_the_last_are_kept(tmp_path):
    for number in range(MOST + 5):
        keep(tmp_path, ["a"], str(number))
    assert noticed(tmp_path, "a") == [str(number) for number in range(5, MOST + 5)]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 3}', "\xff"])
def test_a_damaged_file_holds_nothing_and_is_written_anew(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    assert noticed(tmp_path, "a") == []
    keep(tmp_path, ["a"], "one")
    assert noticed(tmp_path, "a") == ["one"]


def test_nothing_noticed_writes_nothing(tmp_path):
    keep(tmp_path, ["a"])
    keep(tmp_path, [], "one")
    assert not (tmp_path / FILE).exists()
