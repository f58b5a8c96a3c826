"""From Python the same comes out as from the command line: runs, predictions, audits and comparisons."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import dermfuse
from dermfuse.cache.errors import UserError
from tests.commands import run as command


@pytest.fixture(scope="module")
def data(place):
    return dermfuse.load_dataset(place / "data", quiet=True)


@pytest.fixture(scope="module")
def first(place) -> dermfuse.Run:
    """The run that the command line made."""
    return dermfuse.Run(place / "runs" / "first", cache=place / "cache")


@pytest.fixture(scope="module")
def again(place, data) -> dermfuse.Run:
    """The same, made from Python."""
    where = {"cache": place / "cache", "runs": place / "runs"}
    return dermfuse.evaluate(data, "logreg", name="again", explain=False, quiet=True, **where)


def test_the_metrics_are_the_commands(first, again):
    assert again.metrics == first.metrics
    pd.testing.assert_frame_equal(again.predictions, first.predictions)
    same = set(first.config) - {"name", "created"}
    assert {name: again.config[name] for name in same} == {name: first.config[name] for name in same}
    assert again.report() == again.folder / "report.html" and again.report().is_file()


def test_a_classifier_with_parameters_is_what_the_command_makes_of_the_flags(place, data):
    where = {"cache": place / "cache", "runs": place / "runs"}
    flags = ["--data", place / "data", "--cache", place / "cache", "--runs", place / "runs", "--quiet", "--no-explain"]
    wanted = ["--model", "logreg", "--folds", 3, "--balance", "none", "--no-images", "--seed", 5, "--name", "flags"]
    assert command("fit", *flags, *wanted)[0] == 0
    model = dermfuse.FusionClassifier("logreg", folds=3, random_state=5)
    run = dermfuse.evaluate(
        place / "data", model, use_images=False, explain=False, balance="none", quiet=True, name="python", **where
    )
    flagged = dermfuse.Run(place / "runs" / "flags")
    assert run.metrics == flagged.metrics and run.config["commands"] == flagged.config["commands"]
    assert model.balance == "smote"


def test_what_a_run_folder_cannot_keep_is_refused(data, place):
    with pytest.raises(UserError, match="holds the zoo's alone"):
        dermfuse.evaluate(data, dermfuse.FusionClassifier(LogisticRegression()), runs=place / "runs")
    with pytest.raises(TypeError, match="has no parameter 'seed'"):
        dermfuse.evaluate(data, seed=1)
    with pytest.raises(UserError, match="unknown feature 'resnet'"):
        dermfuse.evaluate(data, features="resnet")


def test_predictions_are_the_commands(first, place, data, capsys):
    images = data.rows["path"].tolist()[:6]
    table = place / "data" / "metadata.csv"
    where = ["--cache", place / "cache", "--runs", place / "runs", "--quiet"]
    code, out, _ = command("predict", "first", *images, "--metadata", table, *where, "--json", capture=capsys)
    expected = [json.loads(line) for line in out.splitlines()]
    assert len(expected) == len(images)
    for found in (first.predict(images, table, quiet=True), first.predict(data.X[:6], quiet=True)):
        probabilities = found[[f"p_{name}" for name in first.classes]].to_numpy(float)
        assert np.array_equal(
            probabilities,
            [[*row.get("probabilities", {}).values()] or [np.nan] * 7 for row in expected],
            equal_nan=True,
        )
        for name in ("image", "decision", "balanced_decision", "answered_by", "seen_in"):
            assert found[name].fillna("").tolist() == [row.get(name) or "" for row in expected]
        assert found.index.tolist() in (list(range(len(images))), data.X.index[: len(images)].tolist())
        assert found["imputed"].tolist() == [row.get("imputed", []) for row in expected]


def test_images_may_be_a_folder_and_metadata_a_frame(first, place, data):
    whole = first.predict(place / "data", quiet=True)
    assert len(whole) > 70 and whole["error"].notna().sum() == 3
    fields = data.rows[["id", "age", "sex", "localization"]].rename(columns={"id": "image_id"})
    paths = data.rows["path"].tolist()[:4]
    by_column = first.predict(paths, fields, quiet=True)
    by_index = first.predict(paths, fields.set_index("image_id"), quiet=True)
    pd.testing.assert_frame_equal(by_column, by_index)
    assert (by_column["imputed"].map(len) < 3).all()
    nothing = first.predict(paths, quiet=True)
    assert set(nothing["answered_by"]) == {"no fields"}


def test_images_and_metadata_that_cannot_be_meant_are_refused(first, data, place):
    with pytest.raises(UserError, match="nothing to predict"):
        first.predict([])
    with pytest.raises(UserError, match="no column 'path'"):
        first.predict(data.rows[["age"]])
    with pytest.raises(UserError, match="Leave metadata out"):
        first.predict(data.X[:1], data.rows)
    with pytest.raises(UserError, match="localization"):
        first.predict(data.rows["path"].tolist()[:1], data.rows[["age", "sex"]], quiet=True)


def test_a_run_is_opened_through_the_one_door(first, tmp_path):
    with pytest.raises(UserError, match="no such run folder"):
        dermfuse.Run(tmp_path / "absent")
    changed = shutil.copytree(first.folder, tmp_path / "changed")
    text = (changed / "metrics.json").read_text(encoding="utf-8")
    (changed / "metrics.json").write_text(text + " ", encoding="utf-8")
    with pytest.raises(UserError, match="metrics.json"):
        dermfuse.Run(changed)
    assert dermfuse.Run(changed, trust=True).metrics == first.metrics


def test_a_run_shows_its_headline_figures_and_hides_nothing_in_them(first):
    html = first._repr_html_()
    value = first.metrics["out_of_fold"]["accuracy"]
    assert f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})" in html
    assert f"{first.metrics['majority']['out_of_fold']:.3f}" in html and "always" in html
    assert "Research software; not for clinical use." in html
    assert repr(first) == f"Run({str(first.folder)!r})"


def test_the_audit_is_the_commands(place, data, capsys):
    shared = ["--data", place / "data", "--cache", place / "cache", "--quiet"]
    _, out, _ = command("audit", *shared, "--json", capture=capsys)
    found = dermfuse.audit(data, cache=place / "cache", quiet=True)
    assert found.as_json() == json.loads(out)
    frame = found.to_frame()
    assert frame["code"].tolist() == [check["code"] for check in json.loads(out)["checks"]]
    assert list(found.rows()) == ["check", "severity", "id", "group", "what"]
    html = found._repr_html_()
    assert all(check.code in html for check in found.checks)


def test_the_comparison_is_the_commands(place, first, again, capsys, tmp_path):
    where = ["--runs", place / "runs", "--out", tmp_path / "page.html", "--quiet", "--json"]
    _, out, _ = command("compare", "first", "again", *where, capture=capsys)
    expected = json.loads(out)
    found = dermfuse.compare([first, again.folder], quiet=True)
    varying = {"created", "report"}
    assert {k: v for k, v in found.document.items() if k not in varying} == {
        k: v for k, v in expected.items() if k not in varying
    }
    frame = found.to_frame()
    assert len(frame) == 2 * len(expected["metrics"]) and (frame["difference"] == 0).all()
    assert frame.loc[0, "value_run"] == first.metrics["out_of_fold"]["macro_auc"]["value"]
    assert found.write(tmp_path / "mine.html").is_file() and found.answers[0] in found._repr_html_().replace(
        "&#39;", "'"
    )
    with pytest.raises(UserError, match="Expected a list of two or more"):
        dermfuse.compare(first)
