"""The list of images that were set aside: what is kept of it, and that a spreadsheet may open it."""

from __future__ import annotations

import csv
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dermfuse.features.images.quarantine import FILE, SetAside, read_quarantine, spreadsheet_safe, update_quarantine

A = SetAside("/data/a.jpg", "empty file", 0, "e3b0")
B = SetAside("/data/b.jpg", "No such file or directory", -1, "")

# Names as the operating system gives them: any bytes but "/" and NUL, decoded as Python decodes them.
names = st.binary(min_size=1, max_size=20).map(lambda b: os.fsdecode(b.replace(b"\0", b"0").replace(b"/", b"1")))


def cells(root: Path) -> list[list[str]]:
    """The file as a spreadsheet reads it."""
    with open(root / FILE, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.reader(file))


def test_there_is_no_list_before_anything_was_set_aside(tmp_path):
    assert read_quarantine(tmp_path) == []
    update_quarantine(tmp_path, {"/data/a.jpg"}, [])
    assert not (tmp_path / FILE).exists()


def test_the_list_is_sorted_and_says_where_it_is(tmp_path):
    assert update_quarantine(tmp_path, {A.path, B.path}, [B, A]) == tmp_path / FILE
    assert read_quarantine(tmp_path) == [A, B]


def test_the_list_has_a_header_and_a_row_a_file(tmp_path):
    update_quarantine(tmp_path, {A.path}, [A])
    assert cells(tmp_path) == [["path", "reason", "bytes", "content"], ["/data/a.jpg", "empty file", "0", "e3b0"]]


def test_a_file_that_was_mended_leaves_the_list(tmp_path):
    update_quarantine(tmp_path, {A.path, B.path}, [A, B])
    update_quarantine(tmp_path, {A.path}, [])
    assert read_quarantine(tmp_path) == [B]
    update_quarantine(tmp_path, {B.path}, [])
    assert read_quarantine(tmp_path) == []


def test_a_file_that_was_not_looked_at_stays_on_the_list(tmp_path):
    update_quarantine(tmp_path, {A.path}, [A])
    update_quarantine(tmp_path, {B.path}, [B])
    assert read_quarantine(tmp_path) == [A, B]


def test_a_new_reason_replaces_the_old_one(tmp_path):
    update_quarantine(tmp_path, {A.path}, [A])
    now = SetAside(A.path, "truncated", 7, "ab")
    update_quarantine(tmp_path, {A.path}, [now])
    assert read_quarantine(tmp_path) == [now]


def test_rows_that_a_person_spoiled_are_passed_over(tmp_path):
    update_quarantine(tmp_path, {A.path, B.path}, [A, B])
    with open(tmp_path / FILE, "a", encoding="utf-8") as file:
        file.write("/data/c.jpg;empty file;0;e3b0\n/data/d.jpg,empty file,many,e3b0\n\n")
    assert read_quarantine(tmp_path) == [A, B]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.builds(SetAside, names, names, st.integers(-1, 2**40), st.sampled_from(["", "e3b0"])), max_size=6))
@example([SetAside(first + "x", first, 1, "") for first in "'=+-@\t\r\n\";, "])
@example([SetAside("''=x", "'", -1, "")])
def test_what_was_set_aside_is_read_back_as_it_was(rows):
    with tempfile.TemporaryDirectory() as root:
        update_quarantine(Path(root), set(), rows)
        assert read_quarantine(Path(root)) == sorted(rows, key=lambda row: row.path)


@settings(max_examples=150, deadline=None)
@given(names)
@example("=HYPERLINK(1)")
@example("'=1")
@example("\n=1")
@example("＝1")
def test_no_cell_begins_as_a_formula_does(name):
    with tempfile.TemporaryDirectory() as root:
        update_quarantine(Path(root), set(), [SetAside(name, name, 1, "")])
        for cell in cells(Path(root))[1][:2]:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_name_does_not_become_two_cells_under_another_separator(separator, tmp_path):
    update_quarantine(tmp_path, set(), [SetAside(f"/data/a{separator}=1.jpg", "empty file", 0, "")])
    with open(tmp_path / FILE, encoding="utf-8", newline="") as file:
        for row in csv.reader(file, delimiter=separator):
            assert not any(cell.startswith("=") for cell in row)


def test_a_harmless_cell_is_left_as_it_is():
    for cell in ("", "a", "/data/a=b.jpg", "5", "naïve"):
        assert spreadsheet_safe(cell) == cell


def test_a_write_that_fails_leaves_the_old_list(tmp_path, monkeypatch):
    update_quarantine(tmp_path, set(), [A])

    def fail(*_):
        raise OSError("disk gone")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk gone"):
        update_quarantine(tmp_path, set(), [B])
    assert read_quarantine(tmp_path) == [A]
