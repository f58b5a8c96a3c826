"""A run folder is there whole or not at all, and nothing in it is executed when it is read."""

from __future__ import annotations

import errno
import io
import json
import multiprocessing
import os
import pickle
import re
import threading
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

from dermfuse.cache.errors import UserError
from dermfuse.pipelines.runs import modelfile, run_folder
from dermfuse.pipelines.runs.opened import open_run
from dermfuse.pipelines.runs.run_folder import check_place
from dermfuse.pipelines.runs.schema import SCHEMA
from tests.pipelines.tables import evidence_of, problem

CONFIG = {
    "schema": SCHEMA,
    "created": "2025-03-04T15:06:07+00:00",
    "dataset": {
        "name": "spots",
        "preset": None,
        "synthetic": False,
        "label_column": "dx",
        "group_column": None,
        "image_column": "image",
        "classes": ["mel", "nv"],
        "metadata": {"numeric": [], "categorical": []},
        "leak_columns": [],
        "malignant": [],
        "subgroups": [],
        "own_test_split": False,
    },
    "model": "rf",
    "model_title": "random forest",
    "model_parameters": {},
    "balance": "none",
    "smote_neighbors": None,
    "features": [],
    "use_metadata": False,
    "select_k": None,
    "folds": 5,
    "repeats": 1,
    "tuning": None,
    "shuffles": None,
    "test_fraction": 0.15,
    "seed": 0,
    "majority_class": "nv",
    "prevalence": [0.25, 0.75],
    "blocks": [],
    "commands": [["python", "cli.py", "fit"]],
}


def written(folder: Path) -> None:
    """The least that `create_run` needs."""
    run_folder.write_json(folder, "config.json", CONFIG)


def end_at_once(runs: Path, number: int, barrier, told) -> None:
    """A run that ends when all the others do."""
    said = []

    def write(folder: Path) -> None:
        written(folder)
        (folder / "mine").write_text(str(number))
        barrier.wait(60)

    run_folder.create_run(runs, "same", "default", write, said.append)
    told.put(said)


def names(runs: Path) -> list[str]:
    return sorted(path.name for path in runs.iterdir())


def refused(folder: Path) -> str:
    """The one line with which a model is refused."""
    with pytest.raises(UserError) as caught:
        run_folder.load_model(folder)
    message = str(caught.value)
    assert "\n" not in message and str(folder / run_folder.MODEL) in message and caught.value.exit_code == 1
    return message


