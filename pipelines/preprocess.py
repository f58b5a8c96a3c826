"""The steps before the classifier: image blocks scaled and compressed, metadata imputed, encoded and selected."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pipelines.anova import AnovaSelection, anova_f
from pipelines.table import METADATA, Columns

ANOVA_LEVEL = 0.05


class SignedSquareRoot(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """``sign(x) * sqrt(|x|)``: pooled activations are skewed, and their square root is nearly symmetric.

    Perronnin, Sanchez and Mensink, "Improving the Fisher kernel for large-scale image classification", ECCV 2010.
    """

    def fit(self, X, y=None):
        """Nothing is learned; only the number of columns is noted."""
        self.n_features_in_ = np.shape(X)[1]
        return self

    def transform(self, X):
        """Transform (n, d) values; float32 stays float32."""
        X = np.asarray(X)
        return np.sign(X) * np.sqrt(np.abs(X))


class BlockWeight(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Scales a block as a whole, so that its first principal component has standard deviation `scale`.

    Without it, hundreds of image components drown a handful of metadata columns in every model that measures
    distance or penalises size. Multiple factor analysis weighs its blocks in this way: Escofier and Pages, "Multiple
    factor analysis (AFMULT package)", Computational Statistics & Data Analysis 18 (1994).

    Parameters
    ----------
    scale : float

    Attributes
    ----------
    weight_ : float
        What every value is multiplied by; 1 for a block without columns or without variance.
    """

    def __init__(self, scale: float = 10.0):
        self.scale = scale

    def fit(self, X, y=None):
        """Find the weight from (n, d) values."""
        X = np.asarray(X, dtype=np.float64)
        self.n_features_in_ = X.shape[1]
        largest = np.linalg.eigvalsh(np.atleast_2d(np.cov(X, rowvar=False)))[-1] if X.size else 0.0
        self.weight_ = float(self.scale / np.sqrt(largest)) if largest > 1e-12 else 1.0
        return self

    def transform(self, X):
        """Multiply (n, d) values by the weight; float32 stays float32."""
        X = np.asarray(X)
        return X * X.dtype.type(self.weight_)


def preprocess(columns: Columns, components: int | None, select_k: int | None, seed: int) -> ColumnTransformer:
    """The unfitted transformer of a table's columns.

    Parameters
    ----------
    columns : Columns
    components : int or None
        Principal components an image block is compressed to where it is wider; None leaves it whole.
    select_k : int or None
        How many encoded metadata columns the ANOVA F-test keeps; None keeps those with p < 0.05, at least one.
    seed : int

    Returns
    -------
    ColumnTransformer
        Image blocks first, then metadata; float32 out.
    """
    parts = [(name, _image_steps(len(names), components, seed), names) for name, names in columns.images.items()]
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


def _image_steps(width: int, components: int | None, seed: int) -> Pipeline:
    steps = [("root", SignedSquareRoot()), ("scale", StandardScaler())]
    if components is not None and width > components:
        # From the covariance: exact, deterministic, and much the fastest for many rows and about a thousand columns.
        steps.append(("pca", PCA(components, svd_solver="covariance_eigh", random_state=seed)))
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
        anova = AnovaSelection(anova_f, mode="fpr", param=ANOVA_LEVEL)
    else:
        anova = AnovaSelection(anova_f, mode="k_best", param=select_k)
    return Pipeline([("encode", encode), ("anova", anova), ("weight", BlockWeight())])
