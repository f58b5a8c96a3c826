"""The model of ``fit`` as a scikit-learn classifier: images and metadata fused, and calibrated out of fold."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    has_fit_parameter,
    validate_data,
)

from dermfuse.cache.errors import usage_error
from dermfuse.features.console import Console
from dermfuse.pipelines.estimators.mistakes import InputError, told_as_input_error
from dermfuse.pipelines.estimators.roles import as_table, columns_of, refuse_repeated
from dermfuse.pipelines.evaluation import splits
from dermfuse.pipelines.evaluation.out_of_fold import cross_validate
from dermfuse.pipelines.model.table import Table
from dermfuse.pipelines.model.zoo import MODELS, model_named, name_of
from dermfuse.pipelines.options.fit import FitOptions
from dermfuse.pipelines.runs.environment import Stopwatch
from dermfuse.pipelines.workflows.fit import check_folds, neighbors_for

MOST_SEED = 2**32


class FusionClassifier(ClassifierMixin, BaseEstimator):
    """Image embeddings and clinical metadata in one calibrated classifier, the very model of the command ``fit``.

    Columns that are named ``BLOCK:NNNN``, as :class:`ImageEmbedder` names them, are an image block: scaled,
    compressed, weighted as a whole. Other numeric columns are numeric metadata, all others categorical; both may be
    missing, and then the answer is as good as that of a model that never had them. Probabilities are calibrated on
    out-of-fold probabilities of grouped, stratified folds inside the training rows.

    Parameters
    ----------
    model : {"rf", "xgb", "mlp", "logreg", "svm"} or classifier, default="rf"
        A name of the zoo, or a scikit-learn classifier with ``predict_proba``; it is cloned, and its ``random_state``
        filled in where that is None.
    balance : {"smote", "weights", "none"}, default="smote"
        What is done about rare classes while learning; calibration undoes what it does to probabilities.
    calibration : {"bias_corrected", "temperature", "isotonic", "dirichlet", "none"}, default="bias_corrected"
        How out-of-fold probabilities are turned into calibrated ones.
    select_k : int, default=None
        Encoded metadata columns that the ANOVA F-test keeps; None keeps those with p < 0.05.
    folds : int, default=5
        Folds of which the calibration learns.
    tune : int, default=0
        Candidates of a search for settings inside each training part; 0 for none.
    random_state : int, RandomState or None, default=0
        Of folds, SMOTE and classifier. None draws another one in each fit.
    n_jobs : int, default=-1
        Fits at a time, or threads of a single one; -1 for one a core, None for 1.

    Attributes
    ----------
    classes_ : ndarray, shape (classes,)
    model_ : FieldwiseModel
        The fitted model, over the integers that stand for the classes.
    columns_ : Columns
        Which column was read as what.
    out_of_fold_proba_ : ndarray, shape (n, classes)
        Calibrated probabilities of the training rows, each from fits that had not seen its group.
    fold_ : ndarray of int, shape (n,)
        Fold in which each training row was held out.
    values_ : dict of str to set of str
        Categories that occurred in training, by column.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)

    Notes
    -----
    Give `groups` wherever several rows are of one lesion or patient: ``fit(X, y, groups=groups)``, in a pipeline
    ``fit(X, y, fusionclassifier__groups=groups)``. With ``sklearn.set_config(enable_metadata_routing=True)``,
    ``cross_val_score(..., params={"groups": groups})`` and ``GridSearchCV.fit(..., groups=groups)`` hand them to the
    splitter and to this classifier. Without groups, rows of one lesion fall into several inner folds, and the
    calibration learns from probabilities that are too good.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["benign", "malignant"], 60)
    >>> X = pd.DataFrame(rng.normal(size=(120, 4)), columns=[f"net:{i:04d}" for i in range(4)])
    >>> X["net:0000"] += 3 * (y == "malignant")
    >>> X["age"] = 40 + 20 * (y == "malignant") + rng.normal(0, 10, 120)
    >>> model = FusionClassifier("logreg", balance="none", n_jobs=1).fit(X, y, groups=np.arange(120) // 2)
    >>> model.columns_.images, model.columns_.numeric
    ({'net': ['net:0000', 'net:0001', 'net:0002', 'net:0003']}, ['age'])
    >>> model.predict(X.iloc[[0, -1]].assign(age=[35, np.nan]))
    array(['benign', 'malignant'], dtype='<U9')
    """

    # Groups go to `fit` wherever metadata routing offers them.
    __metadata_request__fit = {"groups": True}

    def __init__(
        self,
        model="rf",
        *,
        balance="smote",
        calibration="bias_corrected",
        select_k=None,
        folds=5,
        tune=0,
        random_state=0,
        n_jobs=-1,
    ):
        self.model = model
        self.balance = balance
        self.calibration = calibration
        self.select_k = select_k
        self.folds = folds
        self.tune = tune
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X, y, groups=None) -> FusionClassifier:
        """Cross-validate inside the rows that are given, calibrate, and fit the final model to all of them.

        Parameters
        ----------
        X : DataFrame or array-like, shape (n, columns)
            Of an array, every column is numeric metadata.
        y : array-like, shape (n,)
        groups : array-like, shape (n,), optional
            Lesion or patient of each row; without it each row is of its own.

        Raises
        ------
        InputError
            A ``ValueError``: impossible parameters, classes or groups too few for the folds, columns of dates or
            paths, images with NaN.
        """
        with told_as_input_error():
            options = self.options()
            if not isinstance(self.folds, int | np.integer) or self.folds < 2:
                raise InputError(f"folds is {self.folds!r}. Expected a whole number of 2 or more.")
            if y is None:
                raise InputError("FusionClassifier requires y to be passed, but the target y is None.")
            frame = self._frame(X, reset=True)
            self.columns_ = columns_of(frame)
            read = as_table(frame, self.columns_)
            self.classes_, truth = _classes(y)
            check_consistent_length(read, truth)
            labels, groups = self.classes_[truth], _groups(groups, len(truth))
            if len(self.classes_) < 2:
                raise InputError(f"y has 1 class, {str(self.classes_[0])!r}. Expected two classes or more.")
            self.fold_ = splits.folds_of(labels, groups, options.seed, options.folds)
            check_folds(self.fold_, truth, self.classes_)
            console = Console(quiet=True)
            neighbors = neighbors_for(options, [self.fold_], truth, self.classes_, console)
            table = Table(read, labels, groups, np.arange(len(truth)), np.full(len(truth), ""), self.columns_)
            found = cross_validate(table, truth, [self.fold_], options, neighbors, console.progress, Stopwatch())
        for text in (*console.notices, *found.noticed):
            warnings.warn(text, UserWarning, stacklevel=2)
        self.model_, self.out_of_fold_proba_ = found.model, found.probabilities
        self.values_ = {name: set(read[name].dropna()) for name in self.columns_.categorical}
        return self

    def predict_proba(self, X) -> np.ndarray:
        """Calibrated probabilities at the prevalence of the training rows, shape (n, classes), float64.

        A category that never occurred in training is read as missing, as ``predict`` on the command line does.
        """
        check_is_fitted(self, "model_")
        read = as_table(self._frame(X, reset=False), self.columns_)
        for name, known in self.values_.items():
            read[name] = read[name].where(read[name].isin(known), np.nan)
        return self.model_.predict_proba(read)

    def predict(self, X) -> np.ndarray:
        """The most probable class of each row, shape (n,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def options(self) -> FitOptions:
        """The parameters as ``fit`` takes them on the command line, checked.

        Raises
        ------
        UserError
            With exit code 2: an impossible one.
        """
        named = isinstance(self.model, str)
        options = FitOptions(
            self.model if named else next(iter(MODELS)),
            balance=self.balance,
            calibration=self.calibration,
            select_k=self.select_k,
            folds=self.folds,
            tune=self.tune,
            seed=_seed(self.random_state),
            jobs=1 if self.n_jobs is None else self.n_jobs,
        )
        options.check()
        if named:
            return options
        model_named(self.model)
        if self.balance == "weights" and not has_fit_parameter(self.model, "sample_weight"):
            raise usage_error(
                f"balance is 'weights', and the fit of {name_of(self.model)} takes no sample_weight. Expected "
                "'smote' or 'none'."
            )
        return replace(options, model=self.model)

    def _frame(self, X, reset: bool) -> pd.DataFrame:
        """`X` as a frame whose columns are named by text, checked against those of `fit` where it is not `reset`."""
        if hasattr(X, "to_pandas"):
            X = X.to_pandas()
        if isinstance(X, pd.DataFrame):
            refuse_repeated(X)
            validate_data(self, X, reset=reset, skip_check_array=True)
            if X.empty:
                raise InputError(f"X has {len(X)} rows and {X.shape[1]} columns. Found array with 0 sample(s).")
            names = list(X.columns.astype(str))
        else:
            X = pd.DataFrame(validate_data(self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan"))
            names = [f"x{i}" for i in range(X.shape[1])]
        if reset:
            self._names = names
        return X.set_axis(self._names, axis=1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _classes(y) -> tuple[np.ndarray, np.ndarray]:
    """The classes, sorted, and the position of each row's class among them."""
    y = column_or_1d(y, warn=True)
    check_array(y, ensure_2d=False, dtype=None, input_name="y")
    if pd.isna(y).any():
        raise InputError(f"y is missing in {int(pd.isna(y).sum()):,} rows. Leave these rows out.")
    check_classification_targets(y)
    return np.unique(y, return_inverse=True)


def _groups(groups, rows: int) -> np.ndarray:
    """Group of each row as text; each row's own without any."""
    if groups is None:
        return np.arange(rows).astype(str)
    groups = column_or_1d(groups)
    if len(groups) != rows or pd.isna(groups).any():
        missing = int(pd.isna(groups).sum())
        raise InputError(
            f"groups has {len(groups):,} values, {missing:,} of them missing. Expected one for each of {rows:,} rows."
        )
    return groups.astype(str)


def _seed(random_state) -> int:
    """A seed of the whole work; a whole number stays what it is."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    if random_state is None:
        return int(np.random.default_rng().integers(MOST_SEED))
    return int(check_random_state(random_state).randint(MOST_SEED, dtype=np.int64))
