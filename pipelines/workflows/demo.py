"""The demo from drawn lesions to a run: every stage once, offline, small enough for a laptop."""

from __future__ import annotations

from pathlib import Path

from dermfuse.cache.errors import UserError
from dermfuse.cache.store import Store
from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.demo.synthetic import make_dataset, planned_images
from dermfuse.features.extractors.autoencoder import NAME as AUTOENCODER
from dermfuse.features.extractors.networks import EFFICIENTNET_LITE0
from dermfuse.features.extractors.weights import find_weights, in_folder
from dermfuse.pipelines.options.extract import Stage1Options
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.workflows.extract import embed_dataset
from dermfuse.pipelines.workflows.fit import fit_dataset

# A package of a few megabytes carries the weights of the first; the other is what most people have in a folder.
PRETRAINED = (EFFICIENTNET_LITE0, "mobilenet_v2")


def run_demo(
    folder: Path,
    model: str,
    lesions: int,
    weights_dir: Path | None,
    seed: int,
    console,
    device: str = "auto",
    workers: int | None = None,
) -> Path:
    """Draw lesions, embed them and fit a model.

    Parameters
    ----------
    folder : Path
        Gets ``data``, ``embeddings`` and ``runs``.
    model : str
        A name of the zoo.
    lesions : int
        How many are drawn.
    weights_dir : Path or None
        Folder with state dicts; None takes those that were installed with this program.
    seed : int
    console : Console
    device, workers
        As of :class:`dermfuse.pipelines.workflows.extract.Stage1Options`.

    Returns
    -------
    Path
        The run folder.

    Raises
    ------
    UserError
        An unknown model, a full disk.
    """
    data = folder / "data"
    with console.progress("drawing lesions", planned_images(lesions, seed)) as advance:
        drawn = make_dataset(data, lesions=lesions, seed=seed, progress=advance)
    console.say(f"{drawn.images} drawn images of {drawn.lesions} lesions are in {data}")
    names = [*_pretrained(weights_dir, console), AUTOENCODER]
    cache = folder / "embeddings"
    dataset = load_dataset(data)
    console.notice(*dataset.noticed)
    chosen = Stage1Options(names, weights_dir, device, workers=workers, seed=seed)
    summary = embed_dataset(dataset, chosen, cache, console)
    for row in summary.set_aside:
        console.say(f"set aside: {Path(row.path).name!r}: {row.reason}")
    options = FitOptions(model, names, seed=seed)
    return fit_dataset(dataset, Store(cache, on_problem=console.say), options, folder / "runs", None, console)


def _pretrained(weights_dir: Path | None, console) -> list[str]:
    """The pretrained extractor, if its weights can be had; the demo goes on without it, and says so."""
    name = next((n for n in PRETRAINED if weights_dir is not None and in_folder(n, weights_dir)), PRETRAINED[0])
    try:
        find_weights(name, weights_dir)
    except UserError as error:
        console.notice(f"the demo goes on with the autoencoder alone: {error}")
        return []
    return [name]
