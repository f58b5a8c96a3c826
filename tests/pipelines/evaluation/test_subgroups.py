"""Subgroups are measured as scikit-learn would; real gaps are found, chance is not one, and the few stay hidden."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import binom
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from dermfuse.pipelines.evaluation.subgroups import SMALLEST_CELL, by_subgroup
from dermfuse.pipelines.statistics.contrasts import FEWEST_OF_CLASS, ScoredRows, contrasts

NAMES = ["bkl", "mel", "nv"]


def drawn(groups: int = 600, seed: int = 0, most: int = 2, skill: float = 2.0, worse: float = 0.0):
    """Context, truth, probabilities, groups and fold (a fifth is -1); men are served worse by `worse`."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(groups), rng.integers(1, most + 1, groups))
    truth = rng.choice(3, groups, p=[0.2, 0.2, 0.6])[owner]
    sex = rng.choice(["female", "male"], groups)[owner]
    context = pd.DataFrame({"sex": sex, "age": rng.integers(1, 18, groups)[owner] * 5.0})
    score = rng.normal(size=(groups, 3))[owner] + 0.5 * rng.normal(size=(len(owner), 3))
    score[np.arange(len(owner)), truth] += skill - worse * (sex == "male")
    fold = rng.integers(-1, 4, groups)[owner]
    return context, truth, softmax(score, axis=1), owner, fold


def made(given, malignant=("mel",), seed: int = 0) -> dict:
    return by_subgroup(*given[:4], given[4], NAMES, list(malignant), seed)


def cells_of(told: dict, column: str, split: str = "out_of_fold") -> dict[str, dict]:
    (found,) = [entry for entry in told[split] if entry["column"] == column]
    return {cell["value"]: cell for cell in found["cells"]}


def context_of(values, n: int = 600) -> tuple:
    """A draw whose only column holds `values`, a group a row."""
    given = drawn(n, most=1)
    return pd.DataFrame({"site": values}), *given[1:]


class TestValues:
    def test_figures_are_those_of_scikit_learn(self):
        context, truth, p, groups, fold = given = drawn(900)
        inside = (fold >= 0) & (context["sex"] == "male").to_numpy()
        cell = cells_of(made(given), "sex")["male"]
        assert cell["images"] == inside.sum() and cell["groups"] == len(set(groups[inside]))
        values = {name: entry["value"] for name, entry in cell["metrics"].items()}
        assert values["accuracy"] == pytest.approx(accuracy_score(truth[inside], p[inside].argmax(axis=1)))
        expected = balanced_accuracy_score(truth[inside], p[inside].argmax(axis=1))
        assert values["balanced_accuracy"] == pytest.approx(expected)
        assert values["area"] == pytest.approx(roc_auc_score(truth[inside] == 1, p[inside, 1]))

    def test_a_gap_is_the_cell_less_the_rest(self):
        context, truth, p, _, fold = given = drawn(900)
        band = ((context["age"] >= 50) & (context["age"] < 70)).to_numpy()
        inside, rest = (fold < 0) & band, (fold < 0) & ~band
        area = [roc_auc_score(truth[rows] == 1, p[rows, 1]) for rows in (inside, rest)]
        gap = cells_of(made(given), "age", "test")["50 to 69"]["gaps"]["area"]
        assert gap["value"] == pytest.approx(area[0] - area[1])
        assert gap["low"] < gap["value"] < gap["high"]

    def test_without_malignant_classes_the_area_is_the_mean_over_classes(self):
        context, truth, p, _, fold = given = drawn(900)
        inside = (fold >= 0) & (context["sex"] == "female").to_numpy()
        told = made(given, malignant=())
        expected = roc_auc_score(truth[inside], p[inside] / p[inside].sum(axis=1, keepdims=True), multi_class="ovr")
        assert told["area"] == "macro_auc"
        assert cells_of(told, "sex")["female"]["metrics"]["area"]["value"] == pytest.approx(expected)

    def test_two_classes_have_one_auc(self):
        context, truth, p, groups, fold = drawn(900)
        two = np.column_stack([1 - p[:, 2], p[:, 2]])
        told = by_subgroup(context, (truth == 2).astype(int), two, groups, fold, ["a", "b"], [], 0)
        inside = (fold >= 0) & (context["sex"] == "male").to_numpy()
        assert told["area"] == "auc"
        expected = roc_auc_score(truth[inside] == 2, p[inside, 2])
        assert cells_of(told, "sex")["male"]["metrics"]["area"]["value"] == pytest.approx(expected)

    def test_two_halves_mirror_each_other(self):
        cells = cells_of(made(drawn()), "sex")
        for measure in ("accuracy", "balanced_accuracy", "area"):
            pair = [cells[value]["gaps"][measure]["value"] for value in ("female", "male")]
            assert pair[0] == pytest.approx(-pair[1])

    def test_a_class_that_either_side_holds_too_few_of_is_left_out_on_both(self):
        context, truth, p, groups, fold = drawn(900, most=1)
        men = (context["sex"] == "male").to_numpy()
        keep = ~(men & (truth == 1)) | (np.cumsum(men & (truth == 1)) < FEWEST_OF_CLASS)
        given = context[keep].reset_index(drop=True), truth[keep], p[keep], groups[keep], fold[keep]
        cell = cells_of(made(given), "sex")["female"]
        inside = (given[4] >= 0) & (given[0]["sex"] == "female").to_numpy()
        hit = given[2].argmax(axis=1) == given[1]
        expected = np.mean([hit[inside & (given[1] == k)].mean() for k in (0, 2)])
        assert cell["metrics"]["balanced_accuracy"]["value"] == pytest.approx(expected)
        assert cell["metrics"]["area"] == {"value": None, "low": None, "high": None}
        assert cell["gaps"]["area"]["p_value"] is None and not cell["gaps"]["area"]["told_apart"]


