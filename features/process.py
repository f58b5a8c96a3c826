"""Settings of the process that make extraction fast on a CPU, and its memory; they change no number."""

from __future__ import annotations

import ctypes
import os
import sys

# From <malloc.h> of the GNU C library.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20
KEPT_BYTES = 512 * 2**20
GROWTH_BYTES = 64 * 2**20


def settle_process() -> None:
    """Have threads wait without spinning, and freed memory kept for the next layer. Call before torch is loaded.

    OpenMP's threads spin while they wait for each other; as soon as anything else wants a core, that costs more
    than the work itself. And the C library hands each layer's activations back to the system, which then clears the
    same pages again for the next layer. Figures are in ``tests/benchmarks/RESULTS.md``.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none, and needs none
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_TOP_PAD, GROWTH_BYTES)


def start_decoders(workers: int | None = None) -> None:
    """Have decoding processes load their libraries while this process loads its own."""
    if workers != 0:
        from dermfuse.features.images.workers import start_early

        start_early()


def release_memory() -> None:
    """Hand memory that is free back to the system: reading a large table leaves much, in pieces no network can use."""
    import pyarrow

    pyarrow.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # musl has none
        trim(0)
