"""Measure extraction against peers and against its own network; its runtimes' accuracy; its memory for many images.

    python -m tests.benchmarks.extraction [--data DIR] [--weights-dir DIR] [--images N] [--repeats N] [--write]
    python -m tests.benchmarks.extraction --accuracy [--write]
    python -m tests.benchmarks.extraction --flat [--most N] [--write]

Prints a table; ``--write`` puts it into RESULTS.md in place of the last one. The first two need nothing but the
dataset's images and mobilenet_v2.pth; peers come with ``pip install 'dermfuse[bench]'``. Each measurement is a fresh
process (`tests.benchmarks.peers`), the methods take turns, and all read the same JPEGs, which were just written.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.measure import ROOT, machine, table, write_results
from tests.benchmarks.peers import EXTRA, PEERS, prepared_batches, runtimes_of
from tests.benchmarks.pictures import (
    BACKBONE,
    IN_A_FOLDER,
    Job,
    dataset_images,
    listed,
    make_job,
    many_files,
    random_weights,
)

FOUR = ("mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "resnet18")
IN_MEMORY = 128  # images of a network's own rate
ACCURACY_IMAGES, FIT_IMAGES = 500, 2000
UNLIKE, POLL_SECONDS = 8, 0.5

TITLES = {
    "img2vec": "img2vec_pytorch, `get_vec` image by image",
    "timm_loop": "timm's network and transforms, DataLoader",
    "torchvision_loop": "torchvision's network and transforms, DataLoader",
    "embetter": "embetter, ImageLoader and TimmEncoder",
}
OWN = {
    "dermfuse": (),
    "dermfuse, runtime remembered": (),
    "dermfuse --precision exact": ("--precision", "exact"),
}
NOTE = """\
{images:,} JPEGs of 600 x 450 (dataset images of another size brought to it by Pillow, bicubic, quality 90), in the
page cache; mobilenet_v2 with the same weights for all; median of {repeats} fresh processes, lowest and highest in
brackets, methods taking turns. Cold: images over the wall time of the whole process. Warm: images/s after the first
{skip}, until the end; for dermfuse with hashing and writing. Peers run with their defaults. img2vec_pytorch knows no
mobilenet_v2: a subclass gives it torchvision's, all else is its own code. timm and embetter get timm's mobilenetv2_100
with these weights copied in order, in place of a download; embetter is given 256 rows at a time. DataLoaders: batches
of 32, a worker a core. Cosine: of a peer's embeddings to dermfuse's, median over the images; transforms differ
(img2vec squashes the picture), and embetter leaves batch norm in training mode."""


@dataclass(frozen=True)
class Once:
    """Images/s of one process, cold and warm, and what it printed."""

    cold: float
    warm: float
    facts: dict = field(default_factory=dict)


def main() -> None:
    """Run what was asked for and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/ham10000"))
    parser.add_argument("--weights-dir", type=Path, default=Path("../shared/weights"))
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--accuracy", action="store_true", help="runtimes against the float32 reference instead")
    parser.add_argument("--flat", action="store_true", help="memory and rate for 1,000 and many images instead")
    parser.add_argument("--most", type=int, default=100_000, help="how many images --flat goes up to")
    parser.add_argument("--folder", type=Path, help="where the temporary files go; --flat needs 5 GB for 100,000")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    options = parser.parse_args()
    options.data, options.weights_dir = options.data.resolve(), options.weights_dir.resolve()
    name, flag = "Extraction", ""
    measure = speed
    if options.accuracy:
        name, flag, measure = "Extraction: accuracy of the runtimes", " --accuracy", accuracy
    elif options.flat:
        name, flag, measure = "Extraction: memory and rate by number of images", " --flat", flat
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        text = measure(options, Path(folder))
    print(text)
    if options.write:
        write_results(name, f"python -m tests.benchmarks.extraction{flag} --write", machine(), text)


# Speed


