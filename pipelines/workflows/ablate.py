"""Ablation: images, metadata and both, fitted on the same rows and folds, and the differences between them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from dermfuse.cache.atomic import make_folder
from dermfuse.cache.errors import UserError, usage_error
from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.features.data.content import content_of
from dermfuse.features.data.dataset import Dataset
from dermfuse.pipelines.evaluation.compare import (
    FILE,
    MOST_PAIRS,
    Pair,
    ScoredRun,
    check_same_rows,
    compare,
    read_scored,
)
from dermfuse.pipelines.model.choices import BALANCES
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.options.option import NEVER, options_of
from dermfuse.pipelines.runs import run_folder
from dermfuse.pipelines.runs.drafts import clear_abandoned
from dermfuse.pipelines.runs.opened import open_run
from dermfuse.pipelines.workflows import repeat
from dermfuse.pipelines.workflows.fit import fit
from dermfuse.pipelines.workflows.inputs import Inputs, inputs_of

# When an ablation goes on. Embeddings are compared by their keys, which tell more than what they were chosen by.
_COMPARED = [one for one in options_of(FitOptions).values() if one.told != NEVER and one.kept != "blocks"]


@dataclass(frozen=True)
class Arm:
    """One fit of an ablation.

    Attributes
    ----------
    name : str
        Of its run folder.
    options : FitOptions
    """

    name: str
    options: FitOptions


def check_choices(options: FitOptions, models: list[str], balances: list[str]) -> None:
    """Refuse impossible choices before any work.

    Raises
    ------
    UserError
        Nothing or the same thing twice in `models` or `balances`, or an unknown one (exit code 2).
    """
    for flag, given, example in (("--model", models, "rf,logreg"), ("--balances", balances, ",".join(BALANCES))):
        if not given or len(set(given)) < len(given):
            raise usage_error(f"{flag} is {','.join(given)!r}. Give one or more different ones, by comma: {example}.")
    for model in models:
        for balance in balances:
            replace(options, model=model, balance=balance).check()
    if not (options.use_images and options.use_metadata):
        raise usage_error("ablate fits with and without images and metadata by itself. Leave these flags out.")


def plan(
    options: FitOptions, models: list[str], balances: list[str], features: list[str], blocks: bool
) -> tuple[list[Arm], list[Pair]]:
    """The arms to fit and the pairs to compare.

    Parameters
    ----------
    options : FitOptions
        What all arms share.
    models, balances : list of str
    features : list of str
        All image blocks.
    blocks : bool
        Also each image block by itself, with and without metadata.

    Raises
    ------
    UserError
        `blocks` with a single one, or more pairs than can be told apart (exit code 2).
    """
    if blocks and len(features) < 2:
        raise usage_error(
            f"--blocks compares image blocks, but there is only {features[0]!r}. "
            "Extract another, or leave --blocks out."
        )
    arms, pairs = [], []
    for model in models:
        for balance in balances:
            own = replace(options, model=model, balance=balance, features=features)
            tail = f"-{balance}" if len(balances) > 1 else ""
            subject = f"{model} with {BALANCES[balance]}" if len(balances) > 1 else model
            more_arms, more_pairs = _with_and_without(own, tail, subject)
            arms, pairs = arms + more_arms, pairs + more_pairs
            if blocks:
                more_arms, more_pairs = _by_block(own, tail, subject)
                arms, pairs = arms + more_arms, pairs + more_pairs
        pairs += [_balances(model, balances[0], other) for other in balances[1:]]
    if len(pairs) > MOST_PAIRS:
        raise usage_error(
            f"these choices make {len(pairs)} comparisons; at most {MOST_PAIRS} are made. "
            "Give fewer of --model and --balances, or leave --blocks out."
        )
    return arms, pairs


def ablate(
    dataset: Dataset,
    store: Store,
    options: FitOptions,
    runs: Path,
    name: str | None,
    console,
    models: list[str],
    balances: list[str] | None = None,
    blocks: bool = False,
    finish: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Fit every arm on the same rows, folds and locked test split, and compare them.

    Each arm is a run folder of its own below the ablation's folder; beside them lies ``comparison.json``, written last.
    An ablation that ended before goes on when it is given its name again: arms that lie there are not fitted again.

    Parameters
    ----------
    dataset : Dataset
    store : Store
    options : FitOptions
        What all arms share; its model and balance are replaced.
    runs : Path
        Where the ablation's folder goes.
    name : str or None
        Its name; None makes one up.
    console : Console
    models : list of str
    balances : list of str, optional
        None takes that of `options`.
    blocks : bool, default=False
        Also each image block by itself, with and without metadata.
    finish : callable, optional
        Called with every arm's folder and at last with the ablation's, for what else should lie there.

    Returns
    -------
    Path
        The ablation's folder.

    Raises
    ------
    UserError
        As :func:`dermfuse.pipelines.workflows.fit.fit`; or the dataset lacks images or metadata.
    """
    balances = [options.balance] if balances is None else balances
    check_choices(options, models, balances)
    check_place(runs, name)
    # The image blocks, too, are chosen once for all arms.
    inputs = same_rows(dataset, store, options.seed, console).for_fit(store, options, console)
    arms, pairs = plan(options, models, balances, [block.name for block in inputs.blocks], blocks)
    fitted = 0 if name is None else sum((runs / name / arm.name / "config.json").is_file() for arm in arms)
    run_folder.check_space(runs, len(inputs.test), max(1, len(arms) - fitted))
    folder, fresh = _claimed(runs, name, f"{dataset.name}-ablation")
    clear_abandoned(runs, console.say)
    more = {"model": models, "balance": None, "balances": balances, "blocks": blocks, "name": folder.name}
    more |= {"explain": options.explain, "no_explain": None}
    again = repeat.commands(inputs.dataset, inputs.blocks, options, store, "ablate", more)
    try:
        scored = []
        for number, arm in enumerate(arms, start=1):
            kept = (folder / arm.name / "config.json").is_file()
            console.say(f"arm {number} of {len(arms)}: {arm.name}" + (", kept from before" if kept else ""))
            if kept:
                _check_kept(folder / arm.name, arm, inputs)
            else:
                # Notices of one arm are none of the next one's, but all share those on the data.
                own = Console(console.quiet)
                own.notices = list(console.notices)
                fit(inputs.of(arm.options), store, arm.options, folder, arm.name, own, again)
            finish(folder / arm.name)
            scored.append(read_scored(folder / arm.name))
        check_same_rows(scored)
        _check_same_blocks(scored)
        run_folder.write_json(folder, FILE, compare(scored, pairs, "ablation", console.progress))
        finish(folder)
    except BaseException:
        # Another process may be at work here: what this one did not make is not its to delete.
        if any(folder.glob("*/config.json")):
            console.say(f"finished arms are kept in {folder}; the same command with --name {folder.name} goes on")
        elif fresh:
            with suppress(OSError):
                folder.rmdir()
        raise
    return folder