class TestCreating:
    def test_the_folder_gets_its_name_and_the_name_is_in_its_configuration(self, tmp_path):
        path = run_folder.create_run(tmp_path, "first", "default", written)
        assert path == tmp_path / "first" and names(tmp_path) == ["first"]
        assert run_folder.read_json(path, "config.json") == {"name": "first", **CONFIG}

    def test_the_folder_of_runs_is_made(self, tmp_path):
        assert run_folder.create_run(tmp_path / "a" / "b", "first", "default", written).is_dir()

    @pytest.mark.parametrize("error", [ValueError, UserError, KeyboardInterrupt, SystemExit])
    def test_whatever_goes_wrong_while_writing_leaves_nothing(self, tmp_path, error):
        def broken(folder: Path) -> None:
            written(folder)
            (folder / "sub").mkdir()
            raise error("stop")

        with pytest.raises(error):
            run_folder.create_run(tmp_path, "first", "default", broken)
        assert names(tmp_path) == []

    def test_nothing_has_the_runs_name_before_all_is_written(self, tmp_path):
        def watched(folder: Path) -> None:
            written(folder)
            assert not (tmp_path / "first").exists() and folder.parent == tmp_path

        run_folder.create_run(tmp_path, "first", "default", watched)

    def test_a_run_being_written_is_not_listed(self, tmp_path):
        listed = []

        def watched(folder: Path) -> None:
            written(folder)
            with pytest.raises(UserError) as caught:
                run_folder.find_run(tmp_path, "absent")
            listed.append(str(caught.value))

        run_folder.create_run(tmp_path, "first", "default", watched)
        assert "draft" not in listed[0] and "there are no runs" in listed[0]

    def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle(self, tmp_path):
        left = []

        def killed(folder: Path) -> None:
            left.append(folder)
            written(folder)

        run_folder.create_run(tmp_path, "first", "default", killed)
        left[0].mkdir()
        assert run_folder.create_run(tmp_path, "second", "default", written).is_dir()

    def test_two_threads_write_two_runs(self, tmp_path):
        both = threading.Barrier(2, timeout=20)
        made = []

        def slow(folder: Path) -> None:
            both.wait()
            written(folder)

        def work(name: str) -> None:
            made.append(run_folder.create_run(tmp_path, name, "default", slow).name)

        threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(made) == names(tmp_path) == ["one", "two"]

    def test_default_names_are_numbered(self, tmp_path):
        made = [run_folder.create_run(tmp_path, None, "ham-rf", written).name for _ in range(3)]
        assert made == ["ham-rf", "ham-rf-2", "ham-rf-3"]

    def test_a_gap_in_the_numbers_is_filled(self, tmp_path):
        for _ in range(3):
            run_folder.create_run(tmp_path, None, "ham-rf", written)
        os.rename(tmp_path / "ham-rf-2", tmp_path / "kept")
        assert run_folder.create_run(tmp_path, None, "ham-rf", written).name == "ham-rf-2"

    @pytest.mark.parametrize(
        ("default", "name"),
        [("Synthetic Demo-rf", "synthetic-demo-rf"), ("../../etc", "etc"), ("良性", "run"), ("..", "run")],
    )
    def test_default_names_are_plain_folder_names(self, tmp_path, default, name):
        path = run_folder.create_run(tmp_path, None, default, written)
        assert path == tmp_path / name

    def test_a_default_name_that_is_too_long_is_shortened_but_keeps_its_end(self, tmp_path):
        made = [run_folder.create_run(tmp_path, None, f"{'n' * 300}-rf", written).name for _ in range(2)]
        assert all(len(name) < 90 and "-rf" in name for name in made) and made[1] == f"{made[0]}-2"
        long = run_folder.check_name(tmp_path, f"{'x' * 59}-{'x' * 20}")
        assert run_folder.first_free(tmp_path, "x" * 300).name == long.name

    def test_every_file_is_sealed_last(self, tmp_path):
        path = run_folder.create_run(tmp_path, "first", "default", written)
        assert json.loads((path / "digests.json").read_text())["files"].keys() == {"config.json"}
        assert open_run(path).json("config.json")["name"] == "first"

    def test_a_document_that_its_schema_does_not_know_is_not_written(self, tmp_path):
        with pytest.raises(ValueError, match="config.json: lacks dataset"):
            run_folder.write_json(tmp_path, "config.json", {k: v for k, v in CONFIG.items() if k != "dataset"})
        assert names(tmp_path) == []

    def test_a_taken_name_is_refused_and_what_has_it_is_left_alone(self, tmp_path):
        path = run_folder.create_run(tmp_path, "first", "default", written)
        (path / "mine").write_text("kept")
        with pytest.raises(UserError, match="already") as caught:
            run_folder.create_run(tmp_path, "first", "default", written)
        assert caught.value.exit_code == 2
        assert (path / "mine").read_text() == "kept" and names(tmp_path) == ["first"]

    def test_runs_that_end_at_once_under_one_name_are_all_kept_and_told(self, tmp_path):
        several = multiprocessing.get_context("spawn")
        barrier, told = several.Barrier(4), several.Queue()
        processes = [several.Process(target=end_at_once, args=(tmp_path, n, barrier, told)) for n in range(4)]
        for process in processes:
            process.start()
        said = [told.get(timeout=60) for _ in processes]
        for process in processes:
            process.join(60)
        assert names(tmp_path) == ["same", "same-2", "same-3", "same-4"]
        assert {(tmp_path / name / "mine").read_text() for name in names(tmp_path)} == set("0123")
        assert all(run_folder.read_json(tmp_path / name, "config.json")["name"] == name for name in names(tmp_path))
        assert sorted(map(len, said)) == [0, 1, 1, 1], "who got another name is told"

    def test_an_empty_folder_that_another_process_has_just_made_is_not_taken(self, tmp_path):
        def taken(folder: Path) -> None:
            written(folder)
            (tmp_path / "first").mkdir()

        assert run_folder.create_run(tmp_path, "first", "default", taken).name == "first-2"
        assert names(tmp_path / "first") == []

    @pytest.mark.parametrize(
        "name", ["../up", "a/b", ".hidden", "-flag", "", " ", "a b", "x" * 101, "a\n", "..", "良性"]
    )
    def test_a_name_that_is_no_plain_folder_name_is_refused(self, tmp_path, name):
        with pytest.raises(UserError, match="cannot be used") as caught:
            run_folder.check_name(tmp_path, name)
        assert caught.value.exit_code == 2

    @pytest.mark.parametrize("name", ["a", "Run_1.2-b", "2024"])
    def test_plain_names_are_accepted(self, tmp_path, name):
        assert run_folder.check_name(tmp_path, name) == tmp_path / name

    def test_a_file_where_runs_should_go_is_told_in_one_line(self, tmp_path):
        (tmp_path / "runs").write_text("a file")
        with pytest.raises(UserError, match="runs.*a file"):
            run_folder.create_run(tmp_path / "runs", "first", "default", written)


