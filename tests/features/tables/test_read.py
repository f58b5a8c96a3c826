"""Tables as text: what is read, and what is refused with the reason."""

from __future__ import annotations

import pandas as pd
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.tables.columns import Layout
from dermfuse.features.tables.read import join_second, labels_of_one_hot, normalise_metadata, read_table
from tests.features.folders import COLUMNS, refusal, write_plain


def test_metadata_of_new_images_are_read_by_the_same_rules(tmp_path):
    table = read_table(write_plain(tmp_path, "id,age,sex\n007,50,unknown\n") / "table.csv")
    fields = normalise_metadata(table, Layout(numeric=("age",), categorical=("sex",)))
    assert table.id.tolist() == ["007"]
    assert fields.age.tolist() == [50.0]
    assert fields.sex.tolist() == [None]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'file,kind\n"a,nv\nb,mel\n', "EOF inside string"),
        (b"file,kind\na,nv\nb,mel,1\n", "Expected 2 fields in line 3, saw 3"),
        (b"file,kind\na,nv,1\nb,mel,2\n", "more cells than its header"),
        (b"file,kind\na,n\x81vus\n", "neither UTF-8 nor UTF-16 nor Windows-1252"),
        (b"file,kind, kind\na,nv,mel\n", "more than one column 'kind'"),
    ],
    ids=["open quote", "one long row", "long rows", "no encoding", "repeated column"],
)
def test_a_table_that_cannot_be_read_is_refused_with_the_reason(content, reason, tmp_path):
    (tmp_path / "table.csv").write_bytes(content)
    message = str(refusal(tmp_path, COLUMNS))
    assert str(tmp_path / "table.csv") in message
    assert reason in message


def test_a_table_that_is_gone_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot read .*: No such file or directory"):
        read_table(tmp_path / "gone.csv")


def test_an_empty_table_is_refused(tmp_path):
    (tmp_path / "table.csv").touch()
    with pytest.raises(UserError, match="No columns to parse"):
        read_table(tmp_path / "table.csv")
    assert "tables seen: table.csv" in str(refusal(tmp_path))


def text(**columns) -> pd.DataFrame:
    """A table as it is read: all cells text."""
    return pd.DataFrame(columns, dtype="string")


def test_a_second_table_is_joined_by_image_whatever_its_order_and_ending():
    first = text(image=["b", "a.jpg", "c"], x=["1", "2", "3"])
    joined, counts = join_second(first, text(image=["a", " b ", "z"], y=["ya", "yb", "yz"]), "image", "second.csv")
    assert joined.y.tolist() == ["yb", "ya", ""]
    assert joined.x.tolist() == ["1", "2", "3"]
    assert joined.image.tolist() == first.image.tolist()
    assert [n for _, n in counts] == [1, 1]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (text(other=["a"]), "the second table second.csv has no image column 'image'"),
        (text(image=["a", "a.jpg"], y=["1", "2"]), "the image id 'a' stands in more than one row of second.csv"),
        (text(image=["a"], x=["1"]), "both tables have a column 'x'"),
    ],
    ids=["no image column", "repeated image", "shared column"],
)
def test_a_second_table_that_cannot_be_joined_is_refused(second, message):
    with pytest.raises(UserError, match=message):
        join_second(text(image=["a"], x=["1"]), second, "image", "second.csv")


def test_the_class_of_a_row_is_the_column_that_is_one():
    table = text(
        image=list("abcd"), MEL=["1.0", "0.0", "0", ""], NV=["0.0", " 1 ", "", ""], DF=["0.0", "0", "1.000", ""]
    )
    assert labels_of_one_hot(table, ("MEL", "NV", "DF"), "image", "t").tolist() == ["MEL", "NV", "DF", ""]


@pytest.mark.parametrize(
    "row",
    [
        ("0", "0"),
        ("1", "1"),
        ("0.5", "0.5"),
        ("2", "0"),
        ("1", "-1"),
        ("yes", "0"),
        ("inf", "0"),
        ("nan", "1"),
        ("0", ""),
    ],
    ids=" ".join,
)
def test_a_row_that_does_not_mark_exactly_one_class_is_refused(row):
    table = text(image=["good", "bad", "good2"], MEL=["1", row[0], "0"], NV=["0", row[1], "1"])
    with pytest.raises(UserError) as caught:
        labels_of_one_hot(table, ("MEL", "NV"), "image", "truth.csv")
    assert str(caught.value) == (
        "1 of 3 rows of truth.csv do not mark exactly one class (first: image 'bad'). "
        "Expected one 1 and otherwise 0 in the columns MEL, NV."
    )


def test_a_class_column_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="has no class column 'NV'"):
        labels_of_one_hot(text(image=["a"], MEL=["1"]), ("MEL", "NV"), "image", "truth.csv")


@pytest.mark.parametrize("column", ["file", "kind", "age"])
def test_a_cell_that_is_no_name_is_refused_by_column_and_row(tmp_path, column):
    cells = {"file": "b", "kind": "nv", "age": "50"} | {column: "x" * 50_000}
    (tmp_path / "t.csv").write_text(
        "file,kind,age,notes\na,nv,40," + "y" * 5000 + "\n" + ",".join(cells.values()) + ",\n"
    )
    flags = Layout(image="file", label="kind", categorical=("age",), table="t.csv")
    with pytest.raises(UserError, match=rf"a cell of 50,000 characters in column '{column}' \(row 2 of 2\)"):
        load_dataset(tmp_path, flags)
