"""dermfuse: embeddings and clinical metadata of skin lesions, classified, measured and explained.

The only entry point. Commands parse, call the rooms below and print; heavy libraries are imported inside them, so
that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from cache.errors import FAILED, PARTIAL, USAGE, UserError, usage_error
from features.runtime import settle_process

NOT_CLINICAL = "Research software; not for clinical use."

app = typer.Typer(
    help=f"Classify skin lesions from frozen embeddings and clinical metadata. {NOT_CLINICAL}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _config_file(ctx: typer.Context, path: Path | None) -> Path | None:
    """Take defaults from a TOML file: its top level for every command, a table named as a command for that one."""
    if path is None:
        return None
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise usage_error(f"cannot read --config {path}: {error}. Expected a TOML file.") from None
    commands = ctx.parent.command.commands if ctx.parent else {}
    known = {name: {p.name for p in command.params} for name, command in commands.items()}
    tables = {k: v for k, v in content.items() if k in known and isinstance(v, dict)}
    shared = {k.replace("-", "_"): v for k, v in content.items() if k not in tables}
    own = {k.replace("-", "_"): v for k, v in tables.get(ctx.command.name, {}).items()}
    anywhere = set().union(*known.values())
    strange = [k for k in shared if k not in anywhere] + [k for k in own if k not in known[ctx.command.name]]
    if strange:
        raise usage_error(
            f"--config {path} has the unknown key {strange[0]!r}. Keys are the commands' flags without dashes."
        )
    mine = known[ctx.command.name]
    as_text = {
        k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in {**shared, **own}.items() if k in mine
    }
    ctx.default_map = {**(ctx.default_map or {}), **as_text}
    return path


Data = Annotated[Path, typer.Option(help="Folder with a table and images.", rich_help_panel="Shared")]
Cache = Annotated[Path, typer.Option(help="Folder of the embedding cache.", rich_help_panel="Shared")]
Runs = Annotated[Path, typer.Option(help="Folder of the runs.", rich_help_panel="Shared")]
Seed = Annotated[int, typer.Option(help="Of splits, models and bootstrap.", rich_help_panel="Shared")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notices.", rich_help_panel="Shared")]
Config = Annotated[
    Path | None,
    typer.Option(
        help="TOML file with defaults for these flags.",
        callback=_config_file,
        is_eager=True,
        rich_help_panel="Shared",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
WeightsDir = Annotated[
    Path | None,
    typer.Option(help="Folder with pretrained state dicts, NAME.pth; otherwise torchvision downloads."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Features = Annotated[str | None, typer.Option(help="Extractors, by comma: mobilenet_v2,cae.")]
Table = Annotated[str | None, typer.Option(help="File name of the table in --data.", rich_help_panel="Own data")]
ImageColumn = Annotated[str | None, typer.Option(help="Column with image names.", rich_help_panel="Own data")]
LabelColumn = Annotated[str | None, typer.Option(help="Column with labels.", rich_help_panel="Own data")]
GroupColumn = Annotated[
    str | None,
    typer.Option(help="Column with the lesion or patient that images share.", rich_help_panel="Own data"),
]
MetadataColumns = Annotated[
    str | None,
    typer.Option(
        help="Metadata columns, by comma; age=number or site=category sets the kind.",
        rich_help_panel="Own data",
    ),
]

DATA, CACHE, RUNS = Path("data"), Path("embeddings"), Path("runs")
DEFAULT_FEATURES = "mobilenet_v2,cae"


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo's data, cache and runs go.")] = Path("demo"),
    model: Annotated[str, typer.Option(help="rf, xgb, mlp, logreg or svm.")] = "rf",
    lesions: Annotated[int, typer.Option(help="How many lesions are drawn.", min=60)] = 640,
    weights_dir: WeightsDir = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Draw synthetic lesions, extract, fit and report: offline, in minutes."""
    from features.dataset import load_dataset
    from features.synthetic import make_dataset, planned_images
    from pipelines.embed import Stage1Options, embed_dataset

    console = _console(quiet)
    data = folder / "data"
    with console.progress("drawing lesions", planned_images(lesions, seed)) as advance:
        drawn = make_dataset(data, lesions=lesions, seed=seed, progress=advance)
    console.say(f"{drawn.images} drawn images of {drawn.lesions} lesions are in {data}")
    names = [*_pretrained_for_demo(weights_dir, console), "cae"]
    shared = {"data": data, "cache": folder / "embeddings", "seed": seed}
    dataset = load_dataset(data, None, console)
    summary = embed_dataset(dataset, Stage1Options(names, weights_dir, seed=seed), shared["cache"], console)
    for row in summary.set_aside:
        console.say(f"set aside: {Path(row.path).name!r}: {row.reason}")
    path = _fit(console, model=model, features=",".join(names), runs=folder / "runs", **shared)
    print(path / "report.html")