def speed(options: argparse.Namespace, folder: Path) -> str:
    """All methods on the same files, this program's network alone, and four extractors on one decode."""
    pictures = dataset_images(options.data)[: options.images]
    job = make_job(pictures, folder / "many", options.weights_dir)
    four_weights = random_weights(FOUR, folder / "four", job.files[:64])
    measured: dict[str, list[Once]] = {}
    networks: list[dict[str, float]] = []
    fours: list[tuple[Once, dict[str, float]]] = []
    skipped: dict[str, str] = {}
    own = {name: flags for name, flags in OWN.items() if not flags or knows(flags[0], name, skipped)}
    for turn in range(options.repeats):
        for name in PEERS:
            if name not in skipped:
                _keep(measured, skipped, name, peer(name, job))
        for name, flags in own.items():
            cache = job.scratch / f"{turn} {name}"
            if "remembered" in name:
                remember(job.scratch / f"{turn} dermfuse", cache)
            measured.setdefault(name, []).append(program(job, cache, BACKBONE, options.weights_dir, *flags))
        plain = measured["dermfuse"][-1]
        networks.append(networks_alone(job, options.weights_dir, plain.facts))
        four = program(job, job.scratch / f"{turn} four", ",".join(FOUR), four_weights)
        fours.append((four, networks_alone(job, four_weights, four.facts)))
    note = NOTE.format(images=len(job.files), repeats=options.repeats, skip=job.skip)
    cosines = agreement(job, measured)
    lines = [note, "", speed_table(measured, cosines, networks), ""]
    lines += [f"- Skipped: {name}: {reason}." for name, reason in skipped.items()]
    return "\n".join(lines + conclusions(measured, networks, fours))


def speed_table(measured: dict[str, list[Once]], cosines: dict[str, float], networks: list[dict]) -> str:
    """One row a method, peers first."""
    best_cold, best_warm = best_peer(measured, "cold"), best_peer(measured, "warm")
    rows = []
    for name, runs in measured.items():
        cold, warm = ([getattr(run, kind) for run in runs] for kind in ("cold", "warm"))
        ratios = [
            f"{statistics.median(v) / best:.2f}" if best else "" for v, best in ((cold, best_cold), (warm, best_warm))
        ]
        cosine = f"{cosines[name]:.3f}" if name in cosines else ""
        rows.append((TITLES.get(name, name), _spread(cold), _spread(warm), *ratios, cosine))
    alone = [rates[BACKBONE] for rates in networks]
    ratio = f"{statistics.median(alone) / best_warm:.2f}" if best_warm else ""
    rows.append(("dermfuse, its network alone, batches in memory", "", _spread(alone), "", ratio, ""))
    header = ("method", "cold images/s", "warm images/s", "cold / best peer", "warm / best peer", "cosine")
    return table(header, rows)


def conclusions(measured: dict[str, list[Once]], networks: list[dict], fours: list[tuple[Once, dict]]) -> list[str]:
    """The ratios that are looked for, one line each."""
    lines = []
    for kind in ("cold", "warm"):
        best = best_peer(measured, kind)
        for name in (name for name in OWN if name in measured and best):
            lines.append(f"- {name} / best peer, {kind}: {_median(measured[name], kind) / best:.2f}.")
    ratios = [run.warm / rates[BACKBONE] for run, rates in zip(measured["dermfuse"], networks, strict=True)]
    lines.append(f"- End to end, warm / its network alone: {_spread(ratios, 2)}.")
    for name in (name for name in OWN if name in measured):
        lines += [f"- {name} {line}." for line in told(measured[name][-1].facts)]
    ratios = [sum(1 / rate for rate in rates.values()) * four.warm for four, rates in fours]
    alone = " + ".join(f"{name} {1000 / rate:.1f}" for name, rate in fours[-1][1].items())
    lines.append(
        f"- Four extractors on one decode (random weights): {_spread([1000 / four.warm for four, _ in fours])} ms an "
        f"image, warm; their networks alone: {alone} ms; networks / end to end: {_spread(ratios, 2)}."
    )
    return lines


def told(facts: dict) -> Iterator[str]:
    """What ``extract --json`` told of its runtimes and of where the time went, as far as it did."""
    for runtime in facts.get("runtimes", []):
        rate = runtime.get("images_per_second") or float("nan")
        yield f"ran {runtime['extractor']} with {runtime['chosen']} ({rate:.1f} images/s as it measured itself)"
    stages = facts.get("stages")
    if stages:
        spent = ", ".join(f"{name} {value:.1f}" for name, value in stages.items() if isinstance(value, float))
        yield f"spent, in seconds of its loop: {spent}"


def peer(name: str, job: Job) -> Once | str:
    """One peer in a process of its own; why not, where it is not installed."""
    files, vectors = listed(job), job.scratch / f"{name}.npy"
    seconds, lines = child(name, "--files", files, "--weights", job.weights, "--vectors", vectors, "--skip", job.skip)
    if "absent" in lines[-1]:
        return lines[-1]["absent"]
    return Once(len(job.files) / seconds, 1 / lines[-1]["per_image"])


