"""Grouped splits: one locked test split, and stratified folds over the rest."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from dermfuse.cache.errors import UserError, listed
from dermfuse.pipelines.options.fit import FitOptions

TEST_FRACTION = 0.15
EMPTY_FILE = hashlib.sha256(b"").hexdigest()

# Share of each class's groups next to the locked test split that learned extractors leave alone. The border moves a
# little when images are added; with this margin an autoencoder trained before stays clear of the test split.
LEARNING_MARGIN = 0.05


def locked_test(labels: np.ndarray, groups: np.ndarray, seed: int, fraction: float = TEST_FRACTION) -> np.ndarray:
    """Rows of the locked test split: stratified by class, whole groups, the same on every machine.

    Groups of one class are ordered by a hash of seed and group name, and the first `fraction` of them is the test
    split. So the order of rows does not matter, and adding images moves at most the groups at the border.

    Parameters
    ----------
    labels, groups : ndarray of str, shape (n,)
        A group with several labels counts for its most frequent one.
    seed : int
    fraction : float

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    return _rank_in_class(labels, groups, seed) < fraction


def learning_rows(labels: np.ndarray, groups: np.ndarray, seed: int, fraction: float = TEST_FRACTION) -> np.ndarray:
    """Rows that extractors may learn from: the training split less a margin beside the test split; bool, (n,)."""
    return _rank_in_class(labels, groups, seed) >= fraction + LEARNING_MARGIN


def whole_groups(test: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, int]:
    """A given test split, grown to whole groups, so that no group stands on both sides.

    Parameters
    ----------
    test : ndarray of bool, shape (n,)
    groups : ndarray of str, shape (n,)

    Returns
    -------
    ndarray of bool, shape (n,)
        Rows of every group with a row in `test`.
    int
        How many groups stood on both sides.
    """
    whole = np.isin(groups, groups[test])
    return whole, len(set(groups[whole & ~test]))