def same_rows(dataset: Dataset, store: Store, seed: int, console) -> Inputs:
    """The rows that every arm uses, with or without images.

    A fit on metadata alone knows nothing of files that cannot be read or that stand in two groups; here it does.

    Raises
    ------
    UserError
        The dataset has no images or no metadata.
    """
    if not dataset.has_images:
        raise UserError(f"no image files below {dataset.folder}. An ablation compares images with metadata.")
    if not dataset.metadata_fields:
        raise UserError(
            f"the dataset {dataset.name} has no metadata columns to compare with its images. "
            "Name some with --metadata-columns, or use 'fit'."
        )
    return inputs_of(dataset, content_of(dataset, store, console.progress), store, seed, console)


def check_place(runs: Path, name: str | None) -> None:
    """Try whether the ablation could be written, before any work; nothing is left there.

    Raises
    ------
    UserError
        Nothing can be written there, or something else has this name.
    """
    if name is not None:
        _folder(runs, name)
    run_folder.check_place(runs)


def _folder(runs: Path, name: str) -> Path:
    """Where an ablation of this name goes: a new folder, or one whose ablation was not finished."""
    path = runs / run_folder.plain_name(name)
    begun = any(path.glob("[!.]*/config.json")) and not (path / FILE).exists() and not (path / "config.json").exists()
    return path if begun else run_folder.check_name(runs, name)