def program(job: Job, cache: Path, features: str, weights: Path, *flags: str) -> Once:
    """This program's ``extract`` into `cache`, in a process of its own."""
    given = ["--data", job.data, "--features", features, "--weights-dir", weights, "--cache", cache, *flags]
    seconds, lines = child("cli", "--skip", job.skip, "--", "extract", *given, "--json", "--quiet")
    computed = [block["computed"] for block in lines[0]["blocks"]]
    if set(computed) != {len(job.files)}:
        raise RuntimeError(f"extract computed {computed} of {len(job.files)} images")
    return Once(len(job.files) / seconds, 1 / lines[-1]["per_image"], lines[0])


def remember(before: Path, cache: Path) -> None:
    """Give an empty cache what another one learned about the machine's runtimes, and no embeddings."""
    from dermfuse.features.runtimes.choice import FILE
    from dermfuse.features.runtimes.recall import FOLDER

    cache.mkdir()
    shutil.copy(before / FILE, cache)
    if (before / FOLDER).is_dir():
        shutil.copytree(before / FOLDER, cache / FOLDER)


def networks_alone(job: Job, weights: Path, facts: dict) -> dict[str, float]:
    """Images/s of each network of an extraction, by the runtime that the extraction chose."""
    names = [block["name"] for block in facts["blocks"]]
    chosen = {r["extractor"]: r["chosen"] for r in facts.get("runtimes", []) if r.get("chosen")}
    some = listed(job, IN_MEMORY)
    given = ["--files", some, "--weights", weights, "--features", ",".join(names), "--chosen", json.dumps(chosen)]
    return child("network", *given)[1][-1]["rates"]


def child(*arguments: object) -> tuple[float, list[dict]]:
    """Run `tests.benchmarks.peers`; its wall time, and the lines of JSON that it printed."""
    command = [sys.executable, "-m", "tests.benchmarks.peers", *map(str, arguments)]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}")
    return seconds, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def knows(flag: str, name: str, skipped: dict[str, str]) -> bool:
    """Whether ``extract`` has a flag."""
    command = [sys.executable, str(ROOT / "cli.py"), "extract", "--help"]
    known = flag in subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    if not known:
        skipped[name] = f"extract has no {flag}"
    return known


def agreement(job: Job, measured: dict[str, list[Once]]) -> dict[str, float]:
    """Median cosine of each peer's embeddings to this program's, image by image."""
    import numpy as np

    from dermfuse.cache.store import Store

    block = measured["dermfuse"][0].facts["blocks"][0]
    stored = Store(job.scratch / "0 dermfuse").find(block["name"], block["key"])
    ours = stored.gather([hashlib.sha256(path.read_bytes()).hexdigest() for path in job.files])
    peers = [name for name in PEERS if name in measured]
    return {name: float(np.median(_cosines(ours, np.load(job.scratch / f"{name}.npy")))) for name in peers}


def best_peer(measured: dict[str, list[Once]], kind: str) -> float | None:
    """Images/s of the fastest peer, None without any."""
    return max((_median(measured[name], kind) for name in PEERS if name in measured), default=None)


def _keep(measured: dict, skipped: dict, name: str, result: Once | str) -> None:
    if isinstance(result, str):
        skipped[name] = result
    else:
        measured.setdefault(name, []).append(result)


def _median(runs: list[Once], kind: str) -> float:
    return statistics.median(getattr(run, kind) for run in runs)


