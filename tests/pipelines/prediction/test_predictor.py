"""New images are scored as the run's own were, and whatever is missing, new or unreadable is told for each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.features.embedding import loop
from dermfuse.features.runtimes import choice
from dermfuse.pipelines.evaluation import missing, sets
from dermfuse.pipelines.prediction import clinical
from dermfuse.pipelines.prediction import predictor as module
from dermfuse.pipelines.prediction.predictor import Prediction, Predictor, find_targets
from dermfuse.pipelines.runs import run_folder
from tests.pipelines.conftest import Demo
from tests.reports.runs import trust_all

FIELDS = ["age", "sex", "localization"]
# Embeddings are kept as float16, so an image embedded in another batch may differ in their last digit.
TOLERANCE = 1e-4


def predictor(folder: Path, store: Store, console=None) -> Predictor:
    return Predictor(folder, store, None, "cpu", console or Console(quiet=True))


def scored(folder: Path, store: Store, images: list[Path], metadata=None, console=None) -> list[Prediction]:
    return list(predictor(folder, store, console).predict(images, metadata))


def rows_of(folder: Path, split: str | None = None) -> pd.DataFrame:
    rows = pd.read_parquet(folder / "predictions.parquet").set_index("id")
    return rows if split is None else rows[rows["split"] == split]


def paths_of(demo: Demo, ids) -> list[Path]:
    by_id = dict(zip(demo.dataset.rows["id"], demo.dataset.rows["path"], strict=True))
    return [Path(by_id[i]) for i in ids]


def probabilities(found: list[Prediction]) -> np.ndarray:
    return np.array([list(p.probabilities.values()) for p in found])


def readable(demo: Demo, folder: Path, n: int = 4) -> list[Path]:
    return paths_of(demo, rows_of(folder, "test").index[:n])


@pytest.fixture
def fresh(demo, tmp_path) -> Store:
    """A cache that holds the trained autoencoder, and no embedding."""
    shutil.copytree(demo.store.root / "learned", tmp_path / "fresh" / "learned")
    return Store(tmp_path / "fresh")


class TestSameAsFit:
    @pytest.mark.parametrize("run_name", ["finished", "without_images", "without_metadata"])
    def test_test_rows_get_the_probabilities_that_fit_kept(self, demo, run_name, request):
        folder = request.getfixturevalue(run_name)
        expected = rows_of(folder, "test")
        made = predictor(folder, demo.store)
        found = list(made.predict(paths_of(demo, expected.index), made.metadata_of(None, demo.folder)))
        p = expected[[c for c in expected if c.startswith("p_")]].to_numpy()
        assert probabilities(found) == pytest.approx(p, abs=TOLERANCE)
        assert [f.decision for f in found] == expected["decision"].tolist()
        assert {f.seen_in for f in found} == ({None} if run_name == "without_images" else {"test"})

    def test_images_that_are_embedded_anew_get_them_too(self, demo, finished, fresh):
        expected = rows_of(finished, "test")
        made = predictor(finished, fresh)
        found = list(made.predict(paths_of(demo, expected.index), made.metadata_of(None, demo.folder)))
        p = expected[[c for c in expected if c.startswith("p_")]].to_numpy()
        assert probabilities(found) == pytest.approx(p, abs=TOLERANCE)

    def test_many_new_images_are_embedded_by_the_fastest_runtime_of_the_same_precision(
        self, demo, finished, fresh, monkeypatch, capsys
    ):
        expected = rows_of(finished, "test")
        monkeypatch.setattr(loop, "WORTH_CHOOSING", len(expected))
        asked = []

        def choose(extractor, probe, left, *others):
            asked.append((len(probe), left, others[-1]))
            return choice.choose(extractor, probe, left, *others)

        monkeypatch.setattr(loop, "choose", choose)
        made = predictor(finished, fresh, Console())
        found = list(made.predict(paths_of(demo, expected.index), made.metadata_of(None, demo.folder)))
        p = expected[[c for c in expected if c.startswith("p_")]].to_numpy()
        assert probabilities(found) == pytest.approx(p, abs=TOLERANCE)
        assert asked == [(min(choice.PROBE_IMAGES, len(expected)), len(expected), "float32")]
        assert "cae runs with" in capsys.readouterr().err

    def test_an_image_scores_the_same_alone_and_in_any_order(self, demo, finished):
        images = readable(demo, finished)
        fields = predictor(finished, demo.store).metadata_of(None, demo.folder)
        together, backwards = (scored(finished, demo.store, i, fields) for i in (images, images[::-1]))
        alone = [scored(finished, demo.store, [image], fields)[0] for image in images]
        assert probabilities(together) == pytest.approx(probabilities(alone), abs=1e-6)
        assert probabilities(together) == pytest.approx(probabilities(backwards[::-1]), abs=1e-6)

    def test_more_images_than_a_chunk_are_scored_in_order(self, demo, finished, monkeypatch):
        images = readable(demo, finished, 8)
        whole = scored(finished, demo.store, images)
        monkeypatch.setattr(module, "CHUNK", 3)
        assert [p.image for p in scored(finished, demo.store, images)] == [str(i) for i in images]
        assert probabilities(scored(finished, demo.store, images)) == pytest.approx(probabilities(whole), abs=1e-6)

    def test_an_image_may_be_named_twice(self, demo, finished):
        (image,) = readable(demo, finished, 1)
        first, second = scored(finished, demo.store, [image, image])
        assert first == second

    def test_a_copy_under_another_name_is_known_by_its_bytes(self, demo, finished, tmp_path):
        train = paths_of(demo, rows_of(finished, "train").index[:1])[0]
        copied = Path(shutil.copy(train, tmp_path / "renamed.jpg"))
        (found,) = scored(finished, demo.store, [copied])
        assert found.seen_in == "train"

    def test_a_new_image_was_seen_nowhere(self, demo, finished, tmp_path):
        image = new_image(tmp_path)
        (found,) = scored(finished, demo.store, [image])
        assert found.seen_in is None and found.error is None
        assert sum(found.probabilities.values()) == pytest.approx(1)

    def test_the_cache_is_not_added_to(self, demo, finished, tmp_path):
        before = [len(block.row_keys) for block in demo.store.blocks()]
        scored(finished, demo.store, [new_image(tmp_path)])
        assert [len(block.row_keys) for block in demo.store.blocks()] == before


def new_image(folder: Path) -> Path:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (80, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "new.png")
    return folder / "new.png"


class TestDecisions:
    def test_the_decision_is_the_most_probable_class_and_the_balanced_one_weighs_by_prevalence(self, demo, finished):
        config = run_folder.read_json(finished, "config.json")
        classes, prevalence = config["dataset"]["classes"], np.array(config["prevalence"])
        found = scored(finished, demo.store, readable(demo, finished, 17))
        p = probabilities(found)
        assert [f.decision for f in found] == [classes[k] for k in p.argmax(axis=1)]
        assert [f.balanced_decision for f in found] == [classes[k] for k in (p / prevalence).argmax(axis=1)]
        assert any(f.decision != f.balanced_decision for f in found)

    def test_the_json_object_has_what_a_program_needs(self, demo, finished):
        (found,) = scored(finished, demo.store, readable(demo, finished, 1))
        content = json.loads(json.dumps(found.as_json()))
        wanted = {"image", "probabilities", "decision", "balanced_decision", "imputed", "answered_by", "seen_in"}
        assert set(content) - {"set"} == wanted
        assert list(content["probabilities"]) == run_folder.read_json(finished, "config.json")["dataset"]["classes"]


class TestSets:
    @pytest.fixture(autouse=True)
    def made_by_hand(self, monkeypatch):
        """Thresholds are put into a finished run."""
        trust_all(monkeypatch)

    def copy_of(self, finished: Path, place: Path, told: dict) -> Path:
        """The run, with the thresholds of prediction sets for rows with every field and for all others."""
        folder = Path(shutil.copytree(finished, place / "run"))
        thresholds = {row["class"]: row["threshold"] for row in told["by_class"]} if "by_class" in told else None
        unscored = {"out_of_fold": {}, "test": {}}
        patterns = [{"missing": some, "thresholds": thresholds, **unscored} for some in ([], FIELDS)]
        run_folder.write_json(folder, missing.FILE, {"schema": 1, "fields": FIELDS, "patterns": patterns})
        return folder

    def sets_of(self, folder: Path) -> dict:
        """Prediction sets from the run's own predictions, at a coverage that so few lesions allow."""
        rows, classes = rows_of(folder), run_folder.read_json(folder, "config.json")["dataset"]["classes"]
        p = rows[[f"p_{name}" for name in classes]].to_numpy()
        truth = np.array([classes.index(name) for name in rows["truth"]])
        return sets.prediction_sets(
            truth, p, rows["fold"].to_numpy(), rows["group"].to_numpy(str), classes, 0, coverage=0.6
        )

    def test_test_rows_get_the_sets_whose_coverage_the_run_tells(self, demo, finished, tmp_path):
        told = self.sets_of(finished)
        folder = self.copy_of(finished, tmp_path, told)
        expected = rows_of(folder, "test")
        made = predictor(folder, demo.store)
        found = list(made.predict(paths_of(demo, expected.index), made.metadata_of(None, demo.folder)))
        covered = pd.Series([t in f.set for f, t in zip(found, expected["truth"], strict=True)])
        by_group = covered.groupby(expected["group"].to_numpy()).mean()
        assert by_group.mean() == pytest.approx(told["test"]["coverage"]["value"])
        assert len({len(f.set) for f in found}) > 1

    def test_a_class_is_in_the_set_where_its_probability_reaches_its_threshold(self, demo, finished, tmp_path):
        told = self.sets_of(finished)
        folder = self.copy_of(finished, tmp_path, told)
        for found in scored(folder, demo.store, readable(demo, folder)):
            reached = [r["class"] for r in told["by_class"] if found.probabilities[r["class"]] >= r["threshold"]]
            assert found.set == reached
            assert json.loads(json.dumps(found.as_json()))["set"] == reached

    def test_an_empty_set_is_told_as_one(self, demo, finished, tmp_path):
        told = self.sets_of(finished)
        for row in told["by_class"]:
            row["threshold"] = 1.0
        (found,) = scored(self.copy_of(finished, tmp_path, told), demo.store, readable(demo, finished, 1))
        assert found.set == [] and found.as_json()["set"] == []

    def test_a_run_without_sets_gives_none(self, demo, finished, tmp_path):
        (found,) = scored(self.copy_of(finished, tmp_path, {}), demo.store, readable(demo, finished, 1))
        assert found.set is None and "set" not in found.as_json()

    def test_an_unreadable_image_has_no_set(self, demo, finished, tmp_path):
        folder = self.copy_of(finished, tmp_path, self.sets_of(finished))
        (tmp_path / "broken.jpg").write_bytes(b"<!DOCTYPE html>")
        (found,) = scored(folder, demo.store, [tmp_path / "broken.jpg"])
        assert found.set is None and set(found.as_json()) == {"image", "error"}

    def test_damaged_sets_are_refused_before_any_image_is_scored(self, demo, finished, tmp_path):
        folder = self.copy_of(finished, tmp_path, {"by_class": []})
        with pytest.raises(UserError, match="lacks the threshold of a class"):
            predictor(folder, demo.store)


