"""Paired comparison of runs that were scored on the same rows: differences with intervals and p values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from dermfuse.cache.errors import UserError, usage_error
from dermfuse.features.console import Progress
from dermfuse.pipelines.runs.agreement import check_predictions
from dermfuse.pipelines.runs.opened import open_run
from dermfuse.pipelines.runs.schema import SCHEMA
from dermfuse.pipelines.statistics import bootstrap
from dermfuse.pipelines.statistics.paired import ALPHA, corrected_t, difference, holm, verdict
from dermfuse.pipelines.statistics.weighted import Scores

FILE = "comparison.json"
# Rounds of the bootstrap that also makes the intervals of a single run, each of its number of resamples.
LEAST_ROUNDS = 5
MOST_PAIRS = 45
MULTICLASS = ("macro_auc", "accuracy", "balanced_accuracy", "macro_f1", "log_loss", "brier")
BINARY = ("auc", "average_precision", *MULTICLASS[1:])
PARTS = ("out_of_fold", "test")


@dataclass(frozen=True)
class Pair:
    """Two runs and the question that their difference, second less first, answers.

    Attributes
    ----------
    first, second : str
        Names of the runs.
    action, subject : str
        As in "*Adding metadata to images* changes macro AUC of *rf* by ..."; `subject` may be empty.
    better, worse : str
        What is concluded from a difference: "metadata helps", "metadata hurts".
    label : str
        A few words for a figure.
    headline : bool
        Told first.
    """

    first: str
    second: str
    action: str
    subject: str
    better: str
    worse: str
    label: str
    headline: bool = True


@dataclass(frozen=True)
class ScoredRun:
    """What of a run is compared.

    Attributes
    ----------
    name : str
        Of the run, made longer where another run of the comparison has the same.
    folder : Path
    config, metrics : dict
        The run's ``config.json`` and ``metrics.json``.
    predictions : DataFrame
        Its ``predictions.parquet``, sorted by id.
    repeats : DataFrame or None
        Its ``repeats.parquet``: ``repeat``, ``fold``, ``id`` and probabilities; None where the run has none.
    seconds : float
        What the fit took.
    """

    name: str
    folder: Path
    config: dict
    metrics: dict
    predictions: pd.DataFrame
    repeats: pd.DataFrame | None = None
    seconds: float = 0.0

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the probabilities' columns."""
        return list(self.config["dataset"]["classes"])

    @property
    def positive(self) -> int:
        """Of two classes, the column that AUC and average precision are about."""
        return self.classes.index(self.metrics["positive"]) if "positive" in self.metrics else 1

    @property
    def truth(self) -> np.ndarray:
        """Column of each row's true class, (n,) int."""
        return pd.Index(self.classes).get_indexer(self.predictions["truth"])

    @property
    def probabilities(self) -> np.ndarray:
        """Probabilities, (n, classes) float64."""
        return self.predictions[self._columns].to_numpy(np.float64)

    @property
    def groups(self) -> np.ndarray:
        """Group of each row, (n,) str."""
        return self.predictions["group"].to_numpy(str)

    @property
    def fold(self) -> np.ndarray:
        """Fold of each row, -1 in the locked test split, (n,) int."""
        return self.predictions["fold"].to_numpy(int)

    @property
    def _columns(self) -> list[str]:
        return [f"p_{name}" for name in self.classes]

    def repeated(self) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """Folds (n,) and probabilities (n, classes) of each repeat, in the order of `predictions`; fold -1: not in it.

        A repeat with the folds of `predictions` is those folds again, and left out.
        """
        if self.repeats is None:
            return
        for _, part in self.repeats.groupby("repeat"):
            part = part.set_index("id").reindex(self.predictions["id"])
            fold = part["fold"].fillna(-1).to_numpy(int)
            if not np.array_equal(fold, self.fold):
                yield fold, part[self._columns].fillna(0.0).to_numpy(np.float64)