class TestChance:
    @pytest.mark.slow
    def test_without_a_difference_few_runs_tell_any_gap_apart(self, long):
        runs = 100 if long else 10
        false = 0
        for seed in range(runs):
            told = made(drawn(400, seed))
            gaps = [
                g for split in ("out_of_fold",) for c in told[split] for x in c["cells"] for g in x["gaps"].values()
            ]
            false += any(gap["told_apart"] for gap in gaps)
        assert false <= binom.ppf(0.999, runs, 0.05)

    @pytest.mark.slow
    def test_intervals_of_a_gap_hold_the_true_one(self, long):
        runs, held = 100 if long else 12, 0
        for seed in range(runs):
            # Without a difference the true gap is zero, with groups of up to four rows that resemble each other.
            gap = cells_of(made(drawn(400, seed, most=4)), "sex")["male"]["gaps"]["accuracy"]
            held += gap["low"] <= 0 <= gap["high"]
        assert held >= binom.ppf(0.001, runs, 0.95)

    def test_a_real_difference_is_found(self):
        gaps = cells_of(made(drawn(1500, worse=1.2)), "sex")["male"]["gaps"]
        assert all(gap["told_apart"] and gap["high"] < 0 for gap in gaps.values())

    def test_a_few_rows_that_were_all_answered_well_are_no_finding(self):
        context, truth, p, groups, fold = drawn(800, most=1)
        few = np.flatnonzero(fold >= 0)[: SMALLEST_CELL + 2]
        p[few] = np.eye(3)[truth[few]] * 0.98 + 0.01
        site = np.where(np.isin(np.arange(len(truth)), few), "ear", "back")
        given = pd.DataFrame({"site": site}), truth, p, groups, fold
        cell = cells_of(made(given), "site")["ear"]
        rest = cells_of(made(given), "site")["back"]["metrics"]["accuracy"]["value"]
        gap = cell["gaps"]["accuracy"]
        assert cell["metrics"]["accuracy"]["value"] == 1.0
        # As wide as chance makes a share of 22 rows at the rate of the others.
        assert gap["high"] - gap["low"] > 2 * 1.9 * np.sqrt(rest * (1 - rest) / (SMALLEST_CELL + 2)) * 0.7

    def test_a_perfect_ranking_has_no_interval(self):
        n = 200
        truth, part = np.arange(n) % 2, np.arange(n) < 100
        score = np.where(part, truth, np.random.default_rng(0).random(n))[:, None]
        rows = ScoredRows(truth, truth, score, truth[:, None] == 1, np.arange(n))
        (found,) = contrasts(rows, [part], 2, 0)
        assert found.metrics["area"] == {"value": 1.0, "low": None, "high": None}

    def test_p_values_are_holm_s(self):
        # Corrected values never fall below a plain one times the number still open; the smallest is the strictest.
        told = made(drawn(800, worse=0.6))
        gaps = [
            g for c in told["out_of_fold"] for x in c["cells"] for g in x["gaps"].values() if g["p_value"] is not None
        ]
        assert all((gap["p_value"] <= 0.05) == gap["told_apart"] for gap in gaps)
        assert any(gap["p_value"] == 1.0 for gap in gaps)

    def test_copies_of_rows_in_a_group_make_no_interval_narrower(self):
        context, truth, p, groups, fold = given = drawn(500, most=1)
        again = np.repeat(np.arange(len(truth)), 4)
        copied = context.iloc[again].reset_index(drop=True), truth[again], p[again], groups[again], fold[again]
        for told in ("metrics", "gaps"):
            once, often = (cells_of(made(g), "sex")["male"][told]["accuracy"] for g in (given, copied))
            ends = [
                pytest.approx(often[end], abs=0.002) for end in ("low", "high")
            ]  # no more rows than there are count
            assert [once["low"], once["high"]] == ends


