"""dermfuse: embeddings and clinical metadata of skin lesions, classified, measured and explained.

The only entry point. Commands parse, call the rooms below and print; heavy libraries are imported inside them, so
that ``--help`` answers at once.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from dermfuse.cache.atomic import check_target
from dermfuse.cache.errors import FAILED, PARTIAL, usage_error
from dermfuse.features.console import Console, printable
from dermfuse.features.process import settle_process, start_decoders
from dermfuse.flags import (
    CACHE,
    DEFAULT_FEATURES,
    RUNS,
    BatchSize,
    Cache,
    Config,
    Device,
    Engine,
    Features,
    Folds,
    Json,
    Model,
    Name,
    Quiet,
    RayAddress,
    Run,
    Runs,
    Seed,
    Trust,
    WeightsDir,
    WithImages,
    Workers,
    flag,
    names_of,
    source,
    stage_2,
    takes,
)
from dermfuse.reports.terminal import failures
from dermfuse.reports.terminal.failures import INTERRUPTED, TERMINATED

__all__ = ["INTERRUPTED", "TERMINATED", "app", "entry", "main"]

NOT_CLINICAL = "Research software; not for clinical use."

SETTINGS = {
    "no_args_is_help": True,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
ABOUT = f"Classify skin lesions from frozen embeddings and clinical metadata. {NOT_CLINICAL}"
app = typer.Typer(cls=failures.Commands, help=ABOUT, **SETTINGS)
cache_app = typer.Typer(help="Look into the embedding cache, check it, or delete what nothing needs.", **SETTINGS)
app.add_typer(cache_app, name="cache")


@app.command()
def demo(
    folder: flag(Path, "Where the demo's data, cache and runs go.") = Path("demo"),
    model: Model = "logreg",
    lesions: flag(int, "How many lesions are drawn.", min=60) = 480,
    weights_dir: WeightsDir = None,
    device: Device = "auto",
    workers: Workers = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Draw synthetic lesions, extract, fit and report: offline, in a minute or two."""
    from dermfuse.pipelines.workflows.demo import run_demo
    from dermfuse.reports.pages.run_page import write_report

    run = run_demo(folder, model, lesions, weights_dir, seed, Console(quiet), device, workers)
    print(printable(write_report(run)))


