"""How well one column by itself tells the label, out of fold, and when that is more than a column should know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dermfuse.pipelines.audit.memo import nan_if_none
from dermfuse.pipelines.statistics.bootstrap import draw, owners_of
from dermfuse.pipelines.statistics.ranking import Ranked
from dermfuse.pipelines.statistics.weighted import mean_of_present

# Of the single clinical columns of HAM10000 and SIIM-ISIC 2020 (age, sex, site) the best reaches a macro AUC of 0.70
# and 0.82 for one class, and the source clinic 0.72 and 0.87. What tells more, surely, was made from the label.
MACRO_AUC = 0.85
CLASS_AUC = 0.95
# A value with rows of one label only is no chance when this unlikely; a few such rows are found in any honest table.
PURE_P = 1e-6
PURE_SHARE = 0.05
# Weaker than a leak, yet worth a word.
SIGNAL_AUC = 0.6
LEAVES = 32
# A class of six rows leaves four to learn from: large leaves mix it with others, small ones follow noise. The mean over
# several sizes does well at both ends, where each size by itself misses some.
ROWS_IN_LEAF = (2, 4, 8)
PRIOR_ROWS = 2.0
FEW_VALUES = 12  # numbers with no more values than this are categories
GROUPS_OF_A_CLASS = 5  # fewer say little about the AUC of the class


@dataclass(frozen=True)
class Labels:
    """Rows whose labels may be looked at.

    Attributes
    ----------
    names : list of str
    truth : ndarray of int, shape (m,)
    groups : ndarray of str, shape (m,)
    fold : ndarray of int, shape (m,)
    rows : ndarray of int, shape (m,)
        Their places in the dataset.
    """

    names: list[str]
    truth: np.ndarray
    groups: np.ndarray
    fold: np.ndarray
    rows: np.ndarray

    def inputs(self) -> dict[str, object]:
        """All of it, as what a part of the audit is computed from."""
        return {
            "classes": self.names,
            "truth": self.truth,
            "groups": self.groups,
            "fold": self.fold,
            "places": self.rows,
        }


@dataclass(frozen=True)
class Told:
    """What one column tells.

    Attributes
    ----------
    macro_auc, low, high : float
        Mean one-against-rest AUC of the out-of-fold frequencies, with a 95 % interval over groups; the interval is
        computed only where the AUC is above `SIGNAL_AUC`, and NaN elsewhere.
    best, best_low : float
        The class that is told best, with the lower end of its interval.
    best_class : str
    pure : float
        Share of the rows with a value that stands with one label only, where that is no chance.
    """

    macro_auc: float
    low: float
    high: float
    best: float
    best_low: float
    best_class: str
    pure: float

    @classmethod
    def from_part(cls, kept: dict) -> Told:
        """What was told, read from a part of an audit."""
        return cls(**{name: nan_if_none(value) for name, value in kept.items()})

    @property
    def gives_away(self) -> bool:
        """Whether it tells more than a column should know."""
        return self.low >= MACRO_AUC or self.best_low >= CLASS_AUC or self.pure >= PURE_SHARE

    @property
    def signals(self) -> bool:
        """Whether it surely tells something."""
        return self.low >= SIGNAL_AUC

    def words(self) -> str:
        """What it tells, for a sentence."""
        interval = f" ({self.low:.2f} to {self.high:.2f})" if np.isfinite(self.low) else ""
        said = f"macro AUC {self.macro_auc:.2f}{interval}, {self.best:.2f} for {self.best_class}"
        pure = f", and {100 * self.pure:.0f} % of the rows have a value that stands with one label only"
        return said + (pure if self.pure >= PURE_SHARE else "")


def told_by(values: np.ndarray, labels: Labels, seed: int) -> Told:
    """What a column tells by itself.

    Class frequencies of each value are counted in the other folds, whose groups are others: names that stand for one
    group only tell nothing. Numbers are cut into the leaves of small decision trees, and the frequencies are the mean
    over trees with leaves of at least `ROWS_IN_LEAF` rows. All are drawn towards the prior by `PRIOR_ROWS` rows: the
    m-estimate of Cestnik, "Estimating probabilities: a crucial task in machine learning", ECAI (1990).

    Parameters
    ----------
    values : ndarray, shape (m,)
        Float with NaN, or objects with None.
    labels : Labels
    seed : int
    """
    numeric = np.issubdtype(values.dtype, np.floating) and len(np.unique(values)) > FEW_VALUES
    p = _out_of_fold(values, labels, numeric)
    owner = owners_of(labels.groups)
    ranked = [Ranked(p[:, k], labels.truth == k, owner) for k in range(len(labels.names))]

    def aucs(weights: np.ndarray) -> dict[str, np.ndarray]:
        by_class = np.stack([one.measures(weights)["auc"] for one in ranked])
        return {"macro": mean_of_present(by_class), **{str(k): auc for k, auc in enumerate(by_class)}}

    value = {name: float(found[0]) for name, found in aucs(np.ones((1, owner.max() + 1))).items()}
    judged = [k for k in range(len(ranked)) if _groups_of(labels, k) >= GROUPS_OF_A_CLASS] or list(range(len(ranked)))
    best = max(judged, key=lambda k: np.nan_to_num(value[str(k)]))
    low = high = best_low = float("nan")
    if value["macro"] >= SIGNAL_AUC or value[str(best)] >= CLASS_AUC:
        entries = draw(aucs, owner, seed).entries()
        low, high, best_low = entries["macro"]["low"], entries["macro"]["high"], entries[str(best)]["low"]
        low, high, best_low = (float("nan") if end is None else end for end in (low, high, best_low))
    pure = 0.0 if numeric else _pure_share(values, labels)
    return Told(value["macro"], low, high, value[str(best)], best_low, labels.names[best], pure)


def _groups_of(labels: Labels, k: int) -> int:
    return len(set(labels.groups[labels.truth == k]))


def _out_of_fold(values: np.ndarray, labels: Labels, numeric: bool) -> np.ndarray:
    """Class frequencies of each row's value in the other folds, (m, classes)."""
    p = np.zeros((len(values), len(labels.names)))
    codes = None if numeric else pd.factorize(values)[0] + 1
    for number in np.unique(labels.fold):
        learned = labels.fold != number
        cuts = _leaves(values, labels.truth, learned) if numeric else [codes]
        p[~learned] = np.mean([_frequencies(cut, labels, learned) for cut in cuts], axis=0)
    return p


