"""Ablation: images, metadata and both, fitted on the same rows and folds, and the differences between them."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cache.atomic import disk_errors_told, make_folder
from cache.errors import UserError, usage_error
from cache.store import Store
from features.console import Console
from features.content import Content, open_index, read_content
from features.dataset import Dataset
from pipelines import run
from pipelines.balance import BALANCES
from pipelines.compare import FILE, MOST_PAIRS, Pair, Scored, check_same_rows, compare, read_scored
from pipelines.embed import join_groups, locked_split
from pipelines.fit import fit, learned_from, usable_rows
from pipelines.options import FitOptions
from pipelines.table import find_blocks

IN_WORDS = {"none": "no balancing", "weights": "class weights", "smote": "SMOTE"}


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
            subject = f"{model} with {IN_WORDS[balance]}" if len(balances) > 1 else model
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

    Each arm is a run folder of its own below the ablation's folder; beside them lies ``comparison.json``. The folder
    appears when all is done, or not at all.

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
        As :func:`pipelines.fit.fit`; or the dataset lacks images or metadata.
    """
    balances = [options.balance] if balances is None else balances
    check_choices(options, models, balances)
    if name:
        run.check_name(runs, name)
    dataset, content = same_rows(dataset, store, console)
    features = _features(dataset, content, store, options, console)
    arms, pairs = plan(options, models, balances, features, blocks)
    run.check_writable(runs)

    def write(draft: Path) -> None:
        scored = []
        for number, arm in enumerate(arms, start=1):
            console.say(f"arm {number} of {len(arms)}: {arm.name}")
            # Notices of one arm are none of the next one's, but all share those on the data.
            own = Console(console.quiet)
            own.notices = list(console.notices)
            folder = fit(dataset, content, store, arm.options, draft, arm.name, own)
            finish(folder)
            scored.append(read_scored(folder))
        check_same_rows(scored)
        _check_same_blocks(scored)
        run.write_json(draft, FILE, compare(scored, pairs, "ablation", console))
        finish(draft)

    try:
        return _create(runs, name, f"{dataset.name}-ablation", write)
    except KeyboardInterrupt:
        console.say("interrupted: an ablation is written whole or not at all, so its finished arms are gone too")
        raise


def same_rows(dataset: Dataset, store: Store, console) -> tuple[Dataset, Content]:
    """The rows that every arm uses, with or without images, and their files' digests, read once.

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
    with open_index(store, console) as index:
        content = read_content(dataset.rows["path"], index, console)
    dataset = join_groups(dataset, content, console)
    usable = usable_rows(content, store, console)
    keys = [key for key, use in zip(content.keys, usable, strict=True) if use]
    return dataset.keep(usable), Content(keys, content.unreadable)


def _features(dataset: Dataset, content: Content, store: Store, options: FitOptions, console) -> list[str]:
    """Names of the image blocks, chosen once for all arms."""
    locked = content.chosen(locked_split(dataset, options.seed))
    wanted = {"views": options.views, "levels": options.levels}
    found = find_blocks(store, options.features, content.keys, locked, learned_from(store), console.notice, wanted)
    return [block.name for block in found]


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
    before, after = IN_WORDS[first], IN_WORDS[second]
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


def _check_same_blocks(scored: list[Scored]) -> None:
    keys = {(block["name"], block["key"]) for one in scored for block in one.config["blocks"]}
    if len({name for name, _ in keys}) < len(keys):
        raise UserError("the cache was written to while the arms were fitted, so that they differ. Run it again.")


def _create(runs: Path, name: str | None, default: str, write: Callable[[Path], None]) -> Path:
    """As :func:`pipelines.run.create_run`, for a folder that holds runs and is none itself."""
    make_folder(runs)
    draft = runs / f".draft-{os.getpid()}-{secrets.token_hex(4)}"
    with disk_errors_told(draft):
        draft.mkdir()
        try:
            write(draft)
            target = run.check_name(runs, name) if name else run.first_free(runs, default)
            os.replace(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return target