def folds_of(labels: np.ndarray, groups: np.ndarray, seed: int, folds: int = FitOptions.folds) -> np.ndarray:
    """Number of the fold in which each row is held out: stratified by class, no group in two folds.

    Parameters
    ----------
    labels, groups : ndarray of str, shape (n,)
    seed, folds : int

    Returns
    -------
    ndarray of int, shape (n,)

    Raises
    ------
    UserError
        Fewer groups than folds, or a class with fewer rows: where classes share groups, each may have had enough.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    names, counts = np.unique(labels, return_counts=True)
    if len(set(groups)) < folds:
        raise UserError(
            f"{len(set(groups))} groups are left to learn from, too few for {folds} folds, as classes share groups. "
            "Give fewer --folds, or more groups, or check the group column."
        )
    if counts.min() < folds:
        raise UserError(
            f"too few rows for {folds} folds: class {str(names[counts.argmin()])!r} has {counts.min()} left to learn "
            "from. Give fewer --folds, or merge or remove the class."
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold = np.full(len(labels), -1)
    for number, (_, held_out) in enumerate(splitter.split(np.zeros(len(labels)), labels, groups)):
        fold[held_out] = number
    return fold


def join_same_files(groups: np.ndarray, keys: list[str | None]) -> np.ndarray:
    """Groups, joined where images of the same bytes stand in several: such an image must not be on both sides.

    Parameters
    ----------
    groups : ndarray of str, shape (n,)
    keys : list of str or None
        SHA-256 of each row's file; None and empty files join nothing.

    Returns
    -------
    ndarray of str, shape (n,)
        Joined groups carry the name of the first of them, in sorted order.
    """
    table = pd.DataFrame({"group": np.asarray(groups, dtype=object), "key": pd.Series(keys, dtype=object)})
    shared = table[table["key"].notna() & (table["key"] != EMPTY_FILE)].drop_duplicates()
    shared = shared[shared["key"].duplicated(keep=False)]
    if shared.empty:
        return np.asarray(groups)
    from scipy.sparse import coo_array  # late, since few datasets come here and an extraction should start soon
    from scipy.sparse.csgraph import connected_components

    names, left = np.unique(shared["group"].to_numpy(str), return_inverse=True)
    _, right = np.unique(shared["key"].to_numpy(str), return_inverse=True)
    size = len(names) + right.max() + 1
    edges = coo_array((np.ones(len(left)), (left, right + len(names))), shape=(size, size))
    component = connected_components(edges, directed=False)[1][: len(names)]
    # Names are sorted, so the first of a component is its smallest.
    _, first = np.unique(component, return_index=True)
    joined = dict(zip(names, names[first[np.searchsorted(np.unique(component), component)]], strict=True))
    return np.array([joined.get(group, group) for group in groups], dtype=str)


def check_class_sizes(
    labels: np.ndarray, groups: np.ndarray, folds: int, group_word: str, own_test: np.ndarray | None = None
) -> None:
    """Refuse classes too small for the locked test split and every fold.

    Parameters
    ----------
    labels, groups : ndarray of str, shape (n,)
    folds : int
    group_word : str
        What the groups are, in the plural.
    own_test : ndarray of bool, shape (n,), optional
        The dataset's own locked test split, where it has one; each class then needs `folds` groups beside it.

    Raises
    ------
    UserError
        Fewer than two classes, one group for all rows, or a class with fewer than ``folds + 1`` groups.
    """
    if folds < 2:
        raise UserError(f"--folds {folds} cannot be cross-validated. Give 2 or more.", exit_code=2)
    counts = pd.Series(groups).groupby(labels).nunique().sort_values()
    if len(counts) < 2:
        raise UserError(
            f"all rows have the label {counts.index[0]!r}. Expected two classes or more: check the label column."
        )
    if len(labels) > 1 and len(set(groups)) == 1:
        raise UserError(
            f"all {len(labels):,} rows are of one group, so they cannot be split. Expected many {group_word}: check "
            "the group column, or leave it out if every image is of another one."
        )
    small = counts[counts <= folds]
    if len(small):
        told = listed(small.items(), lambda pair: f"{pair[0]!r} has {pair[1]}")
        raise UserError(
            f"too few {group_word} for {folds} folds and a locked test split: class {told}; expected at least "
            f"{folds + 1} each. Give fewer --folds, or merge or remove the class."
        )
    if own_test is not None:
        _check_own_test(labels, groups, folds, group_word, own_test)


def _check_own_test(labels: np.ndarray, groups: np.ndarray, folds: int, group_word: str, test: np.ndarray) -> None:
    for name in np.unique(labels):
        of_class = labels == name
        training, held = (len(set(groups[of_class & side])) for side in (~test, test))
        if training < folds or held < 1:
            raise UserError(
                f"the dataset's own split leaves class {str(name)!r} {training} {group_word} for training and {held} "
                f"for the locked test split; expected at least {folds} and 1. Give fewer --folds, or merge or remove "
                "the class, or leave 'split' out of dataset.toml."
            )


def _rank_in_class(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Place of each row's group among its class's groups in hash order, in [0, 1): row k of n has k / n."""
    table = pd.DataFrame({"label": np.asarray(labels, dtype=object), "group": np.asarray(groups, dtype=object)})
    pairs = (
        table.value_counts(["group", "label"])
        .reset_index()
        .sort_values(["group", "count", "label"], ascending=[1, 0, 1])
    )
    owner = pairs.drop_duplicates("group").set_index("group")["label"].to_frame()
    owner["hash"] = [_hash(seed, group) for group in owner.index]
    in_class = owner.groupby("label")["hash"]
    # Rounding up gives every class with two groups or more a place in the test split.
    owner["rank"] = (in_class.rank(method="first") - 1) / in_class.transform("size")
    return table["group"].map(owner["rank"]).to_numpy()


def _hash(seed: int, group: str) -> int:
    digest = hashlib.sha256(f"{seed}|{group}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big")
