"""What a person chooses for ``extract``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dermfuse.cache.errors import usage_error
from dermfuse.cache.record import DTYPES
from dermfuse.features.choices import LEVELS, VIEWS
from dermfuse.pipelines.options.option import ALWAYS, NEVER, option
from dermfuse.pipelines.options.shared import EngineOptions, seed_option

WEIGHTS_DIR = option(
    None, "Folder with pretrained state dicts, NAME.pth; otherwise an installed package's, or a download."
)
DEVICE = option("auto", "auto, cpu or cuda.", told=NEVER)
WORKERS = option(
    None, "Decoding processes; one a core if not given; 0 decodes in the process itself.", low=0, told=NEVER
)


def extractors() -> Sequence[str]:
    """Names of all extractors; torch is loaded to know them."""
    from dermfuse.features.extractors.registry import KNOWN

    return KNOWN


def precisions() -> Sequence[str]:
    """Ways to choose a runtime, and classes of precision; torch is loaded to know them."""
    from dermfuse.features.runtimes.choice import MODES
    from dermfuse.features.runtimes.runtime import PRECISIONS

    return (*MODES, *PRECISIONS)


@dataclass(frozen=True)
class Stage1Options(EngineOptions):
    """Options of stage 1; a `dermfuse.features.embedding.parts.Part` is what this process embeds, None for all."""

    features: list[str] = option(
        ("mobilenet_v2", "cae"), "Extractors, by comma; 'doctor' lists them.", choices=extractors, told=ALWAYS
    )
    weights_dir: Path | None = WEIGHTS_DIR
    device: str = DEVICE
    dtype: str = option("float16", "How embeddings are stored: {choices}.", choices=DTYPES)
    batch_size: int | None = option(
        None, "Images that a network is given at once; by device if not given.", low=1, told=NEVER
    )
    workers: int | None = WORKERS
    seed: int = seed_option()
    verify: bool = option(False, "Read every image again, also those that look unchanged.", told=NEVER)
    views: int = option(1, "Flips and turns averaged by pretrained networks: {choices}.", choices=VIEWS)
    levels: str = option(
        "last", "Stages of pretrained networks: last; or multi, mean and maximum of several.", choices=LEVELS
    )
    precision: str = option(
        "auto", "auto: the fastest runtime that agrees with exact, the reference; or a precision.", choices=precisions
    )
    part: object | None = None

    def check(self) -> None:
        """Refuse values and contradictions as :meth:`Options.check` does."""
        super().check()
        from dermfuse.features.extractors import autoencoder

        if set(self.features) == {autoencoder.NAME} and (self.views, self.levels) != (1, "last"):
            raise usage_error(
                "--views and --levels are of pretrained networks. Name one in --features, or leave them out."
            )
        if self.part is not None and self.engine == "ray":
            raise usage_error("--engine ray divides the images itself. Leave --shard out, or --engine ray.")
