"""Stage 1 as a scikit-learn transformer: paths in, named columns out, kept in the same cache as ``extract`` keeps."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from dermfuse.cache.atomic import make_folder
from dermfuse.cache.errors import UserError
from dermfuse.cache.recipe import differing_fields, recipe_key
from dermfuse.cache.store import Block, Store
from dermfuse.cache.upkeep import mark_used
from dermfuse.features.console import Console
from dermfuse.features.data.content import Content, content_of
from dermfuse.features.data.dataset import Dataset
from dermfuse.features.embedding.loop import Work, extract, quicken
from dermfuse.features.extractors import autoencoder
from dermfuse.features.extractors.backbones import BACKBONES
from dermfuse.features.extractors.registry import choose_device, extractor_of
from dermfuse.features.tables.columns import Layout
from dermfuse.pipelines.estimators.mistakes import InputError, told_as_input_error
from dermfuse.pipelines.estimators.roles import PATH
from dermfuse.pipelines.model.table import block_columns, find_blocks
from dermfuse.pipelines.workflows.extract import Stage1Options, embed_dataset

BAD = ("error", "nan")


class ImageEmbedder(TransformerMixin, BaseEstimator):
    """Turns image files into embeddings of a frozen pretrained network, once; the cache keeps them.

    What ``extract`` has made is found, and what this makes ``extract`` and ``fit`` find: blocks, recipes and files are
    the same. Nothing is learned from the images; ``fit`` only settles which recipe of the network is used, and
    ``transform`` keeps to it.

    Parameters
    ----------
    extractor : str, default="mobilenet_v2"
        Name of a pretrained network, such as ``efficientnet_lite0``, whose weights are installed with this program.
    cache : path-like, default="embeddings"
        Folder of the cache; it is made where there is none.
    views : {1, 2, 4, 8}, default=1
        Flips and turns that are averaged.
    levels : {"last", "multi"}, default="last"
        Stages of the network that are pooled: the last one; or mean and maximum of several.
    weights_dir : path-like, default=None
        Folder with state dicts, ``NAME.pth``. None takes embeddings of these images that the cache holds, whatever
        weights made them; else the weights of an installed package, or a download.
    device : str, default="auto"
        ``auto``, ``cpu`` or ``cuda``.
    bad_images : {"error", "nan"}, default="error"
        Refuse files that are no images, or give them a row of NaN.
    batch_size, workers : int, default=None
        Images that the network is given at once, and decoding processes; by device and cores if None.
    verbose : bool, default=False
        Show progress and notices on stderr.

    Attributes
    ----------
    recipe_ : dict
        All that determines the embeddings.
    key_ : str
        The recipe's key in the cache.
    width_ : int
        Length of an embedding.
    n_features_in_ : int
        1, or the number of columns of the frame.
    feature_names_in_ : ndarray of str
        Columns of the frame, where one was given.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as place:
    ...     Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(f"{place}/black.png")
    ...     embedder = ImageEmbedder("efficientnet_lite0", cache=f"{place}/cache", workers=0)
    ...     table = embedder.fit_transform([f"{place}/black.png"])
    >>> table.shape, table.columns[7]
    ((1, 1280), 'efficientnet_lite0:0007')
    """

    def __init__(
        self,
        extractor="mobilenet_v2",
        *,
        cache="embeddings",
        views=1,
        levels="last",
        weights_dir=None,
        device="auto",
        bad_images="error",
        batch_size=None,
        workers=None,
        verbose=False,
    ):
        self.extractor = extractor
        self.cache = cache
        self.views = views
        self.levels = levels
        self.weights_dir = weights_dir
        self.device = device
        self.bad_images = bad_images
        self.batch_size = batch_size
        self.workers = workers
        self.verbose = verbose

    def fit(self, X, y=None) -> ImageEmbedder:
        """Settle the recipe: that of embeddings which the cache holds of all these images, else they are made now.

        Parameters
        ----------
        X : DataFrame, or array-like of path-like, shape (n,) or (n, 1)
            Paths of image files; of a DataFrame the column ``path``.
        y : ignored

        Raises
        ------
        InputError
            A ``ValueError``: an unknown network, no paths, files that are no images.
        UserError
            Weights that cannot be had, a full disk.
        """
        paths, frame = _paths(X), X if isinstance(X, pd.DataFrame) else None
        with told_as_input_error():
            options = self._options()
        with self._console() as console:
            images, store = _images(paths), Store(self.cache, on_problem=_warn)
            make_folder(store.root)
            content = content_of(images, store, console.progress)
            block = self._held(content, store, console) or self._made(images, options, store, console)
        self.recipe_, self.key_, self.width_ = block.recipe, block.key, block.width
        self.n_features_in_ = 1 if frame is None else frame.shape[1]
        if frame is not None:
            self.feature_names_in_ = frame.columns.to_numpy(object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def transform(self, X) -> pd.DataFrame:
        """Embeddings of images as float32 columns; of a DataFrame, its other columns follow.

        Parameters
        ----------
        X : DataFrame, or array-like of path-like, shape (n,) or (n, 1)

        Returns
        -------
        DataFrame, shape (n, width + other columns)
            By the index of `X`, where it has one.

        Raises
        ------
        InputError
            A ``ValueError``: no paths, files that are no images.
        UserError
            The weights are no longer to be had, or the cache cannot be written to.
        """
        check_is_fitted(self, "key_")
        paths = _paths(X)
        with told_as_input_error():
            self._options()
        with self._console() as console:
            images, store = _images(paths), Store(self.cache, on_problem=_warn)
            content = content_of(images, store, console.progress)
            reasons = {row.path: row.reason for row in content.unreadable}
            reasons |= self._embed_missing(images, content, store, console)
            if reasons and self.bad_images == "error":
                raise _bad(reasons)
            block = store.find(self.extractor, self.key_)
            matrix = np.full((len(paths), self.width_), np.nan, np.float32)
            good = np.array([str(Path(path).absolute()) not in reasons for path in paths], bool)
            if good.any():
                mark_used(block.folder)
                matrix[good] = block.gather([key for key, use in zip(content.keys, good, strict=True) if use])
        index = X.index if isinstance(X, pd.DataFrame | pd.Series) else None
        table = pd.DataFrame(matrix, index, block_columns(self.extractor, self.width_))
        return pd.concat([table, X.drop(columns=PATH)], axis=1) if isinstance(X, pd.DataFrame) else table

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """Names of the columns of `transform`, ``mobilenet_v2:0007``, and of the columns that pass through."""
        check_is_fitted(self, "key_")
        others = [name for name in getattr(self, "feature_names_in_", ()) if name != PATH]
        return np.array([*block_columns(self.extractor, self.width_), *others], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False, True
        tags.requires_fit = True
        return tags

    def _options(self) -> Stage1Options:
        """The parameters as ``extract`` takes them, checked."""
        if self.extractor == autoencoder.NAME:
            raise InputError(
                f"extractor {autoencoder.NAME!r} is learned on a training split, which a transformer cannot know. Run "
                f"'python cli.py extract --features {autoencoder.NAME}', and have evaluate() use it."
            )
        if self.extractor not in BACKBONES:
            raise InputError(f"unknown extractor {self.extractor!r}. Known: {', '.join(BACKBONES)}.")
        if self.bad_images not in BAD:
            raise InputError(f"bad_images is {self.bad_images!r}. Expected {' or '.join(map(repr, BAD))}.")
        options = Stage1Options(
            [self.extractor],
            None if self.weights_dir is None else Path(self.weights_dir),
            self.device,
            batch_size=self.batch_size,
            workers=self.workers,
            views=self.views,
            levels=self.levels,
        )
        options.check()
        return options

    @contextmanager
    def _console(self) -> Iterator[Console]:
        """Progress and notices on stderr; or, without `verbose`, notices as warnings."""
        console = Console(quiet=not self.verbose)
        yield console
        for text in [] if self.verbose else console.notices:
            warnings.warn(text, UserWarning, stacklevel=4)

    def _held(self, content: Content, store: Store, console) -> Block | None:
        """The block that ``fit`` on the command line would take; None where the weights are named or rows lack."""
        if self.weights_dir is not None or not content.keys or None in content.keys:
            return None
        wanted = {"views": self.views, "levels": self.levels}
        try:
            return find_blocks(store, [self.extractor], content.keys, set(), lambda _: set(), console.notice, wanted)[0]
        except UserError:  # not extracted, or not for every image
            return None

    def _made(self, images: Dataset, options: Stage1Options, store: Store, console) -> Block:
        summary = embed_dataset(images, options, store.root, console)
        if summary.set_aside and self.bad_images == "error":
            raise _bad({row.path: row.reason for row in summary.set_aside})
        return store.find(self.extractor, summary.blocks[0].key)

    def _embed_missing(self, images: Dataset, content: Content, store: Store, console) -> dict[str, str]:
        """Embed what the block lacks, by its own recipe; the reasons of files that are no images, by absolute path."""
        block = store.find(self.extractor, self.key_)
        keys = [key for key in content.keys if key is not None]
        absent = set(keys if block is None else block.missing(keys))
        if not absent:
            return {}
        weights = None if self.weights_dir is None else Path(self.weights_dir)
        device = choose_device(self.device)
        extractor = extractor_of(self.extractor, self.recipe_, store, weights, device, console.notice)
        if recipe_key(extractor.recipe()) != self.key_:
            different = "; ".join(differing_fields(self.recipe_, extractor.recipe()))
            raise UserError(f"{self.extractor} was fitted with another {different}. Call fit again.")
        new = np.array([key in absent for key in content.keys], bool)
        chosen = images.keep(new)
        lacking = Content([key for key, use in zip(content.keys, new, strict=True) if use], [])
        quicken(extractor, lacking.paths(chosen), int(new.sum()), store, console)
        work = Work(self.batch_size, self.workers)
        summary = extract(chosen, lacking, [extractor], store, console, work)
        return {row.path: row.reason for row in summary.set_aside}


def _paths(X) -> list[str]:
    """The paths in `X`, in their order."""
    if isinstance(X, pd.DataFrame):
        if PATH not in X.columns:
            raise InputError(f"X has no column 'path'; its columns are {', '.join(map(repr, X.columns))}. Add it.")
        X = X[PATH]
    if isinstance(X, str | os.PathLike):
        raise InputError(f"X is the single path {os.fspath(X)!r}. Expected a list of paths, as in [{os.fspath(X)!r}].")
    cells = np.asarray(X, dtype=object) if not isinstance(X, pd.Series) else X.to_numpy(object)
    if cells.ndim == 2 and cells.shape[1] == 1:
        cells = cells[:, 0]
    if cells.ndim != 1 or not len(cells):
        raise InputError(f"X has the shape {cells.shape}. Expected paths of image files, one or more.")
    wrong = [cell for cell in cells if not isinstance(cell, str | os.PathLike)]
    if wrong:
        raise InputError(f"X holds {wrong[0]!r}, which is no path. Expected paths of image files.")
    return [os.fspath(cell) for cell in cells]


def _images(paths: Sequence[str]) -> Dataset:
    """The files as the loop of ``extract`` takes them: one group, so that equal files join nothing."""
    rows = pd.DataFrame({"id": paths, "path": paths, "label": "", "group": ""}, dtype=object)
    return Dataset("images", Path(), Layout(), rows)


def _bad(reasons: dict[str, str]) -> InputError:
    path, reason = next(iter(reasons.items()))
    return InputError(
        f"{len(reasons):,} of the files can not be embedded (first: {path!r}: {reason}). Leave them out, or give "
        "bad_images='nan' and leave out the rows of NaN afterwards."
    )


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=3)
