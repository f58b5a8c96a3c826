"""dermfuse: embeddings and clinical metadata of skin lesions, classified, measured and explained.

The only entry point. Commands parse, call the rooms below and print; heavy libraries are imported inside them, so
that ``--help`` answers at once.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cache.errors import FAILED, PARTIAL, USAGE, UserError, usage_error
from features.console import Console, printable
from features.process import settle_process

# What a shell reports for a command that Ctrl-C (SIGINT) or SIGTERM ended.
INTERRUPTED, TERMINATED = 130, 143
NOT_CLINICAL = "Research software; not for clinical use."

SETTINGS = {
    "no_args_is_help": True,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
ABOUT = f"Classify skin lesions from frozen embeddings and clinical metadata. {NOT_CLINICAL}"
app = typer.Typer(help=ABOUT, **SETTINGS)
cache_app = typer.Typer(help="Look into the embedding cache, check it, or delete what nothing needs.", **SETTINGS)
app.add_typer(cache_app, name="cache")


def _config_file(ctx: typer.Context, path: Path | None) -> Path | None:
    """Take defaults from a TOML file, see :func:`pipelines.defaults.read_defaults`."""
    if path is not None:
        from pipelines.defaults import flags_of, read_defaults

        root = ctx.find_root()
        command = "-".join(ctx.command_path.removeprefix(root.command_path).split())
        ctx.default_map = read_defaults(path, command, flags_of(root.command.commands))
    return path


def _flag(kind: object, text: str, *names: str, panel: str | None = None, **more) -> object:
    return Annotated[kind, typer.Option(*names, help=text, rich_help_panel=panel, **more)]


Data = _flag(Path, "Folder with a table and images.", panel="Shared")
Cache = _flag(Path, "Folder of the embedding cache.", panel="Shared")
Runs = _flag(Path, "Folder of the runs.", panel="Shared")
Seed = _flag(int, "Of splits, models and bootstrap.", panel="Shared")
Quiet = _flag(bool, "No progress, no notices.", "--quiet", "-q", panel="Shared")
Config = _flag(
    Path | None, "TOML file with defaults for these flags.", callback=_config_file, is_eager=True, panel="Shared"
)
Json = _flag(bool, "Print the result as JSON.", "--json")
WeightsDir = _flag(Path | None, "Folder with pretrained state dicts, NAME.pth; otherwise torchvision downloads.")
BatchSize = _flag(int | None, "Images a forward pass; by device if not given.", min=1)
Workers = _flag(int | None, "Decoding processes; one a core if not given; 0 decodes in the process itself.", min=0)
Device = _flag(str, "auto, cpu or cuda.")
Model = _flag(str, "rf, xgb, mlp, logreg or svm.")
Features = _flag(str | None, "Extractors, by comma: mobilenet_v2,cae.")
WithImages = _flag(bool, "Show pictures of patients in the report.", "--with-images")
Table = _flag(str | None, "File name of the table in --data.", panel="Own data")
ImageColumn = _flag(str | None, "Column with image names.", panel="Own data")
LabelColumn = _flag(str | None, "Column with labels.", panel="Own data")
GroupColumn = _flag(str | None, "Column with the lesion or patient that images share.", panel="Own data")
MetadataColumns = _flag(
    str | None, "Metadata columns, by comma; age=number or site=category sets the kind.", panel="Own data"
)
Run = Annotated[str, typer.Argument(help="Name or folder of a run.")]

DATA, CACHE, RUNS = Path("data"), Path("embeddings"), Path("runs")
DEFAULT_FEATURES = "mobilenet_v2,cae"


@app.command()
def demo(
    folder: _flag(Path, "Where the demo's data, cache and runs go.") = Path("demo"),
    model: Model = "rf",
    lesions: _flag(int, "How many lesions are drawn.", min=60) = 640,
    weights_dir: WeightsDir = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Draw synthetic lesions, extract, fit and report: offline, in minutes."""
    from pipelines.demo import run_demo
    from reports.render import write_report

    print(printable(write_report(run_demo(folder, model, lesions, weights_dir, seed, Console(quiet)))))