@app.command()
@takes(load=source)
def extract(
    load: object,
    features: flag(str, "Extractors, by comma; 'doctor' lists them.") = DEFAULT_FEATURES,
    weights_dir: WeightsDir = None,
    device: Device = "auto",
    views: flag(int, "Flips and turns averaged by pretrained networks: 1, 2, 4 or 8.") = 1,
    levels: flag(str, "Stages of pretrained networks: last; or multi, mean and maximum of several.") = "last",
    precision: flag(str, "auto: the fastest runtime that agrees with exact, the reference; or a precision.") = "auto",
    dtype: flag(str, "How embeddings are stored: float16 or float32.") = "float16",
    batch_size: BatchSize = None,
    workers: Workers = None,
    verify: flag(bool, "Read every image again, also those that look unchanged.", "--verify") = False,
    shard: flag(
        str | None, "I/N: this process embeds part I of N; without it, what a SLURM array or RANK says.", panel="Scale"
    ) = None,
    engine: Engine = "local",
    ray_address: RayAddress = None,
    cache: Cache = CACHE,
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Stage 1: turn images into embeddings, once, kept in the cache."""
    if engine == "local":
        start_decoders(workers)
    from dermfuse.features.embedding.parts import part_wanted
    from dermfuse.pipelines.workflows.extract import Stage1Options, embed_dataset
    from dermfuse.reports.terminal.summaries import extract_facts, print_extract

    console = Console(quiet)
    options = Stage1Options(
        names_of(features), weights_dir, device, dtype, batch_size, workers, seed, verify, views, levels, precision
    )
    # An engine divides the images itself, whatever the environment says.
    part = part_wanted(shard) if shard is not None or engine == "local" else None
    options = replace(options, part=part, engine=engine, ray_address=ray_address)
    options.check()
    summary = embed_dataset(load(console), options, cache, console)
    if json:
        _print_json(extract_facts(summary))
    else:
        print_extract(summary, cache)
    if summary.set_aside:
        raise typer.Exit(PARTIAL)


@app.command()
@takes(load=source)
def audit(
    load: object,
    features: Features = None,
    folds: Folds = 5,
    out: flag(Path | None, "CSV file for the offending rows, with their ids.") = None,
    strict: flag(bool, "Exit code 1 where a check ends in an error.", "--strict") = False,
    cache: Cache = CACHE,
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Look for leaks: groups and files on both sides, near-duplicates, columns and files that give the label away."""
    from dermfuse.cache.store import Store
    from dermfuse.features.extractors.registry import check_names
    from dermfuse.pipelines.audit.outputs import write_rows
    from dermfuse.pipelines.workflows.audit import audit_dataset
    from dermfuse.reports.sections.audit import print_audit

    console = Console(quiet)
    if out is not None:
        check_target(out, example="rows.csv")
    wanted = check_names(names_of(features)) if features else None
    store = Store(cache, on_problem=console.say)
    dataset = load(console)
    found = audit_dataset(dataset, dataset.whole, store, wanted, seed, folds, console)
    if out is not None:
        write_rows(found, out)
    _print_json(found.as_json()) if json else print_audit(found)
    if strict and found.found("error"):
        raise typer.Exit(FAILED)


@app.command()
@takes(load=source, chosen=stage_2)
def fit(
    load: object,
    chosen: object,
    model: Model = "rf",
    no_metadata: flag(bool, "Images alone.", "--no-metadata") = False,
    no_images: flag(bool, "Metadata alone.", "--no-images") = False,
    name: Name = None,
    no_explain: flag(bool, "Leave SHAP and permutation importance out.", "--no-explain") = False,
    with_images: WithImages = False,
    engine: Engine = "local",
    ray_address: RayAddress = None,
    cache: Cache = CACHE,
    runs: Runs = RUNS,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Stage 2: cross-validate and fit a model, and write its report."""
    from dermfuse.cache.store import Store
    from dermfuse.pipelines.evaluation.options import FitOptions
    from dermfuse.pipelines.runs.run_folder import check_place
    from dermfuse.pipelines.workflows.cluster import fits_on
    from dermfuse.pipelines.workflows.fit import fit_dataset
    from dermfuse.reports.pages.run_page import write_report
    from dermfuse.reports.terminal.summaries import print_run, run_facts

    console = Console(quiet)
    inputs = {"use_metadata": not no_metadata, "use_images": not no_images}
    options = FitOptions(model, explain=not no_explain, **inputs, **chosen)
    options.check()
    check_place(runs, name)
    with fits_on(engine, ray_address):
        path = fit_dataset(load(console), Store(cache, on_problem=console.say), options, runs, name, console)
    write_report(path, with_images=with_images)
    _print_json(run_facts(path)) if json else print_run(path)


@app.command()
@takes(load=source, chosen=stage_2)
def ablate(
    load: object,
    chosen: object,
    model: flag(str, "One or more models, by comma: rf,logreg.") = "rf",
    balances: flag(str | None, "Balances to compare, by comma: none,weights,smote; --balance if not given.") = None,
    blocks: flag(bool, "Also each image block by itself, with and without metadata.", "--blocks") = False,
    explain: flag(bool, "SHAP and permutation importance for every arm.", "--explain") = False,
    name: Name = None,
    engine: Engine = "local",
    ray_address: RayAddress = None,
    cache: Cache = CACHE,
    runs: Runs = RUNS,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Say what metadata adds: fit images, metadata and both on the same rows, and compare them."""
    from dermfuse.cache.store import Store
    from dermfuse.pipelines.evaluation.options import FitOptions
    from dermfuse.pipelines.runs.run_folder import read_json
    from dermfuse.pipelines.workflows import ablate as ablation
    from dermfuse.pipelines.workflows.cluster import fits_on
    from dermfuse.reports.pages.comparison import DOCUMENT, PAGE, finish_ablation, print_comparison

    console = Console(quiet)
    models, several = names_of(model, "--model"), names_of(balances, "--balances") if balances else None
    options = FitOptions(models[0], explain=explain, **chosen)
    ablation.check_choices(options, models, several or [options.balance])
    ablation.check_place(runs, name)
    store = Store(cache, on_problem=console.say)
    with fits_on(engine, ray_address):
        path = ablation.ablate(
            load(console), store, options, runs, name, console, models, several, blocks, finish_ablation
        )
    comparison = read_json(path, DOCUMENT)
    if json:
        _print_json({"ablation": str(path), "report": str(path / PAGE), **comparison})
    else:
        print_comparison(comparison, path / PAGE)


@app.command()
def compare(
    run: Annotated[list[str], typer.Argument(help="Names or folders of runs; the first is the reference.")],
    all_pairs: flag(bool, "Every pair of runs, not each against the first alone.", "--all-pairs") = False,
    out: flag(Path, "Where the page goes.") = Path("compare.html"),
    trust: Trust = False,
    runs: Runs = RUNS,
    quiet: Quiet = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Compare runs that were scored on the same rows: differences with intervals and p values."""
    from dermfuse.pipelines.evaluation.compare import compare_runs
    from dermfuse.pipelines.runs.run_folder import find_run
    from dermfuse.reports.pages.comparison import print_comparison, write_comparison

    check_target(out, example="compare.html")
    comparison = compare_runs([find_run(runs, one) for one in run], Console(quiet), all_pairs, trust)
    page = write_comparison(comparison, out)
    if json:
        _print_json({"report": str(page), **comparison})
    else:
        print_comparison(comparison, page)


@app.command()
def report(
    run: Run,
    with_images: WithImages = False,
    trust: Trust = False,
    runs: Runs = RUNS,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Write a run's report.html again, from its run folder alone."""
    from dermfuse.pipelines.runs.run_folder import find_run
    from dermfuse.reports.pages.run_page import write_report

    print(printable(write_report(find_run(runs, run), with_images, trust, Console(quiet).notice)))


@app.command()
def predict(
    run: Run,
    images: Annotated[list[Path] | None, typer.Argument(help="Image files, or folders of images.")] = None,
    data: flag(Path | None, "Folder with images and, where it has one, a metadata table.") = None,
    metadata: flag(Path | None, "Table with the run's image and metadata columns.") = None,
    out: flag(Path | None, "Write a CSV file.") = None,
    json: flag(bool, "Print one JSON object a line.", "--json") = False,
    weights_dir: WeightsDir = None,
    device: Device = "auto",
    workers: Workers = None,
    trust: Trust = False,
    cache: Cache = CACHE,
    runs: Runs = RUNS,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Score new images with a run's model. Research use only."""
    start_decoders(workers)
    from dermfuse.cache.store import Store
    from dermfuse.features.extractors.registry import choose_device
    from dermfuse.pipelines.prediction.predictor import Predictor, find_targets
    from dermfuse.pipelines.runs.run_folder import find_run
    from dermfuse.reports.terminal.predictions import write_predictions

    console = Console(quiet)
    given = [*(images or []), *([data] if data else [])]
    if not given:
        raise usage_error("nothing to predict. Give image files or folders, or --data DIR.")
    if out is not None:
        check_target(out)
    store = Store(cache, on_problem=console.say)
    predictor = Predictor(find_run(runs, run), store, weights_dir, choose_device(device), console, trust, workers)
    folder = data or next((p for p in given if p.is_dir()), None)
    files = find_targets(given, console, predictor.ids_in(metadata, folder))
    fields = predictor.metadata_of(metadata, folder, files)
    if fields is None and predictor.columns.metadata:
        console.notice(f"no metadata is given: {predictor.without_metadata()}")
    failed = write_predictions(predictor.predict(files, fields), len(files), out, json, console)
    if failed:
        raise typer.Exit(FAILED if failed == len(files) else PARTIAL)


@app.command()
def doctor(
    weights_dir: WeightsDir = None,
    cache: Cache = CACHE,
    runs: Runs = RUNS,
    quiet: Quiet = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show versions, devices, weights at hand, cache and disk."""
    from dermfuse.pipelines.workflows.doctor import checkup, checkup_lines

    facts = checkup(weights_dir, cache, runs, Console(quiet).say)
    if json:
        _print_json(facts)
    else:
        print("\n".join(map(printable, checkup_lines(facts))))


@cache_app.command()
def ls(cache: Cache = CACHE, quiet: Quiet = False, json: Json = False, config: Config = None) -> None:
    """List blocks with their recipes, what is kept beside them, and damage that shows at a glance."""
    from dermfuse.reports.terminal.listings import ls_facts, print_ls

    facts = ls_facts(cache)
    _print_json(facts) if json else print_ls(facts)


@cache_app.command()
def verify(cache: Cache = CACHE, quiet: Quiet = False, json: Json = False, config: Config = None) -> None:
    """Compare every file of the cache with its checksum; nothing is changed."""
    from dermfuse.reports.terminal.listings import open_cache, print_verify, verify_facts

    facts = verify_facts(open_cache(cache), Console(quiet))
    _print_json(facts) if json else print_verify(facts)
    if facts["damages"]:
        raise typer.Exit(FAILED)


@cache_app.command()
def gc(
    cache: Cache = CACHE,
    runs: Runs = RUNS,
    unused_days: flag(float | None, "Also blocks unused for so many days that no run uses.", min=0) = None,
    block: flag(list[str] | None, "This block and nothing else, NAME-KEY; repeatable.") = None,
    delete: flag(bool, "Delete; otherwise only listed.", "--delete") = False,
    quiet: Quiet = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """List what nothing needs and its bytes; with --delete, delete it."""
    from dermfuse.reports.terminal.listings import gc_facts, print_gc

    if not runs.is_dir() and runs != RUNS:
        raise usage_error(f"no such folder: --runs {runs}. What its runs use could not be told from garbage.")
    facts = gc_facts(cache, runs, unused_days, block or [], delete)
    _print_json(facts) if json else print_gc(facts)
    if facts["incomplete"]:
        raise typer.Exit(PARTIAL)


def _print_json(content: dict) -> None:
    import json

    print(json.dumps(content))


def main() -> int:
    """Run the command line and return its exit code; errors are one line on stderr."""
    settle_process()
    if hasattr(sys.stdout, "reconfigure"):  # a terminal without the letters of a name shows their codes
        sys.stdout.reconfigure(errors="backslashreplace")
    terminated: list[int] = []

    def terminate(number: int, _frame: object) -> None:
        terminated.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        code = app(standalone_mode=False) or 0
        failures.flush_output()
        # The parser turns Ctrl-C into this code.
        return failures.interrupted(bool(terminated)) if code == INTERRUPTED else code
    except (Exception, KeyboardInterrupt) as error:
        return failures.tell(error, bool(terminated))
    finally:
        signal.signal(signal.SIGTERM, before)


def entry() -> None:
    """The installed command ``dermfuse``."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
