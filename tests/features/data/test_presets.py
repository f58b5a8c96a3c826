"""Published datasets: known by their columns, with the roles that their papers give them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.data.presets import HAM10000, PRESETS
from dermfuse.features.tables.columns import KNOWN_LEAKS, layout_from_flags
from tests.features.folders import refusal
from tests.features.pictures import write_pictures

HOT_2018 = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
HOT_2019 = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
IDS = [f"ISIC_{n:07}" for n in range(6)]
every_preset = pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.layout.preset)


def write(folder: Path, name: str, table: dict) -> Path:
    folder.mkdir(exist_ok=True)
    pd.DataFrame(table).to_csv(folder / name, index=False)
    return folder


def truth(classes: list[str], of: list[str], ids: list[str] = IDS) -> dict:
    """One column per class, 1.0 where the image is `of` it."""
    return {"image": ids, **{name: [float(name == one) for one in of] for name in classes}}


@pytest.fixture
def isic2018(tmp_path):
    folder = tmp_path / "isic2018"
    write(folder, "ISIC2018_Task3_Training_GroundTruth.csv", truth(HOT_2018, ["MEL", "NV", "NV", "AKIEC", "BKL", "DF"]))
    groups = {"image": IDS[::-1], "lesion_id": list("fedcaa"), "diagnosis_confirm_type": ["histopathology"] * 6}
    return write(folder, "ISIC2018_Task3_Training_LesionGroupings.csv", groups)


def metadata_2019(ids: list[str] = IDS, lesions: bool = True) -> dict:
    table = {
        "image": ids,
        "age_approx": [55.0, None, 30.0, 45.0, 60.0, 70.0][: len(ids)],
        "anatom_site_general": ["anterior torso", "", "head/neck", "", "palms/soles", "oral/genital"][: len(ids)],
    }
    if lesions:
        table["lesion_id"] = ["HAM_1", "HAM_1", "MSK_2", "", "", "BCN_3"][: len(ids)]
    return {**table, "sex": ["male", "female", "", "male", "female", "male"][: len(ids)]}


@pytest.fixture
def isic2019(tmp_path):
    folder = tmp_path / "isic2019"
    write(folder, "ISIC_2019_Training_GroundTruth.csv", truth(HOT_2019, ["MEL", "NV", "AK", "SCC", "VASC", "BCC"]))
    return write(folder, "ISIC_2019_Training_Metadata.csv", metadata_2019())


def siim(**more) -> dict:
    return {
        "image_name": IDS,
        "patient_id": ["IP_1", "IP_1", "IP_2", "IP_2", "IP_3", "IP_4"],
        "sex": ["male", "male", "female", "female", "", "male"],
        "age_approx": [45.0, 45.0, 60.0, None, 30.0, 50.0],
        "anatom_site_general_challenge": ["torso", "head/neck", "", "torso", "torso", "torso"],
        **more,
        "target": [0, 0, 1, 0, 0, 1],
    }


PAD_ANSWERS = [
    "smoke",
    "drink",
    "pesticide",
    "skin_cancer_history",
    "cancer_history",
    "has_piped_water",
    "has_sewage_system",
]
PAD_SIGNS = ["itch", "grew", "hurt", "changed", "bleed", "elevation"]


def pad() -> dict:
    """Cells as they stand there: answers True, False, UNK or nothing, image names with their ending."""
    count = len(IDS)
    return {
        "patient_id": ["PAT_1", "PAT_1", "PAT_2", "PAT_3", "PAT_4", "PAT_5"],
        "lesion_id": [880, 881, 882, 883, 884, 885],
        "background_father": ["POMERANIA", "GERMANY", "", "ITALY", "UNKNOWN", "BRAZIL"],
        "background_mother": ["POMERANIA", "ITALY", "", "ITALY", "BRAZIL", "BRAZIL"],
        "age": [55, 55, 79, 8, 40, 61],
        "gender": ["FEMALE", "FEMALE", "", "MALE", "FEMALE", "MALE"],
        "fitspatrick": [3.0, 3.0, None, 1.0, 2.0, 2.0],
        "region": ["NECK", "FACE", "ARM", "BACK", "FACE", "CHEST"],
        "diameter_1": [6.0, 5.0, None, 4.0, 8.0, 9.0],
        "diameter_2": [5.0, 5.0, None, 4.0, 6.0, 9.0],
        "diagnostic": ["NEV", "BCC", "ACK", "MEL", "SCC", "SEK"],
        **{name: np.roll(["True", "False", "", "True", "False", "True"], k) for k, name in enumerate(PAD_ANSWERS)},
        **{name: np.roll(["True", "False", "UNK", "True", "False", "UNK"], k) for k, name in enumerate(PAD_SIGNS)},
        "img_id": [f"PAT_{n}_{n}_{n}.png" for n in range(count)],
        "biopsed": [False, True, False, True, True, False],
    }


# what holds for all


@every_preset
def test_a_preset_is_described_by_its_columns(preset):
    assert preset.describe() == f"{preset.layout.name} (columns {', '.join(sorted(preset.required))})"


@every_preset
def test_no_leak_label_group_or_source_is_metadata(preset):
    layout = preset.layout
    metadata = {*layout.numeric, *layout.categorical}
    assert not metadata & {layout.image, layout.label, layout.group, "dataset", *layout.leaks, *KNOWN_LEAKS}
    assert not metadata & {*layout.one_hot}
    assert len(metadata) == len(layout.numeric) + len(layout.categorical)


@every_preset
def test_no_table_fits_two_presets(preset):
    columns = preset.required | preset.second | {*preset.layout.numeric, *preset.layout.categorical}
    assert [other for other in PRESETS if other.required <= columns] == [preset]


def test_a_preset_leaves_out_columns_that_a_table_lacks():
    layout = HAM10000.fitted_to({"lesion_id", "image_id", "dx", "sex"})
    assert (layout.numeric, layout.categorical, layout.leaks, layout.subgroups) == ((), ("sex",), (), ("sex",))


# SIIM-ISIC 2020


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"diagnosis": ["unknown"] * 6, "benign_malignant": ["benign"] * 6},
        {"lesion_id": [f"IL_{n}" for n in range(6)], "diagnosis": ["nevus"] * 6, "benign_malignant": ["benign"] * 6},
    ],
    ids=["shortest", "as on Kaggle", "official with lesions"],
)
def test_siim_is_known_in_every_published_form(more, tmp_path):
    dataset = load_dataset(write(tmp_path, "train.csv", siim(**more)))
    assert (dataset.name, dataset.layout.preset) == ("SIIM-ISIC 2020", "siim2020")
    assert dataset.rows.label.tolist() == ["benign", "benign", "melanoma", "benign", "benign", "melanoma"]
    assert dataset.rows.group.tolist() == siim()["patient_id"]
    assert dataset.metadata_fields == ["age_approx", "sex", "anatom_site_general_challenge"]
    assert dataset.layout.leaks == tuple(name for name in ("diagnosis", "benign_malignant") if name in more)
    assert dataset.layout.malignant == ("melanoma",)


def test_melanoma_is_the_second_class_so_that_its_column_is_the_positive_one(tmp_path):
    assert load_dataset(write(tmp_path, "train.csv", siim())).classes == ["benign", "melanoma"]


def test_a_table_of_siim_without_targets_says_so(tmp_path):
    table = siim()
    del table["target"]
    message = str(refusal(write(tmp_path, "test.csv", table)))
    assert "test.csv looks like SIIM-ISIC 2020 but has no column 'target'" in message


def test_another_label_column_keeps_its_own_class_names(tmp_path):
    table = siim(diagnosis=["nevus", "0", "melanoma", "1", "nevus", "melanoma"])
    flags = layout_from_flags(label="diagnosis")
    dataset = load_dataset(write(tmp_path, "train.csv", table), flags)
    assert dataset.classes == ["0", "1", "melanoma", "nevus"]
    assert dataset.layout.malignant == ()


# ISIC 2018 and 2019


def test_isic_2018_takes_classes_from_columns_and_lesions_from_the_second_table(isic2018):
    dataset = load_dataset(isic2018)
    assert (dataset.name, dataset.layout.preset) == ("ISIC 2018 task 3", "isic2018")
    assert dataset.rows.id.tolist() == IDS
    assert dataset.rows.label.tolist() == ["mel", "nv", "nv", "akiec", "bkl", "df"]
    assert dataset.rows.group.tolist() == list("aacdef")
    assert dataset.layout.malignant == ("mel", "akiec")
    assert dataset.layout.leaks == ("diagnosis_confirm_type",)
    assert dataset.metadata_fields == []
    assert list(dataset.unused) == ["diagnosis_confirm_type"]
    assert dataset.noticed == ["never used as features, since they give the label away: diagnosis_confirm_type"]


def test_isic_2019_takes_metadata_from_the_second_table(isic2019):
    dataset = load_dataset(isic2019)
    assert (dataset.name, dataset.layout.preset) == ("ISIC 2019", "isic2019")
    assert dataset.rows.label.tolist() == ["mel", "nv", "ak", "scc", "vasc", "bcc"]
    assert "unk" not in dataset.classes
    assert dataset.rows.age_approx.fillna(-1).tolist() == [55, -1, 30, 45, 60, 70]
    assert dataset.metadata_fields == ["age_approx", "sex", "anatom_site_general"]
    assert dataset.layout.malignant == ("mel", "bcc", "ak", "scc")


def test_an_image_of_isic_2019_without_a_lesion_is_a_group_of_its_own_and_counted(isic2019):
    dataset = load_dataset(isic2019)
    assert dataset.rows.group.tolist() == ["HAM_1", "HAM_1", "MSK_2", IDS[3], IDS[4], "BCN_3"]
    assert dict(dataset.counts)["rows without a group, each a group of its own"] == 2
    assert "rows without a group, each a group of its own: 2" in dataset.noticed


def test_rows_that_one_table_lacks_are_counted_and_told(isic2019):
    table = metadata_2019()
    table["image"] = [*IDS[:5], "ISIC_9999999"]
    dataset = load_dataset(write(isic2019, "ISIC_2019_Training_Metadata.csv", table))
    assert len(dataset.rows) == 6
    assert np.isnan(dataset.rows.age_approx[5])
    assert dataset.rows.sex[5] is None
    assert "rows without a row in the second table: 1" in dataset.noticed
    assert "rows of the second table without a row in the first, left out: 1" in dataset.noticed


@pytest.mark.parametrize("second", [None, "of other images"])
def test_ground_truth_alone_is_used_without_groups_and_told(second, isic2019):
    (isic2019 / "ISIC_2019_Training_Metadata.csv").unlink()
    if second:
        write(isic2019, "ISIC_2019_Test_Metadata.csv", metadata_2019([f"T{n}" for n in range(6)]))
    dataset = load_dataset(isic2019)
    assert dataset.rows.group.tolist() == IDS
    assert (dataset.layout.group, dataset.metadata_fields, dataset.layout.subgroups) == (None, [], ())
    assert any("ISIC_2019_Training_GroundTruth.csv is read alone" in line for line in dataset.noticed)
    assert any("--group-column" in line for line in dataset.noticed)


def test_training_tables_go_before_test_tables_and_each_finds_its_second(isic2019):
    tests = [f"T{n}" for n in range(6)]
    write(isic2019, "ISIC_2019_Test_GroundTruth.csv", truth(HOT_2019, ["UNK", "MEL", "NV", "AK", "NV", "NV"], tests))
    write(isic2019, "ISIC_2019_Test_Metadata.csv", metadata_2019(tests, lesions=False))
    training = load_dataset(isic2019)
    assert training.rows.id.tolist() == IDS
    assert training.layout.second_table == "ISIC_2019_Training_Metadata.csv"
    assert any("is read and not ISIC_2019_Test_GroundTruth.csv" in line for line in training.noticed)
    dataset = load_dataset(isic2019, layout_from_flags(table="ISIC_2019_Test_GroundTruth.csv"))
    assert dataset.rows.id.tolist() == tests[1:]  # the first is UNK, none of the others
    assert dict(dataset.counts)["rows labelled 'UNK', left out"] == 1
    assert dataset.rows.sex.tolist()[0] == "female"
    assert dataset.classes == ["ak", "mel", "nv"]


def test_weights_of_the_test_table_are_no_features(tmp_path):
    table = {**truth(HOT_2019, ["MEL", "NV", "AK", "SCC", "VASC", "BCC"]), "score_weight": [1.0, 0, 1, 1, 1, 1]}
    dataset = load_dataset(write(tmp_path, "ISIC_2019_Test_GroundTruth.csv", table))
    assert dataset.metadata_fields == []
    assert list(dataset.unused) == ["score_weight"]


@pytest.mark.parametrize(
    ("name", "table", "preset"),
    [
        ("ISIC_2019_Test_Metadata.csv", metadata_2019(lesions=False), "ISIC 2019"),
        (
            "ISIC2018_Task3_Training_LesionGroupings.csv",
            {"image": IDS, "lesion_id": IDS, "diagnosis_confirm_type": IDS},
            "ISIC 2018 task 3",
        ),
    ],
)
def test_a_table_without_its_ground_truth_says_so(name, table, preset, tmp_path):
    message = str(refusal(write(tmp_path, name, table)))
    assert f"{name} looks like a table of {preset} without labels. Put the ground truth beside it" in message


def test_a_row_of_two_classes_is_refused(isic2018):
    table = truth(HOT_2018, ["MEL", "NV", "NV", "AKIEC", "BKL", "DF"])
    table["VASC"] = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    write(isic2018, "ISIC2018_Task3_Training_GroundTruth.csv", table)
    message = str(refusal(isic2018))
    assert "1 of 6 rows of ISIC2018_Task3_Training_GroundTruth.csv do not mark exactly one class" in message
    assert f"first: image '{IDS[1]}'" in message


def test_ham10000s_own_table_goes_before_isic_2018s_of_the_same_images(isic2018):
    own = {"lesion_id": list("aabbcc"), "image_id": IDS, "dx": ["nv"] * 3 + ["mel"] * 3, "age": range(6)}
    assert load_dataset(write(isic2018, "metadata.csv", own)).layout.preset == "ham10000"


# PAD-UFES-20


def test_pad_ufes_20_is_known_with_its_clinical_fields(tmp_path):
    write(tmp_path, "metadata.csv", pad())
    write_pictures(tmp_path / "images" / "imgs_part_1", pad()["img_id"])
    dataset = load_dataset(tmp_path)
    assert (dataset.name, dataset.layout.preset) == ("PAD-UFES-20", "pad-ufes-20")
    assert dataset.has_images
    assert dataset.rows.id.tolist() == [f"PAT_{n}_{n}_{n}" for n in range(6)]
    assert dataset.rows.label.tolist() == ["NEV", "BCC", "ACK", "MEL", "SCC", "SEK"]
    assert dataset.rows.group.tolist() == pad()["patient_id"]
    assert dataset.layout.numeric == ("age", "diameter_1", "diameter_2", "fitspatrick")
    assert {"gender", "region", "background_father", *PAD_ANSWERS, *PAD_SIGNS} < {*dataset.layout.categorical}
    assert list(dataset.unused) == ["lesion_id", "biopsed"]
    assert {*dataset.layout.malignant} == {"BCC", "MEL", "SCC"}
    assert list(dataset.context) == ["gender", "age", "region", "fitspatrick"]
    assert dataset.noticed == ["never used as features, since they give the label away: biopsed"]


def test_an_answer_that_is_not_known_is_missing_in_pad_ufes_20(tmp_path):
    rows = load_dataset(write(tmp_path, "metadata.csv", pad())).rows
    assert rows.itch.tolist() == ["True", "False", None, "True", "False", None]
    assert rows.background_father.tolist() == ["POMERANIA", "GERMANY", None, "ITALY", None, "BRAZIL"]


# real data


@pytest.mark.real_data
def test_the_real_siim_isic_2020_loads(shared):
    dataset = load_dataset(shared / "siim_isic_2020")
    assert (len(dataset.rows), dataset.rows.group.nunique()) == (33_126, 2056)
    assert dataset.rows.label.value_counts().to_dict() == {"benign": 32_542, "melanoma": 584}
    assert dataset.classes == ["benign", "melanoma"]
    assert not dataset.has_images
    missing = dataset.rows.isna().sum()
    assert (missing["age_approx"], missing["sex"], missing["anatom_site_general_challenge"]) == (68, 65, 527)
    assert dataset.layout.leaks == ("diagnosis", "benign_malignant")
    assert any(line.endswith("give the label away: diagnosis, benign_malignant") for line in dataset.noticed)
    assert list(dataset.unused) == ["diagnosis", "benign_malignant"]