@app.command()
def extract(
    data: Data = DATA,
    features: _flag(str, "Extractors, by comma; 'doctor' lists them.") = DEFAULT_FEATURES,
    weights_dir: WeightsDir = None,
    device: Device = "auto",
    views: _flag(int, "Flips and turns averaged by pretrained networks: 1, 2, 4 or 8.") = 1,
    levels: _flag(str, "Stages of pretrained networks: last; or multi, mean and maximum of several.") = "last",
    precision: _flag(str, "auto: the fastest runtime that agrees with exact, the reference.") = "auto",
    dtype: _flag(str, "How embeddings are stored: float16 or float32.") = "float16",
    batch_size: BatchSize = None,
    workers: Workers = None,
    verify: _flag(bool, "Read every image again, also those that look unchanged.", "--verify") = False,
    shard: _flag(
        str | None, "I/N: this process embeds part I of N; without it, what a SLURM array or RANK says.", panel="Scale"
    ) = None,
    engine: _flag(str, "local, or ray: tasks on a Ray cluster.", panel="Scale") = "local",
    ray_address: _flag(str | None, "Of a running Ray cluster; else one is started here.", panel="Scale") = None,
    table: Table = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    metadata_columns: MetadataColumns = None,
    cache: Cache = CACHE,
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Stage 1: turn images into embeddings, once, kept in the cache."""
    if engine == "local":
        start_decoders(workers)
    from features.dataset import load_dataset
    from pipelines.embed import Stage1Options, embed_dataset
    from pipelines.partition import part_wanted
    from reports.summaries import extract_facts, print_extract

    console = Console(quiet)
    options = Stage1Options(
        _names(features), weights_dir, device, dtype, batch_size, workers, seed, verify, views, levels, precision
    )
    # An engine divides the images itself, whatever the environment says.
    part = part_wanted(shard) if shard is not None or engine == "local" else None
    options = replace(options, part=part, engine=engine, ray_address=ray_address)
    options.check()
    columns = _columns(table, image_column, label_column, group_column, metadata_columns)
    summary = embed_dataset(load_dataset(_existing(data), columns, console), options, cache, console)
    if json:
        _print_json(extract_facts(summary))
    else:
        print_extract(summary, cache)
    if summary.set_aside:
        raise typer.Exit(PARTIAL)


@app.command()
def fit(
    data: Data = DATA,
    model: Model = "rf",
    features: Features = None,
    views: _flag(int | None, "Of the embeddings; those extracted last if not given.") = None,
    levels: _flag(str | None, "Of the embeddings; those extracted last if not given.") = None,
    no_metadata: _flag(bool, "Images alone.", "--no-metadata") = False,
    no_images: _flag(bool, "Metadata alone.", "--no-images") = False,
    balance: _flag(str, "smote, weights or none.") = "smote",
    select_k: _flag(int | None, "Encoded metadata columns ANOVA keeps; p < 0.05 if not given.") = None,
    folds: _flag(int, "Grouped stratified folds.") = 5,
    name: _flag(str | None, "Name of the run; made up if not given.") = None,
    no_explain: _flag(bool, "Leave SHAP and permutation importance out.", "--no-explain") = False,
    with_images: WithImages = False,
    table: Table = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    metadata_columns: MetadataColumns = None,
    cache: Cache = CACHE,
    runs: Runs = RUNS,
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Stage 2: cross-validate and fit a model, and write its report."""
    from cache.store import Store
    from features.dataset import load_dataset
    from features.extractors import check_names
    from pipelines.fit import fit_dataset
    from pipelines.options import FitOptions
    from reports.render import write_report
    from reports.summaries import print_run, run_facts

    console = Console(quiet)
    wanted = check_names(_names(features)) if features else None
    options = FitOptions(
        model,
        wanted,
        not no_metadata,
        not no_images,
        balance,
        select_k,
        folds,
        seed,
        explain=not no_explain,
        views=views,
        levels=levels,
    )
    options.check()
    columns = _columns(table, image_column, label_column, group_column, metadata_columns)
    dataset = load_dataset(_existing(data), columns, console)
    path = fit_dataset(dataset, Store(cache, on_problem=console.say), options, runs, name, console)
    write_report(path, with_images=with_images)
    if json:
        _print_json(run_facts(path))
    else:
        print_run(path)


@app.command()
def report(
    run: Run,
    with_images: WithImages = False,
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Write a run's report.html again, from its run folder alone."""
    from pipelines.run import find_run
    from reports.render import write_report

    print(printable(write_report(find_run(runs, run), with_images=with_images)))


@app.command()
def predict(
    run: Run,
    images: Annotated[list[Path] | None, typer.Argument(help="Image files, or folders of images.")] = None,
    data: _flag(Path | None, "Folder with images and, where it has one, a metadata table.") = None,
    metadata: _flag(Path | None, "Table with the run's image and metadata columns.") = None,
    out: _flag(Path | None, "Write a CSV file.") = None,
    json: _flag(bool, "Print one JSON object a line.", "--json") = False,
    weights_dir: WeightsDir = None,
    device: Device = "auto",
    cache: Cache = CACHE,
    runs: Runs = RUNS,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Score new images with a run's model. Research use only."""
    start_decoders()
    from cache.store import Store
    from features.extractors import choose_device
    from pipelines.predict import Predictor, find_targets
    from pipelines.run import find_run
    from reports.predictions import write_predictions

    console = Console(quiet)
    given = [*(images or []), *([data] if data else [])]
    if not given:
        raise usage_error("nothing to predict. Give image files or folders, or --data DIR.")
    predictor = Predictor(find_run(runs, run), Store(cache), weights_dir, choose_device(device), console)
    files = find_targets(given)
    folder = data or next((p for p in given if p.is_dir()), None)
    fields = predictor.metadata_of(metadata, folder)
    if fields is None and predictor.columns.metadata:
        console.notice(f"no metadata is given: {', '.join(predictor.columns.metadata)} are imputed as in training")
    failed = write_predictions(predictor.predict(files, fields), len(files), out, json, console)
    if failed:
        raise typer.Exit(FAILED if failed == len(files) else PARTIAL)


@app.command()
def doctor(
    weights_dir: WeightsDir = None,
    cache: Cache = CACHE,
    runs: Runs = RUNS,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show versions, devices, weights at hand, cache and disk."""
    from pipelines.doctor import checkup, checkup_lines

    facts = checkup(weights_dir, cache, runs)
    if json:
        _print_json(facts)
    else:
        print("\n".join(map(printable, checkup_lines(facts))))


@cache_app.command()
def ls(cache: Cache = CACHE, json: Json = False, config: Config = None) -> None:
    """List blocks with their recipes, what is kept beside them, and damage that shows at a glance."""
    from reports.listings import ls_facts, print_ls

    facts = ls_facts(cache)
    _print_json(facts) if json else print_ls(facts)


@cache_app.command()
def verify(cache: Cache = CACHE, quiet: Quiet = False, json: Json = False, config: Config = None) -> None:
    """Compare every file of the cache with its checksum; nothing is changed."""
    from reports.listings import open_cache, print_verify, verify_facts

    facts = verify_facts(open_cache(cache), Console(quiet))
    _print_json(facts) if json else print_verify(facts)
    if facts["damages"]:
        raise typer.Exit(FAILED)


@cache_app.command()
def gc(
    cache: Cache = CACHE,
    runs: Runs = RUNS,
    unused_days: _flag(float | None, "Also blocks unused for so many days that no run uses.", min=0) = None,
    block: _flag(list[str] | None, "This block and nothing else, NAME-KEY; repeatable.") = None,
    delete: _flag(bool, "Delete; otherwise only listed.", "--delete") = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """List what nothing needs and its bytes; with --delete, delete it."""
    from reports.listings import gc_facts, print_gc

    if not runs.is_dir() and runs != RUNS:
        raise usage_error(f"no such folder: --runs {runs}. What its runs use could not be told from garbage.")
    facts = gc_facts(cache, runs, unused_days, block or [], delete)
    _print_json(facts) if json else print_gc(facts)
    if facts["incomplete"]:
        raise typer.Exit(PARTIAL)


def _existing(data: Path) -> Path:
    if not data.exists() and data == DATA:
        raise UserError(
            "no data: there is no folder 'data' and no --data was given. Run 'python cli.py demo' for synthetic data, "
            "or give a folder with HAM10000_metadata.csv and its images, or with a table and a dataset.toml."
        )
    return data


def _columns(table, image, label, group, metadata):
    """Column flags as a layout, or None when none is given."""
    from features.layouts import layout_from_flags

    return layout_from_flags(table, image, label, group, metadata)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise usage_error("--features is empty. Give extractors by comma, as in mobilenet_v2,cae.")
    return names


def _print_json(content: dict) -> None:
    import json

    print(json.dumps(content))


def start_decoders(workers: int | None = None) -> None:
    """Have decoding processes load their libraries while this process loads its own."""
    if workers != 0:
        from features.decoding import start_early

        start_early()


def main() -> int:
    """Run the command line and return its exit code; errors are one line on stderr."""
    settle_process()
    if hasattr(sys.stdout, "reconfigure"):  # a terminal without the letters of a name shows their codes
        sys.stdout.reconfigure(errors="backslashreplace")
    usage = typer.BadParameter.__mro__[2]  # the base of all errors of the command-line parser
    terminated: list[int] = []

    def terminate(number: int, _frame: object) -> None:
        terminated.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        code = app(standalone_mode=False) or 0
        # The parser turns Ctrl-C into this code.
        return _interrupted(terminated) if code == INTERRUPTED else code
    except UserError as error:
        _print_error(str(error))
        return error.exit_code
    except usage as error:
        if error.format_message():  # a group of commands without any prints its help
            _print_error(f"{error.format_message()} See 'python cli.py --help'.")
        return USAGE
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(terminated)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            _print_error(f"a name is too long: {os.fsdecode(error.filename or '')}. Give a shorter one.")
            return FAILED
        if os.environ.get("DERMFUSE_TRACEBACK"):
            raise
        _print_error(
            f"unexpected {type(error).__name__}: {error}. Set DERMFUSE_TRACEBACK=1 to see where; please report it."
        )
        return FAILED
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupted(terminated: list[int]) -> int:
    _print_error("interrupted; what was finished is kept, the same command goes on from there.")
    return TERMINATED if terminated else INTERRUPTED


def _print_error(text: str) -> None:
    print(f"error: {printable(' '.join(text.split()))}", file=sys.stderr)


def entry() -> None:
    """The installed command ``dermfuse``."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
