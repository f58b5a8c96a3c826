"""Ablation: arms that share every row and fold, the pairs compared, and a folder that loses no arm."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.features.console import Console
from dermfuse.features.data.content import Content
from dermfuse.pipelines.evaluation import compare
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.runs import digests
from dermfuse.pipelines.runs.run_folder import read_json
from dermfuse.pipelines.statistics import bootstrap
from dermfuse.pipelines.workflows import ablate as module
from dermfuse.pipelines.workflows.ablate import ablate, check_choices, plan, same_rows
from dermfuse.pipelines.workflows.fit import fit_dataset
from dermfuse.pipelines.workflows.inputs import locked_split

OPTIONS = FitOptions("logreg", ["cae", "toy"], folds=2, jobs=1, explain=False, balance="none")
QUIET = Console(quiet=True)


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    """Enough to see that they are made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "RESAMPLES", 100)
        patch.setattr(compare, "rounds_for", lambda tests: 1)
        yield


class Finished:
    """What `finish` is called with: the name of each folder and what lay in it then."""

    def __init__(self):
        self.seen: list[tuple[str, set[str]]] = []

    def __call__(self, folder: Path) -> None:
        self.seen.append((folder.name, {path.name for path in folder.iterdir()}))
        (folder / "page.html").write_text("for people")


@pytest.fixture(scope="module")
def done(demo) -> tuple[Path, Finished]:
    """An ablation with each image block by itself."""
    finish = Finished()
    path = ablate(demo.dataset, demo.store, OPTIONS, demo.runs, "abl", QUIET, ["logreg"], blocks=True, finish=finish)
    return path, finish


def arms_of(path: Path) -> dict[str, pd.DataFrame]:
    return {
        folder.name: pd.read_parquet(folder / "predictions.parquet") for folder in path.iterdir() if folder.is_dir()
    }


def entries(runs: Path) -> set[str]:
    return {path.name for path in runs.iterdir() if not path.name.startswith(".opening")} if runs.is_dir() else set()


# ---- an ablation


def test_every_arm_is_a_whole_run_beside_the_comparison(done):
    path, _ = done
    assert {p.name for p in path.iterdir()} == {
        "logreg-images",
        "logreg-metadata",
        "logreg-both",
        "logreg-only-cae",
        "logreg-only-cae-metadata",
        "logreg-only-toy",
        "logreg-only-toy-metadata",
        "comparison.json",
        "page.html",
    }
    for name in arms_of(path):
        config = read_json(path / name, "config.json")
        assert config["name"] == name
        assert (path / name / "model.skops").is_file()
        assert not (path / name / "shap.parquet").exists()


def test_arms_use_what_they_are_named_for(done):
    path, _ = done
    used = {name: read_json(path / name, "config.json") for name in arms_of(path)}
    assert {name: (one["features"], one["use_metadata"]) for name, one in used.items()} == {
        "logreg-images": (["cae", "toy"], False),
        "logreg-metadata": ([], True),
        "logreg-both": (["cae", "toy"], True),
        "logreg-only-cae": (["cae"], False),
        "logreg-only-cae-metadata": (["cae"], True),
        "logreg-only-toy": (["toy"], False),
        "logreg-only-toy-metadata": (["toy"], True),
    }


def test_all_arms_are_scored_on_the_same_rows_folds_and_test_split(done, demo):
    arms = arms_of(done[0])
    rows = [arm[["id", "group", "split", "fold", "truth"]] for arm in arms.values()]
    for other in rows[1:]:
        pd.testing.assert_frame_equal(rows[0], other)
    assert (rows[0]["split"] == "test").any()
    # The demo has images that cannot be decoded: without images these rows would be used.
    assert len(rows[0]) < len(demo.dataset.rows)


def one_unreadable(demo) -> Content:
    """The demo with one more image that cannot be read, without whose lesion another split would be drawn."""
    for row, key in enumerate(demo.content.keys):
        if key is None:
            continue
        keys = [None if other == row else kept for other, kept in enumerate(demo.content.keys)]
        left = demo.dataset.keep(np.arange(len(keys)) != row)
        whole = np.delete(locked_split(demo.dataset, 0), row)
        if (locked_split(left, 0) != whole).any():
            return Content(keys, demo.content.unreadable)
    raise AssertionError("every lesion has several images")


