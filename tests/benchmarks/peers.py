"""Embed image files in a process of its own: as peers do it, by this program's command line, or by a network alone.

    python -m tests.benchmarks.peers METHOD --files LIST --weights FILE --vectors FILE
    python -m tests.benchmarks.peers cli --skip N -- extract ...
    python -m tests.benchmarks.peers network --files LIST --weights DIR --features A,B --chosen JSON

`tests.benchmarks.extraction` starts these, so that no method leaves threads or settings to another. Nothing heavy is
imported at the top: a method pays for what it imports itself. The last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.measure import ROOT

BATCH = 32  # of the peers' loops
CHUNK = 256  # rows of a table that embetter is given at a time: it holds all of them as pictures
NETWORK_SECONDS = 4.0
EXTRA = "pip install 'dermfuse[bench]'"


class Pace:
    """The seconds of all images but the first `skip`."""

    def __init__(self, skip: int):
        self.skip, self.done, self.skipped = skip, 0, 0
        self._since = time.perf_counter()

    def advance(self, images: int = 1) -> None:
        """Count images that are done."""
        self.done += images
        if not self.skipped and self.done >= self.skip:
            self.skipped, self._since = self.done, time.perf_counter()

    def per_image(self) -> float:
        """Seconds an image, from the first after `skip` until now."""
        return (time.perf_counter() - self._since) / (self.done - self.skipped)


def img2vec(files: list[Path], weights: Path, pace: Pace) -> list:
    """img2vec_pytorch as in its README: one picture after another to ``get_vec``.

    It knows no mobilenet_v2, so `_get_model_and_layer` gives it torchvision's; the layer before the classifier is
    read by its code for networks whose layer is a vector already ("vgg").
    """
    from img2vec_pytorch import Img2Vec
    from PIL import Image

    class Img2VecMobileNet(Img2Vec):
        def _get_model_and_layer(self, model_name, layer):
            network = torchvision_network(weights)
            self.layer_output_size = network.last_channel
            return network, network.classifier[0]

    embedder, vectors = Img2VecMobileNet(cuda=False, model="vgg"), []
    for path in files:
        vectors.append(embedder.get_vec(Image.open(path).convert("RGB"))[None])
        pace.advance()
    return vectors


def timm_loop(files: list[Path], weights: Path, pace: Pace) -> list:
    """timm's network and its own transforms in a loop over a DataLoader."""
    import timm
    from timm.data import create_transform, resolve_data_config

    network = timm.create_model("mobilenetv2_100", pretrained=False, num_classes=0)
    load_in_order(network, weights)
    return _loop(files, create_transform(**resolve_data_config({}, model=network)), network, pace)


def torchvision_loop(files: list[Path], weights: Path, pace: Pace) -> list:
    """torchvision's network and its published transforms in a loop over a DataLoader, as thingsvision has it."""
    import torch
    from torchvision.models import MobileNet_V2_Weights

    network = torchvision_network(weights)
    network.classifier = torch.nn.Identity()
    return _loop(files, MobileNet_V2_Weights.DEFAULT.transforms(), network, pace)


def embetter(files: list[Path], weights: Path, pace: Pace) -> list:
    """embetter's ImageLoader and TimmEncoder in a scikit-learn pipeline, as in its documentation."""
    import pandas as pd
    import timm
    from embetter.grab import ColumnGrabber
    from embetter.vision import ImageLoader, TimmEncoder
    from sklearn.pipeline import make_pipeline

    create = timm.create_model

    def create_local(name: str, pretrained: bool, **options):
        network = create(name, pretrained=False, **options)
        load_in_order(network, weights)
        return network

    timm.create_model = create_local  # instead of a download; all else is embetter's own
    pipeline = make_pipeline(ColumnGrabber("filepaths"), ImageLoader(), TimmEncoder(name="mobilenetv2_100"))
    table, vectors = pd.DataFrame({"filepaths": [str(path) for path in files]}), []
    bounds = [0, *range(pace.skip, len(files), CHUNK), len(files)]
    for start, stop in zip(bounds, bounds[1:], strict=False):
        vectors.append(pipeline.fit_transform(table[start:stop]))
        pace.advance(stop - start)
    return vectors


PEERS = {peer.__name__: peer for peer in (img2vec, timm_loop, torchvision_loop, embetter)}


def torchvision_network(weights: Path):
    """torchvision's mobilenet_v2 with a state dict from a file."""
    import torch
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2(weights=None)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network


def load_in_order(network, weights: Path) -> None:
    """Give timm's mobilenetv2_100 torchvision's weights: the layers are the same, in the same order, by other names."""
    import torch

    theirs = torch.load(weights, map_location="cpu", weights_only=True)
    pairs = list(zip(network.state_dict().items(), theirs.items(), strict=False))
    if any(ours.shape != given.shape for (_, ours), (_, given) in pairs):
        raise ValueError("timm's mobilenetv2_100 has no longer the layers of torchvision's mobilenet_v2")
    network.load_state_dict({name: given for (name, _), (_, given) in pairs})


