"""Prediction sets hold the true class as often as stated, by class and with groups, and refuse what they cannot."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from mapie.conformity_scores import LACConformityScore
from scipy.special import softmax
from scipy.stats import binom
from sklearn.base import BaseEstimator, ClassifierMixin

from dermfuse.pipelines.evaluation import sets
from dermfuse.pipelines.evaluation.sets import groups_needed, in_sets, prediction_sets, threshold

SHARES = (0.7, 0.2, 0.1)
NAMES = ["nv", "bkl", "mel"]


def drawn(groups: int, seed: int, most: int = 1, folds: int = 5, slope: float = 2.0):
    """Truth, overconfident probabilities, fold (a fifth is -1) and group: rows of one group resemble each other.

    Larger groups are harder, so that rows drawn without regard to groups would give other thresholds.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, most + 1, groups)
    owner = np.repeat(np.arange(groups), sizes)
    truth = rng.choice(len(SHARES), groups, p=SHARES)[owner]
    score = rng.normal(size=(groups, len(SHARES)))[owner] + 0.3 * rng.normal(size=(len(owner), len(SHARES)))
    score[np.arange(len(owner)), truth] += 2.8 - 0.4 * sizes[owner]
    fold = rng.integers(-1, folds, groups)[owner]
    return truth, softmax(slope * score + np.log(SHARES), axis=1), fold, owner


def made(*arguments, **options) -> dict:
    return prediction_sets(*arguments, NAMES, 0, **options)


def covered_of_new(thresholds: np.ndarray, seed: int, most: int) -> tuple[float, np.ndarray]:
    """Coverage for one random row of each of many new groups: overall and by class."""
    truth, p, _, owner = drawn(4000, seed, most)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(truth))
    one = order[np.unique(owner[order], return_index=True)[1]]
    hit = in_sets(p[one], thresholds)[np.arange(len(one)), truth[one]]
    return hit.mean(), np.array([hit[truth[one] == k].mean() for k in range(len(SHARES))])


class GivenProbabilities(ClassifierMixin, BaseEstimator):
    """A fitted classifier of three classes whose input is its answer: MAPIE wants one."""

    classes_ = np.arange(3)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict_proba(self, X):
        return X

    def predict(self, X):
        return X.argmax(axis=1)


def mapies(own: np.ndarray, k: int, coverage: float):
    """MAPIE's conformal classifier, and its score, from probabilities (n, 3) that rows of class `k` received."""
    score = LACConformityScore()
    conformal = SplitConformalClassifier(GivenProbabilities(), coverage, score, prefit=True)
    with warnings.catch_warnings():
        # It sees one class alone, which it finds odd.
        warnings.filterwarnings("ignore", message=".*conformalization dataset has less labels.*")
        return conformal.conformalize(own, np.full(len(own), k)), score


class TestCoverage:
    @pytest.mark.slow
    @pytest.mark.parametrize("most", [1, 6])
    @pytest.mark.parametrize("coverage", [0.8, 0.9])
    def test_over_many_draws_new_groups_are_covered_as_stated(self, long, most, coverage):
        # The mean over draws is (ceil((n + 1) c)) / (n + 1), between c and c + 1 / (n + 1).
        draws = 200 if long else 25
        overall, by_class = [], []
        for seed in range(draws):
            told = made(*drawn(300, seed, most), coverage=coverage)
            found = covered_of_new(np.array([row["threshold"] for row in told["by_class"]]), 10_000 + seed, most)
            overall.append(found[0])
            by_class.append(found[1])
        errors = np.std(by_class, axis=0) / np.sqrt(draws)
        fewest = 300 * 0.8 * np.array(SHARES)
        assert np.all(np.mean(by_class, axis=0) > coverage - 4 * errors)
        assert np.all(np.mean(by_class, axis=0) < coverage + 1 / (0.7 * fewest) + 4 * errors)
        assert abs(np.mean(overall) - coverage) < 0.02 + 4 * np.std(overall) / np.sqrt(draws)

    def test_rows_without_regard_to_groups_would_miss(self, monkeypatch):
        # The check of the check: large hard groups weigh too much when every row is used.
        monkeypatch.setattr(sets, "_one_row_a_group", lambda groups, truth, seed: np.ones(len(truth), bool))
        found = []
        for seed in range(25):
            told = made(*drawn(300, seed, 6))
            found.append(covered_of_new(np.array([r["threshold"] for r in told["by_class"]]), 10_000 + seed, 6)[1][0])
        assert abs(np.mean(found) - 0.9) > 0.01

    @pytest.mark.parametrize("most", [1, 6])
    def test_the_measured_coverage_lies_within_its_sampling_error(self, most):
        outside = 0
        for seed in range(20):
            told = made(*drawn(400, seed, most))
            for part in ("out_of_fold", "test"):
                entry = told[part]["coverage"]
                outside += not entry["low"] <= 0.9 <= entry["high"]
        # 40 intervals of 95 %; those of the test split also bear the error of the thresholds.
        assert outside <= binom.ppf(0.999, 40, 0.10)

    def test_overconfident_probabilities_are_covered_too(self):
        told = made(*drawn(3000, 0, slope=8.0))
        assert told["test"]["coverage"]["value"] == pytest.approx(0.9, abs=0.04)

    def test_what_the_groups_gave_is_within_the_told_range(self):
        inside, seen = np.zeros(3), 40
        for seed in range(seen):
            told = made(*drawn(400, seed))
            found = covered_of_new(np.array([row["threshold"] for row in told["by_class"]]), 10_000 + seed, 1)[1]
            inside += [
                row["low"] - 0.01 <= c <= row["high"] + 0.01 for row, c in zip(told["by_class"], found, strict=True)
            ]
        assert np.all(inside >= binom.ppf(0.001, seen, 0.95))