def test_the_locked_split_is_that_of_a_fit_though_an_image_is_unreadable(demo, tmp_path, monkeypatch):
    """It is made before such are left out, so that nobody who fits after an ablation learns from its test rows."""
    content, options = one_unreadable(demo), replace(OPTIONS, features=["toy"])
    for name in ("ablate", "fit"):
        monkeypatch.setattr(f"dermfuse.pipelines.workflows.{name}.content_of", lambda *_arguments: content)
    alone = fit_dataset(demo.dataset, demo.store, options, tmp_path, "alone", QUIET)
    path = ablate(demo.dataset, demo.store, options, tmp_path, "abl", QUIET, ["logreg"])
    for arm in ("logreg-images", "logreg-metadata", "logreg-both"):
        rows = [pd.read_parquet(folder / "predictions.parquet") for folder in (alone, path / arm)]
        pd.testing.assert_frame_equal(*(one[["id", "group", "split", "fold", "truth"]] for one in rows))
    assert (alone / "metrics.json").read_bytes() == (path / "logreg-both" / "metrics.json").read_bytes()


@pytest.mark.parametrize("name", ["", "..", ".", "a/b"])
def test_a_name_that_is_no_plain_one_takes_up_no_ablation(demo, tmp_path, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")  # so that the folder above looks like one begun
    with pytest.raises(UserError, match="cannot be used"):
        ablate(demo.dataset, demo.store, OPTIONS, tmp_path, name, QUIET, ["logreg"])
    assert entries(tmp_path) == {"run"}


def test_every_question_is_answered_and_the_first_one_is_what_metadata_adds(done):
    comparison = read_json(done[0], "comparison.json")
    assert comparison["kind"] == "ablation"
    questions = [(pair["first"], pair["second"], pair["headline"]) for pair in comparison["pairs"]]
    assert questions == [
        ("logreg-images", "logreg-both", True),
        ("logreg-metadata", "logreg-both", False),
        ("logreg-only-cae", "logreg-only-cae-metadata", False),
        ("logreg-only-cae", "logreg-images", False),
        ("logreg-only-toy", "logreg-only-toy-metadata", False),
        ("logreg-only-toy", "logreg-images", False),
    ]
    assert comparison["pairs"][0]["action"] == "Adding metadata to images"
    for pair in comparison["pairs"]:
        assert set(pair["results"]) == {"out_of_fold", "test"}
        assert pair["results"]["out_of_fold"]["macro_auc"]["p"] is not None


def test_what_people_read_is_written_into_each_arm_and_then_beside_them(done):
    path, finish = done
    names = [name for name, _ in finish.seen]
    assert names[:3] == ["logreg-images", "logreg-metadata", "logreg-both"]
    assert len(names) == 8
    assert all("metrics.json" in there for _, there in finish.seen[:-1])
    assert names[-1] == "abl"
    assert "comparison.json" in finish.seen[-1][1]
    assert (path / "page.html").is_file()
    assert (path / "logreg-both" / "page.html").is_file()


def test_balances_make_arms_of_their_own_and_are_compared(demo):
    path = ablate(demo.dataset, demo.store, OPTIONS, demo.runs, None, QUIET, ["logreg"], ["none", "weights"])
    assert path.name.endswith("-ablation")
    assert set(arms_of(path)) == {
        f"logreg-{what}-{b}" for what in ("images", "metadata", "both") for b in ("none", "weights")
    }
    comparison = read_json(path, "comparison.json")
    last = comparison["pairs"][-1]
    assert (last["first"], last["second"]) == ("logreg-both-none", "logreg-both-weights")
    assert last["action"] == "Using class weights in place of no balancing"
    assert {run["name"]: run["balance"] for run in comparison["runs"]}["logreg-images-weights"] == "weights"


def test_image_files_are_read_once_for_all_arms(demo, tmp_path, monkeypatch):
    calls = []
    read = module.content_of

    def counted(*arguments, **more):
        calls.append(len(arguments[0].rows))
        return read(*arguments, **more)

    monkeypatch.setattr(module, "content_of", counted)
    monkeypatch.setattr("dermfuse.pipelines.workflows.fit.content_of", None)
    ablate(demo.dataset, demo.store, replace(OPTIONS, features=["toy"]), tmp_path, None, QUIET, ["logreg"])
    assert calls == [len(demo.dataset.rows)]


def test_progress_is_told_by_arm_and_notices_stay_with_their_arm(demo, tmp_path, capsys, monkeypatch):
    console = Console()
    fit = module.fit

    def noisy(inputs, store, options, runs, name, own, *more):
        own.notice(f"about {name}")
        return fit(inputs, store, options, runs, name, own, *more)

    monkeypatch.setattr(module, "fit", noisy)
    path = ablate(demo.dataset, demo.store, replace(OPTIONS, features=["toy"]), tmp_path, None, console, ["logreg"])
    assert "arm 2 of 3: logreg-metadata" in capsys.readouterr().err
    notices = {name: read_json(path / name, "data.json")["notices"] for name in arms_of(path)}
    for name, told in notices.items():
        assert [text for text in told if text.startswith("about")] == [f"about {name}"]
        assert any("unreadable images left out" in text for text in told)


# ---- nothing half written, nothing lost


def failing_at(call: int, error: BaseException, monkeypatch) -> list[str]:
    """Have one of the fits end with `error`; the names of the arms that were begun."""
    fit, calls = module.fit, []

    def fails(*arguments):
        calls.append(arguments[4])
        if len(calls) == call:
            raise error
        return fit(*arguments)

    monkeypatch.setattr(module, "fit", fails)
    return calls


def test_an_interrupted_ablation_leaves_one_that_was_finished_meanwhile_as_it_is(demo, tmp_path, monkeypatch):
    few, same_rows = replace(OPTIONS, features=["toy"]), module.same_rows

    def meanwhile(*arguments):
        """While this one reads its data, another one without a name is made and finished."""
        monkeypatch.setattr(module, "same_rows", same_rows)
        first.append(ablate(demo.dataset, demo.store, few, tmp_path, None, QUIET, ["logreg"]))
        failing_at(1, KeyboardInterrupt(), monkeypatch)
        return same_rows(*arguments)

    first = []
    monkeypatch.setattr(module, "same_rows", meanwhile)
    with pytest.raises(KeyboardInterrupt):
        ablate(demo.dataset, demo.store, few, tmp_path, None, QUIET, ["logreg"])
    assert read_json(first[0], "comparison.json")["pairs"] and entries(tmp_path) == {first[0].name}


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError("no")], ids=["interrupt", "failure"])
def test_an_ablation_that_ends_early_keeps_its_arms_and_goes_on_from_them(demo, tmp_path, monkeypatch, capsys, error):
    calls, few = failing_at(2, error, monkeypatch), replace(OPTIONS, features=["toy"])
    with pytest.raises((KeyboardInterrupt, UserError)):
        ablate(demo.dataset, demo.store, few, tmp_path, "x", Console(), ["logreg"])
    assert calls == ["logreg-images", "logreg-metadata"]
    assert entries(tmp_path / "x") == {"logreg-images"}
    assert "finished arms are kept" in capsys.readouterr().err
    before = (tmp_path / "x" / "logreg-images" / "metrics.json").stat().st_mtime_ns
    ablate(demo.dataset, demo.store, few, tmp_path, "x", Console(), ["logreg"])
    assert calls[2:] == ["logreg-metadata", "logreg-both"]
    assert "arm 1 of 3: logreg-images, kept from before" in capsys.readouterr().err
    assert (tmp_path / "x" / "logreg-images" / "metrics.json").stat().st_mtime_ns == before
    assert read_json(tmp_path / "x", "comparison.json")["pairs"]


