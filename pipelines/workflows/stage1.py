"""From the options of stage 1 to what does its work: extractors, and how the loop is run."""

from __future__ import annotations

from dermfuse.cache.store import Store
from dermfuse.features.embedding.loop import Work
from dermfuse.features.extractors import autoencoder
from dermfuse.features.extractors.registry import Extractor, check_names, frozen_extractor
from dermfuse.pipelines.options.extract import Stage1Options


def frozen_extractors(options: Stage1Options, store: Store, device: str) -> dict[str, Extractor]:
    """The extractors that were chosen and have nothing to learn, by name."""
    return {
        name: frozen_extractor(name, store, options.weights_dir, device, options.dtype, options.views, options.levels)
        for name in check_names(options.features)
        if name != autoencoder.NAME
    }


def work_of(options: Stage1Options) -> Work:
    """How the work is done, which changes no embedding."""
    return Work(options.batch_size, options.workers, options.precision, shared=options.part is not None)