class TestMetadata:
    def test_without_metadata_every_field_is_listed_as_imputed(self, demo, finished):
        for found in scored(finished, demo.store, readable(demo, finished)):
            assert found.imputed == FIELDS and found.error is None

    def test_single_missing_fields_are_listed(self, demo, finished):
        image = readable(demo, finished, 1)[0]
        fields = pd.DataFrame({"age": [50.0], "sex": [None], "localization": ["back"]}, index=[image.stem])
        (found,) = scored(finished, demo.store, [image], fields)
        assert found.imputed == ["sex"]

    def test_an_image_without_a_row_in_the_table_has_all_fields_imputed(self, demo, finished):
        first, second = readable(demo, finished, 2)
        fields = pd.DataFrame({"age": [50.0], "sex": ["male"], "localization": ["back"]}, index=[first.stem])
        found = scored(finished, demo.store, [first, second], fields)
        assert [f.imputed for f in found] == [[], FIELDS]
        alone = scored(finished, demo.store, [second])
        assert probabilities(found[1:]) == pytest.approx(probabilities(alone), abs=1e-6)

    def test_metadata_changes_the_probabilities(self, demo, finished):
        image = readable(demo, finished, 1)[0]
        young, old = (
            pd.DataFrame({"age": [age], "sex": ["male"], "localization": ["face"]}, index=[image.stem])
            for age in (20.0, 85.0)
        )
        p = [probabilities(scored(finished, demo.store, [image], fields)) for fields in (young, old)]
        assert np.abs(p[0] - p[1]).max() > 1e-3

    def test_a_run_without_metadata_imputes_nothing(self, demo, without_metadata):
        made = predictor(without_metadata, demo.store)
        assert made.metadata_of(None, demo.folder) is None
        assert [p.imputed for p in made.predict(readable(demo, without_metadata), None)] == [[]] * 4

    def test_a_new_category_is_told_with_how_often_it_came(self, demo, finished):
        images, console = readable(demo, finished, 3), Console(quiet=True)
        fields = pd.DataFrame(
            {"age": 50.0, "sex": ["male", "male", "female"], "localization": ["mars", "mars", "back"]},
            index=[i.stem for i in images],
        )
        found = scored(finished, demo.store, images, fields, console)
        assert [f.imputed for f in found] == [["localization"], ["localization"], []]
        assert [f.answered_by for f in found] == ["known fields", "known fields", "all fields"]
        expected = "localization = 'mars' never occurred in training; read as missing in 2 predictions"
        assert console.notices == [expected]

    def test_a_missing_category_is_not_told_as_new(self, demo, finished):
        console = Console(quiet=True)
        scored(finished, demo.store, readable(demo, finished), None, console)
        assert console.notices == []

    def test_a_table_is_read_by_image_id_with_or_without_ending_and_folder(self, demo, finished, tmp_path):
        path = tmp_path / "table.csv"
        text = "image_id,age,sex,localization,more\na.jpg,50,male,back,1\nsub/b.png,,unknown,face,2\nc,60,female,,3\n"
        path.write_text(text)
        made = predictor(finished, demo.store)
        images = [tmp_path / name for name in ("a.png", "sub/b.png", "c.jpg")]
        fields, _ = clinical.by_image(images, made.metadata_of(path, None), FIELDS)
        assert list(fields.index) == list(map(str, images)) and list(fields) == FIELDS
        assert fields["age"].tolist()[::2] == [50, 60] and np.isnan(fields["age"].iloc[1])
        assert fields["sex"].isna().tolist() == [False, True, False]
        assert fields["localization"].isna().tolist() == [False, False, True]

    def test_an_image_named_with_dots_finds_its_row(self, demo, finished, tmp_path):
        image = tmp_path / "lesion.v2"
        shutil.copy(readable(demo, finished, 1)[0], image)
        (tmp_path / "table.csv").write_text("image_id,age,sex,localization\nlesion.v2,50,male,back\n")
        made = predictor(finished, demo.store)
        (found,) = made.predict([image], made.metadata_of(tmp_path / "table.csv", None))
        assert found.error is None and found.imputed == []

    def test_a_fitting_table_in_the_folder_is_found(self, demo, finished):
        fields = predictor(finished, demo.store).metadata_of(None, demo.folder)
        assert len(fields) == 81

    def test_a_folder_without_a_fitting_table_has_no_metadata(self, demo, finished, tmp_path):
        (tmp_path / "other.csv").write_text("name,size\na,1\n")
        assert predictor(finished, demo.store).metadata_of(None, tmp_path) is None

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("image_id,age,sex\na,1,male\n", "has no column 'localization'"),
            ("image,age,sex,localization\na,1,male,back\n", "has no column 'image_id'"),
            ("image_id,age,sex,localization\na.jpg,1,male,back\na,2,male,back\n", "more than one row for image 'a'"),
            ("image_id,age,sex,localization\na,old,male,back\n", "should hold finite numbers"),
        ],
    )
    def test_a_table_that_does_not_fit_the_run_is_refused(self, demo, finished, tmp_path, text, message):
        (tmp_path / "table.csv").write_text(text)
        with pytest.raises(UserError, match=message):
            predictor(finished, demo.store).metadata_of(tmp_path / "table.csv", None)

    def test_a_table_that_is_not_there_is_refused(self, demo, finished, tmp_path):
        with pytest.raises(UserError, match="no such metadata table"):
            predictor(finished, demo.store).metadata_of(tmp_path / "absent.csv", None)