class TestCells:
    def test_ages_are_cut_at_fixed_years_and_missing_ones_are_a_cell(self):
        context, *rest = drawn(900, most=1)
        context["age"] = np.resize([29.9, 30.0, 49.9, 50.0, 70.0, np.nan], len(context))
        cells = cells_of(made((context, *rest)), "age")
        assert list(cells) == ["under 30", "30 to 49", "50 to 69", "70 and over", "missing"]
        sizes = [cell["images"] for cell in cells.values()]
        assert sizes[1] > 1.5 * sizes[0] and sum(sizes) == (rest[3] >= 0).sum()

    def test_other_numbers_are_cut_into_thirds_of_the_training_rows(self):
        context, truth, p, groups, fold = drawn(900, most=1)
        size = np.where(fold >= 0, np.arange(len(truth)) % 90 / 10, 1000.0)
        cells = cells_of(made((pd.DataFrame({"diameter": size}), truth, p, groups, fold)), "diameter")
        shares = np.array([cell["groups"] for cell in cells.values()]) / (fold >= 0).sum()
        assert len(cells) == 3 and shares == pytest.approx([1 / 3] * 3, abs=0.03)
        assert list(cells)[0].startswith("below ") and list(cells)[-1].endswith(" and above")

    def test_values_beyond_the_twelve_most_frequent_are_told_together(self):
        shares = np.r_[np.linspace(3, 1, 15)]
        values = np.random.default_rng(0).choice([f"site{i:02d}" for i in range(15)], 2000, p=shares / shares.sum())
        cells = cells_of(made(context_of(values, 2000)), "site")
        assert len(cells) == 13 and list(cells)[-1] == "others"
        counts = [cell["images"] for cell in cells.values()][:-1]
        assert counts == sorted(counts, reverse=True)

    @pytest.mark.parametrize("absent", [None, np.nan, "", "  "])
    def test_missing_values_of_every_kind_are_one_cell(self, absent):
        values = np.resize(np.array(["face", "back", absent], dtype=object), 600)
        cells = cells_of(made(context_of(values)), "site")
        assert set(cells) == {"face", "back", "missing"}

    def test_a_column_of_names_is_left_out_with_the_reason(self):
        told = made(context_of([f"patient{i}" for i in range(600)]))
        assert told["out_of_fold"] == [] and told["left_out"][0]["column"] == "site"
        assert "patient" not in json.dumps(told)

    @pytest.mark.parametrize("value", ["back", None, 3.0])
    def test_a_column_of_one_value_is_left_out_with_the_reason(self, value):
        told = made(context_of([value] * 600))
        assert told["left_out"] == [{"column": "site", "reason": "one value for all images"}]

    def test_no_columns_give_an_empty_file_and_no_error(self):
        told = made((pd.DataFrame(index=range(len(drawn()[1]))), *drawn()[1:]))
        assert told["out_of_fold"] == [] and told["test"] == []

    def test_the_index_of_the_context_does_not_matter(self):
        context, *rest = drawn()
        shuffled = context.set_axis(np.random.default_rng(0).permutation(len(context)), axis=0)
        assert made((shuffled, *rest)) == made((context, *rest))