class TestThresholds:
    def test_sets_are_those_of_mapie(self):
        truth, p, fold, groups = drawn(800, 0)
        told = made(truth, p, fold, groups)
        ours = in_sets(p, [row["threshold"] for row in told["by_class"]])
        for k in range(3):
            theirs = mapies(p[(fold >= 0) & (truth == k)], k, 0.9)[0].predict_set(p)[1]
            assert np.array_equal(ours[:, k], theirs[:, k, 0])

    @pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95, 0.99])
    def test_thresholds_are_mapies_to_the_last_bit(self, coverage):
        for n in (*range(groups_needed(coverage), groups_needed(coverage) + 25), 500):
            p = softmax(np.random.default_rng(n).normal(size=(n, 3)), axis=1)
            p[: n // 2] = p[0]  # ties are what forests answer with
            conformal, score = mapies(p, 2, coverage)
            conformal.predict_set(p[:1])
            assert threshold(p[:, 2], coverage) == 1 - float(score.quantiles_[0])

    def test_a_rank_that_arithmetic_leaves_a_little_above_a_whole_number_is_that_number(self):
        assert 100 * 0.55 > 55
        assert threshold(1 - np.arange(1, 100) / 1000, 0.55) == pytest.approx(1 - 0.055)

    def test_too_few_probabilities_are_refused(self):
        with pytest.raises(ValueError, match="90% coverage needs 10 probabilities, got 9"):
            threshold(np.full(9, 0.5), 0.9)

    @pytest.mark.parametrize("odd", [np.nan, -0.1, 1.1, np.inf])
    def test_what_is_no_probability_is_refused_by_name(self, odd):
        with pytest.raises(ValueError, match=f"{odd} is no probability"):
            threshold(np.r_[np.full(20, 0.5), odd], 0.9)

    def test_a_threshold_is_the_order_statistic_of_the_theory(self):
        truth, p, fold, groups = drawn(800, 1)
        told = made(truth, p, fold, groups)
        for k, row in enumerate(told["by_class"]):
            own = np.sort(p[(fold >= 0) & (truth == k), k])[::-1]
            assert row["groups"] == len(own)
            assert row["threshold"] == pytest.approx(own[int(np.ceil(round((len(own) + 1) * 0.9, 6))) - 1])

    def test_no_row_of_a_fold_has_a_say_in_its_own_thresholds(self):
        truth, p, fold, groups = drawn(600, 2)
        before = made(truth, p, fold, groups)
        spoilt = p.copy()
        # What fold 0 is answered changes its own rows' coverage by its own answers alone: none is covered.
        rows = fold == 0
        spoilt[rows] = np.where(np.eye(3)[truth[rows]] > 0, 0.0, 0.5)
        after = made(truth, spoilt, fold, groups)
        lost = before["out_of_fold"]["coverage"]["value"] - after["out_of_fold"]["coverage"]["value"]
        share = rows.sum() / (fold >= 0).sum()
        assert after["out_of_fold"]["coverage"]["value"] >= 1 - share - 1e-9
        assert lost < share

    def test_test_rows_have_no_say_at_all(self):
        truth, p, fold, groups = drawn(600, 3)
        spoilt = p.copy()
        spoilt[fold < 0] = 1 / 3
        before, after = made(truth, p, fold, groups), made(truth, spoilt, fold, groups)
        assert before["by_class"] == after["by_class"]
        assert before["out_of_fold"] == after["out_of_fold"]
        assert before["test"] != after["test"]

    def test_a_probability_at_the_threshold_is_in(self):
        assert in_sets([[0.3, 0.7]], [0.3, 0.70001]).tolist() == [[True, False]]

    def test_a_set_may_be_empty(self):
        assert not in_sets([[0.3, 0.3, 0.4]], [0.5, 0.5, 0.5]).any()


class TestGroups:
    def test_a_repeated_row_changes_nothing(self):
        truth, p, fold, groups = drawn(500, 4)
        again = np.repeat(np.arange(len(truth)), np.random.default_rng(0).integers(1, 5, len(truth)))
        once, often = made(truth, p, fold, groups), made(truth[again], p[again], fold[again], groups[again])
        assert once["by_class"] == often["by_class"]
        assert once["test"]["coverage"]["value"] == pytest.approx(often["test"]["coverage"]["value"])
        assert once["test"]["sizes"] == pytest.approx(often["test"]["sizes"])
        assert often["test"]["images"] > once["test"]["images"]

    def test_one_row_is_drawn_of_each_group_and_class(self):
        groups = np.array(["a", "a", "a", "b", "b", "c"])
        truth = np.array([0, 0, 1, 1, 1, 0])
        chosen = [sets._one_row_a_group(groups, truth, seed) for seed in range(30)]
        for rows in chosen:
            assert rows[:2].sum() == 1 and rows[2] and rows[3:5].sum() == 1 and rows[5]
        assert len({rows.tobytes() for rows in chosen}) == 4

    def test_the_same_seed_gives_the_same_file(self):
        given = drawn(400, 5, most=4)
        assert made(*given) == made(*given)
        assert prediction_sets(*given, NAMES, 1)["by_class"] != made(*given)["by_class"]


class TestRefusals:
    def rare(self, n: int):
        """Mel has `n` groups, evenly over five folds; the others have plenty."""
        truth = np.r_[np.repeat([0, 1], 200), np.full(n, 2)]
        fold = np.r_[np.arange(400) % 6 - 1, np.arange(n) % 5]
        p = softmax(np.random.default_rng(0).normal(size=(len(truth), 3)) + 2 * np.eye(3)[truth], axis=1)
        return truth, p, fold, np.arange(len(truth))

    def test_a_class_of_too_few_groups_is_always_in_and_told(self):
        given = self.rare(11)
        told = made(*given)
        (refused,) = told["refused"]
        assert refused["class"] == "mel" and refused["groups"] == 8 and refused["needed"] == 10
        assert "every set holds this class" in refused["reason"]
        assert told["by_class"][2]["threshold"] == 0.0
        assert told["out_of_fold"]["per_class"][2]["coverage"]["value"] == 1.0
        assert told["out_of_fold"]["sizes"][0] == 0.0

    def test_a_class_with_just_enough_outside_every_fold_is_not_refused(self):
        told = made(*self.rare(13))
        assert told["refused"] == [] and told["by_class"][2]["threshold"] > 0

    def test_copies_of_one_lesion_are_not_many_groups(self):
        truth, p, fold, groups = self.rare(11)
        again = np.r_[np.arange(400), np.repeat(np.arange(400, 411), 10)]
        assert len(made(truth[again], p[again], fold[again], groups[again])["refused"]) == 1

    def test_no_class_with_groups_enough_means_no_sets_and_a_reason(self):
        told = made(*drawn(18, 0))
        assert "no class has 10 groups" in told["reason"]
        assert "by_class" not in told
        json.dumps(told, allow_nan=False)

    @pytest.mark.parametrize(("coverage", "needed"), [(0.5, 2), (0.8, 5), (0.9, 10), (0.95, 20), (0.99, 100)])
    def test_as_many_groups_are_needed_as_mapie_asks_for(self, coverage, needed):
        assert groups_needed(coverage) == needed
        p = softmax(np.random.default_rng(0).normal(size=(needed, 3)), axis=1)
        mapies(p, 0, coverage)[0].predict_set(p)
        with pytest.raises(ValueError, match="Number of samples of the score is too low"):
            mapies(p[1:], 0, coverage)[0].predict_set(p)

    @pytest.mark.parametrize("coverage", [0.49, 1.0, -1, 90])
    def test_a_coverage_out_of_range_is_refused(self, coverage):
        with pytest.raises(ValueError, match="expected at least 0.5 and below 1"):
            made(*drawn(100, 0), coverage=coverage)


class TestContent:
    def test_it_is_json_without_nan_and_without_ids(self):
        truth, p, fold, groups = drawn(300, 0)
        text = json.dumps(made(truth, p, fold, np.array([f"lesion{g:05d}" for g in groups])), allow_nan=False)
        assert "lesion" not in text

    def test_sizes_are_shares_and_agree_with_the_mean(self):
        for part in ("out_of_fold", "test"):
            told = made(*drawn(500, 0, most=3))[part]
            assert sum(told["sizes"]) == pytest.approx(1)
            assert np.dot(told["sizes"], range(4)) == pytest.approx(told["mean_size"])

    def test_a_class_without_test_rows_and_a_run_without_test_rows_are_undefined_not_errors(self):
        truth, p, fold, groups = drawn(400, 0)
        keep = (fold >= 0) | (truth != 2)
        told = made(truth[keep], p[keep], fold[keep], groups[keep])
        assert told["test"]["per_class"][2]["coverage"] == {"value": None, "low": None, "high": None}
        keep = fold >= 0
        told = made(truth[keep], p[keep], fold[keep], groups[keep])
        assert told["test"]["groups"] == 0 and told["test"]["mean_size"] is None

    def test_it_warns_of_nothing(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            made(*drawn(300, 0))
