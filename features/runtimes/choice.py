"""Which runtime an extractor gets: candidates are timed on its first images and must agree with the reference."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from dermfuse.cache.atomic import atomic_write, make_folder
from dermfuse.cache.beside import version_of
from dermfuse.cache.errors import UserError
from dermfuse.cache.recipe import recipe_key
from dermfuse.cache.store import DamagedBlock
from dermfuse.features.runtimes.runtime import PRECISIONS, REFERENCE, Candidate, Runtime, candidates

FILE = "runtimes.json"
MODES = ("auto", "exact")
PROBE_IMAGES = 16
LOWEST_COSINE = 0.999
PASSES = 3
# Images a core on which a candidate is timed that divides them among the cores.
A_CORE = 8
# A candidate must promise to end this much earlier, else noise decides.
WORTH = 0.9
# All of a recipe that changes how long a pass takes or how its numbers come out.
_NETWORK_FIELDS = ("extractor", "architecture", "weights", "levels", "stages", "crop")


@dataclass
class Trial:
    """What is known of one candidate.

    Attributes
    ----------
    name, precision : str
    outcome : str
        ``chosen``, ``slower``, or why it was dropped or not tried.
    images_per_second : float or None
        One view, images prepared in memory.
    build_seconds : float or None
    lowest_cosine, largest_error : float or None
        Against the reference, over the images of the probe: cosine, and length of the difference over the
        reference's length.
    """

    name: str
    precision: str
    outcome: str = ""
    images_per_second: float | None = None
    build_seconds: float | None = None
    lowest_cosine: float | None = None
    largest_error: float | None = None


@dataclass
class Choice:
    """What was chosen for one network on one machine, and why.

    Attributes
    ----------
    extractor, machine, network : str
        `network` is the key of what decides how fast and how exact it runs.
    chosen, precision, why : str
    batch, probe : int
        Images a batch, and images the candidates were compared on.
    images_left : int
        How many the choice was made for.
    trials : list of Trial
    """

    extractor: str
    machine: str
    network: str
    chosen: str
    precision: str
    why: str
    batch: int
    probe: int
    images_left: int
    trials: list[Trial] = field(default_factory=list)

    @property
    def images_per_second(self) -> float | None:
        """Of the chosen candidate, one view."""
        return next((t.images_per_second for t in self.trials if t.name == self.chosen), None)

    def joined(self, older: Choice | None) -> Choice:
        """This choice, with what an older one measured of candidates that were not tried now."""
        if older is None:
            return self
        measured = {trial.name: trial for trial in older.trials if trial.images_per_second is not None}
        known = [t if t.images_per_second is not None else measured.get(t.name, t) for t in self.trials]
        trials = [replace(old, outcome=now.outcome) for old, now in zip(known, self.trials, strict=True)]
        return replace(self, trials=trials)


class Choices:
    """The choices that were made with a cache, by machine and network, in ``runtimes.json`` of its folder.

    Parameters
    ----------
    root : Path
        The cache's folder.
    """

    def __init__(self, root: Path):
        self._path = Path(root) / FILE

    def all(self) -> list[Choice]:
        """Every choice; none where the file is missing or damaged, which only costs measuring again."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return [Choice(**{**entry, "trials": [Trial(**t) for t in entry["trials"]]}) for entry in found]
        except (OSError, ValueError, TypeError, KeyError):
            return []

    def of(self, recipe: dict) -> list[Choice]:
        """The choices for the network of a recipe, one a machine."""
        network = network_key(recipe)
        return [choice for choice in self.all() if choice.network == network]

    def known(self, machine: str, network: str) -> Choice | None:
        """What is kept for a network on a machine."""
        return next((kept for kept in self.all() if (kept.machine, kept.network) == (machine, network)), None)

    def keep(self, choice: Choice) -> None:
        """Put a choice in place of the older one for the same machine and network."""
        others = [c for c in self.all() if (c.machine, c.network) != (choice.machine, choice.network)]
        make_folder(self._path.parent)
        atomic_write(self._path, json.dumps([asdict(c) for c in [*others, choice]], indent=1).encode())


def network_key(recipe: dict) -> str:
    """Key of the network of a recipe, whatever its views, precision and stored type."""
    return recipe_key({name: recipe[name] for name in _NETWORK_FIELDS if name in recipe})


