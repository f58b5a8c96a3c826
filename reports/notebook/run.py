"""A finished run as Python reads it: its documents, its predictions, its model, and a card for a notebook."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import pandas as pd

from dermfuse.cache.errors import usage_error
from dermfuse.features.console import Console
from dermfuse.reports.notebook.cards import card
from dermfuse.reports.runfolder import SPLITS, RunFolder, read_run
from dermfuse.reports.wording import SPLIT_NAMES


class Run:
    """A run folder, as ``fit`` on the command line and :func:`evaluate` write it.

    Every file is compared with what was written before anything is read, as by all commands.

    Parameters
    ----------
    folder : path-like
        ``runs/NAME``.
    trust : bool, default=False
        Read it also where files were changed after the fit; values are still checked.
    cache : path-like, default="embeddings"
        Where :meth:`predict` finds embeddings and kept weights.

    Attributes
    ----------
    folder : Path

    Raises
    ------
    UserError
        The folder is none of a run, or was damaged or changed.

    Examples
    --------
    A run shows itself in a notebook by its headline figures; elsewhere they are in ``metrics``::

        run = Run("runs/ham10000-rf")
        run.metrics["out_of_fold"]["macro_auc"]  # {"value": ..., "low": ..., "high": ...}
    """

    def __init__(self, folder: str | Path, trust: bool = False, *, cache: str | Path = "embeddings"):
        self.folder, self.trust, self.cache = Path(folder), trust, Path(cache)
        # Raised here, where the folder is named, and not at the first look at a property.
        self.config, self.metrics = (self._opened().json(name) for name in ("config.json", "metrics.json"))

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def __fspath__(self) -> str:
        return os.fspath(self.folder)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the probabilities."""
        return list(self.config["dataset"]["classes"])

    @cached_property
    def read(self) -> RunFolder:
        """Everything that a report shows, checked; texts are freed of paths and ids."""
        return read_run(self.folder, self.trust)

    @property
    def predictions(self) -> pd.DataFrame:
        """One row an image: ``id``, ``group``, ``split``, ``fold``, ``truth``, ``decision`` and ``p_CLASS``.

        Probabilities of training rows are out of fold, those of the locked test split from the final model.
        """
        return self.read.predictions.copy()

    def predict(
        self,
        images: str | Path | Iterable[str | Path] | pd.DataFrame,
        metadata: str | Path | pd.DataFrame | None = None,
        *,
        weights_dir: str | Path | None = None,
        device: str = "auto",
        quiet: bool = False,
    ) -> pd.DataFrame:
        """Score images, the same way as the command ``predict``.

        Parameters
        ----------
        images : path-like, iterable of path-like, or DataFrame
            Image files, or folders of them; of a DataFrame the column ``path``, and its other columns are the metadata.
        metadata : path-like or DataFrame, optional
            A table with the run's image and metadata columns; or a frame with the metadata columns, by image id.
        weights_dir : path-like, optional
            Folder with pretrained weights, where the cache has no copy.
        device : str, default="auto"
        quiet : bool, default=False
            Do not print what was skipped or read in another way.

        Returns
        -------
        DataFrame
            One row an image, by the index of `images` where that is a frame. Its columns are those of
            ``predict --out``: ``image``, ``decision``, ``balanced_decision``, ``p_CLASS``,
            ``set`` (where the run has prediction sets) and ``imputed`` (lists of str), ``answered_by``, ``seen_in`` and
            ``error``.

        Raises
        ------
        UserError
            Images or metadata that are not there or do not fit; weights that cannot be had.
        """
        from dermfuse.cache.store import Store
        from dermfuse.features.extractors.registry import choose_device
        from dermfuse.pipelines.prediction.predictor import Predictor, find_targets

        console, index = Console(quiet), None
        if isinstance(images, pd.DataFrame):
            index = images.index
            images, metadata = _parts(images, metadata)
        given = [Path(images)] if isinstance(images, str | os.PathLike) else [Path(image) for image in images]
        if not given:
            raise usage_error("nothing to predict. Give image files, or folders of images.")
        weights = None if weights_dir is None else Path(weights_dir)
        predictor = Predictor(
            self.folder, Store(self.cache, on_problem=console.say), weights, choose_device(device), console, self.trust
        )
        if isinstance(metadata, pd.DataFrame):
            files, noticed = find_targets(given)
            console.notice(*noticed)
            fields = predictor.metadata_in(metadata)
        else:
            table, folder = metadata and Path(metadata), next((path for path in given if path.is_dir()), None)
            files, noticed = find_targets(given, predictor.ids_in(table, folder))
            console.notice(*noticed)
            fields = predictor.metadata_of(table, folder, files)
        if fields is None and predictor.columns.metadata:
            console.notice(f"no metadata is given: {predictor.without_metadata()}")
        with console.progress("predicting", len(files)) as advance:
            found = []
            for prediction in predictor.predict(files, fields):
                advance()
                found.append(prediction)
        table = pd.DataFrame([_row(prediction, self.classes) for prediction in found])
        return table if index is None else table.set_index("image", drop=False).loc[map(str, given)].set_axis(index)

    def report(self, with_images: bool = False) -> Path:
        """Write ``report.html`` into the run folder, as the command ``report`` does; return its path."""
        from dermfuse.reports.pages.run_page import write_report

        return write_report(self.folder, with_images, self.trust)

    def _repr_html_(self) -> str:
        from dermfuse.reports.sections.headlines import headline_facts

        run = self.read
        return card(
            "run.html",
            name=run.config["name"],
            model=run.config["model_title"],
            dataset=run.config["dataset"]["name"],
            synthetic=run.config["dataset"]["synthetic"],
            positive=run.positive,
            splits=[{"title": SPLIT_NAMES[split], "images": len(run.rows(split))} for split in SPLITS],
            cards=headline_facts(run),
        )

    def _opened(self):
        from dermfuse.pipelines.runs.opened import open_run

        return open_run(self.folder, self.trust)


def _parts(frame: pd.DataFrame, metadata: object) -> tuple[list[Path], pd.DataFrame]:
    """The paths of a frame, and its other columns by path."""
    if metadata is not None:
        raise usage_error("images is a DataFrame, whose columns are the metadata. Leave metadata out, or give paths.")
    if "path" not in frame.columns:
        raise usage_error(f"images has no column 'path'; its columns are {', '.join(map(repr, frame.columns))}.")
    paths = list(frame["path"])
    return paths, frame.drop(columns="path").set_axis(pd.Index(map(str, paths), dtype=object))


def _row(prediction, classes: list[str]) -> dict:
    """A prediction as a row of ``predict --out``, lists as lists and what is not there as None."""
    return {
        "image": prediction.image,
        "decision": prediction.decision or None,
        "balanced_decision": prediction.balanced_decision or None,
        **{f"p_{name}": prediction.probabilities.get(name) for name in classes},
        "set": prediction.set,
        "imputed": prediction.imputed,
        "answered_by": prediction.answered_by or None,
        "seen_in": prediction.seen_in,
        "error": prediction.error,
    }
