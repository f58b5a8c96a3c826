"""Classes from label cells: one class a spelling, no class for unknown, and what is malignant and positive."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermfuse.cache.errors import USAGE
from dermfuse.features.data.dataset import Dataset, load_dataset
from dermfuse.features.data.labels import choose_positive
from dermfuse.features.data.presets import PRESETS
from dermfuse.features.tables.columns import Layout, layout_from_flags
from tests.features.folders import COLUMNS, NAMES, refusal, write_plain
from tests.features.pictures import table_rows, write_ham


def labelled(folder: Path, cells: list[str], toml: str = "", flags: Layout | None = COLUMNS) -> Dataset:
    """A dataset whose rows have these label cells, in this order."""
    if toml:
        (folder / "dataset.toml").write_text('image = "file"\nlabel = "kind"\n' + toml)
        flags = None
    lines = ["file\tkind", *(f"i{n:03}\t{cell}" for n, cell in enumerate(cells))]
    write_plain(folder, "\n".join(lines) + "\n", table="table.tsv")
    return load_dataset(folder, flags)


def ham_with(folder: Path, labels: list[str]) -> Path:
    rows = table_rows(NAMES)
    for row, label in zip(rows, labels, strict=True):
        row[2] = label
    return write_ham(folder, NAMES, rows=rows)


# spellings


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["nv", "nv", "NV", "Nv", "mel"], ["mel", "nv"]),
        (["NV", "NV", "nv", "mel"], ["NV", "mel"]),
        (["b", "B", "x"], ["B", "x"]),  # as often: the first in order
        (["basal cell", "basal  cell", "basal_cell", "basal-cell", "basal cell\u00a0", "x"], ["basal cell", "x"]),
        (["nv", "\u200bnv", "\ufeffnv", "x"], ["nv", "x"]),
        (["'nv'", "nv", "nv", "x"], ["nv", "x"]),
        (["0", "0", "0.0", "1", "1", "1.00", "01"], ["0", "1"]),
        (["True", "True", "TRUE", "true", "False", "FALSE", "False"], ["False", "True"]),
        (["01", "01", "02"], ["01", "02"]),
        (["-1", "1", "1.0", "+1"], ["+1", "-1"]),
        (["\uff4e\uff56", "nv", "nv", "x"], ["nv", "x"]),
        (["n\x01v", "nv", "nv\x7f", "nv", "x"], ["nv", "x"]),
        (["n\u00e4vus", "na\u0308vus", "n\u00e4vus", "x"], ["n\u00e4vus", "x"]),
    ],
)
def test_spellings_of_a_class_are_one_under_the_most_frequent(cells, classes, tmp_path):
    assert labelled(tmp_path, cells).classes == classes


@pytest.mark.parametrize("cells", [["T1", "T10"], ["1", "10"], ["1", "-1"], ["1.5", "15"], ["a b", "ab"], ["+", "-"]])
def test_other_words_stay_other_classes(cells, tmp_path):
    assert labelled(tmp_path, cells).classes == sorted(cells)


def test_what_is_joined_is_told_with_counts(tmp_path):
    dataset = labelled(tmp_path, ["nv"] * 3 + ["NV"] * 2 + ["mel"])
    line = "label column 'kind': 'nv' (3 rows) and 'NV' (2) differ only in spelling and are read as one class 'nv'"
    assert line in dataset.noticed


def test_what_is_joined_and_looks_the_same_is_told_by_its_codes(tmp_path):
    dataset = labelled(tmp_path, ["n\u00e4vus"] * 3 + ["na\u0308vus"] * 2 + ["mel"])
    assert any("'n\u00e4vus' (3 rows) and 'na\\u0308vus' (2) differ" in line for line in dataset.noticed)


def test_a_presets_own_spelling_is_taken_and_told(tmp_path):
    dataset = load_dataset(ham_with(tmp_path, ["NV"] * 4 + ["MEL"] * 2 + ["BKL "] * 2))
    assert dataset.classes == ["bkl", "mel", "nv"]
    assert dataset.layout.malignant == ("mel",)
    assert "label column 'dx': 'NV' (4 rows) is read as the class 'nv', another spelling of it" in dataset.noticed


def test_a_cell_spelled_otherwise_has_the_name_that_stands_for_it(tmp_path):
    toml = '[label_names]\n0 = "benign"\n1 = "melanoma"\nmm = "melanoma"\n'
    assert labelled(tmp_path, ["0", "1.0", "00", "MM", "Mm "], toml=toml).classes == ["benign", "melanoma"]


def test_spellings_that_a_person_tells_apart_stay_apart(tmp_path):
    toml = '[label_names]\na = "alpha"\nA = "other"\n'
    assert labelled(tmp_path, ["a", "A"], toml=toml).rows.label.tolist() == ["alpha", "other"]
    toml = '[label_names]\nx = "a"\ny = "A"\n'
    assert labelled(tmp_path, ["x", "y"], toml=toml).rows.label.tolist() == ["a", "A"]


def test_joining_depends_on_the_table_alone_and_not_on_which_rows_have_images(tmp_path):
    write_plain(tmp_path, "file,kind\na,NV\nb,NV\nc,nv\nd,mel\n", ["c.jpg", "d.jpg"])
    assert load_dataset(tmp_path, COLUMNS).rows.label.tolist() == ["NV", "mel"]
    assert load_dataset(tmp_path, COLUMNS).whole.classes == ["NV", "mel"]


# missing labels


@pytest.mark.parametrize(
    "word",
    [
        "unknown",
        "Unknown",
        "UNK",
        "none",
        "None",
        "?",
        "n/a",
        "N/A",
        "null",
        "missing",
        "not available",
        "not_available",
    ]
    + ["Not  Available", "undetermined", "-", "--", ".", "#N/A", "not specified", "unlabeled", "\u2013"],
)
def test_a_word_for_unknown_is_a_missing_label_counted_and_told(word, tmp_path):
    dataset = labelled(tmp_path, ["nv", "mel", word, word, ""])
    assert dataset.classes == ["mel", "nv"]
    assert dict(dataset.counts)[f"rows labelled {word!r}, left out"] == 2
    assert dict(dataset.counts)["rows without a label, left out"] == 1
    assert f"rows labelled {word!r}, left out: 2" in dataset.noticed
    assert any(repr(word) in line and "label_names" in line for line in dataset.noticed)


def test_words_for_unknown_are_counted_one_by_one_whatever_their_case(tmp_path):
    counts = dict(labelled(tmp_path, ["nv", "Unknown", "unknown", "unknown", "none"]).counts)
    assert counts["rows labelled 'unknown', left out"] == 3
    assert counts["rows labelled 'none', left out"] == 1


@pytest.mark.parametrize(
    "toml", ['[label_names]\nunknown = "unknown"\n', '[label_names]\nunknown = "other"\n', 'malignant = ["unknown"]\n']
)
def test_a_word_that_dataset_toml_names_stays_a_class(toml, tmp_path):
    assert len(labelled(tmp_path, ["nv", "mel", "unknown", "Unknown"], toml=toml).classes) == 3


def test_a_dash_beside_a_plus_is_the_other_answer(tmp_path):
    dataset = labelled(tmp_path, ["+", "-", "-", ""])
    assert dataset.rows.label.tolist() == ["+", "-", "-"]
    assert dataset.layout.positive == "+"


def test_a_label_can_be_left_out_by_an_empty_name(tmp_path):
    dataset = labelled(tmp_path, ["nv", "mel", "scar"], toml='[label_names]\nscar = ""\n')
    assert dataset.classes == ["mel", "nv"]
    assert dict(dataset.counts)["rows labelled 'scar', left out"] == 1


def test_where_every_label_is_unknown_the_refusal_says_so(tmp_path):
    write_plain(tmp_path, "file,kind\na,unknown\nb,unknown\n")
    assert "no row with a label (rows labelled 'unknown', left out: 2)" in str(refusal(tmp_path, COLUMNS))


@pytest.mark.parametrize(
    ("cells", "code"), [(["0", "1", "-9"], "-9"), (["mel", "nv", "-1"], "-1"), (["1", "2", "999"], "999")]
)
def test_a_code_for_missing_is_no_class(cells, code, tmp_path):
    dataset = labelled(tmp_path, cells)
    assert dataset.classes == sorted({*cells} - {code})
    assert dict(dataset.counts)[f"rows labelled {code!r}, left out"] == 1


@pytest.mark.parametrize("cells", [["-1", "1"], ["998", "999", "1000"], ["0", "1", "2", "9"], ["0", "1", "-1"]])
def test_a_number_that_may_be_a_class_is_one(cells, tmp_path):
    dataset = labelled(tmp_path, cells)
    assert dataset.classes == sorted(cells)
    assert any("beside 0 and 1" in line for line in dataset.noticed) == ({"0", "1"} < {*cells})


def test_ids_of_groups_that_differ_in_case_or_zeros_are_one_group_and_told(tmp_path):
    write_plain(tmp_path, "file,kind,patient\na,nv,12\nb,mel,12.0\nc,nv,P-1\nd,mel,p_1\ne,nv,13\nf,nv,unknown\n")
    dataset = load_dataset(tmp_path, Layout(image="file", label="kind", group="patient"))
    assert dataset.rows.group.tolist() == ["12", "12", "P-1", "P-1", "13", "f"]
    assert any(line.startswith("group column 'patient': 2 ids are spelled in several ways") for line in dataset.noticed)


# one column a class


def one_hot(folder: Path, columns: str, rows: list[str], toml: str = "") -> Dataset:
    names = ", ".join(f'"{name}"' for name in columns.split(","))
    (folder / "dataset.toml").write_text(f'image = "file"\none_hot = [{names}]\n{toml}')
    lines = [f"file,{columns}", *(f"i{n},{row}" for n, row in enumerate(rows))]
    return load_dataset(write_plain(folder, "\n".join(lines) + "\n"))


def test_one_hot_columns_that_differ_in_case_are_one_class(tmp_path):
    assert one_hot(tmp_path, "MEL,NV,nv", ["1,0,0", "0,1,0", "0,1,0", "0,0,1"]).classes == ["MEL", "NV"]


def test_one_hot_cells_may_be_true_and_false_and_a_row_of_unknown_has_no_label(tmp_path):
    dataset = one_hot(tmp_path, "MEL,NV", ["True,False", "FALSE,TRUE", "unknown,unknown", ","])
    assert dataset.rows.label.tolist() == ["MEL", "NV"]
    assert dict(dataset.counts)["rows without a label, left out"] == 2


def test_a_column_for_unknown_that_dataset_toml_names_is_a_class(tmp_path):
    assert one_hot(tmp_path, "MEL,NV,UNK", ["1,0,0", "0,1,0", "0,0,1"]).classes == ["MEL", "NV", "UNK"]


# malignant or benign


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.layout.preset)
def test_a_preset_knows_of_each_of_its_classes_whether_it_is_malignant(preset):
    layout = preset.layout
    known = {*layout.malignant, *layout.benign}
    named = {name for _, name in layout.label_names} - {"unk"}
    assert named <= known and not {*layout.malignant} & {*layout.benign}


@pytest.mark.parametrize("stranger", ["melanoma", "scc", "other"])
def test_a_class_that_a_preset_does_not_know_ends_malignant_against_benign(stranger, tmp_path):
    dataset = load_dataset(ham_with(tmp_path, ["nv"] * 4 + [stranger] * 2 + ["bcc"] * 2))
    assert dataset.layout.malignant == ()
    (line,) = [line for line in dataset.noticed if "malignant against benign is left out" in line]
    assert f"{stranger!r} (2 rows)" in line and "--malignant bcc,..." in line and "dataset.toml" in line


def test_the_flag_says_which_classes_are_malignant_and_all_others_are_benign(tmp_path):
    folder = ham_with(tmp_path, ["nv"] * 4 + ["melanoma"] * 2 + ["bcc"] * 2)
    dataset = load_dataset(folder, layout_from_flags(malignant="Melanoma, BCC"))
    assert dataset.layout.malignant == ("melanoma", "bcc")
    assert dataset.layout.preset == "ham10000"
    assert not any("left out" in line for line in dataset.noticed)


def test_a_class_named_by_the_flag_has_to_be_there(ham):
    message = str(refusal(ham, layout_from_flags(malignant="melanoma")))
    assert "'malignant' names 'melanoma', but the classes are bkl, mel, nv. Mend --malignant" in message


def test_a_flag_of_nothing_is_a_wrong_use():
    with pytest.raises(Exception, match="--malignant is ','. Give class names by comma") as caught:
        layout_from_flags(malignant=",")
    assert caught.value.exit_code == USAGE


def test_dataset_toml_may_name_benign_classes_too_and_then_strangers_end_the_reading(tmp_path):
    toml = 'malignant = ["mel"]\nbenign = ["nv"]\n'
    assert labelled(tmp_path, ["mel", "nv", "NV"], toml).layout.malignant == ("mel",)
    dataset = labelled(tmp_path, ["mel", "nv", "bkl"], toml)
    assert dataset.layout.malignant == ()
    assert any("dataset.toml does not say whether 'bkl' (1 row) is malignant" in line for line in dataset.noticed)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('malignant = ["mel"]\nbenign = ["df"]\n', "'benign' names 'df', but the classes are mel, nv"),
        ('malignant = ["mel"]\nbenign = ["mel", "nv"]\n', "'mel' is named as malignant and as benign"),
        ('positive = "df"\n', "'positive' names 'df', but the classes are mel, nv"),
    ],
)
def test_names_that_contradict_the_table_or_each_other_are_refused(toml, message, tmp_path):
    (tmp_path / "dataset.toml").write_text('image = "file"\nlabel = "kind"\n' + toml)
    assert message in str(refusal(write_plain(tmp_path, "file,kind\na,nv\nb,mel\n")))


def test_a_class_called_malignant_that_nobody_named_is_read_as_benign_by_their_word_and_told(tmp_path):
    dataset = labelled(tmp_path, ["mel", "nv", "melanoma in situ", "non-melanoma"], 'malignant = ["mel"]\n')
    assert dataset.layout.malignant == ("mel",)
    told = [line for line in dataset.noticed if "read as benign" in line]
    assert told == ["the class 'melanoma in situ' is read as benign, since 'malignant' does not name it"]


def test_another_label_column_knows_nothing_of_a_presets_classes(ham):
    dataset = load_dataset(ham, layout_from_flags(label="localization", metadata="age"))
    assert (dataset.layout.malignant, dataset.layout.benign) == ((), ())
    assert not any("malignant against benign" in line for line in dataset.noticed)


# the positive one of two


@pytest.mark.parametrize(
    ("first", "second", "positive"),
    [
        ("melanoma", "nevus", "melanoma"),
        ("Malignant", "benign", "Malignant"),
        ("melanoma", "non-melanoma", "melanoma"),
        ("no_cancer", "cancer", "cancer"),
        ("not malignant", "malignant", "malignant"),
        ("yes", "no", "yes"),
        ("TRUE", "FALSE", "TRUE"),
        ("1", "0", "1"),
        ("1.0", "0.0", "1.0"),
        ("1", "-1", "1"),
        ("diseased", "healthy", "diseased"),
        ("positive", "negative", "positive"),
        ("case", "control", "case"),
        ("mel", "nv", "mel"),
        ("atypical", "benign", "atypical"),
        ("squamous cell carcinoma", "wart", "squamous cell carcinoma"),
    ],
)
@pytest.mark.parametrize("rare", [True, False])
def test_the_positive_class_is_known_by_its_name_however_rare(first, second, positive, rare):
    counts = {first: 5, second: 9} if rare else {first: 9, second: 5}
    assert choose_positive(counts) == (positive, "by its name")


def test_where_names_do_not_tell_it_is_the_rarer_class():
    assert choose_positive({"type 1": 9, "type 2": 3}) == ("type 2", "as the rarer one")
    assert choose_positive({"melanoma": 3, "carcinoma": 9}) == ("melanoma", "as the rarer one")
    assert choose_positive({"a": 3, "b": 3}) == ("b", "as the second in order")


def test_a_chosen_positive_class_is_told_and_a_malignant_or_named_one_is_not(tmp_path):
    cells = ["melanoma", "nevus", "nevus"]
    dataset = labelled(tmp_path, cells)
    assert dataset.layout.positive == "melanoma"
    assert any("the positive class is 'melanoma', chosen by its name" in line for line in dataset.noticed)
    for toml, positive in (('malignant = ["Melanoma"]\n', "melanoma"), ('positive = "Nevus"\n', "nevus")):
        dataset = labelled(tmp_path, cells, toml)
        assert dataset.layout.positive == positive
        assert not any("the positive class" in line for line in dataset.noticed)


def test_the_flag_goes_before_what_is_malignant(tmp_path):
    labelled(tmp_path, ["melanoma", "nevus"], toml='malignant = ["melanoma"]\n')
    assert load_dataset(tmp_path, layout_from_flags(positive="nevus")).layout.positive == "nevus"


def test_of_more_than_two_classes_none_is_positive(ham):
    assert load_dataset(ham).layout.positive == ""
    error = refusal(ham, layout_from_flags(positive="mel"))
    assert "'positive' is said of two classes, but there are 3: bkl, mel, nv" in str(error)
    assert error.exit_code == USAGE


def test_the_positive_class_is_one_of_the_classes_that_have_images(tmp_path):
    write_plain(tmp_path, "file,kind\na,mel\nb,nv\nc,df\n", ["a.jpg", "c.jpg"])
    assert load_dataset(tmp_path, COLUMNS).layout.positive == "mel"