def read_scored(folder: Path, trust: bool = False, notice: Callable[[str], None] | None = None) -> ScoredRun:
    """Read what a comparison needs of a run folder; `trust` and `notice` as of :mod:`dermfuse.pipelines.runs.opened`.

    Raises
    ------
    UserError
        A file is missing, damaged, or was changed.
    """
    opened = open_run(folder, trust, notice)
    config = opened.json("config.json")
    probabilities = [f"p_{name}" for name in config["dataset"]["classes"]]
    told = ["id", "group", "split", "fold", "truth", *probabilities]
    predictions = opened.table("predictions.parquet", told)
    check_predictions(folder, predictions, config["dataset"]["classes"])
    repeats = None
    if "repeats.parquet" in opened:
        repeats = opened.table("repeats.parquet", ["repeat", "fold", "id", *probabilities])
        repeats = repeats.assign(id=repeats["id"].astype(str))
    predictions = predictions.assign(id=predictions["id"].astype(str)).sort_values("id", ignore_index=True)
    scores, environment = opened.json("metrics.json"), opened.json("environment.json")
    seconds = float(sum(environment["seconds"].values()))
    return ScoredRun(config["name"], folder, config, scores, predictions, repeats, seconds)


def read_all(folders: list[Path], trust: bool = False, notice: Callable[[str], None] | None = None) -> list[ScoredRun]:
    """Read several run folders and give each a name of its own.

    Raises
    ------
    UserError
        Fewer than two, or one of them twice (exit code 2).
    """
    if len(folders) < 2:
        raise usage_error(f"{len(folders)} run cannot be compared. Give two or more, the reference first.")
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise usage_error(f"the run {folder} is given twice. Give each run once.")
    scored = [read_scored(folder, trust, notice) for folder in folders]
    names = [one.name for one in scored]
    long = [f"{place.parent.name}/{place.name}" for place in places]
    own = [name if names.count(name) == 1 else longer for name, longer in zip(names, long, strict=True)]
    if len(set(own)) < len(own):
        raise usage_error("two of the runs have the same name and the same folder name. Rename the folder of one.")
    return [replace(one, name=name) for name, one in zip(own, scored, strict=True)]


def check_same_rows(runs: list[ScoredRun]) -> None:
    """Refuse runs that were not scored on the same rows, folds and locked test split as the first.

    Raises
    ------
    UserError
        It says how many rows differ, and in what.
    """
    first = runs[0]
    for other in runs[1:]:
        both = f"runs {first.name!r} and {other.name!r} cannot be compared"
        if first.classes != other.classes:
            raise UserError(f"{both}: their classes differ. Fit both on the same table.")
        if first.positive != other.positive:
            raise UserError(f"{both}: they take different classes for the positive one. Fit both with one --positive.")
        ids, others = set(first.predictions["id"]), set(other.predictions["id"])
        if ids != others:
            raise UserError(
                f"{both}: {len(ids ^ others):,} of {len(ids | others):,} rows are in one of them only. "
                "Fit both on the same data, or have 'python cli.py ablate' fit them on the same rows."
            )
        for column, words in _MUST_AGREE.items():
            differ = int((first.predictions[column].astype(str) != other.predictions[column].astype(str)).sum())
            if differ:
                raise UserError(f"{both}: {differ:,} of {len(ids):,} rows have another {words}.")


_MUST_AGREE = {
    "truth": "true class. Fit both on the same table",
    "group": "group. Fit both on the same data, or have 'python cli.py ablate' fit them on the same groups",
    "split": "place in the locked test split. Fit both with the same --seed",
    "fold": "fold. Fit both with the same --seed and --folds",
}