def _loop(files: list[Path], transform: Callable, network, pace: Pace) -> list:
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    class Pictures(Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int):
            with Image.open(files[index]) as image:
                return transform(image.convert("RGB"))

    network.eval()
    vectors = []
    with torch.no_grad():
        for batch in DataLoader(Pictures(), batch_size=BATCH, num_workers=cores()):
            vectors.append(network(batch).numpy())
            pace.advance(len(batch))
    return vectors


def cores() -> int:
    """Cores that this process may use: two on the machine that this was written on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_cli(arguments: list[str], skip: int) -> dict:
    """Run ``cli.py`` as a script, with a Console that notes when each image was done.

    Returns
    -------
    dict
        ``per_image``: seconds an image in the long run: of the extraction, without its first `skip` images, until
        the command ends, and of everything before it that has a progress bar (hashing), which is spread over all.
    """
    from dermfuse.features import console

    paces: dict[str, Pace] = {}
    seconds: dict[str, float] = {}

    class PacedConsole(console.Console):
        @contextmanager
        def progress(self, title: str, total: int, unit: str = "images") -> Iterator[Callable[..., None]]:
            pace, started = paces.setdefault(title, Pace(skip)), time.perf_counter()
            with super().progress(title, total, unit) as advance:

                def both(n: float = 1, note: str | None = None) -> None:
                    pace.advance(n)
                    advance(n, note)

                yield both
            seconds[title] = time.perf_counter() - started

    console.Console = PacedConsole
    sys.argv = [str(ROOT / "cli.py"), *arguments]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        if ended.code not in (0, None):
            raise
    title = next(title for title in paces if title.startswith("extracting"))
    others = sum(spent for name, spent in seconds.items() if name != title)
    return {"per_image": paces[title].per_image() + others / paces[title].done}


def network_alone(files: list[Path], weights: Path, names: list[str], chosen: dict[str, str]) -> dict:
    """Images/s of each extractor's network on prepared batches in memory: no files, no decoding, nothing kept."""
    from dermfuse.features.process import settle_process

    settle_process()
    import tempfile

    from dermfuse.cache.store import Store
    from dermfuse.features.extractors.registry import choose_device, frozen_extractor

    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            extractor = frozen_extractor(name, Store(Path(folder)), weights, choose_device(), "float16")
            batches = prepared_batches(extractor, files)
            runtimes = runtimes_of(extractor)
            rates[name] = _rate(runtimes[chosen.get(name, next(iter(runtimes)))], batches)
    return {"rates": rates}


def prepared_batches(extractor, files: list[Path]) -> list:
    """Files as the extractor's input, as many at a time as ``extract`` hands to a network, laid out as there.

    The last of them are black, to fill the last batch.
    """
    import torch

    from dermfuse.features.embedding.sink import gathered_size
    from dermfuse.features.images.decoder import decode

    size = gathered_size(extractor.device)
    pictures = [torch.as_tensor(extractor.prepare(decode(path).pixels)) for path in files]
    pictures += [torch.zeros_like(pictures[0])] * (-len(pictures) % size)
    return [batch.contiguous(memory_format=torch.channels_last) for batch in torch.stack(pictures).split(size)]


def runtimes_of(extractor) -> dict[str, Callable]:
    """Every way of running an extractor's network, by name, the reference first; the first batch builds it."""
    from dermfuse.features.embedding.sink import batch_size
    from dermfuse.features.runtimes.runtime import Runtime, candidates

    body, device = extractor.body, extractor.device
    return {c.name: Runtime(c, body, device, batch_size(device)) for c in candidates(device)}


def _rate(forward: Callable, batches: list) -> float:
    for batch in batches[:3]:
        forward(batch).cpu()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < NETWORK_SECONDS:
        for batch in batches:
            forward(batch).cpu()
            done += len(batch)
    return done / (time.perf_counter() - started)


def main() -> None:
    """Run one method and print what it measured."""
    given = sys.argv[1:]
    split = given.index("--") if "--" in given else len(given)
    own, rest = given[:split], given[split + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=(*PEERS, "cli", "network"))
    parser.add_argument("--files", type=Path, help="text file with one image file a line")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--vectors", type=Path, help="where the embeddings go, as .npy")
    parser.add_argument("--features", default="mobilenet_v2")
    parser.add_argument("--chosen", type=json.loads, default={}, help="extractor to runtime")
    parser.add_argument("--skip", type=int, default=0, help="first images that the steady rate leaves out")
    options = parser.parse_args(own)
    if options.method == "cli":
        print(json.dumps(run_cli(rest, options.skip)))
        return
    files = [Path(line) for line in options.files.read_text(encoding="utf-8").splitlines()]
    if options.method == "network":
        print(json.dumps(network_alone(files, options.weights, options.features.split(","), options.chosen)))
        return
    pace = Pace(options.skip)
    try:
        vectors = PEERS[options.method](files, options.weights, pace)
    except ModuleNotFoundError as error:
        print(json.dumps({"absent": f"no package {error.name}: {EXTRA}"}))
        return
    facts = {"per_image": pace.per_image()}
    import numpy as np

    np.save(options.vectors, np.concatenate(vectors))
    print(json.dumps(facts))


if __name__ == "__main__":
    sys.exit(main())