def test_an_ablation_that_ends_before_its_first_arm_leaves_nothing(demo, tmp_path, monkeypatch):
    failing_at(1, KeyboardInterrupt(), monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        ablate(demo.dataset, demo.store, replace(OPTIONS, features=["toy"]), tmp_path, "x", QUIET, ["logreg"])
    assert entries(tmp_path) == set()


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"seed": 1}, "--seed"), ({"folds": 3}, "--folds"), ({"calibration": "none"}, "--calibration")],
)
def test_arms_of_other_choices_are_not_gone_on_from(demo, tmp_path, monkeypatch, changed, said):
    few = replace(OPTIONS, features=["toy"])
    with monkeypatch.context() as patch:
        failing_at(2, KeyboardInterrupt(), patch)
        with pytest.raises(KeyboardInterrupt):
            ablate(demo.dataset, demo.store, few, tmp_path, "x", QUIET, ["logreg"])
    with pytest.raises(UserError, match=rf"fitted before with other choices \({said}\)"):
        ablate(demo.dataset, demo.store, replace(few, **changed), tmp_path, "x", QUIET, ["logreg"])
    assert entries(tmp_path / "x") == {"logreg-images"}


def test_arms_that_do_not_share_rows_are_never_compared(demo, tmp_path, monkeypatch):
    fit = module.fit

    def other_seed(inputs, store, options, *more):
        options = replace(options, seed=1) if options.use_images and options.use_metadata else options
        return fit(inputs, store, options, *more)

    monkeypatch.setattr(module, "fit", other_seed)
    with pytest.raises(UserError, match="cannot be compared"):
        ablate(demo.dataset, demo.store, replace(OPTIONS, features=["toy"]), tmp_path, "x", QUIET, ["logreg"])
    assert "comparison.json" not in entries(tmp_path / "x")


