"""The demo dataset: what it promises about its files, its table, and the signal in both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from dermfuse.cache.errors import UserError
from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.demo.synthetic import (
    AGE,
    CLASSES,
    MALE,
    MIN_PER_CLASS,
    SHARES,
    SITE_WEIGHTS,
    SITES,
    class_counts,
    make_dataset,
    planned_images,
)
from dermfuse.features.images.decoder import BadImage, decode

SMALL = {"lesions": 60, "size": 64}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A small dataset and its summary; tests leave it as it is."""
    return make_dataset(tmp_path_factory.mktemp("demo") / "data", **SMALL)


@pytest.fixture(scope="module")
def table(demo):
    return pd.read_csv(demo.folder / "metadata.csv", dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def readable(demo, table):
    """Rows that have a mask, with pixels of shape (n, 64, 64, 3) and masks of shape (n, 64, 64)."""
    rows = table[[(demo.folder / "masks" / f"{i}.png").exists() for i in table.image_id]].reset_index(drop=True)
    pixels = [np.asarray(Image.open(demo.folder / "images" / f"{i}.jpg")) for i in rows.image_id]
    masks = [np.asarray(Image.open(demo.folder / "masks" / f"{i}.png")) for i in rows.image_id]
    return rows, np.stack(pixels), np.stack(masks)


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def grouped_probabilities(model, features, rows):
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    return cross_val_predict(model, features, rows.dx, groups=rows.lesion_id, cv=folds, method="predict_proba")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(demo, tmp_path):
    again = make_dataset(tmp_path / "again", **SMALL)
    other = make_dataset(tmp_path / "other", **SMALL, seed=1)
    assert content(again.folder) == content(demo.folder)
    assert content(other.folder)["metadata.csv"] != content(demo.folder)["metadata.csv"]


@pytest.mark.parametrize("lesions", [56, 60, 640, 7470])
def test_classes_have_the_shares_of_ham10000_and_never_too_few_lesions(lesions):
    counts = class_counts(lesions)
    assert sum(counts.values()) == lesions
    assert min(counts.values()) >= MIN_PER_CLASS
    for dx in CLASSES[1:]:
        assert counts[dx] == MIN_PER_CLASS or abs(counts[dx] / lesions - SHARES[dx]) < 0.001


def test_every_class_has_its_traits():
    assert sum(SHARES.values()) == pytest.approx(1, abs=0.001)
    for traits in (SHARES, AGE, MALE, SITE_WEIGHTS):
        assert set(traits) == set(CLASSES)
    assert {len(weights) for weights in SITE_WEIGHTS.values()} == {len(SITES)}


def test_the_table_holds_the_lesions_that_were_asked_for(demo, table):
    assert demo.lesions == table.lesion_id.nunique() == 60
    assert table.drop_duplicates("lesion_id").dx.value_counts().to_dict() == class_counts(60)
    assert table.image_id.is_unique


def test_images_of_a_lesion_share_its_label_and_metadata(table):
    lasting = ["dx", "age", "sex", "localization"]
    assert table.groupby("lesion_id")[lasting].nunique().eq(1).all(axis=None)


def test_lesions_have_one_to_five_images_and_a_third_more_images_than_lesions(table):
    sizes = table.groupby("lesion_id").size()
    assert sizes.min() == 1
    assert 1 < sizes.max() <= 5
    assert planned_images(lesions=2000) / 2000 == pytest.approx(1.35, abs=0.05)


def test_images_of_one_lesion_differ(readable):
    rows, pixels, _ = readable
    pair = rows.index[rows.lesion_id == rows.lesion_id[rows.lesion_id.duplicated()].iloc[0]][:2]
    assert np.abs(pixels[pair[0]].astype(int) - pixels[pair[1]]).mean() > 3


def test_ages_are_in_fives_and_some_metadata_are_missing(tmp_path):
    make_dataset(tmp_path / "d", lesions=640, size=32)
    table = pd.read_csv(tmp_path / "d" / "metadata.csv", dtype=str, keep_default_na=False)
    lesions = table.drop_duplicates("lesion_id")
    ages = lesions.age[lesions.age != ""].astype(int)
    assert (ages % 5 == 0).all()
    assert ages.between(5, 85).all()
    assert 0.005 < (lesions.age == "").mean() < 0.04
    assert 0 < (lesions.sex == "unknown").mean() < 0.04
    assert 0 < (lesions.localization == "unknown").mean() < 0.06


def test_every_usable_image_has_one_mask_of_its_size(demo, readable):
    rows, pixels, masks = readable
    assert len(rows) == demo.images == len(list(demo.folder.glob("masks/*.png")))
    assert pixels.shape == (demo.images, 64, 64, 3)
    assert masks.shape == (demo.images, 64, 64)
    assert masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 255}


