"""Column names in other spellings, and those that look like a missing one."""

from __future__ import annotations

import pytest

from dermfuse.features.tables.column_names import lacks, looks_like, other_spellings
from dermfuse.features.tables.columns import Layout
from tests.features.folders import refusal, write_plain


def test_a_wanted_column_is_known_in_another_spelling_but_not_in_two():
    assert other_spellings(["Image_ID ", "AGE", "sex"], ["image_id", "age", "sex"]) == {
        "Image_ID ": "image_id",
        "AGE": "age",
    }
    assert other_spellings(["Age", "AGE"], ["age"]) == {}
    assert other_spellings(["age", "AGE"], ["age"]) == {}


@pytest.mark.parametrize(
    ("wanted", "columns", "found"),
    [
        ("image_id", ["lesion", "image", "age"], "image"),
        ("image_id", ["Filename", "age"], "Filename"),
        ("localization", ["anatom_site_general"], "anatom_site_general"),
        ("sex", ["Gender"], "Gender"),
        ("thickness", ["thicknes"], "thicknes"),
        ("age", ["site"], None),
    ],
)
def test_the_column_that_looks_like_a_missing_one(wanted, columns, found):
    assert looks_like(wanted, columns) == found


def test_a_table_says_what_it_lacks_and_what_looks_like_it(tmp_path):
    assert lacks(["image_id", "age"], ["image", "age"]) == "no column 'image_id' (its column 'image' looks like it)"
    text = "lesion_id,image,dx,age\nl1,a,nv,40\n"
    message = str(refusal(write_plain(tmp_path, text)))
    assert "looks like HAM10000 but has no column 'image_id' (its column 'image' looks like it)" in message
    message = str(refusal(tmp_path, Layout(image="image", label="diagnosis")))
    assert "has no label column 'diagnosis'" in message and "('dx' looks like it)" in message