@app.command()
def extract(
    data: Data = DATA,
    features: Annotated[str, typer.Option(help="Extractors, by comma; 'doctor' lists them.")] = DEFAULT_FEATURES,
    weights_dir: WeightsDir = None,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="How embeddings are stored: float16 or float32.")] = "float16",
    batch_size: Annotated[
        int | None, typer.Option(help="Images a forward pass; by device if not given.", min=1)
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Decoding threads; one a core if not given.", min=1)] = None,
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
    from features.dataset import load_dataset
    from pipelines.embed import Stage1Options, embed_dataset
    from reports.summaries import extract_facts, print_extract

    console = _console(quiet)
    options = Stage1Options(_names(features), weights_dir, device, dtype, batch_size, workers, seed)
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
    model: Annotated[str, typer.Option(help="rf, xgb, mlp, logreg or svm.")] = "rf",
    features: Features = None,
    no_metadata: Annotated[bool, typer.Option("--no-metadata", help="Images alone.")] = False,
    no_images: Annotated[bool, typer.Option("--no-images", help="Metadata alone.")] = False,
    balance: Annotated[str, typer.Option(help="smote, weights or none.")] = "smote",
    select_k: Annotated[
        int | None, typer.Option(help="Encoded metadata columns ANOVA keeps; p < 0.05 if not given.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Grouped stratified folds.")] = 5,
    name: Annotated[str | None, typer.Option(help="Name of the run; made up if not given.")] = None,
    no_explain: Annotated[
        bool, typer.Option("--no-explain", help="Leave SHAP and permutation importance out.")
    ] = False,
    with_images: Annotated[
        bool, typer.Option("--with-images", help="Show pictures of patients in the report.")
    ] = False,
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
    path = _fit(
        _console(quiet),
        data=data,
        model=model,
        features=features,
        cache=cache,
        runs=runs,
        seed=seed,
        no_metadata=no_metadata,
        no_images=no_images,
        balance=balance,
        select_k=select_k,
        folds=folds,
        name=name,
        no_explain=no_explain,
        with_images=with_images,
        columns=_columns(table, image_column, label_column, group_column, metadata_columns),
    )
    from reports.summaries import print_run, run_facts

    if json:
        _print_json(run_facts(path))
    else:
        print_run(path)


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="Name or folder of a run.")],
    with_images: Annotated[bool, typer.Option("--with-images", help="Show pictures of patients.")] = False,
    runs: Runs = RUNS,
    config: Config = None,
) -> None:
    """Write a run's report.html again, from its run folder alone."""
    from pipelines.run import find_run
    from reports.render import write_report

    print(write_report(find_run(runs, run), with_images=with_images))


@app.command()
def predict(
    run: Annotated[str, typer.Argument(help="Name or folder of a run.")],
    images: Annotated[list[Path] | None, typer.Argument(help="Image files, or folders of images.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with images and, where it has one, a metadata table.")
    ] = None,
    metadata: Annotated[Path | None, typer.Option(help="Table with the run's image and metadata columns.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write a CSV file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    weights_dir: WeightsDir = None,
    device: Device = "auto",
    cache: Cache = CACHE,
    runs: Runs = RUNS,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Score new images with a run's model. Research use only."""
    from cache.store import Store
    from features.extractors import choose_device
    from pipelines.predict import Predictor, find_targets
    from pipelines.run import find_run
    from reports.predictions import write_predictions

    console = _console(quiet)
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
        print("\n".join(checkup_lines(facts)))


def _fit(
    console,
    *,
    data,
    model,
    cache,
    runs,
    seed,
    features=None,
    no_metadata=False,
    no_images=False,
    balance="smote",
    select_k=None,
    folds=5,
    name=None,
    no_explain=False,
    with_images=False,
    columns=None,
) -> Path:
    from cache.store import Store
    from features.dataset import load_dataset
    from features.extract import open_index, read_content
    from features.extractors import check_names
    from pipelines.fit import fit as run_fit
    from pipelines.options import FitOptions
    from reports.render import write_report

    options = FitOptions(
        model=model,
        features=check_names(_names(features)) if features else None,
        use_metadata=not no_metadata,
        use_images=not no_images,
        balance=balance,
        select_k=select_k,
        folds=folds,
        seed=seed,
        explain=not no_explain,
    )
    options.check()
    dataset = load_dataset(_existing(data), columns, console)
    store = Store(cache, on_problem=console.say)
    content = None
    if options.use_images:
        if not dataset.has_images:
            raise UserError(f"no image files below {data}. Give --no-images to fit on metadata alone.")
        with open_index(store, console) as index:
            content = read_content(dataset.rows["path"], index, console)
    path = run_fit(dataset, content, store, options, runs, name, console)
    write_report(path, with_images=with_images)
    return path


def _pretrained_for_demo(weights_dir: Path | None, console) -> list[str]:
    """The pretrained extractor, if its weights can be had; the demo goes on without it, and says so."""
    from features.weights import find_weights

    name = "mobilenet_v2"
    try:
        find_weights(name, weights_dir)
    except UserError as error:
        console.notice(f"the demo goes on with the autoencoder alone: {error}")
        return []
    return [name]


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


def _console(quiet: bool):
    from features.console import Console

    return Console(quiet)


def _print_json(content: dict) -> None:
    import json

    print(json.dumps(content))


def main() -> int:
    """Run the command line and return its exit code; errors are one line on stderr."""
    settle_process()
    usage = typer.BadParameter.__mro__[2]  # the base of all errors of the command-line parser
    try:
        return app(standalone_mode=False) or 0
    except UserError as error:
        _print_error(str(error))
        return error.exit_code
    except usage as error:
        _print_error(f"{error.format_message()} See 'python cli.py --help'.")
        return USAGE
    except (KeyboardInterrupt, typer.Abort):
        _print_error("interrupted; what was finished is kept, the same command goes on from there.")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if os.environ.get("DERMFUSE_TRACEBACK"):
            raise
        _print_error(
            f"unexpected {type(error).__name__}: {error}. Set DERMFUSE_TRACEBACK=1 to see where; please report it."
        )
        return FAILED


def _print_error(text: str) -> None:
    line = " ".join(text.split())
    print(f"error: {line}".encode(errors="backslashreplace").decode(), file=sys.stderr)


def entry() -> None:
    """The installed command ``dermfuse``."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
