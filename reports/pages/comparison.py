"""From ``comparison.json`` to a page, and to the sentences that answer what was asked."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from dermfuse.cache.atomic import atomic_write, check_target
from dermfuse.features.console import printable
from dermfuse.pipelines.evaluation.compare import FILE as DOCUMENT
from dermfuse.pipelines.runs.run_folder import read_json
from dermfuse.pipelines.statistics.paired import ALPHA
from dermfuse.reports import wording
from dermfuse.reports.drawing.forest import forest_figure
from dermfuse.reports.pages.page import page
from dermfuse.reports.wording import SPLIT_NAMES, SPLIT_PLACES, defined, interval, listed, metric_name, plural, signed

PAGE = "comparison.html"
MAIN = ("auc", "macro_auc", "accuracy")
_TITLES = {"ablation": "Ablation of {}", "comparison": "Comparison of runs on {}"}


def write_comparison(comparison: dict, target: Path) -> Path:
    """Write the page of a comparison.

    Parameters
    ----------
    comparison : dict
        As :func:`dermfuse.pipelines.evaluation.compare.compare` returns it.
    target : Path
        The page; an older one in its place is replaced in one step, or not at all.

    Returns
    -------
    Path
        `target`.

    Raises
    ------
    UserError
        There is no such folder (exit code 2), or it cannot be written to.
    """
    check_target(target, example="compare.html")
    atomic_write(target, render_comparison(comparison).encode("utf-8"))
    return target


def finish_ablation(folder: Path) -> None:
    """Write what people read in an ablation's folder: an arm's report, or the page that compares the arms."""
    from dermfuse.reports.pages.run_page import write_report

    if (folder / DOCUMENT).is_file():
        write_comparison(read_json(folder, DOCUMENT), folder / PAGE)
    else:
        write_report(folder)


def print_comparison(comparison: dict, page: Path) -> None:
    """Say the answers, and where the page is."""
    for answer in answers(comparison):
        print(printable(answer))
    print(printable(page))


def answers(comparison: dict) -> list[str]:
    """One line for every question that is told first: the change, its interval and what follows from it."""
    metrics, positive = comparison["metrics"], comparison["dataset"]["positive"]
    return [answer(pair, metrics, positive) for pair in comparison["pairs"] if pair["headline"]]


def answer(pair: dict, metrics: list[str], positive: str | None = None) -> str:
    """Say what a pair's difference means, in accuracy and the area under the curve, of two classes of `positive`."""
    area = next(name for name in MAIN if name in metrics)
    results = pair["results"]["out_of_fold"]
    subject = f" of {pair['subject']}" if pair["subject"] else ""
    whose = f" ({positive})" if positive is not None and area in wording.OF_POSITIVE else ""
    what = f"{pair['action']} changes {_name(area)}{whose}{subject} by {_change(pair, area, results[area])}"
    accuracy = f"It changes accuracy by {_change(pair, 'accuracy', results['accuracy'])}"
    test, where = pair["results"]["test"][area], wording.upper_first(SPLIT_PLACES["test"])
    told = f"{where} {_name(area)}{whose} changes by {signed(test['difference'])} ({interval(test)})."
    return f"{what} {accuracy} {told}"


def _change(pair: dict, metric: str, entry: dict) -> str:
    if not defined(entry["p_holm"]):
        return f"{signed(entry['difference'])}, without a p value."
    conclusion = {
        "better": pair["better"],
        "worse": pair["worse"],
        "undecided": "this cannot be told apart from zero",
    }[entry["verdict"]]
    found = f"{signed(entry['difference'])} ({interval(entry)}), {_p(entry['p_holm'])} after Holm: {conclusion}"
    again = entry["t"]["p"]
    if entry["verdict"] != "undecided" and defined(again) and again >= ALPHA:
        found += f", but the corrected t test over folds, which allows for refits, does not confirm it ({_p(again)})"
    return f"{found}."


def _p(value: float) -> str:
    if value < 0.001:
        return "p < 0.001"
    # Rounding must not carry a value across the level that decides.
    return f"p = {value:.4f}" if round(value, 3) == ALPHA else f"p = {value:.3f}"


def _name(metric: str) -> str:
    name = metric_name(metric)
    return name if name.isupper() else f"{name[0].lower()}{name[1:]}"


def render_comparison(comparison: dict) -> str:
    """The page as HTML; the same comparison gives the same bytes."""
    return page("comparison.html", **comparison_facts(comparison))


def comparison_facts(comparison: dict) -> dict:
    """Everything that the page shows: ``page``, ``runs``, ``forests``, ``pairs``, ``how``, ``limits``, ``notes``."""
    metrics = comparison["metrics"]
    return {
        "page": _page(comparison),
        "main": [name for name in MAIN if name in metrics],
        "runs": [_run(run) for run in comparison["runs"]],
        "forests": _forests(comparison),
        "pairs": [_pair(pair, metrics, comparison["dataset"]["positive"]) for pair in comparison["pairs"]],
        "how": _how(comparison),
        "limits": _limits(comparison),
        "notes": comparison["notes"],
    }