def _frequencies(found: np.ndarray, labels: Labels, learned: np.ndarray) -> np.ndarray:
    """Class frequencies of each row's value, for rows that were not learned from, (rows, classes)."""
    classes = len(labels.names)
    prior = np.bincount(labels.truth[learned], minlength=classes) / learned.sum()
    counts = np.zeros((found.max() + 1, classes))
    np.add.at(counts, (found[learned], labels.truth[learned]), 1.0)
    smoothed = (counts + PRIOR_ROWS * prior) / (counts.sum(axis=1, keepdims=True) + PRIOR_ROWS)
    return smoothed[found[~learned]]


def _leaves(values: np.ndarray, truth: np.ndarray, learned: np.ndarray) -> list[np.ndarray]:
    """The leaf of each value in small trees, one for each size of leaf; missing values are a value like others."""
    from sklearn.tree import DecisionTreeClassifier

    column = values.astype(np.float64)[:, None]
    trees = (DecisionTreeClassifier(max_leaf_nodes=LEAVES, min_samples_leaf=n, random_state=0) for n in ROWS_IN_LEAF)
    return [tree.fit(column[learned], truth[learned]).apply(column) for tree in trees]


def _pure_share(values: np.ndarray, labels: Labels) -> float:
    """Share of rows whose value stands with one label only, where the groups with it are too many for chance."""
    table = pd.DataFrame({"value": pd.Series(values, dtype=object), "truth": labels.truth, "group": labels.groups})
    firsts = table.drop_duplicates("group")
    prior = np.bincount(firsts["truth"], minlength=len(labels.names)) / len(firsts)
    by_value = table.groupby("value", dropna=False)
    facts = by_value.agg(labels=("truth", "nunique"), truth=("truth", "first"), groups=("group", "nunique"))
    facts["rows"] = by_value.size()
    chance = prior[facts["truth"]] ** facts["groups"].to_numpy() * len(facts)
    pure = (facts["labels"] == 1).to_numpy() & (chance < PURE_P)
    return float(facts["rows"].to_numpy()[pure].sum() / len(table))
