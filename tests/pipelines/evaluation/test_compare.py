"""Comparing runs: differences of paired rows, what their p values promise, and which runs are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dermfuse.cache.errors import UserError
from dermfuse.features.console import Console
from dermfuse.pipelines.evaluation import compare
from dermfuse.pipelines.evaluation.compare import (
    ScoredRun,
    check_same_rows,
    pairs_of,
    read_all,
    resampled_values,
)
from dermfuse.pipelines.statistics import bootstrap, paired
from dermfuse.pipelines.statistics.paired import corrected_t, difference, holm, verdict
from dermfuse.pipelines.workflows.compare import compare_runs
from tests.reports.runs import Variant, trust_all, write

QUIET = Console(quiet=True)
BINARY = ("benign", "malignant")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Enough to tell a strong effect from none; and runs made and changed by hand, as digests are tested elsewhere."""
    trust_all(monkeypatch)
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)
    monkeypatch.setattr(compare, "LEAST_ROUNDS", 2)


def folder(place: Path, name: str, **fields) -> Path:
    """A run folder of 300 images; those made with the same seed share rows and folds."""
    path = write(place / name, Variant(**{"name": name, "images": 300, "metadata": False, **fields}))
    return path.rename(place / f"run-{name}")


@pytest.fixture
def weak_and_strong(tmp_path) -> list[Path]:
    """Two runs of the same rows, the second much better."""
    return [folder(tmp_path, "weak", skill=0.5), folder(tmp_path, "strong", skill=6.0)]


def change(path: Path, **columns) -> None:
    """Rewrite columns of a run's predictions: each is given the column and returns another."""
    table = pd.read_parquet(path / "predictions.parquet")
    for name, of in columns.items():
        table[name] = of(table[name])
    table.to_parquet(path / "predictions.parquet")


# ---- the statistics by themselves


def test_a_difference_has_the_percentiles_of_its_resamples_and_a_p_value_that_is_never_zero():
    drawn = np.linspace(-0.1, 0.3, 401)
    found = difference(np.zeros(402), np.r_[0.1, drawn])
    assert (found["first"], found["second"], found["difference"]) == (0.0, 0.1, 0.1)
    assert found["low"] == pytest.approx(-0.09)
    assert found["high"] == pytest.approx(0.29)
    # 101 of 401 resamples are at or below zero, itself among them.
    assert found["p"] == pytest.approx(2 * 102 / 402)
    assert difference(np.zeros(1000), np.ones(1000))["p"] == pytest.approx(2 / 1000)


def test_runs_that_agree_in_every_resample_do_not_differ():
    found = difference(np.full(100, 0.7), np.full(100, 0.7))
    assert (found["difference"], found["low"], found["high"], found["p"]) == (0.0, 0.0, 0.0, 1.0)


def test_resamples_in_which_a_metric_is_not_defined_are_left_out():
    found = difference(np.zeros(5), np.array([0.2, 0.1, np.nan, 0.3, np.nan]))
    assert found["p"] == pytest.approx(2 / 3)
    nothing = difference(np.zeros(3), np.array([np.nan, 0.1, 0.2]))
    assert nothing["difference"] is nothing["p"] is nothing["low"] is None


def test_the_corrected_t_is_that_of_nadeau_and_bengio():
    d = np.array([0.02, 0.01, 0.03, 0.00, 0.02])
    t = d.mean() / np.sqrt((1 / 5 + 1 / 4) * d.var(ddof=1))
    assert corrected_t(d, folds=5) == {
        "difference": pytest.approx(0.016),
        "p": pytest.approx(2 * stats.t.sf(t, 4)),
        "folds": 5,
    }


def test_repeats_make_the_corrected_t_sharper_but_not_as_sharp_as_if_they_were_new_data():
    d = np.array([0.02, 0.01, 0.03, 0.00, 0.02])
    once, ten = corrected_t(d, 5)["p"], corrected_t(np.tile(d, 10), 5)["p"]
    plain = stats.ttest_1samp(np.tile(d, 10), 0).pvalue
    assert plain < 1e-6 * ten < ten < once