class TestFinding:
    def test_a_run_is_found_by_name_and_by_folder(self, tmp_path):
        path = run_folder.create_run(tmp_path, "first", "default", written)
        assert run_folder.find_run(tmp_path, "first") == path
        assert run_folder.find_run(tmp_path / "elsewhere", str(path)) == path

    def test_a_run_whose_configuration_is_gone_is_found_and_then_refused_for_that(self, tmp_path):
        path = run_folder.create_run(tmp_path, "first", "default", written)
        (path / "config.json").unlink()
        with pytest.raises(UserError, match="holds no config.json"):
            open_run(run_folder.find_run(tmp_path, "first"))

    def test_an_unknown_run_is_refused_with_those_that_there_are(self, tmp_path):
        for name in ("first", "second"):
            run_folder.create_run(tmp_path, name, "default", written)
        with pytest.raises(UserError, match="no run 'third'.*first, second"):
            run_folder.find_run(tmp_path, "third")

    def test_without_any_run_the_command_to_make_one_is_named(self, tmp_path):
        with pytest.raises(UserError, match="there are no runs.*cli.py fit"):
            run_folder.find_run(tmp_path / "absent", "third")


class TestJson:
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), np.nan])
    def test_no_nan_or_infinity_is_written(self, tmp_path, value):
        with pytest.raises(ValueError, match="not JSON compliant"):
            run_folder.write_json(tmp_path, "metrics.json", {"schema": SCHEMA, "accuracy": value})

    def test_another_schema_is_told(self, tmp_path):
        (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "schema": 99}))
        with pytest.raises(UserError, match=f"has schema 99, but this version reads schema {SCHEMA}.*fit' again"):
            run_folder.read_json(tmp_path, "config.json")

    @pytest.mark.parametrize("text", ["", "{", '{"schema": 1', "\x00\x01", "[1, 2]", "3", "null"])
    def test_a_damaged_file_is_told_in_one_line(self, tmp_path, text):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match="config.json") as caught:
            run_folder.read_json(tmp_path, "config.json")
        assert "\n" not in str(caught.value)

    def test_bytes_that_are_no_text_are_told(self, tmp_path):
        (tmp_path / "config.json").write_bytes(b"\xff\xfe\xfa")
        with pytest.raises(UserError, match="config.json"):
            run_folder.read_json(tmp_path, "config.json")

    def test_a_missing_file_is_told(self, tmp_path):
        with pytest.raises(UserError, match="metrics.json"):
            run_folder.read_json(tmp_path, "metrics.json")

    def test_tables_come_back_as_they_were(self, tmp_path):
        table = pd.DataFrame({"id": ["a", "b"], "class": [None, "mel"], "value": [1.5, np.nan]})
        run_folder.write_table(tmp_path, "t.parquet", table)
        back = pd.read_parquet(tmp_path / "t.parquet")
        assert list(back) == list(table) and back["value"].tolist()[0] == 1.5 and back["class"].isna().tolist()[0]