class TestUnreadable:
    def test_an_unreadable_image_gives_an_error_record_and_the_others_are_scored(self, demo, finished, tmp_path):
        broken, empty, absent = tmp_path / "broken.jpg", tmp_path / "empty.jpg", tmp_path / "absent.jpg"
        broken.write_bytes(b"<!DOCTYPE html>")
        empty.write_bytes(b"")
        good = readable(demo, finished, 2)
        found = scored(finished, demo.store, [good[0], broken, empty, absent, good[1]])
        assert [f.error is None for f in found] == [True, False, False, False, True]
        assert [f.image for f in found] == [str(i) for i in (good[0], broken, empty, absent, good[1])]
        assert "not a JPEG" in found[1].error and "empty" in found[2].error and "not a file" in found[3].error
        assert found[1].as_json() == {"image": str(broken), "error": found[1].error}
        alone = scored(finished, demo.store, good)
        assert probabilities([found[0], found[4]]) == pytest.approx(probabilities(alone), abs=1e-6)

    def test_only_unreadable_images_give_only_error_records(self, demo, finished, tmp_path):
        broken = [tmp_path / f"{i}.jpg" for i in range(3)]
        for path in broken:
            path.write_bytes(path.name.encode())
        assert all(f.error for f in scored(finished, demo.store, broken))

    def test_what_fit_set_aside_is_told_here_too(self, demo, finished):
        used = set(rows_of(finished).index)
        aside = [row.path for row in demo.dataset.rows.itertuples() if row.id not in used]
        assert len(aside) == 3 and all(f.error for f in scored(finished, demo.store, aside))

    def test_a_run_of_metadata_alone_never_looks_into_images(self, demo, without_images, tmp_path):
        (tmp_path / "any.jpg").write_bytes(b"not an image")
        (found,) = scored(without_images, demo.store, [tmp_path / "any.jpg"])
        assert found.error is None and found.imputed == FIELDS