def pairs_of(runs: list[ScoredRun], all_pairs: bool = False) -> list[Pair]:
    """Each run against the first; or, when `all_pairs`, every run against every run before it.

    Raises
    ------
    UserError
        More pairs than the resamples can tell apart (exit code 2).
    """
    names = [one.name for one in runs]
    chosen = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if all_pairs or i == 0]
    if len(chosen) > MOST_PAIRS:
        raise usage_error(
            f"{len(names)} runs make {len(chosen)} comparisons; at most {MOST_PAIRS} are made. Give fewer runs"
            + (", or leave --all-pairs out." if all_pairs else ".")
        )
    return [
        Pair(a, b, f"Going from {a} to {b}", "", f"{b} is better", f"{b} is worse", f"{a} to {b}") for a, b in chosen
    ]


def compare(runs: list[ScoredRun], pairs: list[Pair], kind: str, progress: Progress) -> dict:
    """Every pair's differences, out of fold and on the locked test split.

    Parameters
    ----------
    runs : list of ScoredRun
        They have passed :func:`check_same_rows`.
    pairs : list of Pair
    kind : {"comparison", "ablation"}
    progress : callable
        Shows a bar, as `Console.progress`.

    Returns
    -------
    dict
        The content of ``comparison.json``: ``dataset``, ``runs`` (with their own metrics), ``pairs`` (``results`` by
        part and metric: ``first``, ``second``, ``difference`` with ``low``, ``high``, ``p``, ``p_holm``, ``verdict``;
        out of fold also ``t``), ``method`` and ``notes``.
    """
    first = runs[0]
    names = BINARY if len(first.classes) == 2 else MULTICLASS
    seed = int(first.config["seed"])
    folds, repeated, notes = _fold_scores(runs, names)
    by_pair: list[dict] = [{} for _ in pairs]
    rounds = rounds_for(len(pairs) * len(names))
    with progress("comparing", 2 * len(runs) * rounds * bootstrap.RESAMPLES, unit="resamples") as advance:
        for part in PARTS:
            rows = (first.fold >= 0) == (part == "out_of_fold")
            drawn = {r.name: resampled_values(r, rows, names, seed, rounds, advance) for r in runs}
            for results, pair in zip(by_pair, pairs, strict=True):
                a, b = drawn[pair.first], drawn[pair.second]
                results[part] = {name: difference(a[name], b[name]) for name in names}
    number = int(first.fold.max()) + 1
    for results, pair in zip(by_pair, pairs, strict=True):
        for name in names:
            by_fold = folds[pair.second][name] - folds[pair.first][name]
            results["out_of_fold"][name]["t"] = corrected_t(by_fold, number)
    _correct(by_pair, names)
    return {
        "schema": SCHEMA,
        "kind": kind,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset": _dataset(first),
        "metrics": list(names),
        "runs": [_run_facts(one, names) for one in runs],
        "pairs": [{**asdict(pair), "results": results} for pair, results in zip(pairs, by_pair, strict=True)],
        "method": {
            "resamples": rounds * bootstrap.RESAMPLES,
            "folds": number,
            "repeats": repeated + 1,
            "seed": seed,
            "tests": len(pairs) * len(names),
        },
        "notes": notes + _other_tables(runs),
    }


def rounds_for(tests: int) -> int:
    """Rounds of resampling whose smallest p value, corrected for so many tests, is half of 5 %."""
    return max(LEAST_ROUNDS, math.ceil(4 * tests / ALPHA / bootstrap.RESAMPLES))


def _correct(by_pair: list[dict], names: tuple[str, ...]) -> None:
    """Add ``p_holm`` and ``verdict``: one table a part, with all pairs and metrics; the t tests by themselves."""
    for part in PARTS:
        entries = [(name, results[part][name]) for results in by_pair for name in names]
        for (name, entry), p in zip(entries, holm([e["p"] for _, e in entries]), strict=True):
            entry["p_holm"] = p
            entry["verdict"] = verdict(name, entry)
    tests = [results["out_of_fold"][name]["t"] for results in by_pair for name in names]
    for test, p in zip(tests, holm([t["p"] for t in tests]), strict=True):
        test["p_holm"] = p