def test_masks_cover_a_plausible_share_and_what_they_cover_looks_different(readable):
    _, pixels, masks = readable
    inside = masks > 0
    shares = inside.mean(axis=(1, 2))
    assert shares.min() > 0.01
    assert shares.max() < 0.8
    assert 0.08 < np.median(shares) < 0.3
    contrast = [np.abs(p[m].mean(axis=0) - p[~m].mean(axis=0)).max() for p, m in zip(pixels, inside, strict=True)]
    assert np.quantile(contrast, 0.05) > 10


def test_bad_files_are_there_and_counted(demo, table):
    files = {p.stem: p for p in (demo.folder / "images").iterdir()}
    reasons = []
    for path in files.values():
        try:
            decode(path)
        except BadImage as bad:
            reasons.append(str(bad))
    assert len(reasons) == demo.bad_files == 3
    assert sum("empty" in reason for reason in reasons) == 1
    assert sum("DOCTYPE" in reason for reason in reasons) == 1
    assert len(set(table.image_id) - set(files)) == demo.rows_without_image == 1
    assert len(set(files) - set(table.image_id)) == demo.images_without_row == 1
    assert len(table) == demo.images + demo.bad_files + demo.rows_without_image


def test_the_loader_reads_it_and_takes_no_mask_for_an_image(demo):
    dataset = load_dataset(demo.folder)
    assert dataset.layout.synthetic
    assert len(dataset.rows) == demo.images + demo.bad_files
    assert {Path(path).parent.name for path in dataset.rows.path} == {"images"}
    assert dataset.rows.group.nunique() <= demo.lesions
    assert dataset.metadata_fields == ["age", "sex", "localization"]
    assert dict(dataset.counts)["image files without a row, left out"] == 1


def test_colours_carry_signal_but_do_not_give_the_class_away(readable):
    rows, pixels, _ = readable
    levels = np.percentile(pixels, [5, 25, 50, 75, 95], axis=(1, 2)).transpose(1, 0, 2).reshape(len(rows), -1)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    probabilities = grouped_probabilities(model, levels, rows)
    predicted = np.unique(rows.dx)[probabilities.argmax(axis=1)]
    majority = rows.dx.value_counts(normalize=True).max()
    assert majority + 0.1 < accuracy_score(rows.dx, predicted) < 0.9


def test_metadata_alone_carry_signal(table):
    columns = ["age", "sex", "localization"]
    rows = table.assign(age=pd.to_numeric(table.age, errors="coerce"))
    encode = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
        (OneHotEncoder(handle_unknown="ignore"), columns[1:]),
    )
    probabilities = grouped_probabilities(make_pipeline(encode, LogisticRegression(max_iter=2000)), rows[columns], rows)
    assert 0.6 < roc_auc_score(rows.dx, probabilities, multi_class="ovr", average="macro") < 0.95


def test_progress_counts_every_planned_image(tmp_path):
    steps = []
    make_dataset(tmp_path / "d", **SMALL, progress=steps.append)
    assert sum(steps) == len(steps) == planned_images(60)


def test_a_finished_dataset_is_reused_untouched(demo):
    before = {p: p.stat().st_mtime_ns for p in demo.folder.rglob("*")}
    again = make_dataset(demo.folder, **SMALL, progress=lambda n: pytest.fail("drawn again"))
    assert again.reused
    assert not demo.reused
    assert (again.images, again.lesions, again.bad_files) == (demo.images, demo.lesions, demo.bad_files)
    assert {p: p.stat().st_mtime_ns for p in demo.folder.rglob("*")} == before


def test_a_dataset_of_other_parameters_is_refused(demo):
    with pytest.raises(UserError, match=r"made with .*seed=0: expected .*seed=7\. Remove it"):
        make_dataset(demo.folder, **SMALL, seed=7)


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty and holds no finished synthetic dataset") as refusal:
        make_dataset(tmp_path, **SMALL)
    assert "\n" not in str(refusal.value)
    assert content(tmp_path) == {"mine.txt": b"precious"}


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("precious")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="Give another|give another"):
            make_dataset(target, **SMALL)


def test_a_dataset_with_files_missing_is_refused(tmp_path):
    folder = make_dataset(tmp_path / "d", **SMALL).folder
    next(folder.glob("masks/*.png")).unlink()
    with pytest.raises(UserError, match="Remove it, so that it is drawn again"):
        make_dataset(folder, **SMALL)


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    assert make_dataset(tmp_path / "empty", **SMALL).images > 60


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def interrupt(n):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_dataset(tmp_path / "d", **SMALL, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lesions": 55}, "lesions=55.*at least 56"),
        ({"size": 16}, "size=16.*32 to 1024"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, message, tmp_path):
    with pytest.raises(UserError, match=message):
        make_dataset(tmp_path / "d", **{**SMALL, **parameters})
    assert not (tmp_path / "d").exists()
