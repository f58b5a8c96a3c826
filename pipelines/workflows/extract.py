"""Stage 1 for a dataset with splits: frozen extractors, and learned ones that see the training split only."""

from __future__ import annotations

from pathlib import Path

from dermfuse.cache.atomic import make_folder
from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.features.data.content import Content, content_of
from dermfuse.features.data.dataset import Dataset
from dermfuse.features.embedding.loop import extract
from dermfuse.features.embedding.noticed import keep_noticed
from dermfuse.features.embedding.room import check_room_for_rows
from dermfuse.features.embedding.summary import ExtractSummary
from dermfuse.features.extractors import autoencoder, learned
from dermfuse.features.extractors.registry import check_names, choose_device
from dermfuse.pipelines.options.extract import Stage1Options
from dermfuse.pipelines.workflows.inputs import join_groups, learning_split, locked_split
from dermfuse.pipelines.workflows.stage1 import frozen_extractors, work_of


def embed_dataset(dataset: Dataset, options: Stage1Options, cache: Path, console) -> ExtractSummary:
    """Embed every image of a dataset, or those of one part, into the cache.

    With frozen extractors alone, a part reads its own files only. The autoencoder learns from the whole training split,
    so with it every process reads all files; one trains, the others wait and take what it has learned.

    Raises
    ------
    UserError
        Unknown names, no images, weights that cannot be had, a full disk.
    """
    names = check_names(options.features)
    if not dataset.has_images:
        raise UserError(
            f"no image files below {dataset.folder}. Expected JPEG, PNG, WebP, BMP or TIFF files beside the table."
        )
    part, content = options.part, None
    if part is not None:
        console.notice(f"shard {part}" + (f", from {part.source}" if part.source else ""))
    device = choose_device(options.device)
    store = Store(cache, on_problem=console.say)
    # Weights that are missing should stop the run before any file is hashed.
    made = frozen_extractors(options, store, device)
    # Nothing that only reads makes it: a mistyped folder is no cache.
    make_folder(store.root)
    if autoencoder.NAME in names or (part is None and options.engine == "local"):
        content = content_of(dataset, store, console.progress, options.verify)
        dataset = join_groups(dataset, content, console)
    if autoencoder.NAME in names:
        # Before the training: the autoencoder's own rows are looked at with the others, once its width is known.
        check_room_for_rows(list(made.values()), list(content.paths(dataset)), store, options.precision)
        made[autoencoder.NAME] = _autoencoder(dataset, content, store, options, device, console)
    extractors = [made[name] for name in names]
    if options.engine == "ray":
        from dermfuse.pipelines.workflows.cluster import embed_on_ray

        summary = embed_on_ray(dataset, options, store, extractors, console)
        _keep_noticed(summary, store, console)
        return summary
    if part is not None:
        content = part.of_content(content, dataset) if content is not None else None
        dataset = part.of(dataset)
    content = content_of(dataset, store, console.progress, options.verify) if content is None else content
    summary = extract(dataset, content, extractors, store, console, work_of(options))
    summary.part = None if part is None else str(part)
    _keep_noticed(summary, store, console)
    return summary


def _keep_noticed(summary: ExtractSummary, store: Store, console) -> None:
    """Keep what was noticed with the blocks that got rows; where all were there, nothing was made."""
    texts = [*console.notices]
    if summary.set_aside:
        texts.append(f"images that could not be read, set aside: {len(summary.set_aside):,}")
    texts += [f"{choice.extractor} ran with {choice.chosen} ({choice.precision})" for choice in summary.runtimes]
    keep_noticed(store.root, [block.key for block in summary.blocks if block.computed], texts, console.say)


def _autoencoder(dataset: Dataset, content: Content, store: Store, options: Stage1Options, device: str, console):
    test = locked_split(dataset, options.seed, console)
    learn = learning_split(dataset, options.seed)
    locked = content.chosen(test)
    return learned.autoencoder_for(
        content.paths(dataset),
        sorted(content.chosen(learn) - locked),
        content.chosen(~test) - locked,
        store,
        autoencoder.AutoencoderConfig(seed=options.seed),
        device,
        options.dtype,
        console,
        options.workers,
    )
