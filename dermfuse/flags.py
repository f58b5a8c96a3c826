"""The flags that commands share, and how a command takes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dermfuse.cache.errors import UserError, usage_error


def config_file(ctx: typer.Context, path: Path | None) -> Path | None:
    """Take defaults from a TOML file, see :func:`dermfuse.defaults.read_defaults`."""
    if path is not None:
        from dermfuse.defaults import flags_of, read_defaults

        root = ctx.find_root()
        command = "-".join(ctx.command_path.removeprefix(root.command_path).split())
        ctx.default_map = read_defaults(path, command, flags_of(root.command.commands))
    return path


def flag(kind: object, text: str, *names: str, panel: str | None = None, **more) -> object:
    """The annotation of one flag."""
    return Annotated[kind, typer.Option(*names, help=text, rich_help_panel=panel, **more)]


Data = flag(Path, "Folder with a table and images.", panel="Shared")
Cache = flag(Path, "Folder of the embedding cache.", panel="Shared")
Runs = flag(Path, "Folder of the runs.", panel="Shared")
Seed = flag(int, "Of splits, models and bootstrap.", panel="Shared")
Quiet = flag(bool, "No progress, no notices.", "--quiet", "-q", panel="Shared")
Config = flag(
    Path | None, "TOML file with defaults for these flags.", callback=config_file, is_eager=True, panel="Shared"
)
Json = flag(bool, "Print the result as JSON.", "--json")
WeightsDir = flag(
    Path | None, "Folder with pretrained state dicts, NAME.pth; otherwise an installed package's, or a download."
)
BatchSize = flag(int | None, "Images that a network is given at once; by device if not given.", min=1)
Workers = flag(int | None, "Decoding processes; one a core if not given; 0 decodes in the process itself.", min=0)
Device = flag(str, "auto, cpu or cuda.")
Model = flag(str, "rf, xgb, mlp, logreg or svm.")
Features = flag(str | None, "Extractors, by comma: mobilenet_v2,cae.")
WithImages = flag(bool, "Show pictures of patients in the report.", "--with-images")
Table = flag(str | None, "File name of the table in --data.", panel="Own data")
ImageColumn = flag(str | None, "Column with image names.", panel="Own data")
LabelColumn = flag(str | None, "Column with labels.", panel="Own data")
GroupColumn = flag(str | None, "Column with the lesion or patient that images share.", panel="Own data")
MetadataColumns = flag(
    str | None, "Metadata columns, by comma; age=number or site=category sets the kind.", panel="Own data"
)
Malignant = flag(str | None, "Classes that are malignant, by comma; all others are benign then.", panel="Own data")
Positive = flag(str | None, "Of two classes, the one that AUC and sensitivity are of.", panel="Own data")
Run = Annotated[str, typer.Argument(help="Name or folder of a run.")]
Views = flag(int | None, "Of the embeddings; those extracted last if not given.")
Levels = flag(str | None, "Of the embeddings; those extracted last if not given.")
Balance = flag(str, "smote, weights or none.")
SelectK = flag(int | None, "Encoded metadata columns ANOVA keeps; p < 0.05 if not given.")
Folds = flag(int, "Grouped stratified folds.")
Repeats = flag(int, "Times that the rows are divided into folds, anew each time.")
Tune = flag(int, "Candidates of a search for settings inside each training part; 0 for none.")
Calibration = flag(str, "bias_corrected, temperature, isotonic, dirichlet or none.")
Jobs = flag(int, "Fits at a time; -1 for one a core.", panel="Scale")
Engine = flag(str, "local, or ray: tasks on a Ray cluster.", panel="Scale")
RayAddress = flag(str | None, "Of a running Ray cluster; else one is started here.", panel="Scale")
Trust = flag(bool, "Read a run also where its files were changed after the fit; values are still checked.", "--trust")
Name = flag(str | None, "Name of the run; made up if not given.")

DATA, CACHE, RUNS = Path("data"), Path("embeddings"), Path("runs")
DEFAULT_FEATURES = "mobilenet_v2,cae"
EXAMPLES = {"--features": DEFAULT_FEATURES, "--model": "rf,logreg", "--balances": "none,weights,smote"}


def takes(**groups: Callable) -> Callable:
    """Give a command the flags of `groups` and ``--config`` too.

    Each group is a function of flags, and the command is given its result.
    """

    def decorate(command: Callable) -> Callable:
        flags = {name: inspect.signature(group, eval_str=True).parameters for name, group in groups.items()}
        own = inspect.signature(command, eval_str=True).parameters

        def run(**given: object) -> None:
            made = {name: group(**{flag: given[flag] for flag in flags[name]}) for name, group in groups.items()}
            command(**{name: given[name] for name in own if name not in groups}, **made)

        shown = {}
        for name, parameter in own.items():
            shown.update(flags.get(name, {name: parameter}))
        shown["config"] = inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Config)
        keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in shown.values()]
        run.__signature__ = inspect.Signature(keywords)
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def source(
    data: Data = DATA,
    table: Table = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    metadata_columns: MetadataColumns = None,
    malignant: Malignant = None,
    positive: Positive = None,
) -> Callable:
    """What loads the dataset, given a console."""
    given = {name: value for name, value in locals().items() if name != "data" and value is not None}
    from dermfuse.features.tables.columns import layout_from_flags

    columns = layout_from_flags(table, image_column, label_column, group_column, metadata_columns, malignant, positive)
    return partial(_load, given, _existing(data), columns)


def _load(given: dict[str, object], *arguments: object, **more: object) -> object:
    from dermfuse.features.data.dataset import load_dataset  # late, since pandas takes half a second

    return replace(load_dataset(*arguments, **more), flags=given)


def stage_2(
    features: Features = None,
    views: Views = None,
    levels: Levels = None,
    balance: Balance = "smote",
    calibration: Calibration = "bias_corrected",
    select_k: SelectK = None,
    folds: Folds = 5,
    repeats: Repeats = 1,
    tune: Tune = 0,
    jobs: Jobs = -1,
    seed: Seed = 0,
) -> dict:
    """What `FitOptions` takes beside the model and its inputs."""
    from dermfuse.features.extractors.registry import check_names

    return {
        "features": check_names(names_of(features)) if features else None,
        "views": views,
        "levels": levels,
        "balance": balance,
        "calibration": calibration,
        "select_k": select_k,
        "folds": folds,
        "repeats": repeats,
        "tune": tune,
        "jobs": jobs,
        "seed": seed,
    }


def _existing(data: Path) -> Path:
    if not data.exists() and data == DATA:
        raise UserError(
            "no data: there is no folder 'data' and no --data was given. Run 'python cli.py demo' for synthetic data, "
            "or give a folder with HAM10000_metadata.csv and its images, or with a table and a dataset.toml."
        )
    return data


def names_of(text: str, flag: str = "--features") -> list[str]:
    """Names given by comma to a flag."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise usage_error(f"{flag} is empty. Give names by comma, as in {EXAMPLES.get(flag, 'a,b')}.")
    return names
