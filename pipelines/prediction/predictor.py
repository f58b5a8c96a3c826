"""New images through a run's model, the same way as ``fit`` scored its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from dermfuse.cache.errors import UserError, listed
from dermfuse.cache.hashes import ContentIndex
from dermfuse.cache.store import Store
from dermfuse.cache.upkeep import mark_used
from dermfuse.features.data.content import open_index, read_content
from dermfuse.features.embedding.loop import embed, quicken
from dermfuse.features.extractors.registry import extractor_of
from dermfuse.features.files.photographs import (
    COPIES,
    lines_of,
    lookalikes_named,
    photographs_below,
    without_copies_by_name,
)
from dermfuse.features.tables.columns import Layout
from dermfuse.pipelines.evaluation import missing
from dermfuse.pipelines.evaluation.missing import Thresholds
from dermfuse.pipelines.evaluation.sets import in_sets
from dermfuse.pipelines.model.calibration import balanced_decisions
from dermfuse.pipelines.model.table import METADATA, Columns, assemble, block_columns
from dermfuse.pipelines.prediction.clinical import (
    by_image,
    choose_table,
    id_cells,
    metadata_of_frame,
    read_metadata,
    refuse_unmatched,
)
from dermfuse.pipelines.prediction.outside import Outside
from dermfuse.pipelines.runs.agreement import answers_of, check_fits_together, check_predictions
from dermfuse.pipelines.runs.modelfile import MODEL
from dermfuse.pipelines.runs.opened import open_run

CHUNK = 1024


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image, or why it says nothing.

    Attributes
    ----------
    image : str
        The file as it was given.
    probabilities : dict of str to float
        Calibrated, at the prevalence of the training data; empty with an error.
    decision : str
        The most probable class.
    balanced_decision : str
        The most probable class if all classes were equally frequent.
    imputed : list of str
        Metadata fields without a value; the answer rests on what is left.
    answered_by : str
        The part of the model that answered: ``all fields``, ``known fields`` or ``no fields``; see
        :class:`dermfuse.pipelines.model.fieldwise.FieldwiseModel`.
    seen_in : str or None
        ``train`` or ``test`` when the run holds an image of the same bytes.
    set : list of str or None
        The classes that cannot be ruled out at the run's coverage, in the order of the probabilities; it may be empty.
        None where the run has no prediction sets.
    error : str or None
        Why there is no prediction.
    """

    image: str
    probabilities: dict[str, float] = field(default_factory=dict)
    decision: str = ""
    balanced_decision: str = ""
    imputed: list[str] = field(default_factory=list)
    answered_by: str = ""
    seen_in: str | None = None
    set: list[str] | None = None
    error: str | None = None

    def as_json(self) -> dict:
        """The object that ``predict --json`` prints; without ``set`` where the run has no prediction sets."""
        if self.error is not None:
            return {"image": self.image, "error": self.error}
        absent = {"error"} if self.set is not None else {"error", "set"}
        return {k: v for k, v in vars(self).items() if k not in absent}


