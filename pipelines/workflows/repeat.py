"""The commands that make a run again: every option that changes a number, and none that does not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dermfuse.cache.store import Block, Store
from dermfuse.features.data.dataset import Dataset
from dermfuse.pipelines.options.extract import Stage1Options
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.options.option import ALWAYS, CHANGED, options_of

DATA, WEIGHTS = "DIR", "WEIGHTS"  # what stands for folders, whose paths are nobody's business
START = ("python", "cli.py")
EXACT = "float32"


def arguments(flags: Mapping[str, object]) -> list[str]:
    """Flags as words of a command line: ``{"select_k": 5, "no_images": True}`` to ``--select-k 5 --no-images``.

    What is None or False is left out; a list of several values is joined by comma.
    """
    words = []
    for name, value in flags.items():
        if value is None or value is False:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(",".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
    return words


def flags_of(kind: type, values: Mapping[str, object]) -> dict[str, object]:
    """The flags that give these values of options of a class; those at their default are left out."""
    flags, options = {}, options_of(kind)
    for name, value in values.items():
        option = options[name]
        if option.told == ALWAYS or (option.told == CHANGED and value != option.default):
            flags[option.key] = not value if option.inverted else value
    return flags


def commands(
    dataset: Dataset,
    blocks: Sequence[Block],
    options: FitOptions,
    store: Store,
    command: str = "fit",
    more: Mapping[str, object] | None = None,
) -> list[list[str]]:
    """The words of every command that repeats a fit of these blocks on one's own copy of the data, in their order.

    Parameters
    ----------
    dataset : Dataset
        It knows the column flags that it was read with.
    blocks : sequence of Block
    options : FitOptions
    store : Store
        Where the blocks lie.
    command : str
        What makes the run.
    more : mapping of str to object, optional
        Flags of that command which take the place of those of `options`.
    """
    source = {"data": DATA, **{name: _without_folder(value, dataset.folder) for name, value in dataset.flags.items()}}
    extracted = [{**source, **flags} for flags in _extractions(blocks, store)]
    chosen = flags_of(FitOptions, vars(options))
    if blocks:
        views, levels = (_shared(blocks, name) for name in ("views", "levels"))
        chosen |= {"features": [block.name for block in blocks], "views": views, "levels": levels}
    fit = {**source, **chosen, **(more or {})}
    return [[*START, "extract", *arguments(flags)] for flags in extracted] + [[*START, command, *arguments(fit)]]


def _without_folder(value: object, folder: Path) -> object:
    """A value, as seen from the dataset's folder where it is a path."""
    if not isinstance(value, str) or not Path(value).is_absolute():
        return value
    return os.path.relpath(value, folder.resolve()) if folder.resolve() in Path(value).parents else Path(value).name


def _extractions(blocks: Sequence[Block], store: Store) -> list[dict[str, object]]:
    """Flags of as few calls of ``extract`` as make these blocks."""
    calls: list[dict[str, object]] = []
    for block in blocks:
        wanted = _wanted(block, store)
        same = [call for call in calls if all(call.get(name, value) == value for name, value in wanted.items())]
        call = same[0] if same else calls.append({}) or calls[-1]
        call |= {**wanted, "features": [*call.get("features", []), block.name]}
    return [flags_of(Stage1Options, {"features": call["features"], **call}) for call in calls]


def _wanted(block: Block, store: Store) -> dict[str, object]:
    """What ``extract`` has to be told for one block; what its extractor has no choice of is left open."""
    from dermfuse.features.extractors import learned
    from dermfuse.features.extractors.registry import kept_weights

    recipe = block.recipe
    wanted = {"dtype": recipe.get("dtype", "float16")}
    if "precision" in recipe:
        # What is fastest may be another one next time.
        wanted["precision"] = "exact" if recipe["precision"] == EXACT else recipe["precision"]
    if recipe.get("extractor") == "backbone":
        wanted |= {"views": recipe["views"], "levels": recipe["levels"]}
        if kept_weights(store, block.name, recipe["weights"]).exists():
            wanted["weights_dir"] = WEIGHTS
    if recipe.get("extractor") == "autoencoder":
        record = learned.learning_record(store, recipe["weights"])
        wanted["seed"] = record.get("config", {}).get("seed")
    return wanted


def _shared(blocks: Sequence[Block], name: str) -> object:
    """What all pretrained blocks have for a field of their recipes, where ``fit`` has to be told; else None."""
    found = {block.recipe.get(name) for block in blocks if block.recipe.get("extractor") == "backbone"}
    return found.pop() if len(found) == 1 and not found <= {1, "last"} else None
