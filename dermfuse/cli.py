"""dermfuse: embeddings and clinical metadata of skin lesions, classified, measured and explained.

The only entry point. Commands parse, call the rooms below and print; heavy libraries are imported inside them, so
that ``--help`` answers at once.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path

import typer

from dermfuse.cache.atomic import check_target
from dermfuse.cache.errors import FAILED, PARTIAL, usage_error
from dermfuse.features.console import Console, printable
from dermfuse.features.process import settle_process, start_decoders
from dermfuse.flags import CACHE, JSON, NAME, QUIET, RUN, RUNS, TRUST, WITH_IMAGES, Source, takes
from dermfuse.pipelines.model.choices import BALANCES
from dermfuse.pipelines.model.zoo import MODELS
from dermfuse.pipelines.options.extract import DEVICE, WEIGHTS_DIR, WORKERS, Stage1Options
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.options.option import option, part
from dermfuse.pipelines.options.shared import EngineOptions
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
@takes(options=part(FitOptions, "model", "seed", model="logreg"))
def demo(
    options: FitOptions,
    folder: Path = option(Path("demo"), "Where the demo's data, cache and runs go."),
    lesions: int = option(480, "How many lesions are drawn.", low=60),
    weights_dir: Path | None = WEIGHTS_DIR,
    device: str = DEVICE,
    workers: int | None = WORKERS,
    quiet: bool = QUIET,
) -> None:
    """Draw synthetic lesions, extract, fit and report: offline, in a minute or two."""
    from dermfuse.pipelines.workflows.demo import run_demo
    from dermfuse.reports.pages.run_page import write_report

    told = Console(quiet)
    run = run_demo(folder, options.model, lesions, weights_dir, options.seed, told, device, workers)
    print(printable(write_report(run)))


@app.command()
@takes(load=Source, options=Stage1Options)
def extract(
    load: Source,
    options: Stage1Options,
    shard: str | None = option(
        None, "I/N: this process embeds part I of N; without it, what a SLURM array or RANK says.", panel="Scale"
    ),
    cache: Path = CACHE,
    quiet: bool = QUIET,
    json: bool = JSON,
) -> None:
    """Stage 1: turn images into embeddings, once, kept in the cache."""
    if options.engine == "local":
        start_decoders(options.workers)
    from dermfuse.features.embedding.parts import part_wanted
    from dermfuse.pipelines.workflows.extract import embed_dataset
    from dermfuse.reports.terminal.summaries import extract_facts, print_extract

    console = Console(quiet)
    # An engine divides the images itself, whatever the environment says.
    wanted = part_wanted(shard) if shard is not None or options.engine == "local" else None
    options = replace(options, part=wanted)
    options.check()
    summary = embed_dataset(load(console), options, cache, console)
    if json:
        _print_json(extract_facts(summary))
    else:
        print_extract(summary, cache)
    if summary.set_aside:
        raise typer.Exit(PARTIAL)


@app.command()
@takes(load=Source, options=part(FitOptions, "features", "folds", "seed"))
def audit(
    load: Source,
    options: FitOptions,
    out: Path | None = option(None, "CSV file for the offending rows, with their ids."),
    strict: bool = option(False, "Exit code 1 where a check ends in an error."),
    cache: Path = CACHE,
    quiet: bool = QUIET,
    json: bool = JSON,
) -> None:
    """Look for leaks: groups and files on both sides, near-duplicates, columns and files that give the label away."""
    from dermfuse.cache.store import Store
    from dermfuse.pipelines.audit.outputs import write_rows
    from dermfuse.pipelines.workflows.audit import audit_dataset
    from dermfuse.reports.sections.audit import print_audit

    console = Console(quiet)
    if out is not None:
        check_target(out, example="rows.csv")
    options.check()
    store = Store(cache, on_problem=console.say)
    found = audit_dataset(load(console), store, options.features, options.seed, options.folds, console)
    if out is not None:
        write_rows(found, out)
    _print_json(found.as_json()) if json else print_audit(found)
    if strict and found.found("error"):
        raise typer.Exit(FAILED)


@app.command()
@takes(load=Source, options=FitOptions, where=EngineOptions)
def fit(
    load: Source,
    options: FitOptions,
    where: EngineOptions,
    name: str | None = NAME,
    with_images: bool = WITH_IMAGES,
    cache: Path = CACHE,
    runs: Path = RUNS,
    quiet: bool = QUIET,
    json: bool = JSON,
) -> None:
    """Stage 2: cross-validate and fit a model, and write its report."""
    from dermfuse.cache.store import Store
    from dermfuse.pipelines.runs.run_folder import check_place
    from dermfuse.pipelines.workflows.cluster import fits_on
    from dermfuse.pipelines.workflows.fit import fit_dataset
    from dermfuse.reports.pages.run_page import write_report
    from dermfuse.reports.terminal.summaries import print_run, run_facts

    console = Console(quiet)
    options.check()
    check_place(runs, name)
    with fits_on(where.engine, where.ray_address):
        path = fit_dataset(load(console), Store(cache, on_problem=console.say), options, runs, name, console)
    write_report(path, with_images=with_images)
    _print_json(run_facts(path)) if json else print_run(path)


@app.command()
@takes(
    load=Source,
    options=part(FitOptions, without=("model", "use_metadata", "use_images", "explain")),
    where=EngineOptions,
)
def ablate(
    load: Source,
    options: FitOptions,
    where: EngineOptions,
    model: list[str] = option(("rf",), "{choices}; several by comma: rf,logreg.", choices=MODELS),
    balances: list[str] | None = option(
        None, "Balances to compare, by comma, of {choices}; --balance if not given.", choices=BALANCES
    ),
    blocks: bool = option(False, "Also each image block by itself, with and without metadata."),
    explain: bool = option(False, "SHAP and permutation importance for every arm."),
    name: str | None = NAME,
    cache: Path = CACHE,
    runs: Path = RUNS,
    quiet: bool = QUIET,
    json: bool = JSON,
) -> None:
    """Say what metadata adds: fit images, metadata and both on the same rows, and compare them."""
    from dermfuse.cache.store import Store
    from dermfuse.pipelines.runs.run_folder import read_json
    from dermfuse.pipelines.workflows import ablate as ablation
    from dermfuse.pipelines.workflows.cluster import fits_on
    from dermfuse.reports.pages.comparison import DOCUMENT, PAGE, finish_ablation, print_comparison

    console = Console(quiet)
    options = replace(options, model=model[0], explain=explain)
    ablation.check_choices(options, model, balances or [options.balance])
    ablation.check_place(runs, name)
    store = Store(cache, on_problem=console.say)
    with fits_on(where.engine, where.ray_address):
        path = ablation.ablate(
            load(console), store, options, runs, name, console, model, balances, blocks, finish_ablation
        )
    comparison = read_json(path, DOCUMENT)
    if json:
        _print_json({"ablation": str(path), "report": str(path / PAGE), **comparison})
    else:
        print_comparison(comparison, path / PAGE)


@app.command()
@takes()
def compare(
    run: list[str] = option(..., "Names or folders of runs; the first is the reference.", argument=True, repeated=True),
    all_pairs: bool = option(False, "Every pair of runs, not each against the first alone."),
    out: Path = option(Path("compare.html"), "Where the page goes."),
    trust: bool = TRUST,
    runs: Path = RUNS,
    quiet: bool = QUIET,
    json: bool = JSON,
) -> None:
    """Compare runs that were scored on the same rows: differences with intervals and p values."""
    from dermfuse.pipelines.runs.run_folder import find_run
    from dermfuse.pipelines.workflows.compare import compare_runs
    from dermfuse.reports.pages.comparison import print_comparison, write_comparison

    check_target(out, example="compare.html")
    comparison = compare_runs([find_run(runs, one) for one in run], Console(quiet), all_pairs, trust)
    page = write_comparison(comparison, out)
    if json:
        _print_json({"report": str(page), **comparison})
    else:
        print_comparison(comparison, page)


@app.command()
@takes()
def report(
    run: str = RUN,
    with_images: bool = WITH_IMAGES,
    trust: bool = TRUST,
    runs: Path = RUNS,
    quiet: bool = QUIET,
) -> None:
    """Write a run's report.html again, from its run folder alone."""
    from dermfuse.pipelines.runs.run_folder import find_run
    from dermfuse.reports.pages.run_page import write_report

    print(printable(write_report(find_run(runs, run), with_images, trust, Console(quiet).notice)))


