"""A runtime that was chosen before, taken up again without measuring, and what was built for it, kept."""

from __future__ import annotations

from pathlib import Path

import torch

from dermfuse.cache.atomic import atomic_write, make_folder
from dermfuse.cache.beside import RUNTIMES, built_name, kept_in
from dermfuse.cache.findings import DIGITS
from dermfuse.cache.recipe import recipe_key
from dermfuse.cache.store import Store
from dermfuse.features.runtimes.choice import (
    LOWEST_COSINE,
    WORTH,
    Choice,
    Choices,
    differs,
    machine,
    network_key,
    promised,
)
from dermfuse.features.runtimes.runtime import REFERENCE, Candidate, Runtime, candidates

# Images on which a runtime that is taken up again is compared with the reference.
CHECKED_IMAGES = 4
MOST_KEPT = 32
# Of a recipe: what happens before and after the network.
_NOT_BUILT = ("views", "resize", "interpolation", "antialias", "decode", "precision", "dtype")


def recall(
    extractor, probe: torch.Tensor, left: int, batch: int, store: Store, precision: str | None = None
) -> Choice | None:
    """Give an extractor the runtime that was chosen for its network on this machine before.

    It is compared with the reference on a few images. Nothing is timed.

    Parameters
    ----------
    extractor
        With ``body``, ``device``, ``views``; its ``runtime`` is set where a choice is taken up.
    probe : Tensor, shape (n, 3, side, side), uint8
        A few of its images; n at least 1.
    left : int
        Images to embed.
    batch : int
        Images a batch.
    store : Store
    precision : str, optional
        Only this precision, because the cache holds rows of it.

    Returns
    -------
    Choice or None
        None where there is none, where another runtime promises to be done earlier with the images that are left, or
        where its vectors are not those of the reference: then all are to be measured.
    """
    known = Choices(store.root).known(machine(extractor.device), network_key(extractor.recipe()))
    if known is None or known.batch != batch or precision not in (None, known.precision):
        return None
    every = candidates(extractor.device)
    chosen = next((c for c in every if c.name == known.chosen), None)
    built = _read(store, _key(extractor, chosen, batch)) if chosen is not None and chosen.load is not None else None
    if chosen is None or _another_promises_more(known, chosen, every, left * extractor.views, built, precision):
        return None
    try:
        runtime = Runtime(chosen, extractor.body, extractor.device, batch, built)
        if chosen is not REFERENCE and not _agrees(runtime, extractor, probe):
            return None
    except Exception:  # whatever a compiler or a driver raises: measuring finds out, and tells
        return None
    extractor.runtime = runtime
    return known


def keep_built(extractor, store: Store) -> None:
    """Keep what was built for an extractor's runtime, where it can be kept and is not yet.

    Raises
    ------
    UserError, OSError
        It cannot be written; nothing depends on it.
    """
    runtime = extractor.runtime
    key = _key(extractor, runtime.candidate, runtime.batch)
    if runtime.candidate.load is None or _read(store, key) is not None:
        return
    built = runtime.export()
    if built is None:
        return
    damaged = _files(store, key)
    kept = store.root / RUNTIMES / built_name(extractor.name, key, built)
    make_folder(kept.parent)
    atomic_write(kept, built)
    # Files of versions and machines that are gone would pile up; what is still wanted is built again in seconds.
    newest = sorted(kept.parent.glob("*.bin"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in [path for path in damaged if path != kept] + newest[MOST_KEPT:]:
        path.unlink(missing_ok=True)


def _another_promises_more(
    known: Choice, chosen: Candidate, every: list[Candidate], passes: int, built: bytes | None, precision: str | None
) -> bool:
    seen = {trial.name: trial for trial in known.trials}
    if known.images_per_second is None or seen[REFERENCE.name].images_per_second is None:
        return True
    rate = seen[REFERENCE.name].images_per_second
    seconds = passes / known.images_per_second if built else promised(chosen, seen[chosen.name], passes, rate)
    unfit = {trial.precision for trial in known.trials if differs(trial)}
    fit = [c for c in every if c is not chosen and precision in (None, c.precision) and c.precision not in unfit]
    able = [c for c in fit if not (c.name in seen and seen[c.name].outcome.startswith("dropped"))]
    return any(promised(c, seen.get(c.name), passes, rate) < WORTH * seconds for c in able)


def _agrees(runtime: Runtime, extractor, probe: torch.Tensor) -> bool:
    """Whether every vector of the probe is the reference's, by the rule of a first choice."""
    expected = Runtime(REFERENCE, extractor.body, extractor.device)(probe).cpu()
    cosines = torch.nn.functional.cosine_similarity(runtime(probe).cpu(), expected)
    return bool((cosines >= LOWEST_COSINE).all())


def _read(store: Store, key: str) -> bytes | None:
    """What is kept under a key, if it is as it was written."""
    for path in _files(store, key):
        try:
            built = path.read_bytes()
        except OSError:
            continue
        if path.name == built_name(path.name.split("@")[0], key, built):
            return built
    return None


def _files(store: Store, key: str) -> list[Path]:
    return [kept.path for kept in kept_in(store.root) if (kept.kind, kept.digits) == (RUNTIMES, key)]


def _key(extractor, candidate: Candidate, batch: int | None) -> str:
    """Of all that decides what is built: the network to the last number, the machine, the libraries."""
    network = {name: value for name, value in extractor.recipe().items() if name not in _NOT_BUILT}
    told = {"machine": machine(extractor.device), "runtime": candidate.name, "batch": batch or 0}
    return recipe_key({**told, "network": network})[:DIGITS]