def resampled_values(
    scored: ScoredRun, rows: np.ndarray, names, seed: int, rounds: int, advance: Callable = lambda n: None
) -> dict[str, np.ndarray]:
    """Metrics of some rows of a run, observed and resampled by whole groups.

    Parameters
    ----------
    scored : ScoredRun
    rows : ndarray of bool, shape (n,)
    names : sequence of str
    seed, rounds : int
        The same for every run of a comparison, which makes the resamples the same ones.
    advance : callable
        Given how many resamples are done.

    Returns
    -------
    dict of str to ndarray, shape (1 + resamples,)
        The observed value stands first.
    """
    owner = bootstrap.owners_of(scored.groups[rows])
    score = Scores(scored.truth[rows], scored.probabilities[rows], owner, scored.positive).overall
    parts = []
    for part_seed in np.random.SeedSequence(seed).generate_state(rounds):
        drawn = bootstrap.draw(score, owner, int(part_seed))
        parts.append(drawn.drawn)
        advance(bootstrap.RESAMPLES)
    return {name: np.concatenate([[drawn.value[name]], *(part[name] for part in parts)]) for name in names}


def _fold_scores(runs: list[ScoredRun], names) -> tuple[dict[str, dict[str, np.ndarray]], int, list[str]]:
    """By run and metric the value in every fold, (J,); how many further repeats there are; and what to tell of them."""
    notes: list[str] = []
    repeats = {one.name: list(one.repeated()) for one in runs}
    folds = [[fold for fold, _ in of_run] for of_run in repeats.values()]
    if not all(_equal(folds[0], other) for other in folds[1:]):
        notes.append("Repeats of cross-validation are left out of the t tests: not all runs have the same.")
        repeats = {one.name: [] for one in runs}
    values = {}
    for one in runs:
        rounds = [(one.fold, one.probabilities), *repeats[one.name]]
        found = [_by_fold(one.truth, fold, p, one.positive) for fold, p in rounds]
        values[one.name] = {name: np.concatenate([part[name] for part in found]) for name in names}
    return values, len(repeats[runs[0].name]), notes


def _by_fold(truth: np.ndarray, fold: np.ndarray, probabilities: np.ndarray, positive: int) -> dict[str, np.ndarray]:
    rows = fold >= 0
    weights = (fold[rows] == np.arange(fold.max() + 1)[:, None]).astype(np.float64)
    return Scores(truth[rows], probabilities[rows], positive=positive).overall(weights)


def _equal(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return len(first) == len(second) and all(map(np.array_equal, first, second))


def _dataset(scored: ScoredRun) -> dict:
    out_of_fold = scored.fold >= 0
    facts = scored.config["dataset"]
    return {
        "name": facts["name"],
        "synthetic": bool(facts.get("synthetic")),
        "grouped": facts.get("group_column") is not None,
        "classes": scored.classes,
        "positive": scored.classes[scored.positive] if len(scored.classes) == 2 else None,
        "images": {part: int(rows.sum()) for part, rows in zip(PARTS, (out_of_fold, ~out_of_fold), strict=True)},
        "groups": {
            part: len(set(scored.groups[rows])) for part, rows in zip(PARTS, (out_of_fold, ~out_of_fold), strict=True)
        },
    }


def _run_facts(scored: ScoredRun, names) -> dict:
    config = scored.config
    return {
        "name": scored.name,
        "model": config["model"],
        "model_title": config["model_title"],
        "balance": config["balance"],
        "features": list(config["features"]),
        "use_metadata": bool(config["use_metadata"]),
        "metrics": {part: {name: scored.metrics[part].get(name) for name in names} for part in PARTS},
        "seconds": scored.seconds,
    }


def _other_tables(runs: list[ScoredRun]) -> list[str]:
    prints = {one.config["dataset"].get("fingerprint") for one in runs}
    if len(prints) == 1:
        return []
    return ["The tables of the runs are not the same: ids, groups and classes agree, but some metadata changed."]