def test_the_corrected_t_of_no_difference_and_of_too_few_folds():
    assert corrected_t(np.zeros(5), 5)["p"] == 1.0
    assert corrected_t(np.full(5, 0.25), 5)["p"] is None
    by_rounding = np.array([(hits + 1) / 70 - hits / 70 for hits in (30, 35, 40, 45, 50)])
    assert np.ptp(by_rounding) > 0 and corrected_t(by_rounding, 5)["p"] is None
    assert corrected_t(np.array([0.1, np.nan]), 2) == {"difference": 0.1, "p": None, "folds": 1}


def test_the_corrected_t_keeps_its_level_where_folds_are_correlated():
    """Differences of folds that share training rows correlate with n_test / n; the plain t test takes no notice."""
    rng = np.random.default_rng(0)
    folds, draws = 5, 4000
    shared = np.sqrt(1 / folds) * rng.normal(size=(draws, 1))
    d = shared + np.sqrt(1 - 1 / folds) * rng.normal(size=(draws, folds))
    corrected = np.mean([corrected_t(row, folds)["p"] < 0.05 for row in d])
    plain = np.mean(stats.ttest_1samp(d, 0, axis=1).pvalue < 0.05)
    assert 0.04 < corrected < 0.06
    assert plain > 0.10


def test_holm_corrects_what_is_defined_and_leaves_the_rest():
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([None]) == [None]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("metric", "change", "p", "said"),
    [
        ("accuracy", 0.1, 0.01, "better"),
        ("accuracy", -0.1, 0.01, "worse"),
        ("log_loss", -0.1, 0.01, "better"),
        ("brier", 0.1, 0.01, "worse"),
        ("accuracy", 0.1, 0.05, "undecided"),
        ("accuracy", None, None, "undecided"),
    ],
)
def test_a_verdict_needs_a_small_p_value_and_knows_which_way_is_better(metric, change, p, said):
    assert verdict(metric, {"difference": change, "p_holm": p}) == said


# ---- what the bootstrap promises


def two_models(rng: np.random.Generator, signals: tuple[float, float], groups: int) -> list[ScoredRun]:
    """Two models' probabilities of rows in groups, with noise of their own and noise that both share.

    The noise of a row has variance 1, a part of it the group's, so that the AUC is ``Phi(signal / sqrt(2))`` and the
    accuracy of the rule at one half ``Phi(signal / 2)``.
    """
    owner = np.repeat(np.arange(groups), rng.integers(1, 4, groups))
    truth = rng.integers(0, 2, groups)[owner]

    def noise() -> np.ndarray:
        return np.sqrt(0.5) * (rng.normal(size=groups)[owner] + rng.normal(size=len(owner)))

    both = noise()
    scored = []
    for name, signal in zip("ab", signals, strict=True):
        z = signal * truth - signal / 2 + np.sqrt(0.6) * both + np.sqrt(0.4) * noise()
        p = 1 / (1 + np.exp(-z))
        table = pd.DataFrame({"group": owner, "truth": np.array(BINARY)[truth], "p_benign": 1 - p, "p_malignant": p})
        scored.append(ScoredRun(name, Path(), {"dataset": {"classes": list(BINARY)}}, {}, table))
    return scored


def found_in(scored: list[ScoredRun], seed: int, name: str) -> dict:
    rows = np.ones(len(scored[0].predictions), bool)
    values = [resampled_values(one, rows, [name], seed, rounds=1)[name] for one in scored]
    return difference(*values)