class Touches:
    """Leaves a file behind when it is unpickled, or its state is set."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return _touch, (self.path,)

    def __setstate__(self, state):
        _touch(state["path"])


class Stranger(LogisticRegression):
    """A type that no run has."""

    def __setstate__(self, state):
        _touch(state["proof"])


def _touch(path: str) -> None:
    Path(path).write_text("code was executed")


def harmless(X):
    return X


@pytest.fixture(scope="module")
def model_bytes(tmp_path_factory) -> bytes:
    """A model.skops as `fit` writes it."""
    folder = tmp_path_factory.mktemp("model")
    run_folder.save_model(folder, evidence_of(problem(folds=2)).model)
    return (folder / run_folder.MODEL).read_bytes()


class TestModel:
    def test_a_run_s_own_model_is_loaded(self, tmp_path, model_bytes):
        (tmp_path / run_folder.MODEL).write_bytes(model_bytes)
        given = problem(folds=2)
        assert run_folder.load_model(tmp_path).predict(given.table.X).shape == given.truth.shape

    def test_a_missing_model_is_told(self, tmp_path):
        refused(tmp_path)

    def test_a_pickle_with_the_models_name_is_refused_and_not_executed(self, tmp_path):
        proof = tmp_path / "proof"
        (tmp_path / run_folder.MODEL).write_bytes(pickle.dumps(Touches(str(proof))))
        refused(tmp_path)
        assert not proof.exists()

    def test_a_type_that_no_run_has_is_refused_by_name_and_not_made(self, tmp_path):
        proof = tmp_path / "proof"
        stranger = Stranger()
        stranger.proof = str(proof)
        run_folder.save_model(tmp_path, stranger)
        assert "tests.pipelines.runs.test_run_folder.Stranger" in refused(tmp_path)
        assert not proof.exists()

    def test_a_strange_type_deep_inside_a_known_one_is_refused(self, tmp_path):
        model = evidence_of(problem(folds=2)).model
        stranger = Stranger()
        stranger.proof = str(tmp_path / "proof")
        model.whole.pipeline.steps[-1] = ("model", stranger)
        run_folder.save_model(tmp_path, model)
        assert "Stranger" in refused(tmp_path) and not (tmp_path / "proof").exists()

    def test_a_function_is_refused(self, tmp_path):
        run_folder.save_model(tmp_path, FunctionTransformer(harmless))
        assert "tests.pipelines.runs.test_run_folder.harmless" in refused(tmp_path)

    @pytest.mark.parametrize("name", ["os.system", "builtins.eval", "subprocess.Popen", "posix.system"])
    def test_a_schema_that_names_another_function_is_refused(self, tmp_path, model_bytes, name):
        module, _, function = name.rpartition(".")
        own = re.compile(r'"anova_f",(\s*)"__module__": "dermfuse.pipelines.model.anova"')

        def changed(schema: str) -> str:
            assert own.search(schema)
            return own.sub(f'"{function}", "__module__": "{module}"', schema)

        (tmp_path / run_folder.MODEL).write_bytes(with_schema(model_bytes, changed))
        assert name in refused(tmp_path)

    @pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.99])
    def test_a_truncated_model_is_refused(self, tmp_path, model_bytes, share):
        (tmp_path / run_folder.MODEL).write_bytes(model_bytes[: int(share * len(model_bytes))])
        refused(tmp_path)

    def test_a_model_with_a_flipped_byte_is_refused_or_loads_as_it_was(self, tmp_path, model_bytes):
        rng = np.random.default_rng(0)
        for place in rng.choice(len(model_bytes), 30, replace=False):
            damaged = bytearray(model_bytes)
            damaged[place] ^= 0xFF
            (tmp_path / run_folder.MODEL).write_bytes(damaged)
            try:
                run_folder.load_model(tmp_path)
            except UserError as error:
                assert "\n" not in str(error)

    def test_a_file_whose_reading_fails_without_a_word_is_refused(self, tmp_path):
        path = tmp_path / run_folder.MODEL
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("schema.json", "{}")
        damaged = bytearray(path.read_bytes())
        sizes = damaged.rindex(b"PK\x01\x02") + 20
        damaged[sizes : sizes + 8] = 2 * (10_000).to_bytes(4, "little")
        path.write_bytes(damaged)
        assert "EOFError" in refused(tmp_path)

    @pytest.mark.parametrize("content", [{}, [], {"schema.json": "{}"}, {"schema.json": "[]"}, {"other": "x"}])
    def test_a_zip_file_that_is_no_model_is_refused(self, tmp_path, content):
        with zipfile.ZipFile(tmp_path / run_folder.MODEL, "w") as file:
            for name in content:
                file.writestr(name, content[name])
        refused(tmp_path)

    def test_a_model_that_lacks_an_array_is_refused(self, tmp_path, model_bytes):
        (tmp_path / run_folder.MODEL).write_bytes(with_schema(model_bytes, lambda schema: schema, drop=".npy"))
        refused(tmp_path)

    def test_no_kept_type_is_a_bare_function_of_the_system(self):
        for name in modelfile.TRUSTED:
            assert name.split(".")[0] in {"dermfuse", "sklearn", "imblearn", "xgboost", "numpy"}, name


def with_schema(model: bytes, change, drop: str | None = None) -> bytes:
    """The same file with its schema changed, and without the members whose names end in `drop`."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(model)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            if name == "schema.json":
                new.writestr(name, change(old.read(name).decode()))
            elif drop is None or not name.endswith(drop):
                new.writestr(name, old.read(name))
    return out.getvalue()


