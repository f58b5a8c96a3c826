"""What an extraction did: rows computed and reused, images set aside, runtimes, and where the time went."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dermfuse.features.images.quarantine import SetAside
from dermfuse.features.runtimes.choice import Choice


@dataclass
class BlockSummary:
    """What one extractor did: rows computed now, and rows that the cache held already."""

    name: str
    key: str
    computed: int
    reused: int


@dataclass
class Stages:
    """Where the loop's time went, in seconds: waiting for decoded images, in networks, waiting for the disk."""

    decode: float = 0.0
    network: float = 0.0
    write: float = 0.0

    @property
    def bottleneck(self) -> str:
        """The stage that took longest."""
        return max(("decode", "network", "write"), key=lambda name: getattr(self, name))


@dataclass
class ExtractSummary:
    """What one extraction did.

    Attributes
    ----------
    images : int
        Rows of the dataset.
    blocks : list of BlockSummary
    set_aside : list of SetAside
        Images that could not be used, and why.
    frames_left_out : int
        Images decoded now that hold more pictures than the first, which was taken.
    runtimes : list of Choice
        With what each network ran, where images were embedded now.
    stages : Stages
    bytes : int
        Of embeddings computed now, as stored.
    quarantine : Path or None
        The list of images set aside.
    seconds : float
    part : str or None
        Which part of the images this was, as ``3/8``; None for all of them.
    """

    images: int
    blocks: list[BlockSummary] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    frames_left_out: int = 0
    runtimes: list[Choice] = field(default_factory=list)
    stages: Stages = field(default_factory=Stages)
    bytes: int = 0
    quarantine: Path | None = None
    seconds: float = 0.0
    part: str | None = None