@pytest.fixture
def draws(long, monkeypatch) -> int:
    """How many data sets are drawn; with resamples enough for a p value at the level of 5 %."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1000 if long else 300)
    return 1500 if long else 300


@pytest.mark.slow
@pytest.mark.parametrize("name", ["accuracy", "auc"])
def test_two_models_that_are_equally_good_are_told_apart_in_one_of_twenty_cases(draws, name):
    rng = np.random.default_rng(1)
    p = [found_in(two_models(rng, (1.2, 1.2), groups=120), seed, name)["p"] for seed in range(draws)]
    assert 0.02 <= np.mean(np.array(p) < paired.ALPHA) <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize("name", ["accuracy", "auc"])
def test_intervals_hold_a_known_difference_in_nineteen_of_twenty_cases(draws, name):
    rng = np.random.default_rng(2)
    signals = (1.0, 1.6)
    reach = {"accuracy": 0.5, "auc": np.sqrt(0.5)}[name]
    true = float(np.diff(stats.norm.cdf(reach * np.array(signals)))[0])
    found = [found_in(two_models(rng, signals, groups=120), seed, name) for seed in range(draws)]
    assert 0.92 <= np.mean([one["low"] <= true <= one["high"] for one in found]) <= 0.98
    assert np.mean([one["difference"] for one in found]) == pytest.approx(true, abs=0.01)


def test_pairing_makes_the_interval_narrower_than_that_of_two_separate_samples():
    scored = two_models(np.random.default_rng(3), (1.2, 1.2), groups=200)
    rows = np.ones(len(scored[0].predictions), bool)
    together = [resampled_values(one, rows, ["auc"], 0, 2)["auc"] for one in scored]
    apart = [resampled_values(one, rows, ["auc"], seed, 2)["auc"] for seed, one in enumerate(scored)]
    assert np.std(together[1] - together[0]) < 0.9 * np.std(apart[1] - apart[0])


def test_groups_widen_the_interval_of_rows_that_repeat_each_other():
    scored = two_models(np.random.default_rng(4), (1.0, 1.5), groups=150)
    alone = [ScoredRun(s.name, s.folder, s.config, {}, s.predictions.assign(group=range(len(s.truth)))) for s in scored]
    in_groups, by_row = found_in(scored, 0, "auc"), found_in(alone, 0, "auc")
    assert in_groups["high"] - in_groups["low"] > 1.1 * (by_row["high"] - by_row["low"])


# ---- runs


def test_a_better_run_is_found_better_out_of_fold_and_on_the_locked_test_split(weak_and_strong):
    found = compare_runs(weak_and_strong, QUIET)
    (pair,) = found["pairs"]
    assert (pair["first"], pair["second"]) == ("weak", "strong")
    for part in ("out_of_fold", "test"):
        for metric in ("accuracy", "macro_auc"):
            entry = pair["results"][part][metric]
            assert entry["verdict"] == "better"
            assert entry["low"] > 0.05
            assert entry["p"] <= entry["p_holm"] < 0.05
    assert pair["results"]["out_of_fold"]["accuracy"]["t"]["folds"] == 5
    assert pair["results"]["out_of_fold"]["log_loss"]["verdict"] == "better"
    assert pair["results"]["out_of_fold"]["log_loss"]["difference"] < 0
    json.dumps(found, allow_nan=False)


def test_values_are_those_of_the_predictions(weak_and_strong):
    found = compare_runs(weak_and_strong, QUIET)["pairs"][0]["results"]
    for part, split in (("out_of_fold", "train"), ("test", "test")):
        for key, path in zip(("first", "second"), weak_and_strong, strict=True):
            table = pd.read_parquet(path / "predictions.parquet")
            table = table[table["split"] == split]
            assert found[part]["accuracy"][key] == pytest.approx((table["truth"] == table["decision"]).mean())


def test_the_other_way_round_it_is_the_same_with_the_other_sign(weak_and_strong):
    there = compare_runs(weak_and_strong, QUIET)["pairs"][0]["results"]["out_of_fold"]
    back = compare_runs(weak_and_strong[::-1], QUIET)["pairs"][0]["results"]["out_of_fold"]
    for metric, entry in there.items():
        assert back[metric]["difference"] == -entry["difference"]
        assert back[metric]["p"] == entry["p"]
        assert back[metric]["low"] == pytest.approx(-entry["high"])
        assert back[metric]["t"]["p"] == pytest.approx(entry["t"]["p"])


def test_a_copy_of_a_run_does_not_differ_in_whatever_order_its_rows_are(tmp_path):
    runs = [folder(tmp_path, "one"), folder(tmp_path, "two")]
    table = pd.read_parquet(runs[1] / "predictions.parquet")
    table.sample(frac=1, random_state=0).to_parquet(runs[1] / "predictions.parquet")
    results = compare_runs(runs, QUIET)["pairs"][0]["results"]
    for part in results.values():
        for entry in part.values():
            assert (entry["difference"], entry["p"], entry["verdict"]) == (0.0, 1.0, "undecided")
    assert results["out_of_fold"]["accuracy"]["t"]["p"] == 1.0


def test_two_classes_are_compared_by_their_own_metrics(tmp_path):
    binary = {"classes": BINARY, "shares": (0.7, 0.3)}
    runs = [folder(tmp_path, "weak", skill=0.5, **binary), folder(tmp_path, "strong", skill=5.0, **binary)]
    found = compare_runs(runs, QUIET)
    assert found["metrics"][:2] == ["auc", "average_precision"]
    assert found["pairs"][0]["results"]["out_of_fold"]["auc"]["verdict"] == "better"


def test_the_positive_class_is_the_one_that_the_run_names(tmp_path):
    classes = {"classes": BINARY, "shares": (0.7, 0.3)}
    runs = [folder(tmp_path, "weak", skill=0.5, **classes), folder(tmp_path, "strong", skill=2.0, **classes)]
    found = {}
    for positive in BINARY:
        for path in runs:
            document = json.loads((path / "metrics.json").read_text())
            (path / "metrics.json").write_text(json.dumps({**document, "positive": positive}))
        found[positive] = compare_runs(runs, QUIET)["pairs"][0]["results"]["out_of_fold"]
    frequent, rare = (found[name]["average_precision"]["second"] for name in BINARY)
    assert frequent > rare
    assert found["benign"]["auc"]["second"] == pytest.approx(found["malignant"]["auc"]["second"])


def test_holm_is_over_every_pair_and_metric_of_a_table(tmp_path):
    runs = [folder(tmp_path, name, skill=skill) for name, skill in (("a", 1.0), ("b", 3.0), ("c", 1.2))]
    found = compare_runs(runs, QUIET, all_pairs=True)
    assert len(found["pairs"]) == 3
    assert found["method"]["tests"] == 18
    entries = [e for pair in found["pairs"] for e in pair["results"]["out_of_fold"].values()]
    assert [e["p_holm"] for e in entries] == pytest.approx(holm([e["p"] for e in entries]))
    assert [e["t"]["p_holm"] for e in entries] == pytest.approx(holm([e["t"]["p"] for e in entries]))


@pytest.mark.parametrize("tests", [1, 18, 60, 270])
def test_there_are_resamples_enough_for_a_p_value_to_survive_the_correction(tests, monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1000)
    assert tests * 2 / (1 + compare.rounds_for(tests) * 1000) < 0.05


def test_runs_are_compared_with_the_first_unless_all_pairs_are_asked_for(tmp_path):
    runs = read_all([folder(tmp_path, name) for name in "abc"])
    assert [(p.first, p.second) for p in pairs_of(runs)] == [("a", "b"), ("a", "c")]
    assert [(p.first, p.second) for p in pairs_of(runs, True)] == [("a", "b"), ("a", "c"), ("b", "c")]
    with pytest.raises(UserError, match="11 runs make 55 comparisons; at most 45") as error:
        pairs_of([runs[0]] * 11, all_pairs=True)
    assert error.value.exit_code == 2


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    runs = [folder(tmp_path / "old", "rf"), folder(tmp_path / "new", "rf"), folder(tmp_path, "svm")]
    assert [one.name for one in read_all(runs)] == ["old/run-rf", "new/run-rf", "svm"]


def repeats_of(path: Path, seed: int, shift: int = 0) -> None:
    """Give a run two further divisions into folds, with somewhat other probabilities."""
    rng = np.random.default_rng(seed)
    table = pd.read_parquet(path / "predictions.parquet").query("fold >= 0")
    columns = [name for name in table if name.startswith("p_")]
    parts = []
    for repeat in (2, 3):
        noisy = table[columns] + 0.02 * rng.random((len(table), len(columns)))
        part = noisy.assign(repeat=repeat, fold=(table["fold"] + np.arange(len(table)) + shift) % 5, id=table["id"])
        parts.append(part.sample(frac=1, random_state=repeat))
    pd.concat(parts).to_parquet(path / "repeats.parquet", index=False)


def test_repeats_are_used_by_the_corrected_t_where_all_runs_have_the_same(weak_and_strong):
    once = compare_runs(weak_and_strong, QUIET)
    for seed, path in enumerate(weak_and_strong):
        repeats_of(path, seed)
    often = compare_runs(weak_and_strong, QUIET)
    assert (once["method"]["repeats"], often["method"]["repeats"]) == (1, 3)
    for metric in ("accuracy", "macro_auc"):
        before, after = (c["pairs"][0]["results"]["out_of_fold"][metric] for c in (once, often))
        assert after["t"]["folds"] == 15
        assert after["t"]["p"] < before["t"]["p"]
        assert after["p"] == before["p"]
    repeats_of(weak_and_strong[1], 1, shift=1)
    other = compare_runs(weak_and_strong, QUIET)
    assert other["method"]["repeats"] == 1
    assert other["notes"] == ["Repeats of cross-validation are left out of the t tests: not all runs have the same."]


def test_a_table_that_was_changed_between_two_runs_is_told(weak_and_strong):
    for path, fingerprint in zip(weak_and_strong, "xy", strict=True):
        config = json.loads((path / "config.json").read_text())
        config["dataset"]["fingerprint"] = fingerprint
        (path / "config.json").write_text(json.dumps(config))
    assert "some metadata changed" in compare_runs(weak_and_strong, QUIET)["notes"][0]


# ---- what is refused


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"id": lambda c: c.replace(c[0], "strange")}, "2 of 301 rows are in one of them only"),
        ({"truth": lambda c: c.replace("df", "mel")}, "have another true class"),
        ({"group": lambda c: c.where(c != c[0], "strange")}, "have another group"),
        ({"split": lambda c: c.where(c.index != 3, "moved")}, "1 of 300 rows have another place in the locked test"),
        ({"fold": lambda c: c.where(c < 0, (c + 1) % 5)}, "rows have another fold. Fit both with the same --seed"),
    ],
    ids=["ids", "truth", "groups", "split", "folds"],
)
def test_runs_of_other_rows_are_refused_with_how_many_differ(weak_and_strong, columns, said):
    change(weak_and_strong[1], **columns)
    with pytest.raises(UserError) as error:
        compare_runs(weak_and_strong, QUIET)
    assert said in str(error.value)
    assert str(error.value).startswith("runs 'weak' and 'strong' cannot be compared: ")
    assert "\n" not in str(error.value)


def test_runs_of_other_classes_are_refused(tmp_path):
    runs = read_all([folder(tmp_path, "seven"), folder(tmp_path, "two", classes=BINARY, shares=(0.5, 0.5))])
    with pytest.raises(UserError, match="their classes differ"):
        check_same_rows(runs)


def test_one_run_and_a_run_twice_are_refused(weak_and_strong):
    for given, said in (
        (weak_and_strong[:1], "1 run cannot be compared. Give two or more"),
        ([weak_and_strong[0]] * 2, "is given twice"),
    ):
        with pytest.raises(UserError, match=said) as error:
            compare_runs(given, QUIET)
        assert error.value.exit_code == 2


def test_a_run_without_predictions_is_refused_in_one_line(weak_and_strong):
    (weak_and_strong[1] / "predictions.parquet").unlink()
    with pytest.raises(UserError, match=r"cannot read .*predictions.parquet.* Run 'python cli.py fit' again"):
        compare_runs(weak_and_strong, QUIET)


def test_a_table_that_lacks_probabilities_is_refused(weak_and_strong):
    table = pd.read_parquet(weak_and_strong[1] / "predictions.parquet")
    table.drop(columns="p_mel").to_parquet(weak_and_strong[1] / "predictions.parquet")
    with pytest.raises(UserError, match="lacks the columns p_mel"):
        compare_runs(weak_and_strong, QUIET)
