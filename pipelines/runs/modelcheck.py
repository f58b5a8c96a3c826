"""Whether the values of a model file can be used: what native code follows without looking, shapes, and numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dermfuse.pipelines.runs.modelparts import Parts

MOST_CLASSES = 10_000
MOST_THREADS = 4096
LEAF = -1
# Attributes in which "not a number" has a meaning: F of a column that never varies, what an imputer looks for.
MAY_BE_NAN = frozenset({"scores_", "pvalues_", "missing", "missing_values", "statistics_"})
# What prediction does not use, and may end in infinity where fitting began with it.
UNUSED = frozenset(
    {"_optimizer", "_random_state", "best_loss_", "loss_curve_", "validation_scores_", "noise_variance_"}
)


def check_parts(parts: Parts) -> None:
    """Check what would end the process once it is made or used: trees and boosters.

    Raises
    ------
    ValueError, KeyError, TypeError
        It would.
    """
    for number, tree in enumerate(parts.trees, start=1):
        fault = _fault_in_tree(parts, tree)
        if fault:
            raise ValueError(f"tree {number} of its {len(parts.trees)} {fault}")
    if parts.boosters:
        from dermfuse.pipelines.runs.boosters import check_boosters

        check_boosters([parts.arrays[name] for name in dict.fromkeys(parts.boosters)])


def check_model(model) -> None:
    """Check every number and shape of a loaded model, and have it predict a few rows.

    Raises
    ------
    ValueError, TypeError, AttributeError, LookupError
        It cannot be used.
    """
    from dermfuse.pipelines.model.calibration import CalibratedPipeline
    from dermfuse.pipelines.model.fieldwise import FieldwiseModel

    if not isinstance(model, FieldwiseModel | CalibratedPipeline):
        raise ValueError(f"it holds a {type(model).__name__}, which is no model of a run")
    _walk(model, type(model).__name__, set())
    try_out(model)


def try_out(model) -> None:
    """Have a model predict rows with all fields, with the first one missing, and with none.

    Raises
    ------
    ValueError
        The answers are no probabilities.
    """
    from dermfuse.pipelines.model.fieldwise import FieldwiseModel

    whole = model.whole if isinstance(model, FieldwiseModel) else model
    classes = np.asarray(whole.classes_)
    if not np.array_equal(classes, np.arange(len(classes))) or len(classes) < 2:
        raise ValueError(f"its classes are {classes.tolist()[:5]} and not 0, 1, ...")
    # Of each kind more rows than classes: an array of a wrong shape may fit one row, or as many as there are classes.
    rows = _rows_for(model, whole)
    rows = rows.loc[rows.index.repeat(len(classes) + 2)].reset_index(drop=True)
    answers = model.predict_proba(rows)
    if answers.shape != (len(rows), len(classes)):
        raise ValueError(f"it answers {answers.shape[1:]} numbers for {len(classes)} classes")
    if not is_probability(answers).all():
        raise ValueError("its answers are no probabilities")


def is_probability(answers: np.ndarray) -> np.ndarray:
    """Which rows (n, classes) hold numbers from 0 to 1 that add up to 1, bool (n,)."""
    with np.errstate(invalid="ignore"):
        inside = ((answers >= 0) & (answers <= 1 + 1e-6)).all(axis=1)
        return inside & (np.abs(answers.sum(axis=1) - 1) < 1e-4)


def _rows_for(model, whole) -> pd.DataFrame:
    """Three rows with every column that the model wants; the later ones lack metadata where it can do without."""
    from dermfuse.pipelines.model.preprocess import OneHotEncoder
    from dermfuse.pipelines.model.table import METADATA

    preprocess = whole.pipeline["preprocess"]
    categories: dict[str, object] = {}
    for name, steps, columns in preprocess.transformers_:
        if name != METADATA:
            continue
        for _, inner, inside in steps["encode"].transformers_:
            encoder = inner["encode"] if "encode" in inner.named_steps else None
            if isinstance(encoder, OneHotEncoder):
                categories |= {c: values[0] for c, values in zip(inside, encoder.categories_, strict=True)}
        if not set(categories) <= set(columns):
            raise ValueError("its metadata columns are not those of its encoder")
    names = list(preprocess.feature_names_in_)
    fields = list(getattr(model, "fields", ()))
    if not set(fields) <= set(names) or len(set(names)) < len(names):
        raise ValueError("its fields are not among its columns")
    content = {name: [categories.get(name, 0.25)] * 3 for name in names}
    for number, name in enumerate(fields):
        empty = None if name in categories else np.nan
        content[name] = [content[name][0], empty if number == 0 else content[name][0], empty]
    return pd.DataFrame(content)


def _fault_in_tree(parts: Parts, node: dict) -> str | None:
    """What is wrong with a tree of scikit-learn, whose nodes native code follows without looking."""
    from sklearn.tree._tree import NODE_DTYPE

    features, n_classes, outputs = node["__reduce__"]["args"]["content"]
    state = node["content"]["content"]
    features, outputs = int(features["content"]), int(outputs["content"])
    n_classes, nodes, values = parts.array(n_classes), parts.array(state["nodes"]), parts.array(state["values"])
    count = int(state["node_count"]["content"])
    if n_classes.shape != (1,) or n_classes.dtype.kind != "i" or outputs != 1:
        return "answers more than one question"
    if not (1 <= n_classes[0] <= MOST_CLASSES and features >= 1):
        return f"has {n_classes[0]} classes and {features} columns"
    if nodes.dtype != NODE_DTYPE or nodes.shape != (count,) or count < 1 or not nodes.flags.c_contiguous:
        return f"has {nodes.shape} nodes in place of {count}"
    if values.shape != (count, 1, n_classes[0]) or values.dtype != np.float64 or not np.isfinite(values).all():
        return "has leaves without numbers"
    return _fault_in_nodes(nodes["left_child"], nodes["right_child"], nodes["feature"], nodes["threshold"], features)


def _fault_in_nodes(left, right, feature, threshold, features: int) -> str | None:
    """As above, for the arrays of its nodes: children stand after their parents, so that no way is a circle."""
    inner = np.flatnonzero(left != LEAF)
    if (right[left == LEAF] != LEAF).any() or (right[inner] == LEAF).any():
        return "has nodes with one child"
    children = np.concatenate([left[inner], right[inner]])
    if (children <= np.tile(inner, 2)).any() or (children >= len(left)).any():
        return "has nodes that lead outside of it, or back"
    if not np.array_equal(np.sort(children), np.arange(1, len(left))):
        return "has nodes that are reached twice, or never"
    if (feature[inner] < 0).any() or (feature[inner] >= features).any():
        return f"asks for other columns than its {features}"
    return None if np.isfinite(threshold[inner]).all() else "has thresholds that are no numbers"


def _walk(thing, name: str, seen: set[int]) -> None:
    """Every number in an object, and the shapes that native code relies on."""
    number = isinstance(thing, float | np.floating) or (isinstance(thing, np.ndarray) and thing.dtype.kind in "fc")
    if number and name not in MAY_BE_NAN and not np.isfinite(thing).all():
        raise ValueError(f"{name} holds what is no number")
    if id(thing) in seen or isinstance(thing, type | str | bytes | bytearray | np.ndarray | np.generic):
        return
    seen.add(id(thing))
    if isinstance(thing, dict):
        for key, value in thing.items():
            if key not in UNUSED:
                _walk(value, str(key), seen)
    elif isinstance(thing, list | tuple):
        for value in thing:
            _walk(value, name, seen)
    elif hasattr(thing, "__dict__") and not callable(thing):
        for kind in type(thing).__mro__:
            fitted, check = _CHECKS.get(kind.__name__, ("", None))
            # An estimator that is a mere parameter of another one has learned nothing, and is not asked.
            if check is not None and hasattr(thing, fitted):
                check(thing)
        _walk(vars(thing), name, seen)


def _check_forest(forest) -> None:
    classes = len(forest.classes_)
    if not forest.estimators_ or forest.n_outputs_ != 1 or int(forest.n_classes_) != classes:
        raise ValueError(f"the forest has no trees for {classes} classes")
    _check_threads(forest)
    for tree in forest.estimators_:
        of = tree.tree_
        same = (int(of.n_features), int(of.max_n_classes)) == (int(forest.n_features_in_), classes)
        if not same or int(of.n_outputs) != 1 or int(tree.n_classes_) != classes or tree.n_outputs_ != 1:
            raise ValueError("a tree of the forest has other columns or classes than the forest")


def _check_machine(machine) -> None:
    """libsvm reads as many support vectors and coefficients as the counts say, wherever they end."""
    classes, vectors = len(machine.classes_), machine.support_vectors_
    pairs = classes * (classes - 1) // 2
    wanted = {
        "support_vectors_": (np.float64, (len(vectors), int(machine.n_features_in_))),
        "support_": (np.int32, (len(vectors),)),
        "_n_support": (np.int32, (classes,)),
        "dual_coef_": (np.float64, (classes - 1, len(vectors))),
        "_dual_coef_": (np.float64, (classes - 1, len(vectors))),
        "intercept_": (np.float64, (pairs,)),
        "_intercept_": (np.float64, (pairs,)),
        "_probA": (np.float64, (0,)),
        "_probB": (np.float64, (0,)),
    }
    for name, (dtype, shape) in wanted.items():
        array = getattr(machine, name)
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{name} of the support vector machine is {array.dtype} {array.shape}, not {shape}")
    counts = machine._n_support
    if (counts < 0).any() or int(counts.sum(dtype=np.int64)) != len(vectors) or not len(vectors):
        raise ValueError(f"the support vector machine counts {counts.tolist()} of its {len(vectors)} vectors")
    if machine.kernel != "rbf" or machine._sparse or not 0 < float(machine._gamma) < np.inf:
        raise ValueError("the support vector machine has another kernel than a run's")


def _check_isotonic(isotonic) -> None:
    for x, y in isotonic.knots_:
        if np.shape(x) != np.shape(y) or np.ndim(x) != 1 or not len(x) or (np.diff(x) < 0).any():
            raise ValueError("the steps of the isotonic calibration are out of order")


def _check_threads(estimator) -> None:
    threads = estimator.n_jobs
    if threads is not None and not (isinstance(threads, int) and -MOST_THREADS <= threads <= MOST_THREADS and threads):
        raise ValueError(f"it asks for {threads} threads")


_CHECKS = {
    "RandomForestClassifier": ("estimators_", _check_forest),
    "XGBClassifier": ("n_jobs", _check_threads),
    "SVC": ("support_vectors_", _check_machine),
    "Isotonic": ("knots_", _check_isotonic),
}
