"""Which column is what: flags, ``dataset.toml``, and what goes before what."""

from __future__ import annotations

import pytest

from dermfuse.cache.errors import USAGE, UserError
from dermfuse.features.tables.columns import ONE_HOT_LABEL, Layout, layout_from_flags, layout_from_toml

GOOD = 'image = "file"\nlabel = "kind"\n'


def described(tmp_path, text: str) -> Layout:
    (tmp_path / "dataset.toml").write_text(text, encoding="utf-8")
    return layout_from_toml(tmp_path / "dataset.toml")


def refusal(tmp_path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        described(tmp_path, text)
    assert str(tmp_path / "dataset.toml") in str(caught.value)
    return str(caught.value)


def test_no_flag_is_no_layout():
    assert layout_from_flags() is None
    assert layout_from_flags(None, None, None, None, "") is None


@pytest.mark.parametrize("flag", ["table", "image", "label", "group"])
def test_a_single_flag_is_a_layout(flag):
    assert getattr(layout_from_flags(**{flag: "x"}), flag) == "x"


def test_ages_are_numbers_and_other_metadata_categories_unless_told():
    layout = layout_from_flags(metadata="Age, age_approx,site , grade=number,age2=category,,")
    assert layout.numeric == ("Age", "age_approx", "grade")
    assert layout.categorical == ("site", "age2")


def test_a_column_that_is_named_twice_has_the_kind_that_was_told_last():
    layout = layout_from_flags(metadata="site,age=category,site,age=number")
    assert (layout.numeric, layout.categorical) == (("age",), ("site",))


@pytest.mark.parametrize("item", ["site=text", "age=numeric", "age=number=1"])
def test_an_unknown_kind_of_metadata_is_a_wrong_use(item):
    with pytest.raises(UserError, match="unknown kind .* Known: number, category") as caught:
        layout_from_flags(metadata=item)
    assert caught.value.exit_code == USAGE


def test_what_is_stated_goes_over_what_is_not():
    under = Layout(name="under", image="a", label="b", group="g", leaks=("l",), synthetic=True)
    layout = Layout(label="c", table="t.csv").over(under)
    assert layout == Layout(name="under", image="a", label="c", group="g", leaks=("l",), table="t.csv", synthetic=True)


def test_metadata_columns_are_taken_as_a_whole():
    under = Layout(numeric=("age",), categorical=("sex", "site"))
    assert Layout(categorical=("sex",)).over(under) == Layout(categorical=("sex",))
    assert Layout(label="x").over(under) == Layout(label="x", numeric=("age",), categorical=("sex", "site"))


def test_what_is_said_of_labels_does_not_hold_for_another_label_column():
    under = Layout(label="target", label_names=(("0", "benign"),), malignant=("melanoma",), one_hot=("A", "B"))
    assert Layout(label="target").over(under) == under
    assert Layout(label="other").over(under) == Layout(label="other")
    own = Layout(label="other", malignant=("x",))
    assert own.over(under) == own


def test_a_dataset_toml_may_be_flat_or_in_tables(tmp_path):
    flat = described(tmp_path, GOOD + 'group = "patient"\nnumeric = ["age"]\n')
    tables = described(tmp_path, f'[columns]\n{GOOD}group = "patient"\n[metadata]\nnumeric = ["age"]\n')
    assert flat == tables == Layout(image="file", label="kind", group="patient", numeric=("age",), subgroups=("age",))


def test_subgroups_are_metadata_called_like_age_sex_or_site_unless_told(tmp_path):
    metadata = 'numeric = ["age", "size"]\ncategorical = ["Sex", "camera"]\n'
    assert described(tmp_path, GOOD + metadata).subgroups == ("age", "Sex")
    assert described(tmp_path, GOOD + metadata + "subgroups = []\n").subgroups == ()
    assert described(tmp_path, GOOD + metadata + 'subgroups = ["camera", "clinic"]\n').subgroups == ("camera", "clinic")


def test_one_column_per_class_takes_the_place_of_a_label_column(tmp_path):
    layout = described(tmp_path, 'image = "file"\none_hot = ["MEL", "NV"]\n')
    assert (layout.label, layout.one_hot) == (ONE_HOT_LABEL, ("MEL", "NV"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image = ", "cannot read"),
        ('image = "a"\nimage = "b"\n', "cannot read"),
        (GOOD + "colour = 1\n", "unknown key 'colour'. Known: name, table, second_table, image"),
        (GOOD + "[metadata]\nages = ['age']\n", "unknown key 'ages'"),
        (GOOD + "[extra]\nx = 1\n", "unknown key 'extra'"),
        (GOOD + 'numeric = "age"\n', "numeric = 'age' should be a list"),
        (GOOD + "numeric = [1]\n", "numeric = [1] should be a list of str"),
        (GOOD + "group = 3\n", "group = 3 should be a str"),
        (GOOD + "synthetic = 1\n", "synthetic = 1 should be a bool"),
        (GOOD + 'subgroups = "sex"\n', "subgroups = 'sex' should be a list of str"),
        (GOOD + "malignant = [1]\n", "malignant = [1] should be a list of str"),
        (GOOD + 'split = ["fold"]\n', "split = ['fold'] should be a str"),
        (GOOD + 'label_names = ["benign"]\n', "label_names = ['benign'] should be a table of str"),
        (GOOD + "[label_names]\n0 = 1\n", "label_names = {'0': 1} should be a table of str"),
        (GOOD + 'one_hot = ["A", "B"]\n', "names both label and one_hot"),
        ('image = "file"\none_hot = ["A"]\n', "one_hot = ['A'] should name two columns or more"),
        ('image = "file"\none_hot = "A"\n', "one_hot = 'A' should be a list of str"),
        (GOOD + "second_table = 1\n", "second_table = 1 should be a str"),
        (GOOD + "columns = 3\n", "columns = 3 should be a table"),
        (GOOD + 'metadata = ["age"]\n', "metadata = ['age'] should be a table"),
        ('label = "kind"\n', "names no image column. Add 'image = \"...\"' under [columns]"),
        ('image = "file"\n', "names no label column"),
        ('image = "file"\nlabel = ""\n', "names no label column"),
        ("", "names no image column"),
    ],
)
def test_a_dataset_toml_with_a_mistake_is_refused_with_the_mistake(text, message, tmp_path):
    assert message in refusal(tmp_path, text)


def test_a_dataset_toml_of_another_encoding_is_refused(tmp_path):
    (tmp_path / "dataset.toml").write_bytes(b'image = "f\xefle"\n')
    with pytest.raises(UserError, match="cannot read"):
        layout_from_toml(tmp_path / "dataset.toml")


def test_every_key_that_is_known_is_taken(tmp_path):
    layout = described(
        tmp_path,
        GOOD
        + 'name = "n"\ntable = "t"\ngroup = "g"\ngroup_word = "w"\nimages = ["i"]\nnumeric = ["a"]\n'
        + 'categorical = ["c"]\nleaks = ["l"]\nsynthetic = true\nsubgroups = ["s"]\nmalignant = ["m"]\nsplit = "p"\n'
        + 'benign = ["b"]\npositive = "m"\n'
        + 'second_table = "u"\n[label_names]\n0 = "benign"\n1 = "melanoma"\n',
    )
    assert layout == Layout(
        name="n",
        image="file",
        label="kind",
        group="g",
        group_word="w",
        numeric=("a",),
        categorical=("c",),
        leaks=("l",),
        table="t",
        images=("i",),
        synthetic=True,
        subgroups=("s",),
        malignant=("m",),
        benign=("b",),
        positive="m",
        label_names=(("0", "benign"), ("1", "melanoma")),
        split="p",
        second_table="u",
    )
