"""dermfuse: embeddings and clinical metadata of skin lesions, classified, measured and explained.

The package's door. Its rooms lie beside this folder in a checkout, and inside it in an installation; their names are
the same in both, and no other name is taken from anybody. What Python is given is loaded when it is first used, so that
``import dermfuse`` costs nothing.
"""

from pathlib import Path

_INSTALLED = (Path(__file__).parent / "features").is_dir()
if not _INSTALLED:
    __path__.append(str(Path(__file__).parents[1]))
# How its commands are called, as advice says it.
COMMAND = "dermfuse" if _INSTALLED else "python cli.py"

_HOMES = {
    "Comparison": "reports.notebook.compare",
    "FusionClassifier": "pipelines.estimators.classifier",
    "ImageEmbedder": "pipelines.estimators.embedder",
    "ImportanceDisplay": "reports.displays.importance",
    "ReliabilityDisplay": "reports.displays.reliability",
    "RocDisplay": "reports.displays.roc",
    "Run": "reports.notebook.run",
    "UserError": "cache.errors",
    "audit": "reports.notebook.audit",
    "compare": "reports.notebook.compare",
    "evaluate": "reports.notebook.evaluate",
    "load_dataset": "features.data.load",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """A name of `__all__`, from the module that it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """What is there and what will be loaded."""
    return sorted({*globals(), *__all__})
