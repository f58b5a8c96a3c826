"""What Python is given of a dataset, and that its keywords are the command line's flags."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.features.data import dataset
from dermfuse.features.data.load import load_dataset
from dermfuse.features.tables.columns import layout_from_flags

COLUMNS = {"table": "own.csv", "image_column": "file", "label_column": "kind", "group_column": "patient"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table of 12 rows in an order of its own, with empty files of names that it has."""
    place = tmp_path_factory.mktemp("own")
    names = [f"b{i:02d}" for i in range(12)][::-1]
    table = pd.DataFrame({"file": names, "kind": ["mole", "tumour"] * 6, "patient": [f"p{i // 3}" for i in range(12)]})
    table["age"], table["skin"] = [*range(30, 41), None], ["I", "II", "III", ""] * 3
    table.to_csv(place / "own.csv", index=False)
    for name in names:
        (place / f"{name}.jpg").write_bytes(name.encode())
    return place


@pytest.mark.parametrize(
    "metadata", ["age=number,skin=category", ["age=number", "skin"], {"age": "number", "skin": "category"}], ids=type
)
def test_keywords_are_the_flags_of_the_command_line(folder, metadata):
    found = load_dataset(
        folder, **COLUMNS, metadata_columns=metadata, positive="tumour", malignant=["tumour"], quiet=True
    )
    flags = {**COLUMNS, "metadata_columns": "age=number,skin=category", "malignant": "tumour", "positive": "tumour"}
    expected = dataset.load_dataset(folder, layout_from_flags(*flags.values()))
    pd.testing.assert_frame_equal(found.rows, expected.rows)
    assert (found.layout, found.fingerprint()) == (expected.layout, expected.fingerprint())
    assert set(found.flags) == set(flags) and found.flags["malignant"] == "tumour"


def test_what_scikit_learn_takes_is_in_one_order(folder):
    found = load_dataset(folder, **COLUMNS, metadata_columns={"age": "number", "skin": "category"}, quiet=True)
    assert list(found.X) == ["path", "age", "skin"] and found.X.index.name == "image"
    assert found.X.index.tolist() == [f"b{i:02d}" for i in range(12)]
    assert [path.endswith(f"{name}.jpg") for name, path in found.X["path"].items()] == [True] * 12
    assert found.y.tolist() == ["tumour", "mole"] * 6 and found.groups.tolist()[:4] == ["p3", "p3", "p3", "p2"]
    assert {found.y.dtype.kind, found.groups.dtype.kind} == {"U"}
    assert np.isnan(found.X["age"].iloc[0]) and found.X["skin"].isna().sum() == 3
    part = found.keep(found.y == "mole")
    assert len(part.X) == len(part.y) == len(part.groups) == 6


def test_without_images_there_is_no_path(folder, tmp_path):
    (tmp_path / "own.csv").write_bytes((folder / "own.csv").read_bytes())
    assert list(load_dataset(tmp_path, **COLUMNS, metadata_columns=["age"], quiet=True).X) == ["age"]


def test_what_was_left_out_is_told_unless_quiet(folder, capsys):
    load_dataset(folder, table="own.csv", image_column="file", label_column="kind")
    assert "no group column is known" in capsys.readouterr().err
    load_dataset(str(folder), table="own.csv", image_column="file", label_column="kind", quiet=True)
    assert capsys.readouterr().err == ""


def test_a_kind_that_is_unknown_is_refused(folder):
    with pytest.raises(UserError, match="unknown kind 'text'. Known: number, category"):
        load_dataset(folder, **COLUMNS, metadata_columns={"age": "text"})
