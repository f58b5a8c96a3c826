"""What the command ``fit`` does, called from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dermfuse.cache.errors import usage_error
from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.features.data.dataset import Dataset
from dermfuse.features.data.load import load_dataset
from dermfuse.reports.notebook.run import Run


def evaluate(
    data: Dataset | str | Path,
    model="rf",
    *,
    features: str | Sequence[str] | None = None,
    cache: str | Path = "embeddings",
    runs: str | Path = "runs",
    name: str | None = None,
    use_metadata: bool = True,
    use_images: bool = True,
    repeats: int = 1,
    explain: bool = True,
    views: int | None = None,
    levels: str | None = None,
    with_images: bool = False,
    quiet: bool = False,
    **parameters: object,
) -> Run:
    """Cross-validate and fit a model, and write its run folder and report: the same as the command ``fit``.

    One locked test split is set aside, the rest is divided into grouped, stratified folds; what the command finds
    with the same options is found to the last digit. Embeddings are those that ``extract`` or
    ``ImageEmbedder(...).fit(data.X)`` has put into the cache.

    Parameters
    ----------
    data : Dataset or path-like
        Of :func:`load_dataset`, or the folder.
    model : str or FusionClassifier, default="rf"
        A name of the zoo, or a classifier with all its parameters.
    features : str or sequence of str, optional
        Image blocks; all that were extracted for these images if not given.
    cache, runs : path-like
        Folders of the embeddings and of the runs.
    name : str, optional
        Of the run; made up if not given.
    use_metadata, use_images : bool, default=True
    repeats : int, default=1
        Times that the rows are divided into folds, anew each time.
    explain : bool, default=True
        Compute SHAP values and permutation importance.
    views, levels : optional
        Of the embeddings; those extracted last if not given.
    with_images : bool, default=False
        Show pictures of patients in the report.
    quiet : bool, default=False
        No progress, no notices.
    **parameters
        Of :class:`FusionClassifier`: ``balance``, ``calibration``, ``select_k``, ``folds``, ``tune``,
        ``random_state``, ``n_jobs``.

    Returns
    -------
    Run

    Raises
    ------
    UserError
        As the command: features that were not extracted, classes too small, a name that is taken.
    """
    from dermfuse.features.extractors.registry import check_names
    from dermfuse.pipelines.estimators.classifier import FusionClassifier
    from dermfuse.pipelines.workflows.fit import fit_dataset
    from dermfuse.reports.pages.run_page import write_report

    console = Console(quiet)
    known = FusionClassifier().get_params(deep=False)
    strange = sorted(set(parameters) - set(known))
    if strange:
        raise TypeError(f"evaluate() has no parameter {strange[0]!r}. Known beside its own: {', '.join(known)}.")
    classifier = model if isinstance(model, FusionClassifier) else FusionClassifier(model)
    given = FusionClassifier(**{**classifier.get_params(deep=False), **parameters})
    if not isinstance(given.model, str):
        raise usage_error(
            f"model is {given.model!r}. evaluate() keeps the model in a run folder, which holds the zoo's alone; "
            "score other classifiers with cross_val_score(FusionClassifier(model), ...)."
        )
    options = replace(
        given.options(),
        features=check_names([features] if isinstance(features, str) else list(features)) if features else None,
        use_metadata=use_metadata,
        use_images=use_images,
        repeats=repeats,
        explain=explain,
        views=views,
        levels=levels,
    )
    options.check()
    dataset = data if isinstance(data, Dataset) else load_dataset(data, quiet=quiet)
    store = Store(cache, on_problem=console.say)
    path = fit_dataset(dataset, store, options, Path(runs), name, console)
    write_report(path, with_images=with_images)
    return Run(path, cache=cache)