@app.command()
@takes()
def predict(
    run: str = RUN,
    images: list[Path] | None = option(None, "Image files, or folders of images.", argument=True, repeated=True),
    data: Path | None = option(None, "Folder with images and, where it has one, a metadata table."),
    metadata: Path | None = option(None, "Table with the run's image and metadata columns."),
    out: Path | None = option(None, "Write a CSV file."),
    json: bool = option(False, "Print one JSON object a line."),
    weights_dir: Path | None = WEIGHTS_DIR,
    device: str = DEVICE,
    workers: int | None = WORKERS,
    trust: bool = TRUST,
    cache: Path = CACHE,
    runs: Path = RUNS,
    quiet: bool = QUIET,
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
    files, noticed = find_targets(given, predictor.ids_in(metadata, folder))
    console.notice(*noticed)
    fields = predictor.metadata_of(metadata, folder, files)
    if fields is None and predictor.columns.metadata:
        console.notice(f"no metadata is given: {predictor.without_metadata()}")
    failed = write_predictions(predictor.predict(files, fields), len(files), out, json, console)
    if failed:
        raise typer.Exit(FAILED if failed == len(files) else PARTIAL)


@app.command()
@takes()
def doctor(
    weights_dir: Path | None = WEIGHTS_DIR,
    cache: Path = CACHE,
    runs: Path = RUNS,
    quiet: bool = QUIET,
    json: bool = JSON,
) -> None:
    """Show versions, devices, weights at hand, cache and disk."""
    from dermfuse.pipelines.workflows.doctor import checkup, checkup_lines

    facts = checkup(weights_dir, cache, runs, Console(quiet).say)
    if json:
        _print_json(facts)
    else:
        print("\n".join(map(printable, checkup_lines(facts))))


@cache_app.command()
@takes()
def ls(cache: Path = CACHE, quiet: bool = QUIET, json: bool = JSON) -> None:
    """List blocks with their recipes, what is kept beside them, and damage that shows at a glance."""
    from dermfuse.reports.terminal.listings import ls_facts, print_ls

    facts = ls_facts(cache)
    _print_json(facts) if json else print_ls(facts)


@cache_app.command()
@takes()
def verify(cache: Path = CACHE, quiet: bool = QUIET, json: bool = JSON) -> None:
    """Compare every file of the cache with its checksum; nothing is changed."""
    from dermfuse.reports.terminal.listings import open_cache, print_verify, verify_facts

    facts = verify_facts(open_cache(cache), Console(quiet).progress)
    _print_json(facts) if json else print_verify(facts)
    if facts["damages"]:
        raise typer.Exit(FAILED)


@cache_app.command()
@takes()
def gc(
    cache: Path = CACHE,
    runs: Path = RUNS,
    unused_days: float | None = option(None, "Also blocks unused for so many days that no run uses.", low=0),
    block: list[str] | None = option(None, "This block and nothing else, NAME-KEY; repeatable.", repeated=True),
    delete: bool = option(False, "Delete; otherwise only listed."),
    quiet: bool = QUIET,
    json: bool = JSON,
) -> None:
    """List what nothing needs and its bytes; with --delete, delete it."""
    from dermfuse.pipelines.workflows.cache import collect_garbage
    from dermfuse.reports.terminal.listings import gc_facts, open_cache, print_gc

    if not runs.is_dir() and runs != RUNS.default:
        raise usage_error(f"no such folder: --runs {runs}. What its runs use could not be told from garbage.")
    facts = gc_facts(cache, runs, collect_garbage(open_cache(cache), runs, unused_days, block or [], delete))
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