class TestRoom:
    def test_runs_without_room_are_refused_and_no_folder_is_made(self, tmp_path, monkeypatch):
        usage = type("usage", (), {"total": 10**9, "free": 3_000_000})
        monkeypatch.setattr("dermfuse.cache.atomic.shutil.disk_usage", lambda folder: usage)
        run_folder.check_space(tmp_path / "one", rows=100)
        for rows, count, said in ((100, 3, "3 runs: at least 3.2 MB"), (10_000, 1, "a run: at least 3.0 MB")):
            with pytest.raises(UserError, match=f"no room for {said} are needed, 3.0 MB are free in .*another disk"):
                run_folder.check_space(tmp_path / "none", rows, count)
        assert not any(tmp_path.iterdir())


class TestPlace:
    """Whether a run could be written is tried before the work, and leaves nothing."""

    def test_a_folder_that_is_not_there_is_not_made(self, tmp_path):
        check_place(tmp_path / "a" / "runs", "name")
        assert list(tmp_path.iterdir()) == []

    def test_a_file_in_the_way_is_told(self, tmp_path):
        (tmp_path / "runs").write_text("")
        for runs in (tmp_path / "runs", tmp_path / "runs" / "below"):
            with pytest.raises(UserError, match="cannot write .* a part of this path is a file"):
                check_place(runs)
        assert (tmp_path / "runs").read_text() == ""

    def test_one_that_may_not_be_written_to_is_told(self, tmp_path, monkeypatch):
        def refuses(self, *_arguments, **_more):
            raise PermissionError(errno.EACCES, "Permission denied", str(self))

        monkeypatch.setattr(Path, "mkdir", refuses)
        with pytest.raises(UserError, match="cannot write runs in .*: Permission denied"):
            check_place(tmp_path / "runs")

    @pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 101])
    def test_a_name_that_cannot_be_used(self, tmp_path, name):
        with pytest.raises(UserError, match="cannot be used"):
            check_place(tmp_path, name)