class TestPrivacy:
    def few(self, n: int, others: tuple[int, ...] = (300, 200)):
        """A site of `n` groups in the training rows beside larger ones."""
        context, truth, p, groups, _ = drawn(n + sum(others), most=1)
        site = np.repeat(["ear", *(f"site{i}" for i in range(len(others)))], [n, *others])
        return pd.DataFrame({"site": site}), truth, p, groups, np.arange(len(truth)) % 5

    def test_a_cell_of_few_groups_says_nothing_but_that_it_is_there(self):
        cell = cells_of(made(self.few(SMALLEST_CELL - 1)), "site")["ear"]
        expected = {"value": "ear", "withheld": True, "images": None, "groups": None, "metrics": {}, "gaps": {}}
        assert cell == expected
        assert not cells_of(made(self.few(SMALLEST_CELL)), "site")["ear"]["withheld"]

    def test_many_rows_of_few_groups_are_few(self):
        context, truth, p, _, fold = self.few(60)
        groups = np.r_[np.arange(60) // 6, 100 + np.arange(500)]
        assert cells_of(made((context, truth, p, groups, fold)), "site")["ear"]["withheld"]

    @pytest.mark.parametrize("n", [1, 7, 13, 19])
    def test_subtraction_does_not_give_the_withheld_number_away(self, n):
        # Whether the others have exactly so many groups or a few more or less, what is told is the same.
        told = [cells_of(made(self.few(n, others)), "site") for others in ((300, 200), (309, 191), (294, 206))]
        shown = [{name: (cell["groups"], cell["images"]) for name, cell in cells.items()} for cells in told]
        assert shown[0] == shown[1] == shown[2]
        assert {size % SMALLEST_CELL for pair in shown[0].values() for size in pair if size is not None} == {0}

    def test_figures_beside_a_withheld_cell_have_three_decimals(self):
        for cell in cells_of(made(self.few(12)), "site").values():
            for entry in (*cell["metrics"].values(), *cell["gaps"].values()):
                values = [entry[name] for name in ("value", "low", "high") if entry[name] is not None]
                assert values == [round(value, 3) for value in values]

    def test_the_only_other_cell_has_no_gap_to_a_withheld_one(self):
        cell = cells_of(made(self.few(12, (300,))), "site")["site0"]
        assert {gap["value"] for gap in cell["gaps"].values()} == {None}
        assert cell["metrics"]["accuracy"]["value"] is not None

    def test_nothing_is_rounded_where_nothing_is_withheld(self):
        (column,) = made(self.few(23))["out_of_fold"]
        assert not column["rounded"] and column["cells"][-1]["groups"] == 23

    def test_there_are_no_ids_and_no_nan(self):
        context, truth, p, groups, fold = drawn()
        names = np.array([f"lesion{g:05d}" for g in groups])
        assert "lesion" not in json.dumps(made((context, truth, p, names, fold)), allow_nan=False)

    def test_all_cells_few_still_make_a_file(self):
        told = made(context_of(np.resize(["a", "b", "c"], 40), 40))
        assert all(cell["withheld"] for cell in told["test"][0]["cells"])
        json.dumps(told, allow_nan=False)
