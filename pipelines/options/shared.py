"""Options that both stages have: the seed, and whether a Ray cluster does the work."""

from __future__ import annotations

from dataclasses import dataclass

from dermfuse.cache.errors import usage_error
from dermfuse.pipelines.options.option import ALWAYS, NEVER, Options, option

ENGINES = ("local", "ray")


def seed_option() -> object:
    """The seed, for a field of a class."""
    return option(0, "Of splits, models and bootstrap.", low=0, high=2**32 - 1, panel="Shared", told=ALWAYS)


@dataclass(frozen=True, kw_only=True)
class EngineOptions(Options):
    """Whether this process works, or tasks on a Ray cluster."""

    engine: str = option("local", "local, or ray: tasks on a Ray cluster.", choices=ENGINES, panel="Scale", told=NEVER)
    ray_address: str | None = option(
        None, "Of a running Ray cluster; else one is started here.", panel="Scale", told=NEVER
    )

    def check(self) -> None:
        """Refuse values and contradictions as :meth:`Options.check` does."""
        super().check()
        if self.ray_address is not None and self.engine != "ray":
            raise usage_error("--ray-address is of use with --engine ray only. Give both, or neither.")