def _spread(values: Sequence[float], digits: int = 1) -> str:
    low, middle, high = (f"{v:.{digits}f}" for v in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


# Accuracy


def accuracy(options: argparse.Namespace, folder: Path) -> str:
    """Every runtime against float32 in torch, on the dataset's own files."""
    from dermfuse.features.process import settle_process

    settle_process()
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from dermfuse.cache.store import Store
    from dermfuse.features.data.dataset import load_dataset
    from dermfuse.features.extractors.registry import choose_device, frozen_extractor

    rows = load_dataset(options.data).rows.sample(frac=1, random_state=0)[: ACCURACY_IMAGES + FIT_IMAGES]
    labels, count = rows["label"].to_numpy(str), min(ACCURACY_IMAGES, len(rows) // 2)
    extractor = frozen_extractor(BACKBONE, Store(folder), options.weights_dir, choose_device(), "float32")
    batches = prepared_batches(extractor, rows["path"].tolist())

    def embedded(runtime: Callable, of: list) -> np.ndarray:
        return np.concatenate([runtime(batch).cpu().numpy() for batch in of])[: len(rows)]

    whole = embedded(extractor.forward, batches)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(whole[count:], labels[count:])
    reference, few = whole[:count], batches[: -(-count // len(batches[0]))]
    guesses = model.predict(reference)

    def row(name: str, vectors: np.ndarray) -> tuple[str, ...]:
        cosines = _cosines(reference, vectors)
        error = np.linalg.norm(vectors - reference, axis=1) / np.linalg.norm(reference, axis=1)
        flips = 100 * np.mean(model.predict(vectors) != guesses)
        return name, f"{cosines.min():.6f}", f"{np.median(cosines):.6f}", f"{error.max():.1e}", f"{flips:.1f}"

    lines = [row("reference, kept as float16", reference.astype(np.float16).astype(np.float32))]
    for name, runtime in runtimes_of(extractor).items():
        try:
            lines.append(row(f"{name} ({runtime.precision})", embedded(runtime, few)[:count]))
        except Exception as error:  # whatever a runtime raises where the machine lacks what it needs
            lines.append((name, "", "", "", f"cannot run here: {type(error).__name__}"))
    note = (
        f"{count} images of the dataset as they are, {BACKBONE}, against the float32 network in torch. Relative error: "
        f"length of the difference over that of the reference, largest of all images. Flips: predictions that change, "
        f"of a logistic regression fitted on reference embeddings of {len(rows) - count:,} other images with their "
        f"labels ({len(set(labels))} classes), which is right for {100 * np.mean(guesses == labels[:count]):.1f} %."
    )
    header = ("runtime", "lowest cosine", "median cosine", "largest relative error", "flips, %")
    return f"{note}\n\n{table(header, lines)}"


def _cosines(a, b):
    """Cosine of each row of `a` to the same row of `b`."""
    import numpy as np

    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)


# Memory


def flat(options: argparse.Namespace, folder: Path) -> str:
    """Peak memory and rate of ``extract`` for few and for many images."""
    pictures = make_job(dataset_images(options.data)[:UNLIKE], folder / "pictures", options.weights_dir).files
    rows, found = [], []
    for count in (min(1000, options.most), options.most):
        data = folder / f"{count}"
        many_files(pictures, data, count)
        seconds, own, whole, facts = watched(
            *("extract", "--data", data, "--features", BACKBONE, "--weights-dir", options.weights_dir),
            *("--cache", folder / f"cache {count}", "--json", "--quiet"),
        )
        computed = facts["blocks"][0]["computed"]
        in_loop = count / sum(facts["stages"][stage] for stage in ("decode", "network", "write"))
        found.append((count / seconds, in_loop, own, whole))
        figures = (f"{seconds:.1f}", f"{count / seconds:.1f}", f"{in_loop:.1f}", f"{own:.0f}", f"{whole:.0f}")
        rows.append((f"{count:,}", f"{computed:,}", *figures))
    rows.append(("ratio", "", "", *(f"{many / few:.2f}" for few, many in zip(*found, strict=True))))
    header = (
        *("images", "computed", "seconds", "images/s", "images/s in the loop"),
        *("peak MB, process", "peak MB, with its children"),
    )
    note = (
        f"{UNLIKE} JPEGs of 600 x 450 under many names, made different by bytes after the end of the image, "
        f"{IN_A_FOLDER:,} a folder; {BACKBONE}, an empty cache, a fresh process. Images/s are "
        "over the whole process, with its start, hashing and the choice of a runtime, and over the loop of decoding, "
        "network and writing. Memory is read "
        f"every {POLL_SECONDS} s: the process's resident size, and the sum over it and its children in which a page "
        "that several share counts once."
    )
    return f"{note}\n\n{table(header, rows)}"


def watched(*arguments: object) -> tuple[float, float, float, dict]:
    """Run the command line; seconds, peak MB of the process and with its children, and the JSON that it printed."""
    try:
        import psutil
    except ModuleNotFoundError:
        sys.exit(f"no package psutil: {EXTRA}")
    own = whole = 0.0
    with tempfile.TemporaryFile("w+") as output:
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, str(ROOT / "cli.py"), *map(str, arguments)], stdout=output)
        watching = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                family = [watching, *watching.children(recursive=True)]
                own = max(own, watching.memory_info().rss / 2**20)
                whole = max(whole, sum(map(_memory, family)) / 2**20)
            except psutil.NoSuchProcess:
                pass  # one ended meanwhile
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise RuntimeError(f"extract exited with {process.returncode}")
        output.seek(0)
        return seconds, own, whole, json.loads(output.read())


def _memory(process) -> int:
    """Bytes of a process, shared pages by their share where the system tells."""
    facts = process.memory_full_info()
    return getattr(facts, "pss", facts.rss)


if __name__ == "__main__":
    sys.exit(main())
