"""What the page says: the answer, the baselines, sentences that depend on the run, the checks it makes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dermfuse.reports.pages.facts import facts
from dermfuse.reports.runfolder import read_run
from dermfuse.reports.sections.baselines import baselines
from dermfuse.reports.sections.method import FEW_TEST_IMAGES
from dermfuse.reports.sections.rechecks import recheck
from dermfuse.reports.wording import interval, number, p_value, verdict
from tests.reports.html import Page, text_of
from tests.reports.runs import VARIANTS, edit, write


@pytest.fixture
def run(tmp_path):
    return write(tmp_path, VARIANTS["multiclass"])


def test_the_answer_names_images_groups_accuracy_baseline_and_auc(run):
    metrics = json.loads((run / "metrics.json").read_text())
    rows = pd.read_parquet(run / "splits.parquet").query("split == 'train'")
    baseline = metrics["majority"]["out_of_fold"]
    accuracy, auc = (
        "{value:.3f} ({low:.3f} to {high:.3f})".format(**metrics["out_of_fold"][name])
        for name in ("accuracy", "macro_auc")
    )
    answer = facts(read_run(run))["page"]["answers"][0]
    assert answer == (
        f"Out of fold, on {len(rows):,} images of {rows['group'].nunique():,} lesions that no fold cuts, rf reaches "
        f"accuracy {accuracy} where always answering nv gives {baseline:.3f}; macro AUC {auc}."
    )


def test_of_two_classes_the_area_comes_first_and_guessing_is_what_is_beaten(tmp_path):
    run = write(tmp_path, VARIANTS["binary"])
    metrics = json.loads((run / "metrics.json").read_text())["out_of_fold"]
    page = facts(read_run(run))["page"]
    area = "{value:.3f} ({low:.3f} to {high:.3f})".format(**metrics["auc"])
    assert (
        f"reaches AUC of malignant {area} where guessing gives 0.500; average precision of malignant"
        in page["answers"][0]
    )
    assert page["rival"] == "guessing" and page["not_beaten"] == []
    assert [card["metric"] for card in facts(read_run(run))["headlines"]][:2] == ["auc", "average_precision"]


def test_files_are_not_compared_where_there_are_none(tmp_path):
    run = write(tmp_path, VARIANTS["no-images"])
    checks = {check.title: check.state for check in recheck(read_run(run)) if "image file" in check.title}
    assert set(checks.values()) == {"not applicable"} and len(checks) == 2


def test_a_model_without_skill_is_said_not_to_beat_the_majority_class(tmp_path):
    run = write(tmp_path, VARIANTS["no-skill"])
    assert "does not beat the majority class" in facts(read_run(run))["page"]["answers"][0]
    assert "Does not beat the majority class out of fold or on the locked test split" in text_of(run)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.71, 0.8, "beats"),
        (0.7, 0.8, "ties"),
        (0.6, 0.7, "ties"),
        (0.5, 0.69, "loses"),
        (None, 0.9, "unknown"),
    ],
)
def test_only_an_interval_above_the_baseline_beats_it(low, high, expected):
    assert verdict({"value": 0.75, "low": low, "high": high}, 0.7) == expected


def test_baselines_are_what_scikit_learn_gives_a_constant_answer(run):
    metrics = pytest.importorskip("sklearn.metrics")
    folder = read_run(run)
    truth = folder.rows("out_of_fold")["truth"].to_numpy()
    said = np.full(truth.size, folder.config["majority_class"])
    told = baselines(folder, "out_of_fold")
    assert told["accuracy"] == pytest.approx(metrics.accuracy_score(truth, said))
    assert told["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, said))
    assert told["macro_f1"] == pytest.approx(metrics.f1_score(truth, said, average="macro", zero_division=0))
    assert told["weighted_f1"] == pytest.approx(metrics.f1_score(truth, said, average="weighted", zero_division=0))


def test_values_that_are_not_defined_are_dashes_not_errors(run):
    def undefine(metrics):
        metrics["test"]["macro_auc"] = {"value": None, "low": None, "high": None}
        metrics["out_of_fold"]["log_loss"] = {"value": None, "low": None, "high": None}
        metrics["folds"][0]["macro_auc"] = None

    edit(run / "metrics.json", undefine)
    assert "macro AUC not defined" in text_of(run)


def test_every_check_passes_on_a_sound_run(run):
    assert {check.state for check in facts(read_run(run))["method"]["checks"]} == {"passed"}


def test_without_a_group_column_group_checks_do_not_apply(tmp_path):
    run = write(tmp_path, VARIANTS["no-images"])
    states = [check.state for check in facts(read_run(run))["method"]["checks"]]
    assert states[:2] == ["not applicable"] * 2
    assert "The table names no group" in text_of(run)


def spoil_groups(run):
    table = pd.read_parquet(run / "splits.parquet")
    table.loc[table["split"] == "test", "group"] = table.loc[table["split"] == "train", "group"].iloc[0]
    table.to_parquet(run / "splits.parquet")


def spoil_content(run):
    table = pd.read_parquet(run / "splits.parquet")
    table["content"] = "same"
    table.to_parquet(run / "splits.parquet")


def spoil_labels(run):
    table = pd.read_parquet(run / "splits.parquet")
    table.loc[0, "label"] = "vasc" if table.loc[0, "label"] != "vasc" else "nv"
    table.to_parquet(run / "splits.parquet")


def spoil_confusion(run):
    edit(run / "metrics.json", lambda metrics: metrics["confusion"]["test"][0].reverse())


def spoil_auc(run):
    edit(run / "metrics.json", lambda metrics: metrics["per_class"]["test"][5]["auc"].update(value=0.99))


@pytest.mark.parametrize(
    ("spoil", "failed"),
    [
        (spoil_groups, "No group stands in both"),
        (spoil_content, "No image file stands, byte for byte, in both"),
        (spoil_content, "No image file stands, byte for byte, in two folds"),
        (spoil_labels, "Every image of the splits has one prediction"),
        (spoil_confusion, "The confusion matrices"),
        (spoil_auc, "The AUC of every class"),
    ],
)
def test_a_spoiled_run_fails_its_check_and_says_so_at_the_top(run, spoil, failed):
    spoil(run)
    checks = facts(read_run(run))["method"]["checks"]
    broken = [check for check in checks if check.title.startswith(failed)]
    assert [check.state for check in broken] == ["failed"]
    assert broken[0].sentence in text_of(run) and broken[0].title not in text_of(run)
    assert "checks failed" in text_of(run)


def test_a_learned_block_says_what_it_saw(run):
    rows = int((pd.read_parquet(run / "splits.parquet")["split"] == "train").sum())
    assert f"It learned from the pixels of {rows:,} training rows, without labels." in text_of(run)
    edit(run / "config.json", lambda config: config["blocks"][1]["learned_from"].update(labels=True))
    assert f"It learned from {rows:,} rows of this dataset with their labels" in text_of(run)


def test_rare_test_classes_are_named_as_a_limit(run):
    metrics = json.loads((run / "metrics.json").read_text())
    rare = [entry["class"] for entry in metrics["per_class"]["test"] if entry["n"] < FEW_TEST_IMAGES]
    limit = next(text for text in facts(read_run(run))["method"]["limits"] if text.startswith("Fewer than"))
    assert rare
    assert all(name in limit for name in rare)


def test_the_commands_are_those_that_the_run_noted_with_its_name(tmp_path):
    told = facts(read_run(write(tmp_path / "a", VARIANTS["no-metadata"])))["run"]["commands"]
    assert told == [
        "python cli.py extract --data DIR --features mobilenet_v2,cae",
        "python cli.py fit --data DIR --model rf --features mobilenet_v2,cae --seed 0 --name images-only",
    ]


@pytest.mark.parametrize("kind", ["permutation", "shap"])
def test_a_kind_of_importance_may_be_empty(run, kind):
    table = pd.read_parquet(run / "importance.parquet")
    table[table["kind"] != kind].to_parquet(run / "importance.parquet")
    assert "What the model used" in text_of(run)


def test_a_run_without_any_importance_says_so(tmp_path):
    run = write(tmp_path, VARIANTS["unexplained"])
    table = pd.read_parquet(run / "importance.parquet")
    table.iloc[:0].to_parquet(run / "importance.parquet")
    text = text_of(run)
    assert "Explanation was switched off" in text
    assert "Not computed in this run." in text


def test_no_metadata_means_no_anova_and_no_images_no_autoencoder(rendered):
    images_only = Page((rendered("no-metadata") / "report.html").read_text()).text
    metadata_only = Page((rendered("no-images") / "report.html").read_text()).text
    assert "No metadata was used, so there is no ANOVA." in images_only
    assert "No autoencoder block was used." in metadata_only
    assert "none: no image was used" in metadata_only


def test_two_classes_draw_one_shap_figure(rendered):
    page = (rendered("binary") / "report.html").read_text()
    assert "those of the other class are the same with the sign turned" in page


def test_many_classes_are_drawn_in_part_and_the_rest_is_named(tmp_path):
    names = tuple(f"kind {index}" for index in range(15))
    shares = tuple(1 / (index + 2) for index in range(15))
    run = write(tmp_path, replace(VARIANTS["unexplained"], classes=names, shares=shares, images=900))
    told = facts(read_run(run))["curves"]
    assert len(told["splits"][0]["classes"]) == 12
    assert len(told["left_out"]) == 3
    assert "left out: " in text_of(run)
    styles = {(entry["color"], entry["dash"]) for entry in told["splits"][0]["classes"]}
    assert len(styles) == 12, "two classes are drawn alike"


def test_the_epoch_whose_weights_were_kept_is_told_with_its_loss(run):
    losses = [0.5, 0.3, 0.2, 0.25]
    edit(run / "autoencoder.json", lambda history: history.update(validation_loss=losses, best_epoch=2))
    assert "The weights of epoch 2 were kept (validation loss 0.2000)" in text_of(run)


def test_numbers_are_worded_for_reading():
    assert number(-0.0001) == "0.000"
    assert number(-0.25, 2) == "−0.25"
    assert number(None) == number(float("nan")) == "–"
    assert interval({"value": 1.0, "low": None, "high": 1.0}) == "no interval"
    assert p_value(0.0421) == "0.042"
    assert p_value(3.21e-12) == "3.2 × 10⁻¹²"
    assert p_value(0.0) == "< 10⁻³⁰⁰"


def test_permutation_importance_says_what_its_interval_and_its_p_are_of(run):
    table = pd.read_parquet(run / "importance.parquet")
    fields = (table["kind"] == "permutation") & (table["block"] == "metadata")
    table.loc[fields, "p_value"] = [0.01, 0.05, 0.4]
    table.to_parquet(run / "importance.parquet")
    text = text_of(run)
    assert "the mean over 22 shuffles, in which whole lesions change places" in text
    assert "how far the loss would vary with other test lesions" in text
    assert "2 of 3 metadata fields have a p of 0.05 or less. Of fields that mean nothing, about one in twenty" in text


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["mine"], "This run is the first in its folder of runs to open it."),
        (["a", "b", "a"], "have been opened 3 times for this data and seed: by a (2 times) and b. The best of several"),
        ([f"r{i}" for i in range(12)], "opened 12 times for this data and seed: by r0, r1,"),
    ],
)
def test_the_page_says_how_often_the_locked_rows_were_opened(run, names, said):
    edit(run / "data.json", lambda data: data.update(openings=names))
    text = text_of(run)
    assert said in text and ("r7" in text and "4 more" in text or len(names) < 12)
    assert "answers it once" not in text


def test_what_extract_noticed_is_told_once_and_not_what_the_run_noticed_itself(run):
    edit(run / "data.json", lambda data: data.update({"notices": ["both said it"]}))
    told = ["both said it", "images that could not be read, set aside: 3"]
    edit(run / "config.json", lambda config: [block.update({"noticed": told}) for block in config["blocks"]])
    text = text_of(run)
    assert text.count("both said it") == 1
    assert "When the embeddings were made: images that could not be read, set aside: 3" in text