class TestRuns:
    def test_a_run_whose_autoencoder_is_gone_is_refused_when_it_is_needed(self, demo, finished, tmp_path):
        made = predictor(finished, Store(tmp_path / "empty"))
        with pytest.raises(UserError, match="the autoencoder [0-9a-f]{12} is not in"):
            list(made.predict([new_image(tmp_path)], None))

    def test_cached_images_need_no_weights(self, demo, finished, tmp_path):
        shutil.copytree(demo.store.root / "blocks", tmp_path / "cache" / "blocks")
        found = scored(finished, Store(tmp_path / "cache"), readable(demo, finished))
        assert all(f.error is None for f in found)

    def test_a_cache_that_is_not_there_is_not_made(self, demo, finished, tmp_path):
        made = predictor(finished, Store(tmp_path / "typo" / "cache"))
        with pytest.raises(UserError):  # the autoencoder was in the cache
            list(made.predict(readable(demo, finished, 1), None))
        assert not (tmp_path / "typo").exists()

    def test_a_changed_run_is_read_only_when_it_is_trusted_and_then_told(self, demo, finished, tmp_path):
        folder = Path(shutil.copytree(finished, tmp_path / "run"))
        (folder / "data.json").write_text((folder / "data.json").read_text() + " ")
        with pytest.raises(UserError, match=r"data.json has .* bytes and not .*--trust"):
            predictor(folder, demo.store)
        console = Console(quiet=True)
        assert Predictor(folder, demo.store, None, "cpu", console, trust=True).model
        assert "read all the same" in console.notices[0]

    def test_a_trusted_run_of_other_classes_than_its_splits_is_refused(self, demo, finished, tmp_path):
        folder = Path(shutil.copytree(finished, tmp_path / "run"))
        config = json.loads((folder / "config.json").read_text())
        classes = config["dataset"]["classes"]
        even = {"prevalence": [1 / len(classes)] * len(classes)}
        turned = {**even, "dataset": {**config["dataset"], "classes": classes[::-1]}}
        for changed, said in ((even, "not of the same fit as splits.parquet"), (turned, "another order of them")):
            (folder / "config.json").write_text(json.dumps(config | changed))
            with pytest.raises(UserError, match=said):
                Predictor(folder, demo.store, None, "cpu", Console(quiet=True), trust=True)

    def test_a_damaged_run_is_refused(self, demo, finished, tmp_path):
        for name in ("config.json", "model.skops"):
            folder = tmp_path / name
            shutil.copytree(finished, folder)
            (folder / name).write_bytes((folder / name).read_bytes()[:100])
            with pytest.raises(UserError, match=name):
                predictor(folder, demo.store)


class TestTargets:
    def test_files_and_folders_are_taken_in_the_order_given(self, tmp_path):
        for name in ("b/2.jpg", "b/1.png", "b/deep/3.TIF", "b/notes.txt", "a.jpg"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        found, _ = find_targets([tmp_path / "b", tmp_path / "a.jpg"])
        assert [p.relative_to(tmp_path).as_posix() for p in found] == ["b/1.png", "b/2.jpg", "b/deep/3.TIF", "a.jpg"]

    def test_a_folder_without_images_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="no images below"):
            find_targets([tmp_path])

    def test_what_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="no such image or folder"):
            find_targets([tmp_path / "absent.jpg"])
