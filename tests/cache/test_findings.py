"""Parts of audits in the cache: found by what they are of, and never believed when damaged or of another version."""

from __future__ import annotations

import json
import os
import time

import pytest

from dermfuse.cache.beside import kept_damage, kept_in
from dermfuse.cache.findings import AUDITS, find_part, keep_part, part_damage
from dermfuse.cache.garbage import AUDIT_DAYS, Collector
from dermfuse.cache.store import Store

RECIPE = {"part": "columns", "labels": "ab" * 32}
CONTENT = {"told": {"age": {"macro_auc": 0.1 + 0.2, "low": None}}, "unread": 0, "pairs": [[1, 2]]}


@pytest.fixture
def root(tmp_path):
    keep_part(tmp_path, "columns", RECIPE, "v1", CONTENT)
    return tmp_path


def only(root):
    (path,) = (root / AUDITS).glob("*.json")
    return path


def test_a_part_comes_back_as_it_was_kept(root):
    assert find_part(root, "columns", RECIPE, "v1") == (CONTENT, None)


def test_what_was_never_kept_is_not_there_without_a_word(root):
    assert find_part(root, "columns", {**RECIPE, "labels": "cd" * 32}, "v1") == (None, None)
    assert find_part(root / "no cache", "columns", RECIPE, "v1") == (None, None)
    assert not (root / "no cache").exists()


def test_another_version_is_told_and_replaced_in_place(root):
    content, reason = find_part(root, "columns", RECIPE, "v2")
    assert content is None and "another version" in reason
    keep_part(root, "columns", RECIPE, "v2", {"unread": 1})
    assert find_part(root, "columns", RECIPE, "v2") == ({"unread": 1}, None)
    assert len(list((root / AUDITS).iterdir())) == 1


DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "a list": lambda data: b"[]",
    "not JSON": lambda data: b"\xff" + data,
    "another number": lambda data: data.replace(b'"unread": 0', b'"unread": 7'),
    "another version claimed": lambda data: data.replace(b'"v1"', b'"v2"'),
    "no digest": lambda data: json.dumps({**json.loads(data), "sha256": None}).encode(),
    "no content": lambda data: b'{"sha256": "%s"}' % (b"ab" * 32),
    "deep": lambda data: b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_told_and_not_believed(root, damage):
    path = only(root)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    for version in ("v1", "v2"):
        content, reason = find_part(root, "columns", RECIPE, version)
        assert content is None and path.name in reason
    assert part_damage(path) == kept_damage(kept_in(root)[0]) == reason


def test_a_part_under_the_name_of_another_is_not_believed(root):
    other = {**RECIPE, "labels": "cd" * 32}
    keep_part(root, "columns", other, "v1", {"unread": 2})
    first, second = sorted((root / AUDITS).iterdir())
    os.replace(first, second)
    answers = [find_part(root, "columns", recipe, "v1") for recipe in (RECIPE, other)]
    assert sorted(str(reason) for _, reason in answers)[1].endswith("is of other data") and answers[0][0] != {
        "unread": 2
    }
    assert sum(content is not None for content, _ in answers) == 0


def test_parts_are_listed_beside_weights(root):
    (kept,) = kept_in(root)
    assert (kept.kind, kept.name, kept.path) == (AUDITS, "columns", only(root))
    assert kept_damage(kept) is None


def collected(root):
    collector = Collector(Store(root))
    return collector.delete(collector.find())


def age(path, days):
    os.utime(path, (time.time() - days * 86400,) * 2)


def test_garbage_is_what_nobody_asked_for_in_a_month_or_what_is_damaged(root):
    age(only(root), AUDIT_DAYS - 1)
    assert collected(root).garbage == [] and only(root).exists()
    age(only(root), AUDIT_DAYS + 1)
    assert find_part(root, "columns", RECIPE, "v1")[1] is None  # asking for it is use
    assert collected(root).garbage == []
    age(only(root), AUDIT_DAYS + 1)
    assert [(item.kind, item.reason) for item in collected(root).garbage] == [(AUDITS, f"unused for {AUDIT_DAYS} days")]
    keep_part(root, "columns", RECIPE, "v1", CONTENT)
    only(root).write_bytes(b"{")
    age(only(root), 1)
    assert ["no valid JSON" in item.reason for item in collected(root).garbage] == [True]
    assert not list((root / AUDITS).iterdir())
