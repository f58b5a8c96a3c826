"""The options that only commands have, and how a command takes all of its options from their declarations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated

import typer

from dermfuse.cache.errors import UserError
from dermfuse.features.console import Console
from dermfuse.pipelines.options.option import Option, option, options_of

DATA = option(Path("data"), "Folder with a table and images.", panel="Shared")
CACHE = option(Path("embeddings"), "Folder of the embedding cache.", panel="Shared")
RUNS = option(Path("runs"), "Folder of the runs.", panel="Shared")
QUIET = option(False, "No progress, no notices.", short="-q", panel="Shared")
JSON = option(False, "Print the result as JSON.")
WITH_IMAGES = option(False, "Show pictures of patients in the report.")
TRUST = option(False, "Read a run also where its files were changed after the fit; values are still checked.")
NAME = option(None, "Name of the run; made up if not given.")
RUN = option(..., "Name or folder of a run.", argument=True)


def takes(**groups: Callable) -> Callable:
    """Give a command its options, those of `groups` and ``--config``, read and checked as they are declared.

    Each group is a class or a function whose parameters are options, and the command is given its result. What the
    command declares itself, it is not given by a group.
    """

    def decorate(command: Callable) -> Callable:
        own, options = options_of(command), {}
        inside = {name: [o for o in options_of(group).values() if o.key not in own] for name, group in groups.items()}
        for name in signature(command).parameters:
            options.update({one.key: one for one in inside.get(name) or [own[name]]})

        def run(**given: object) -> None:
            values = {key: one.read(given[key]) for key, one in options.items()}
            made = {
                name: groups[name](**{o.name: not values[o.key] if o.inverted else values[o.key] for o in inner})
                for name, inner in inside.items()
            }
            command(**{key: value for key, value in values.items() if key in own}, **made)

        run.__signature__ = Signature([*map(_parameter, options.values()), _CONFIG])
        run.__name__, run.__doc__, run.options = command.__name__, command.__doc__, options
        return run

    return decorate


def _parameter(one: Option) -> Parameter:
    """An option for the parser of the command line, which hands on text; :meth:`Option.read` reads it."""
    kind = bool if one.kind is bool else list[str] if one.repeated else str
    if one.argument:
        told = typer.Argument(help=one.help_text)
    else:
        names = [one.flag, *filter(None, [one.short])]
        metavar = None if one.kind is bool else one.type_text
        told = typer.Option(*names, help=one.help_text, metavar=metavar, rich_help_panel=one.panel)
    default = Parameter.empty if one.default is ... else False if kind is bool else one.text(one.default)
    optional = kind if kind is bool or one.default is ... else kind | None
    return Parameter(one.key, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[optional, told])


def _config_file(ctx: typer.Context, path: Path | None) -> Path | None:
    """Take defaults from a TOML file, see :func:`dermfuse.defaults.read_defaults`."""
    if path is not None:
        from dermfuse.defaults import flags_of, read_defaults

        root = ctx.find_root()
        command = "-".join(ctx.command_path.removeprefix(root.command_path).split())
        ctx.default_map = read_defaults(path, command, flags_of(root.command.commands))
    return path


_CONFIG_HELP = {"help": "TOML file with defaults for these flags.", "rich_help_panel": "Shared"}
_CONFIG_FILE = Annotated[Path | None, typer.Option("--config", callback=_config_file, is_eager=True, **_CONFIG_HELP)]
_CONFIG = Parameter("config", Parameter.KEYWORD_ONLY, default=None, annotation=_CONFIG_FILE)


def _own(text: str) -> object:
    return option(None, text, panel="Own data")


@dataclass(frozen=True)
class Source:
    """Where the dataset is, and how its table is to be read; called with a console, it loads the dataset and tells."""

    data: Path = DATA
    table: str | None = _own("File name of the table in --data.")
    image_column: str | None = _own("Column with image names.")
    label_column: str | None = _own("Column with labels.")
    group_column: str | None = _own("Column with the lesion or patient that images share.")
    metadata_columns: str | None = _own("Metadata columns, by comma; age=number or site=category sets the kind.")
    malignant: str | None = _own("Classes that are malignant, by comma; all others are benign then.")
    positive: str | None = _own("Of two classes, the one that AUC and sensitivity are of.")

    def __post_init__(self):
        if not self.data.exists() and self.data == DATA.default:
            raise UserError(
                "no data: there is no folder 'data' and no --data was given. Run 'python cli.py demo' for synthetic "
                "data, or give a folder with HAM10000_metadata.csv and its images, or with a table and a dataset.toml."
            )
        self._layout()

    def __call__(self, console: Console) -> object:
        """The dataset, which keeps the flags that it was read with; the console is told what was noticed."""
        from dermfuse.features.data.dataset import load_dataset  # late, since pandas takes half a second

        _, *columns = vars(self).items()
        given = {name: value for name, value in columns if value is not None}
        dataset = load_dataset(self.data, self._layout())
        console.notice(*dataset.noticed)
        return replace(dataset, flags=given)

    def _layout(self) -> object:
        from dermfuse.features.tables.columns import layout_from_flags

        _, *columns = vars(self).values()
        return layout_from_flags(*columns)
