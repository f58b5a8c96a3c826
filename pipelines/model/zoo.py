"""The model zoo: each classifier with the settings it is used with and the compression it wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dermfuse.cache.errors import usage_error


@dataclass(frozen=True)
class Range:
    """Values that a search may choose for one parameter, both ends included."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Model:
    """One entry of the zoo.

    Attributes
    ----------
    title : str
        Its name in words.
    components : int or None
        Principal components of an image block that it is given; None for all columns.
    build : callable
        ``build(seed, jobs)`` returns the unfitted classifier.
    space : dict of str to Range
        Parameters of the classifier that ``--tune`` may change; the components are always among what it changes.
    fixed_passes : bool
        It is meant to stop after a number of passes, not to converge.
    """

    title: str
    components: int | None
    build: Callable
    space: dict[str, Range] = field(default_factory=dict)
    fixed_passes: bool = False


def _random_forest(seed: int, jobs: int):
    from sklearn.ensemble import RandomForestClassifier

    # Of a hundred components, six looked at for a split do as well as ten, in half the time.
    return RandomForestClassifier(250, min_samples_leaf=2, max_features="log2", n_jobs=jobs, random_state=seed)


def _xgboost(seed: int, jobs: int):
    from xgboost import XGBClassifier

    return XGBClassifier(
        n_estimators=200,
        learning_rate=0.1,
        max_depth=4,
        # A table of few columns has many rows alike, and SMOTE makes more: leaves should not follow a handful of them.
        reg_lambda=20,
        subsample=0.8,
        colsample_bytree=0.5,
        max_bin=64,
        tree_method="hist",
        n_jobs=jobs,
        random_state=seed,
    )


def _mlp(seed: int, jobs: int):
    from sklearn.neural_network import MLPClassifier

    # A fixed number of passes and strong decay: early stopping would hold rows back without regard to groups.
    return MLPClassifier((128,), alpha=1.0, max_iter=40, tol=0.0, n_iter_no_change=40, random_state=seed)


def _logistic_regression(seed: int, jobs: int):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=0.003, max_iter=1000)


def _svm(seed: int, jobs: int):
    from dermfuse.pipelines.model.svm import PairwiseSVC

    # Nothing here is drawn, but without a seed libsvm's wrapper takes one from NumPy's global state.
    return PairwiseSVC(C=3.0, gamma="scale", decision_function_shape="ovo", cache_size=1000, random_state=seed)


# Of a classifier that the zoo does not know: what its tree models are given.
GIVEN_COMPONENTS = 100

MODELS = {
    "rf": Model(
        "random forest",
        100,
        _random_forest,
        {"min_samples_leaf": Range(1, 20, log=True, whole=True), "max_features": Range(0.02, 0.5, log=True)},
    ),
    "xgb": Model(
        "gradient-boosted trees (XGBoost)",
        100,
        _xgboost,
        {
            "n_estimators": Range(100, 500, whole=True),
            "learning_rate": Range(0.03, 0.3, log=True),
            "max_depth": Range(2, 8, whole=True),
            "subsample": Range(0.5, 1.0),
            "colsample_bytree": Range(0.2, 1.0),
        },
    ),
    "mlp": Model(
        "multilayer perceptron",
        200,
        _mlp,
        {"alpha": Range(0.1, 30.0, log=True), "max_iter": Range(10, 80, log=True, whole=True)},
        fixed_passes=True,
    ),
    "logreg": Model("logistic regression", 400, _logistic_regression, {"C": Range(1e-4, 1.0, log=True)}),
    "svm": Model("support vector machine, RBF kernel", 200, _svm, {"C": Range(0.1, 100.0, log=True)}),
}


def model_named(name) -> Model:
    """The zoo's entry of this name; of a classifier, an entry that holds clones of it.

    Parameters
    ----------
    name : str or classifier
        A classifier has scikit-learn's ``fit`` and ``predict_proba``.

    Raises
    ------
    UserError
        There is none, or what was given is no classifier with probabilities (exit code 2).
    """
    if not isinstance(name, str):
        return _given(name)
    if name not in MODELS:
        raise usage_error(f"unknown model {name!r}. Known: {', '.join(MODELS)}.")
    return MODELS[name]


def name_of(model) -> str:
    """A model's name for people: the zoo's, or the class of a classifier."""
    return model if isinstance(model, str) else type(model).__name__


def _given(classifier) -> Model:
    """An entry for a classifier that somebody brought; it is given the seed where it has none of its own."""
    from sklearn.base import clone, is_classifier

    if isinstance(classifier, type) or not (is_classifier(classifier) and hasattr(classifier, "predict_proba")):
        raise usage_error(
            f"model is {classifier!r}. Expected {', '.join(MODELS)}, or a classifier with predict_proba, such as "
            "HistGradientBoostingClassifier()."
        )

    def build(seed: int, jobs: int):
        made = clone(classifier)
        unseeded = made.get_params(deep=False).get("random_state", seed) is None
        return made.set_params(random_state=seed) if unseeded else made

    return Model(name_of(classifier), GIVEN_COMPONENTS, build)