def test_arms_from_other_embeddings_of_the_same_name_are_never_compared(demo, tmp_path, monkeypatch):
    fit = module.fit

    def other_block(*arguments):
        folder = fit(*arguments)
        config = json.loads((folder / "config.json").read_text())
        for block in config["blocks"]:
            block["key"] = hashlib.sha256(folder.name.encode()).hexdigest()
        (folder / "config.json").write_text(json.dumps(config))
        digests.seal(folder)
        return folder

    monkeypatch.setattr(module, "fit", other_block)
    with pytest.raises(UserError, match="the cache was written to while the arms were fitted"):
        ablate(demo.dataset, demo.store, replace(OPTIONS, features=["toy"]), tmp_path, "x", QUIET, ["logreg"])
    assert "comparison.json" not in entries(tmp_path / "x")


# ---- what is planned and what is refused


def test_each_model_has_its_arms_and_pairs():
    arms, pairs = plan(OPTIONS, ["rf", "logreg"], ["smote"], ["cae"], blocks=False)
    assert [arm.name for arm in arms] == [
        f"{m}-{what}" for m in ("rf", "logreg") for what in ("images", "metadata", "both")
    ]
    assert {arm.options.model for arm in arms} == {"rf", "logreg"}
    assert {arm.options.balance for arm in arms} == {"smote"}
    assert [pair.subject for pair in pairs if pair.headline] == ["rf", "logreg"]
    names = {arm.name for arm in arms}
    assert {pair.first for pair in pairs} | {pair.second for pair in pairs} == names


def test_every_arm_of_a_plan_can_be_fitted_and_has_a_name_of_its_own():
    chosen = replace(OPTIONS, views=1, levels="last")
    arms, pairs = plan(chosen, ["rf", "xgb"], ["none", "smote"], ["cae", "toy"], blocks=True)
    for arm in arms:
        arm.options.check()
    names = [arm.name for arm in arms]
    assert len(set(names)) == len(names) == 2 * 2 * 7
    assert {pair.first for pair in pairs} | {pair.second for pair in pairs} <= set(names)


def test_more_comparisons_than_are_made_are_refused():
    features = [f"block{i}" for i in range(9)]
    with pytest.raises(UserError, match="these choices make 60 comparisons; at most 45 are made") as error:
        plan(OPTIONS, ["rf", "logreg", "svm"], ["none"], features, blocks=True)
    assert error.value.exit_code == 2


def test_blocks_of_a_single_block_are_refused():
    with pytest.raises(UserError, match="there is only 'cae'. Extract another, or leave --blocks out"):
        plan(OPTIONS, ["rf"], ["none"], ["cae"], blocks=True)


@pytest.mark.parametrize(
    ("models", "balances", "changed", "said"),
    [
        ([], ["none"], {}, "--model is ''"),
        (["rf", "rf"], ["none"], {}, "--model is 'rf,rf'. Give one or more different ones"),
        (["rf"], ["none", "none"], {}, "--balances is 'none,none'"),
        (["cnn"], ["none"], {}, "--model is 'cnn'"),
        (["rf"], ["half"], {}, "--balance is 'half'"),
        (["rf"], ["none"], {"use_metadata": False}, "with and without images and metadata by itself"),
    ],
)
def test_impossible_choices_are_refused_before_any_work(models, balances, changed, said):
    with pytest.raises(UserError) as error:
        check_choices(replace(OPTIONS, **changed), models, balances)
    assert said in str(error.value)
    assert error.value.exit_code == 2


def test_a_name_that_is_taken_is_refused_before_any_work(done, demo, monkeypatch):
    monkeypatch.setattr(module, "content_of", None)
    with pytest.raises(UserError, match="Give another --name"):
        ablate(demo.dataset, demo.store, OPTIONS, demo.runs, "abl", QUIET, ["logreg"])


def test_features_that_were_not_extracted_are_refused_before_the_first_fit(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "fit", None)
    with pytest.raises(UserError, match="'resnet50' has been extracted for 0 of"):
        ablate(demo.dataset, demo.store, replace(OPTIONS, features=["resnet50"]), tmp_path, None, QUIET, ["logreg"])
    assert entries(tmp_path) == set()


def test_a_dataset_without_metadata_is_refused(demo):
    layout = replace(demo.dataset.layout, numeric=(), categorical=())
    with pytest.raises(UserError, match="has no metadata columns to compare with its images"):
        same_rows(replace(demo.dataset, layout=layout), demo.store, 0, QUIET)


def test_a_dataset_without_images_is_refused(demo):
    rows = demo.dataset.rows.assign(path=None)
    with pytest.raises(UserError, match="An ablation compares images with metadata"):
        same_rows(replace(demo.dataset, rows=rows), demo.store, 0, QUIET)