class Predictor:
    """A run's model and its extractors, ready for new images.

    Parameters
    ----------
    folder : Path
        The run folder.
    store : Store
        The cache that ``fit`` used: embeddings that it holds are not computed again.
    weights_dir : Path or None
        Where to look for pretrained weights that the cache has no copy of.
    device : str
    console : Console
    trust : bool
        Read the run also where its files are not as they were written.
    workers : int or None
        Decoding processes; None starts one a core, 0 decodes in this one.

    Raises
    ------
    UserError
        The run is damaged or was changed, or an extractor's weights are gone.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        weights_dir: Path | None,
        device: str,
        console,
        trust: bool = False,
        workers: int | None = None,
    ):
        run = open_run(folder, trust, console.notice)
        self.config = run.json("config.json")
        self.model, self._model_file = run.model(), folder / MODEL
        self._console, self._store = console, store
        self._weights_dir, self._device, self._workers = weights_dir, device, workers
        self._extractors: dict = {}
        splits = run.table("splits.parquet", ["content", "split", "label"])
        check_predictions(folder, run.table("predictions.parquet", ["id", "truth"]), self.config["dataset"]["classes"])
        check_fits_together(folder, self.config, splits, self.model)
        self._seen = dict(zip(splits["content"], splits["split"], strict=True))
        facts = self.config["dataset"]
        self._thresholds = Thresholds(run.json(missing.FILE), facts["classes"])
        self._layout = Layout(
            image=facts["image_column"],
            numeric=tuple(facts["metadata"]["numeric"]),
            categorical=tuple(facts["metadata"]["categorical"]),
        )
        blocks = {b["name"]: block_columns(b["name"], b["width"]) for b in self.config["blocks"]}
        self.columns = Columns(blocks, list(self._layout.numeric), list(self._layout.categorical))
        self._outside = Outside(facts.get("ranges", {}), self._categories())

    def predict(self, images: list[Path], metadata: pd.DataFrame | None) -> Iterator[Prediction]:
        """Score images in the order given, `CHUNK` at a time.

        Parameters
        ----------
        images : list of Path
        metadata : DataFrame or None
            The run's metadata columns by image id or path (index), as a table names them; None has all of them
            missing.

        Raises
        ------
        UserError
            Two rows are of one image, or one row of two images that differ.
        """
        metadata = self._told(by_image(images, metadata, self.columns.metadata))
        with open_index(self._store) as index:
            for start in range(0, len(images), CHUNK):
                yield from self._predict(images[start : start + CHUNK], metadata, index, len(images) - start)
        self._console.notice(*self._outside.lines())

    def without_metadata(self) -> str:
        """What answers an image of which no field is known, and what its answers are worth."""
        fields = listed(self.columns.metadata)
        if not self.columns.images:
            return f"without {fields}, nothing is known; every answer is the class frequencies of the training rows"
        return f"a model of images alone answers; {fields} would help (the report says by how much)"

    def metadata_of(
        self, table: Path | None, folder: Path | None, images: list[Path] | None = None
    ) -> pd.DataFrame | None:
        """The run's metadata columns, by id cells, from `table`, else from the table in `folder` that has the images.

        Raises
        ------
        UserError
            The table lacks the image column or a metadata column, or repeats an id; or it was given by hand, and has
            no row of any of the images.
        """
        if not self.columns.metadata:
            if table is not None:
                self._console.notice(f"{table} is not read: the run was fitted without metadata")
            return None
        if table is None:
            found = self._told(choose_table(folder, self._layout, images)) if folder is not None else None
            if found is None:
                return None
            self._console.say(f"metadata is read from {found}")
            return self._told(read_metadata(found, self._layout))
        fields = self._told(read_metadata(table, self._layout))
        if images is not None:
            refuse_unmatched(images, fields, table, self._layout.image)
        return fields

    def metadata_in(self, frame: pd.DataFrame) -> pd.DataFrame | None:
        """The run's metadata columns of a frame, by its image column or its index; None where the run has none."""
        return self._told(metadata_of_frame(frame, self._layout)) if self.columns.metadata else None

    def ids_in(self, table: Path | None, folder: Path | None) -> list[str]:
        """The image ids of `table`, else of every table in `folder` that has the columns of the run."""
        return id_cells(table, folder, self._layout) if self.columns.metadata else []

    def _told(self, found: tuple):
        """What was found, once the lines that come with it are told."""
        self._console.notice(*found[1])
        return found[0]

    def _predict(self, images: list[Path], metadata, index: ContentIndex, left: int) -> list[Prediction]:
        content = read_content(images, index, self._console.progress)
        reasons = {row.path: row.reason for row in content.unreadable}
        vectors, bad = self._vectors(
            {key: path for key, path in zip(content.keys, images, strict=True) if key is not None}, left
        )
        out, good = {}, []
        for i, (image, key) in enumerate(zip(images, content.keys, strict=True)):
            reason = reasons.get(str(image.absolute())) if key is None else bad.get(key)
            if reason is None:
                good.append(i)
            else:
                out[i] = Prediction(str(image), error=reason)
        if good:
            fields = self._fields([images[i] for i in good], metadata)
            matrices = {n: np.stack([v[content.keys[i]] for i in good]) for n, v in vectors.items()}
            X = assemble(self.columns, matrices, fields)
            answers = answers_of(self.model, X, self._model_file)
            found = zip(good, fields.isna().to_numpy(), self.model.answered_by(X), answers, strict=True)
            for i, absent, part, p in found:
                out[i] = self._prediction(str(images[i]), content.keys[i], absent, str(part), p)
        return [out[i] for i in range(len(images))]

    def _prediction(self, image: str, key: str, missing: np.ndarray, part: str, probabilities) -> Prediction:
        classes = self.config["dataset"]["classes"]
        balanced = balanced_decisions(probabilities[None], np.array(self.config["prevalence"]))[0]
        imputed = [name for name, absent in zip(self.columns.metadata, missing, strict=True) if absent]
        return Prediction(
            image,
            {name: float(p) for name, p in zip(classes, probabilities, strict=True)},
            classes[int(probabilities.argmax())],
            classes[int(balanced)],
            imputed,
            part,
            self._seen.get(key),
            self._set(probabilities, imputed),
        )

    def _set(self, probabilities: np.ndarray, missing: list[str]) -> list[str] | None:
        thresholds = self._thresholds.of(missing)
        if thresholds is None:
            return None
        inside = in_sets(probabilities, thresholds)
        return [name for name, held in zip(self.config["dataset"]["classes"], inside, strict=True) if held]

    def _vectors(self, paths: dict[str, Path], left: int) -> tuple[dict[str, dict], dict[str, str]]:
        """Embeddings by block and row key, cached ones first; and the reasons for images set aside."""
        vectors, bad = {}, {}
        for facts in self.config["blocks"]:
            name = facts["name"]
            block = self._store.find(name, facts["key"])
            absent = set(block.missing(paths) if block is not None else paths)
            held = [key for key in paths if key not in absent]
            if held:
                mark_used(block.folder)
            found = dict(zip(held, block.gather(held), strict=True)) if held else {}
            if absent:
                new = {key: path for key, path in paths.items() if key in absent}
                # Of the images in later chunks, as large a share may be new as of these.
                extractor = self._extractor(facts, new, left * len(new) // len(paths))
                computed, reasons = embed(new, extractor, self._console, self._workers)
                found.update(computed)
                bad.update(reasons)
            vectors[name] = found
        return vectors, bad

    def _extractor(self, facts: dict, new: dict[str, Path], left: int):
        name = facts["name"]
        if name not in self._extractors:
            made = extractor_of(
                name, facts["recipe"], self._store, self._weights_dir, self._device, self._console.notice
            )
            quicken(made, new, left, self._store, self._console)
            self._extractors[name] = made
        return self._extractors[name]

    def _fields(self, images: list[Path], metadata: pd.DataFrame) -> pd.DataFrame:
        # As objects, since a name of bytes that are no UTF-8 fits no other type.
        fields = metadata.reindex(pd.Index([os.path.abspath(image) for image in images], dtype=object))
        return self._outside.read(fields)

    def _categories(self) -> dict[str, set]:
        """Categories that occurred in training, by column."""
        if not self.columns.categorical:
            return {}
        encode = self.model.whole.pipeline["preprocess"].named_transformers_[METADATA]["encode"]
        one_hot = encode.named_transformers_["categorical"]["encode"]
        return {c: set(k) for c, k in zip(self.columns.categorical, one_hot.categories_, strict=True)}


def find_targets(targets: list[Path], cells: Sequence[str] = ()) -> tuple[list[Path], list[str]]:
    """Image files that were named, and the photographs below all folders that were named, in that order.

    Parameters
    ----------
    targets : list of Path
    cells : sequence of str
        Ids of a metadata table; a picture that one names in full is asked for, whatever it looks like.

    Returns
    -------
    list of Path, list of str
        The files; and what lies in the folders and is left out, and which of the files that were named look like a
        mask.

    Raises
    ------
    UserError
        Something named is not there, or a folder holds no image.
    """
    named, found, told = [], [], {}
    for target in targets:
        if target.is_dir():
            found += photographs_below(target, told, cells)
        elif not target.exists():
            raise UserError(f"no such image or folder: {target}. Give image files, or folders that hold some.")
        else:
            named.append(target)
            found.append(target)
    paths, asked = list(map(str, found)), set(map(str, named))
    _, copies = without_copies_by_name([path for path in dict.fromkeys(paths) if path not in asked])
    aside = set(copies)
    lines = [*lines_of(told), *lines_of({COPIES: copies}), *lookalikes_named(list(asked))]
    return [Path(path) for path in paths if path not in aside], lines