def machine(device: torch.device) -> str:
    """The machine, as far as it decides which runtime is best; without its name."""
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    parts = [chip, f"{torch.get_num_threads()} threads", f"torch {torch.__version__}"]
    if device.type == "cpu":
        parts.append(f"openvino {version_of('openvino')}")
    return ", ".join(parts)


def choose(
    extractor,
    probe: Tensor,
    left: int,
    batch: int,
    known: Choice | None = None,
    precision: str | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """Give an extractor the runtime with which the images that are left are done first.

    The reference runs on the probe. Then candidates are tried, the most promising first, as long as building one and
    embedding all images with it promises to end well before the best one so far; what a candidate promises is what
    was measured on this machine before, else a first guess. One that cannot be built, or whose vectors are not those
    of the reference, is dropped.

    Parameters
    ----------
    extractor
        With ``body``, ``device``, ``views``; its ``runtime`` is set.
    probe : Tensor, shape (n, 3, side, side), uint8
        Some of its images; n at least 1.
    left : int
        Images to embed.
    batch : int
        Images a batch.
    known : Choice, optional
        An earlier choice on this machine.
    precision : str, optional
        Only candidates of this precision, because the cache holds rows of it.

    Returns
    -------
    Choice
    """
    passes = left * extractor.views
    expected = {trial.name: trial for trial in known.trials} if known is not None else {}
    reference = Trial(REFERENCE.name, REFERENCE.precision)
    runtime, vectors = _measure(REFERENCE, extractor, probe, batch, reference, clock, passes=1)
    extractor.runtime = runtime  # also where nothing of a wanted precision agrees: then under another key
    best, best_seconds = None, float("inf")
    if precision in (None, REFERENCE.precision):
        best, best_seconds = reference, passes / reference.images_per_second
    trials, failed = [reference], {t.precision: t.name for t in expected.values() if differs(t)}
    waiting = [c for c in candidates(extractor.device)[1:] if precision in (None, c.precision)]

    def promise(candidate: Candidate) -> float:
        return promised(candidate, expected.get(candidate.name), passes, reference.images_per_second)

    for candidate in sorted(waiting, key=promise):
        trial = Trial(candidate.name, candidate.precision)
        trials.append(trial)
        if candidate.precision in failed:
            trial.outcome = f"not tried: {failed[candidate.precision]} gave other vectors than the reference"
            continue
        if promise(candidate) > WORTH * best_seconds:
            trial.outcome = f"not tried: promised {promise(candidate):.1f} s for all images, {best.name} takes "
            trial.outcome += f"{best_seconds:.1f} s"
            continue
        runtime = _tried(candidate, extractor, probe, batch, trial, vectors, clock)
        if differs(trial):
            failed[candidate.precision] = candidate.name
        if runtime is None:
            continue
        seconds = passes / trial.images_per_second
        if seconds < best_seconds:
            best, best_seconds, extractor.runtime = trial, seconds, runtime
    best = best or reference
    for trial in trials:
        trial.outcome = "chosen" if trial is best else trial.outcome or "slower"
    return Choice(
        extractor=extractor.name,
        machine=machine(extractor.device),
        network=network_key(extractor.recipe()),
        chosen=best.name,
        precision=best.precision,
        why=_why(best, reference, left),
        batch=batch,
        probe=len(probe),
        images_left=left,
        trials=trials,
    )


def promised(candidate: Candidate, seen: Trial | None, passes: int, reference_rate: float) -> float:
    """Seconds for so many passes with a candidate, building included: as measured before, else a first guess."""
    if seen is None or seen.images_per_second is None:
        return candidate.seconds + passes / (candidate.gain * reference_rate)
    return (seen.build_seconds or 0) + passes / seen.images_per_second


def kept_precision(extractor, store, keys: list[str], begun: bool = False) -> tuple[str | None, int]:
    """The precision in which the cache holds most of these rows, and how many; None and 0 where it holds none.

    With `begun`, that in which it holds most rows of any image, also where there are none yet: another process has
    chosen it, and fills the block.
    """
    held, rows = {}, {}
    for precision in PRECISIONS:
        recipe = {**extractor.recipe(), "precision": precision}
        try:
            block = store.find(extractor.name, recipe_key(recipe))
        except DamagedBlock:  # opening it tells, and writes its recipe anew
            block = store.open_block(extractor.name, recipe, extractor.width, extractor.dtype)
        if block is not None:
            held[precision] = len(keys) - len(block.missing(keys))
            rows[precision] = len(block.row_keys) if begun else held[precision]
    best = max(rows, key=rows.get, default=None)
    return (best, held[best]) if best is not None and (begun or rows[best]) else (None, 0)


def runtime_of(precision: str, extractor, strict: bool = False) -> Runtime:
    """A runtime of a precision without measuring; the plainest there is.

    Where this device has none, the reference; or with `strict` one that names the precision and refuses to compute,
    which is enough where all rows are in the cache.
    """
    first = next((c for c in candidates(extractor.device) if c.precision == precision), None)
    if first is None and strict:
        first = Candidate(precision, precision, _refused(extractor.name, precision))
    return Runtime(first or REFERENCE, extractor.body, extractor.device)


def _refused(name: str, precision: str):
    def build(body, device: torch.device, shape: tuple[int, ...]):
        raise UserError(
            f"{name} is to be computed in {precision}, in which {device} cannot compute. Use a machine that can, or "
            "run 'extract' with --precision exact, which computes all images anew"
        )

    return build


def differs(trial: Trial) -> bool:
    """Whether a candidate's vectors were found to differ; also where they are no numbers."""
    return trial.lowest_cosine is not None and not trial.lowest_cosine >= LOWEST_COSINE


def _tried(candidate, extractor, probe, batch, trial: Trial, reference: Tensor, clock) -> Runtime | None:
    """Build, check and time a candidate; None where it is of no use, and the trial says why."""
    try:
        runtime, vectors = _measure(candidate, extractor, probe, batch, trial, clock)
    except Exception as error:  # whatever a compiler or a driver raises, another candidate works
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        trial.outcome = f"dropped: it cannot run here ({type(error).__name__}: {reason[:120]})"
        return None
    # Vectors that are no numbers have no cosine; what is kept here goes into JSON, which has no NaN.
    cosines = torch.nn.functional.cosine_similarity(vectors, reference)
    trial.lowest_cosine = cosines.nan_to_num(0.0).min().item()
    difference = (vectors - reference).norm(dim=1) / reference.norm(dim=1).clamp_min(1e-12)
    trial.largest_error = difference.max().item() if difference.isfinite().all() else None
    if differs(trial):
        trial.outcome = (
            f"dropped: its vectors differ from the reference's, cosine {trial.lowest_cosine:.4f}, "
            f"expected at least {LOWEST_COSINE}"
        )
        return None
    return runtime


def _measure(candidate, extractor, probe, batch, trial: Trial, clock, passes: int = PASSES) -> tuple[Runtime, Tensor]:
    """Build a candidate, embed the probe, time it; fills in the trial's rate and build time."""
    runtime = Runtime(candidate, extractor.body, extractor.device, batch)
    count = max(batch, PROBE_IMAGES, A_CORE * torch.get_num_threads()) if candidate.divides else batch
    full = probe.repeat(-(-count // len(probe)), 1, 1, 1)[:count].contiguous(memory_format=torch.channels_last)
    started = clock()
    vectors = runtime(probe).cpu()
    first = clock() - started
    seconds = []
    for _ in range(passes):
        started = clock()
        runtime(full).cpu()
        seconds.append(clock() - started)
    pass_seconds = statistics.median(seconds)
    trial.images_per_second = round(count / max(pass_seconds, 1e-9), 2)
    trial.build_seconds = round(max(0.0, first - pass_seconds * len(probe) / count), 3)
    return runtime, vectors


def _why(best: Trial, reference: Trial, left: int) -> str:
    if best is reference:
        return f"nothing else promised to be done earlier with {left:,} images"
    ratio = best.images_per_second / reference.images_per_second
    return (
        f"{best.images_per_second:,.0f} images/s, {ratio:.1f} times the reference; cosine to it at least "
        f"{best.lowest_cosine:.6f}, relative error at most {best.largest_error:.1g}"
    )


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