def _page(comparison: dict) -> dict:
    dataset = comparison["dataset"]
    return {
        "kind": comparison["kind"],
        "title": _TITLES[comparison["kind"]].format(dataset["name"]),
        "runs": plural(len(comparison["runs"]), "arm" if comparison["kind"] == "ablation" else "run"),
        "created": wording.moment(comparison["created"]),
        "synthetic": dataset["synthetic"],
        "positive": dataset["positive"],
        "answers": answers(comparison),
        "scopes": [f"{SPLIT_NAMES[part]}: {_scope(dataset, part)}" for part in SPLIT_NAMES],
    }


def _scope(dataset: dict, part: str) -> str:
    images = plural(dataset["images"][part], "image")
    return f"{images} in {plural(dataset['groups'][part], 'group')}" if dataset["grouped"] else images


def _run(run: dict) -> dict:
    inputs = [*run["features"], *(["metadata"] if run["use_metadata"] else [])]
    return {**run, "inputs": listed(inputs)}


def _forests(comparison: dict) -> list[dict]:
    """The questions that are told first, and the others: changes of another size would hide theirs on one axis."""
    sets = []
    for key, title, headline in (("first", None, True), ("other", "Further comparisons", False)):
        pairs = [pair for pair in comparison["pairs"] if pair["headline"] is headline]
        if pairs:
            positive = comparison["dataset"]["positive"]
            figures = [(metric, _forest(key, metric, pairs, positive)) for metric in comparison["metrics"]]
            sets.append({"title": title, "figures": figures})
    return sets


def _forest(key: str, metric: str, pairs: list[dict], positive: str | None) -> Markup:
    rows = [
        {
            "label": f"{pair['subject']}: {pair['label']}" if pair["subject"] else pair["label"],
            **{part: results[metric] for part, results in pair["results"].items()},
        }
        for pair in pairs
    ]
    name = f"forest-{key}-{metric.replace('_', '-')}"
    return forest_figure(name, metric, rows, positive)


def _pair(pair: dict, metrics: list[str], positive: str | None) -> dict:
    subject = f", {pair['subject']}" if pair["subject"] else ""
    out_of_fold, test = pair["results"]["out_of_fold"], pair["results"]["test"]
    rows = [
        {
            "title": metric_name(name, positive),
            "note": wording.lower_is_better(name),
            "out_of_fold": out_of_fold[name],
            "test": test[name],
        }
        for name in metrics
    ]
    return {"title": f"{pair['action']}{subject}", "first": pair["first"], "second": pair["second"], "rows": rows}


def _how(comparison: dict) -> list[tuple[str, str]]:
    method = comparison["method"]
    folds = plural(method["folds"], "fold")
    if method["repeats"] > 1:
        folds = f"{folds} in {method['repeats']} divisions"
    smallest = 2 / (method["resamples"] + 1)
    return [
        (
            "Same rows",
            "All runs were scored on the same images, with the same groups, folds and locked test split. That was "
            "checked row by row; runs that differ are refused.",
        ),
        (
            "Difference",
            "The second run's value less the first one's, over all out-of-fold rows at once. The locked test split has "
            "fewer rows and stands beside it.",
        ),
        (
            "Interval",
            f"95 % percentile interval from {wording.count(method['resamples'])} bootstrap resamples of whole groups "
            "(Efron and Tibshirani 1993). Each resample draws the same groups for all runs, so that what makes rows "
            "hard for both cancels. Intervals are not widened for the number of comparisons.",
        ),
        (
            "p value",
            "Two-sided, twice the smaller share of resamples at or beyond zero, with one added to count and number "
            f"(Davison and Hinkley 1997). The smallest possible is {smallest:.1g}.",
        ),
        (
            "Corrected t",
            f"Over the differences by fold, {folds}, with the variance raised from 1/folds to 1/folds + test rows / "
            "training rows, since training parts overlap (Nadeau and Bengio 2003). It allows for what changes when "
            "models are fitted again, and with few folds it has little power.",
        ),
        (
            "Holm",
            f"p values are corrected for all {method['tests']} of one table, every pair in every metric, out of fold, "
            "on the locked test split, and of the t tests each by themselves (Holm 1979). A change is called better or "
            "worse where the corrected p value is below 0.05.",
        ),
    ]


def _limits(comparison: dict) -> list[str]:
    limits = [
        "The fitted models are held fixed by the bootstrap: its intervals and p values tell what other images of the "
        "same kind would change, not what fitting again would. The corrected t test includes that.",
        "All runs share one division into folds, and one locked test split; another seed gives other figures."
        if comparison["method"]["repeats"] == 1
        else "All runs share one locked test split; another seed gives another.",
        "This is one dataset. Whether a difference holds at another hospital is not known from it.",
        "A difference that cannot be told apart from zero is not shown to be zero: see how wide its interval is.",
    ]
    if not comparison["dataset"]["grouped"]:
        limits.append("The dataset names no groups, so that images of one patient count as independent.")
    return limits
