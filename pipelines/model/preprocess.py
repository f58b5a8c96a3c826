"""The steps before the classifier: image blocks scaled and compressed, metadata imputed, encoded and selected."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from scipy.linalg import eigh
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from dermfuse.pipelines.model.anova import AnovaSelection
from dermfuse.pipelines.model.table import METADATA, Columns

ANOVA_LEVEL = 0.05
FLOATS = (np.float64, np.float32)  # whole numbers become the first


class SignedSquareRoot(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """``sign(x) * sqrt(|x|)``: pooled activations are skewed, and their square root is nearly symmetric.

    Perronnin, Sanchez and Mensink, "Improving the Fisher kernel for large-scale image classification", ECCV 2010.

    Attributes
    ----------
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Where X has names.
    """

    def fit(self, X, y=None):
        """Nothing is learned; only the columns are noted."""
        validate_data(self, X, dtype=FLOATS)
        return self

    def transform(self, X):
        """Transform (n, d) finite values; float32 stays float32."""
        if not hasattr(self, "feature_names_in_"):  # it needs no fit, and then has no names to compare with
            X = check_array(X, dtype=FLOATS)
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        return np.sign(X) * np.sqrt(np.abs(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class LeadingComponents(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Principal components from the covariance of many columns, of which only the first few are computed.

    The same components as scikit-learn's PCA with ``svd_solver="covariance_eigh"``, exact and with nothing drawn; that
    one computes the eigenvectors of all columns to throw most of them away, which for thousands of columns takes
    longer than most classifiers. LAPACK's ``syevr`` finds the wanted ones: Dhillon, Parlett and Voemel, "The design
    and implementation of the MRRR algorithm", ACM TOMS 32 (2006).

    Parameters
    ----------
    n_components : int
        At most the number of columns.

    Attributes
    ----------
    mean_ : ndarray, shape (d,)
    components_ : ndarray, shape (n_components, d)
        Of falling variance; the largest entry of each is positive.
    explained_variance_ : ndarray, shape (n_components,)
    """

    _parameter_constraints = {"n_components": [Interval(Integral, 1, None, closed="left")]}

    def __init__(self, n_components: int = 2):
        self.n_components = n_components

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Find the components of (n, d) finite values, in their own dtype.

        Raises
        ------
        ValueError
            There are fewer columns than components.
        """
        X = validate_data(self, X, dtype=FLOATS, ensure_min_samples=2)
        width = X.shape[1]
        if self.n_components > width:
            raise ValueError(f"n_components={self.n_components} is more than the {width} columns; ask for fewer.")
        self.mean_ = X.mean(axis=0)
        centred = X - self.mean_
        covariance = centred.T @ centred / X.dtype.type(len(X) - 1)
        wanted = [width - self.n_components, width - 1]
        variances, vectors = eigh(covariance, subset_by_index=wanted, overwrite_a=True, check_finite=False)
        components = np.ascontiguousarray(vectors.T[::-1])
        largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
        self.components_ = components * np.where(largest < 0, -1, 1).astype(components.dtype)
        self.explained_variance_ = np.maximum(variances[::-1], 0)
        return self

    def transform(self, X):
        """Components (n, n_components) of (n, d) finite values; float32 stays float32."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        return (X - self.mean_) @ self.components_.T

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class BlockWeight(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Scales a block as a whole, so that its first principal component has standard deviation `scale`.

    Without it, hundreds of image components drown a handful of metadata columns in every model that measures
    distance or penalises size. Multiple factor analysis weighs its blocks in this way: Escofier and Pages, "Multiple
    factor analysis (AFMULT package)", Computational Statistics & Data Analysis 18 (1994).

    Parameters
    ----------
    scale : float
        Above 0.

    Attributes
    ----------
    weight_ : float
        What every value is multiplied by; 1 for a block without variance, as one row has none.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Where X has names.
    """

    _parameter_constraints = {"scale": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, scale: float = 10.0):
        self.scale = scale

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Find the weight from (n, d) finite values."""
        X = validate_data(self, X, dtype=np.float64)
        covariance = np.atleast_2d(np.cov(X, rowvar=False)) if len(X) > 1 else np.zeros((1, 1))
        largest = np.linalg.eigvalsh(covariance)[-1]
        self.weight_ = float(self.scale / np.sqrt(largest)) if largest > 1e-12 else 1.0
        return self

    def transform(self, X):
        """Multiply (n, d) finite values by the weight; float32 stays float32."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        return X * X.dtype.type(self.weight_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def preprocess(columns: Columns, components: int | None, select_k: int | None) -> ColumnTransformer:
    """The unfitted transformer of a table's columns.

    Parameters
    ----------
    columns : Columns
    components : int or None
        Principal components an image block is compressed to where it is wider; None leaves it whole.
    select_k : int or None
        How many encoded metadata columns the ANOVA F-test keeps; None keeps those with p < 0.05, at least one.

    Returns
    -------
    ColumnTransformer
        Image blocks first, then metadata; float32 out.
    """
    parts = [(name, _image_steps(len(names), components), names) for name, names in columns.images.items()]
    if columns.metadata:
        parts.append((METADATA, _metadata_steps(columns, select_k), columns.metadata))
    return ColumnTransformer(parts, sparse_threshold=0.0, verbose_feature_names_out=False)


def anova_scores(fitted: ColumnTransformer) -> list[tuple[str, float, float, bool]]:
    """(encoded metadata column, F, p, kept) of a fitted transformer; empty without metadata."""
    steps = fitted.named_transformers_.get(METADATA)
    if steps is None:
        return []
    anova = steps["anova"]
    return list(zip(_encoded_names(steps["encode"]), anova.scores_, anova.pvalues_, anova.get_support(), strict=True))


def _encoded_names(encode: ColumnTransformer) -> list[str]:
    """Names of the encoded metadata columns: ``age``, ``missingindicator_age``, ``sex_male``.

    Where another field is named as one of these could be, ``age is missing`` and ``sex = male`` stand in their place:
    by the names of the fields alone, so that a column is called alike in every fold.
    """
    fields = [str(name) for name in encode.feature_names_in_]
    names = []
    for part, steps, of in encode.transformers_:
        if part == "numeric":
            imputed = steps["impute"]
            names += of
            gaps = [] if imputed.indicator_ is None else [of[i] for i in imputed.indicator_.features_]
            names += [f"{name} is missing" if (gap := f"missingindicator_{name}") in fields else gap for name in gaps]
        elif part == "categorical":
            for name, values in zip(of, steps["encode"].categories_, strict=True):
                alike = any(other.startswith(f"{name}_") for other in fields)
                names += [f"{name} = {value}" if alike else f"{name}_{value}" for value in values]
    return names


def _image_steps(width: int, components: int | None) -> Pipeline:
    steps = [("root", SignedSquareRoot()), ("scale", StandardScaler())]
    if components is not None and width > components:
        steps.append(("pca", LeadingComponents(components)))
    return Pipeline([*steps, ("weight", BlockWeight())])


def _metadata_steps(columns: Columns, select_k: int | None) -> Pipeline:
    numeric = Pipeline(
        [
            ("impute", SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )
    categorical = Pipeline(
        [
            ("impute", SimpleImputer(strategy="constant", fill_value="missing", keep_empty_features=True)),
            ("encode", OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)),
        ]
    )
    parts = [("numeric", numeric, columns.numeric), ("categorical", categorical, columns.categorical)]
    encode = ColumnTransformer([p for p in parts if p[2]], verbose_feature_names_out=False)
    if select_k is None:
        anova = AnovaSelection(mode="fpr", param=ANOVA_LEVEL)
    else:
        anova = AnovaSelection(mode="k_best", param=select_k)
    return Pipeline([("encode", encode), ("anova", anova), ("weight", BlockWeight())])
