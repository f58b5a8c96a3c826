"""A fit from end to end: every file of the run folder, whatever was left out, and what is refused before any work."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.features.data.content import Content
from dermfuse.pipelines.evaluation import splits
from dermfuse.pipelines.runs import run_folder
from dermfuse.pipelines.runs.environment import PACKAGES
from dermfuse.pipelines.runs.schema import SCHEMA
from dermfuse.pipelines.statistics import metrics
from dermfuse.pipelines.workflows.inputs import learned_from
from tests.pipelines.conftest import FOLDS, autoencoder, fill_by_hand

CLASSES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
ALWAYS = {
    "config.json",
    "data.json",
    "environment.json",
    "metrics.json",
    "prediction_sets.json",
    "subgroups.json",
    "digests.json",
    "missing_fields.json",
    "audit.json",
    "audit_rows.csv",
    "splits.parquet",
    "predictions.parquet",
    "importance.parquet",
    "model.skops",
}


def document(folder, name: str) -> dict:
    return json.loads((folder / name).read_text(), parse_constant=lambda word: pytest.fail(f"{name} holds {word}"))


def table(folder, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / name)


def numbers_in(thing) -> list[float]:
    if isinstance(thing, dict):
        thing = list(thing.values())
    if isinstance(thing, list):
        return [number for part in thing for number in numbers_in(part)]
    return [thing] if isinstance(thing, float) else []


class TestFiles:
    def test_the_folder_holds_what_the_contract_names_and_nothing_else(self, finished):
        expected = ALWAYS | {"shap.parquet", "autoencoder.json", "autoencoder_reconstructions.npz"}
        assert {path.name for path in finished.iterdir()} == expected

    def test_no_file_of_the_folder_is_a_pickle(self, finished):
        for path in finished.iterdir():
            assert path.read_bytes()[:1] != b"\x80", path.name

    @pytest.mark.parametrize("name", ["config.json", "data.json", "environment.json", "metrics.json"])
    def test_json_files_are_strict_json_of_finite_numbers(self, finished, name):
        assert all(math.isfinite(number) for number in numbers_in(document(finished, name)))

    def test_the_configuration_tells_every_choice_resolved(self, finished, demo):
        config = document(finished, "config.json")
        assert config["schema"] == SCHEMA and config["name"] == "full" and config["seed"] == 0
        assert config["dataset"]["classes"] == CLASSES and config["dataset"]["synthetic"] is True
        assert config["dataset"]["fingerprint"] != demo.dataset.fingerprint(), "unreadable images are left out"
        assert config["dataset"]["metadata"] == {"numeric": ["age"], "categorical": ["sex", "localization"]}
        assert (config["model"], config["balance"], config["folds"]) == ("logreg", "smote", FOLDS)
        assert config["features"] == ["cae"] and config["use_metadata"] is True
        assert config["smote_neighbors"] in range(1, 6) and config["test_fraction"] == splits.TEST_FRACTION
        assert sum(config["prevalence"]) == pytest.approx(1) and len(config["prevalence"]) == 7
        assert config["majority_class"] == CLASSES[int(np.argmax(config["prevalence"]))] == "nv"
        assert len(config["calibration"]["bias"]) == 7 and config["calibration"]["slope"] > 0
        assert config["model_parameters"]["C"] == 0.003
        (block,) = config["blocks"]
        assert (block["name"], block["width"]) == ("cae", 12) and len(block["key"]) == 64
        assert block["learned_from"]["labels"] is False and 16 <= block["learned_from"]["rows"] < 70

    def test_data_json_counts_from_the_table_to_the_splits(self, finished):
        data = document(finished, "data.json")
        counts = {row["what"]: row["n"] for row in data["counts"]}
        assert counts["rows in the table"] == 81
        assert counts["images that could not be read, left out"] == 3
        assert counts["images in this run"] == 77 == len(table(finished, "splits.parquet"))
        assert data["groups"] == "lesions"
        assert [row["split"] for row in data["splits"]] == ["train", "test"]
        assert sum(row["images"] for row in data["splits"]) == 77
        for row in data["splits"]:
            assert sum(row["classes"].values()) == row["images"] >= row["groups"]
            assert set(row["classes"]) == set(CLASSES)
        assert any("unreadable images left out" in notice for notice in data["notices"])

    def test_the_environment_names_versions_and_no_place(self, finished):
        environment = document(finished, "environment.json")
        assert set(environment["packages"]) == set(PACKAGES)
        stages = {"table", "audit", "cross-validation and final model", "explanation", "metrics", "writing"}
        stages |= {"missing fields"}
        assert set(environment["seconds"]) == stages
        assert environment["peak_memory_mb"] > 50
        assert str(finished.parent) not in json.dumps(environment)

    def test_splits_are_the_locked_split_and_whole_groups(self, finished):
        rows = table(finished, "splits.parquet")
        assert list(rows) == ["id", "group", "label", "content", "split", "fold"]
        assert rows["id"].is_monotonic_increasing and rows["id"].is_unique
        assert ((rows["fold"] == -1) == (rows["split"] == "test")).all()
        assert (rows.groupby("group")["fold"].nunique() == 1).all()
        test = splits.locked_test(rows["label"].to_numpy(str), rows["group"].to_numpy(str), seed=0)
        assert np.array_equal(rows["split"] == "test", test)
        assert rows["content"].str.fullmatch("[0-9a-f]{64}").all()

    def test_predictions_are_a_row_a_sample_with_a_column_a_class(self, finished):
        rows, split = table(finished, "predictions.parquet"), table(finished, "splits.parquet")
        probabilities = [f"p_{name}" for name in CLASSES]
        assert list(rows) == ["id", "group", "split", "fold", "truth", "decision", *probabilities]
        assert rows[["id", "group", "split", "fold"]].equals(split[["id", "group", "split", "fold"]])
        assert (rows["truth"] == split["label"]).all()
        assert rows[probabilities].sum(axis=1).to_numpy() == pytest.approx(1)
        assert (rows["decision"] == np.array(CLASSES)[rows[probabilities].to_numpy().argmax(axis=1)]).all()

    def test_metrics_can_be_computed_again_from_the_predictions(self, finished):
        rows, found = table(finished, "predictions.parquet"), document(finished, "metrics.json")
        for part, split in (("out_of_fold", "train"), ("test", "test")):
            of_split = rows[rows["split"] == split]
            p = of_split[[f"p_{name}" for name in CLASSES]].to_numpy()
            truth = of_split["truth"].map(CLASSES.index).to_numpy()
            again = metrics.summarise(truth, p, of_split["group"].to_numpy(), seed=0)
            assert found[part] == again
            for name in ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "macro_auc"):
                assert set(found[part][name]) == {"value", "low", "high"}

    def test_importance_has_every_kind_for_what_it_is_told_for(self, finished):
        rows = table(finished, "importance.parquet")
        expected = ["kind", "feature", "block", "class", "value", "low", "high", "p_value", "selected"]
        assert list(rows) == expected
        players = {"age", "sex", "localization", "cae"}
        assert set(rows.loc[rows["kind"] == "permutation", "feature"]) == players
        shap = rows[rows["kind"] == "shap"]
        assert len(shap) == len(players) * len(CLASSES) and set(shap["class"]) == set(CLASSES)
        anova = rows[rows["kind"] == "anova"]
        assert "age" in set(anova["feature"]) and not anova["feature"].str.contains(":").any()
        assert anova["selected"].between(0, 1).all()

    def test_shap_values_add_up_to_the_kept_predictions(self, finished):
        shap, rows = table(finished, "shap.parquet"), table(finished, "predictions.parquet")
        expected = ["sample", "class", "feature", "block", "shap_value", "feature_value", "feature_text"]
        assert list(shap) == expected
        test = rows[rows["split"] == "test"]
        assert shap["sample"].nunique() == len(test)
        total = shap.groupby(["sample", "class"])["shap_value"].sum().unstack()[CLASSES].to_numpy()
        p = test[[f"p_{name}" for name in CLASSES]].to_numpy()
        # What is left, the mean over the background, is the same for every row.
        assert (p - total).std(axis=0) == pytest.approx(0, abs=1e-6)
        assert (p - total).sum(axis=1) == pytest.approx(1, abs=1e-6)

    def test_the_autoencoders_curve_and_reconstructions_are_kept(self, finished):
        facts = document(finished, "autoencoder.json")
        assert len(facts["train_loss"]) == len(facts["validation_loss"]) == 2
        assert facts["latent"] == 12 and facts["image_size"] == 32
        learned = document(finished, "config.json")["blocks"][0]["learned_from"]["rows"]
        assert facts["rows"]["train"] + facts["rows"]["validation"] == learned
        with np.load(finished / "autoencoder_reconstructions.npz", allow_pickle=False) as arrays:
            assert arrays["originals"].shape == arrays["reconstructions"].shape
            assert arrays["originals"].dtype == np.uint8 and arrays["originals"].shape[1:] == (32, 32, 3)

    def test_the_kept_model_knows_all_classes(self, finished):
        assert run_folder.load_model(finished).classes_.tolist() == list(range(7))


class TestVariants:
    def test_images_alone(self, without_metadata):
        config = document(without_metadata, "config.json")
        assert config["use_metadata"] is False and config["features"] == ["cae"]
        assert config["dataset"]["metadata"] == {"numeric": [], "categorical": []}
        assert len(table(without_metadata, "importance.parquet")) == 0

    def test_metadata_alone_needs_neither_images_nor_cache(self, demo, tmp_path):
        folder = demo.fit("lonely", Store(tmp_path / "empty"), use_images=False, features=None)
        config = document(folder, "config.json")
        assert config["features"] == config["blocks"] == [] and config["use_metadata"] is True
        assert {path.name for path in folder.iterdir()} == ALWAYS | {"shap.parquet"}
        assert len(table(folder, "splits.parquet")) == 80, "an unreadable image does not matter without images"
        assert set(table(folder, "splits.parquet")["content"]) == {""}
        assert not (tmp_path / "empty").exists()

    def test_a_search_and_repeats_are_written_down(self, demo):
        folder = demo.fit("often", explain=False, tune=2, repeats=2, calibration="temperature")
        config, train = document(folder, "config.json"), table(folder, "splits.parquet").query("split == 'train'")
        assert config["repeats"] == 2 and config["calibration"]["method"] == "temperature"
        titles = [row["fit"] for row in config["tuning"]["chosen"]]
        whole = [title for title in titles if not title.endswith(", without metadata")]
        assert whole[0] == "repeat 1, fold 1" and whole[-1] == "all training rows" and len(whole) == 2 * FOLDS + 1
        assert titles[-1] == "all training rows, without metadata"
        assert all(row["score"] >= row["default_score"] for row in config["tuning"]["chosen"])
        rows = table(folder, "repeats.parquet")
        assert set(rows["repeat"]) == {2} and set(rows["id"]) == set(train["id"])
        both = rows.merge(train, on="id", suffixes=("", "_first"))
        assert (both.groupby("group")["fold"].nunique() == 1).all()
        assert (both["fold"] != both["fold_first"]).any()
        assert document(folder, "metrics.json")["repeated"]["repeats"] == 2

    def test_without_explanation_there_is_no_shap_file_and_that_is_told(self, without_metadata):
        assert not (without_metadata / "shap.parquet").exists()
        notices = document(without_metadata, "data.json")["notices"]
        assert "SHAP values and permutation importance were switched off" in notices

    @pytest.mark.parametrize("model", ["rf", "xgb", "mlp", "svm"])
    def test_every_model_writes_a_whole_run(self, demo, model):
        folder = demo.fit(f"a-{model}", model=model, explain=False, balance="weights")
        config = document(folder, "config.json")
        assert config["model"] == model and config["smote_neighbors"] is None
        assert {path.name for path in folder.iterdir()} >= ALWAYS

    def test_two_blocks_stand_side_by_side(self, demo):
        folder = demo.fit("both", features=["toy", "cae"], explain=False)
        assert [block["name"] for block in document(folder, "config.json")["blocks"]] == ["toy", "cae"]
        assert document(folder, "config.json")["blocks"][0]["learned_from"] is None

    def test_all_extracted_features_are_taken_when_none_is_named(self, demo):
        folder = demo.fit("all", features=None, explain=False)
        assert document(folder, "config.json")["features"] == ["cae", "toy"]

    def test_select_k_keeps_that_many_metadata_columns(self, demo):
        folder = demo.fit("k", select_k=2, explain=False)
        assert document(folder, "config.json")["select_k"] == 2
        rows = table(folder, "importance.parquet")
        assert rows["selected"].sum() == pytest.approx(2)

    def test_runs_without_a_name_are_called_after_dataset_and_model(self, demo):
        names = [demo.fit(explain=False, use_metadata=False).name for _ in range(2)]
        assert names == ["synthetic-demo-logreg", "synthetic-demo-logreg-2"]

    def test_one_seed_gives_one_run_and_another_seed_another(self, demo, without_metadata):
        same = demo.fit("same", use_metadata=False, explain=False)
        name = "predictions.parquet"
        pd.testing.assert_frame_equal(table(same, name), table(without_metadata, name))
        assert document(same, "metrics.json") == document(without_metadata, "metrics.json")
        other = demo.fit("other", features=["toy"], use_metadata=False, explain=False, seed=1)
        assert set(table(other, name).query("split == 'test'")["id"]) != set(
            table(same, name).query("split == 'test'")["id"]
        )


class TestRefusals:
    def runs_before_and_after(self, demo, message: str, exit_code: int, **options) -> str:
        before = sorted(demo.runs.iterdir()) if demo.runs.exists() else []
        with pytest.raises(UserError, match=message) as caught:
            demo.fit(**options)
        assert caught.value.exit_code == exit_code and "\n" not in str(caught.value)
        assert (sorted(demo.runs.iterdir()) if demo.runs.exists() else []) == before
        return str(caught.value)

    def test_a_feature_that_was_not_extracted(self, demo):
        message = "'mobilenet_v2' has been extracted for 0 of 77 images.*extract --features mobilenet_v2"
        self.runs_before_and_after(demo, message, 1, features=["mobilenet_v2"])

    def test_a_feature_extracted_for_some_images_only(self, demo):
        fill_by_hand(demo.dataset, demo.content, demo.store, "partial", missing=10)
        try:
            self.runs_before_and_after(
                demo, "'partial' has been extracted for 6. of 77 images", 1, features=["partial"]
            )
        finally:
            shutil.rmtree(next(demo.store.root.glob("blocks/partial-*")))

    def test_an_empty_cache(self, demo, tmp_path):
        store = Store(tmp_path / "cache")
        self.runs_before_and_after(demo, "no feature has been extracted", 1, store=store, features=None)

    def test_a_taken_name_before_any_work(self, demo, finished):
        self.runs_before_and_after(demo, "there is a run .*full already", 2, name="full", features=["absent"])

    def test_an_impossible_name_before_any_work(self, demo):
        self.runs_before_and_after(demo, "cannot be used", 2, name="../up", features=["absent"])

    def test_impossible_options_before_any_work(self, demo):
        self.runs_before_and_after(demo, "--model is 'cnn'", 2, model="cnn", features=["absent"])

    def test_more_folds_than_the_smallest_class_has_lesions(self, demo):
        self.runs_before_and_after(demo, "too few lesions for 8 folds", 1, folds=8)

    def test_a_single_fold(self, demo):
        self.runs_before_and_after(demo, "--folds is 1", 2, folds=1)

    def test_images_that_were_all_set_aside(self, demo, monkeypatch):
        nothing = Content([None] * len(demo.dataset.rows), [])
        monkeypatch.setattr("dermfuse.pipelines.workflows.fit.content_of", lambda *_arguments: nothing)
        with pytest.raises(UserError, match="all 80 images were set aside"):
            demo.fit()

    def test_an_exception_while_fitting_leaves_no_run(self, demo, monkeypatch):
        from dermfuse.pipelines.workflows import documents

        def broken(*args):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(documents, "predictions_table", broken)
        self.runs_before_and_after(demo, "No space left on device", 1, name="full-disk", explain=False)


class TestLearnedExtractors:
    """An autoencoder may not have learned from the images that it is judged on."""

    @pytest.fixture
    def spoilt(self, demo, tmp_path) -> Store:
        """A cache whose autoencoder learned from every image."""
        from dermfuse.features.embedding.loop import Work, extract

        store, rows = Store(tmp_path / "cache"), np.ones(len(demo.content.keys), bool)
        made = autoencoder(demo.dataset, demo.content, store, rows)
        extract(demo.dataset, demo.content, [made], store, Console(quiet=True), Work(workers=1))
        return store

    def test_one_that_learned_from_the_test_split_is_refused(self, demo, spoilt):
        message = "'cae' learned from 17 images of this run's locked test split.*extract --features cae.*--seed"
        with pytest.raises(UserError, match=message):
            demo.fit("spoilt", spoilt)
        with pytest.raises(UserError, match="learned from 17 images"):
            demo.fit("spoilt", spoilt, features=None)
        assert not (demo.runs / "spoilt").exists()

    def test_one_that_is_left_out_beside_other_features_is_told_in_the_run(self, demo, spoilt):
        fill_by_hand(demo.dataset, demo.content, spoilt, "toy")
        folder = demo.fit("told", spoilt, features=None, explain=False)
        assert document(folder, "config.json")["features"] == ["toy"]
        notices = document(folder, "data.json")["notices"]
        assert any("left out" in n and "'cae' learned from 17 images" in n for n in notices)

    def test_one_whose_record_is_gone_is_refused(self, demo, tmp_path):
        shutil.copytree(demo.store.root, tmp_path / "cache")
        shutil.rmtree(tmp_path / "cache" / "learned")
        with pytest.raises(UserError, match="'cae' learned from an unknown number of images"):
            demo.fit("unknown", Store(tmp_path / "cache"))

    def test_another_seed_has_another_test_split_so_it_is_refused(self, demo):
        with pytest.raises(UserError, match="'cae' learned from [0-9]+ images"):
            demo.fit("seed-1", seed=1)

    def test_what_a_frozen_network_learned_from_these_images_is_nothing(self, demo):
        of = learned_from(demo.store)
        (toy,), (cae,) = demo.store.blocks("toy"), demo.store.blocks("cae")
        assert of(toy) == set() and len(of(cae)) > 16
        rows = demo.dataset.rows
        test = splits.locked_test(rows["label"].to_numpy(str), rows["group"].to_numpy(str), 0)
        assert of(cae).isdisjoint(demo.content.chosen(test))


def test_a_smaller_choice_of_smotes_neighbours_is_told(demo):
    console = Console(quiet=True)
    demo.fit("few", console=console, explain=False)
    assert any("SMOTE uses" in n and "in place of 5" in n for n in console.notices)


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_a_class_whose_training_rows_fell_into_one_fold_is_told(demo):
    # Four lesions of one class also hold the rare one, and for this seed three of them are in the test split.
    labels = np.array(["nv", "mel"] * 60 + ["rare"] * 4)
    groups = np.array([f"g{i}" for i in range(120)] + ["g0", "g2", "g4", "g6"])
    labels, groups = np.append(labels, labels[:120]), np.append(groups, groups[:120])

    def rare_in_training(seed: int) -> int:
        return ((labels == "rare") & ~splits.locked_test(labels, groups, seed)).sum()

    seed = next(seed for seed in range(2000) if rare_in_training(seed) == 1)
    ids = [f"i{k:03d}" for k in range(len(labels))]
    rows = pd.DataFrame({"id": ids, "label": labels, "group": groups, "age": 50.0, "sex": "f", "localization": "x"})
    tiny = replace(demo, dataset=replace(demo.dataset, rows=rows))
    with pytest.raises(UserError, match="too few rows for 3 folds: class 'rare' has 1 left to learn from"):
        tiny.fit(use_images=False, features=None, balance="none", seed=seed)


def test_two_classes_have_an_auc_of_the_second_one(demo):
    rows = demo.dataset.rows.assign(label=np.where(demo.dataset.rows["label"] == "mel", "melanoma", "benign"))
    binary = replace(demo, dataset=replace(demo.dataset, rows=rows))
    folder = binary.fit("binary", features=["toy"])
    found, predicted = document(folder, "metrics.json"), table(folder, "predictions.parquet")
    test = predicted[predicted["split"] == "test"]
    expected = roc_auc_score(test["truth"] == "melanoma", test["p_melanoma"])
    assert found["test"]["auc"]["value"] == pytest.approx(expected)
    assert set(table(folder, "shap.parquet")["class"]) == {"benign", "melanoma"}


def test_a_disk_without_room_for_a_run_is_found_before_the_folds(demo, monkeypatch):
    usage = type("usage", (), {"total": 10**9, "free": 100_000})
    monkeypatch.setattr("dermfuse.cache.atomic.shutil.disk_usage", lambda folder: usage)
    monkeypatch.setattr("dermfuse.pipelines.workflows.fit.cross_validate", lambda *given, **how: pytest.fail("fitted"))
    with pytest.raises(UserError, match="no room for a run: at least 1.1 MB are needed, 100.0 kB are free"):
        demo.fit("full-disk", use_images=False, features=None, explain=False)