def _claimed(runs: Path, name: str | None, default: str) -> tuple[Path, bool]:
    """The ablation's folder, made now, and whether it is new: since the start another one may have taken the name."""
    make_folder(runs)
    while True:
        folder = run_folder.first_free(runs, default) if name is None else _folder(runs, name)
        try:
            folder.mkdir()
        except FileExistsError:
            if name is not None and folder.is_dir():
                return folder, False
        else:
            return folder, True


def _check_kept(folder: Path, arm: Arm, inputs: Inputs) -> None:
    """Refuse an arm that was fitted before with other choices or data."""
    config, options = open_run(folder).json("config.json"), arm.options
    dataset, keys = inputs.dataset, [block.key for block in inputs.of(options).blocks]
    chosen = {
        "data": (config["dataset"]["fingerprint"], dataset.fingerprint()),
        "embeddings": (sorted(block["key"] for block in config["blocks"]), sorted(keys)),
        # By their names, since ablate has a flag --explain where fit has --no-explain.
        **{f"--{o.name.replace('_', '-')}": (o.kept_in(config), getattr(options, o.name)) for o in _COMPARED},
        "--malignant": (config["dataset"].get("malignant", []), list(dataset.layout.malignant)),
        "--positive": (config["dataset"].get("positive"), dataset.layout.positive or None),
    }
    differing = [what for what, (before, now) in chosen.items() if before != now]
    if differing:
        raise usage_error(
            f"{folder} was fitted before with other choices ({', '.join(differing)}). "
            f"Give the same ones, another --name, or remove {folder.parent}."
        )


def _with_and_without(own: FitOptions, tail: str, subject: str) -> tuple[list[Arm], list[Pair]]:
    images, metadata, both = (f"{own.model}-{what}{tail}" for what in ("images", "metadata", "both"))
    no_images = replace(own, use_images=False, features=None, views=None, levels=None)
    arms = [Arm(images, replace(own, use_metadata=False)), Arm(metadata, no_images), Arm(both, own)]
    pairs = [
        Pair(images, both, "Adding metadata to images", subject, "metadata helps", "metadata hurts", "+ metadata"),
        Pair(metadata, both, "Adding images to metadata", subject, "images help", "images hurt", "+ images", False),
    ]
    return arms, pairs


def _by_block(own: FitOptions, tail: str, subject: str) -> tuple[list[Arm], list[Pair]]:
    arms, pairs = [], []
    for block in own.features:
        alone, joined = f"{own.model}-only-{block}{tail}", f"{own.model}-only-{block}-metadata{tail}"
        chosen = replace(own, features=[block])
        arms += [Arm(alone, replace(chosen, use_metadata=False)), Arm(joined, chosen)]
        more, others = f"Adding metadata to {block} alone", f"Adding the other image blocks to {block}"
        every = f"{own.model}-images{tail}"
        pairs += [
            Pair(alone, joined, more, subject, "metadata helps", "metadata hurts", f"{block} + metadata", False),
            Pair(alone, every, others, subject, "they help", "they hurt", f"{block} + other blocks", False),
        ]
    return arms, pairs


def _balances(model: str, first: str, second: str) -> Pair:
    before, after = BALANCES[first], BALANCES[second]
    return Pair(
        f"{model}-both-{first}",
        f"{model}-both-{second}",
        f"Using {after} in place of {before}",
        model,
        f"{after} does better",
        f"{after} does worse",
        f"{first} to {second}",
        headline=False,
    )


def _check_same_blocks(scored: list[ScoredRun]) -> None:
    keys = {(block["name"], block["key"]) for one in scored for block in one.config["blocks"]}
    if len({name for name, _ in keys}) < len(keys):
        raise UserError("the cache was written to while the arms were fitted, so that they differ. Run it again.")
