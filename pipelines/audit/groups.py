"""Groups and splits: no lesion or patient on two sides, one label each, and what an image-level split would leak."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import gammaln

from dermfuse.pipelines.audit.check import Check, Question, doing, offending
from dermfuse.pipelines.audit.given import AuditInput

IMAGE_SPLIT_FRACTION = 0.2

SPLIT = Question("GROUP_SPLIT", "No group stands in two splits or folds", "error", "Groups in two splits or folds")
IMAGE_SPLIT = Question(
    "IMAGE_SPLIT",
    "A split by images instead of groups would leak nothing",
    "note",
    "What a split by images instead of groups would leak",
)
LABELS = Question("GROUP_LABELS", "Every group has one label", "warning", "Groups with more than one label", True)


def check_groups(given: AuditInput) -> list[Check]:
    """All checks of groups."""
    return [_across(given), _image_split(given), _labels(given)]


def sides(fold: np.ndarray) -> np.ndarray:
    """Name of the side each row stands on, (n,) str."""
    return np.where(fold < 0, "the locked test split", np.char.add("fold ", (fold + 1).astype(str)))


def units_on_two_sides(units, fold: np.ndarray) -> np.ndarray:
    """Rows whose unit (group, file) stands on more than one side; bool, (n,). None belongs to no unit."""
    table = pd.DataFrame({"unit": pd.Series(units, dtype=object), "side": fold})
    return (table.groupby("unit")["side"].transform("nunique") > 1).to_numpy(bool) & table["unit"].notna().to_numpy()


def sibling_share(sizes: np.ndarray, fraction: float = IMAGE_SPLIT_FRACTION) -> float:
    """Expected share of test images with a sibling of their group in training, if images were split at random.

    An image of a group of m among n rows stands in the test part with t rows; all m - 1 siblings stand there too with
    probability ``C(t - 1, m - 1) / C(n - 1, m - 1)`` (hypergeometric), and otherwise one is in training.

    Parameters
    ----------
    sizes : ndarray of int, shape (groups,)
    fraction : float
        Share of the rows in the test part.
    """
    n = int(sizes.sum())
    test = round(fraction * n)
    if not 0 < test < n:
        return float("nan")
    m = np.asarray(sizes, dtype=float)
    together = np.zeros_like(m)
    fits = m <= test
    together[fits] = np.exp(_log_choose(test - 1, m[fits] - 1) - _log_choose(n - 1, m[fits] - 1))
    return float((m * (1 - together)).sum() / n)


def _log_choose(n: int, k: np.ndarray) -> np.ndarray:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def _across(given: AuditInput) -> Check:
    if given.dataset.layout.group is None:
        return SPLIT.not_applicable("the table names no group; name it with --group-column")
    if given.fold is None:
        return SPLIT.not_applicable("there is no split: the classes are too small for one")
    across = units_on_two_sides(given.table_groups, given.fold)
    if not across.any():
        return SPLIT.passed()
    many = len(set(given.table_groups[across]))
    rows = offending(given.ids[across], given.table_groups[across], sides(given.fold[across]))
    return SPLIT.found(
        many, f"{doing(many, given.one, 'stand')} on two sides of a split, so the scores are too good.", rows
    )


def _image_split(given: AuditInput) -> Check:
    if given.dataset.layout.group is None:
        return IMAGE_SPLIT.not_applicable("the table names no group; name it with --group-column")
    sizes = given.whole.rows["group"].value_counts().to_numpy()
    share = sibling_share(sizes)
    if not np.isfinite(share):
        return IMAGE_SPLIT.not_applicable("the table has too few rows for a split")
    n, several = int(sizes.sum()), int(sizes[sizes > 1].sum())
    if not several:
        return IMAGE_SPLIT.passed(f"each of the {n:,} rows is a group of its own")
    detail = (
        f"In a random 80/20 split of the table's {n:,} rows, {100 * share:.1f} % of the test images would have another "
        f"image of their group in training ({several:,} rows share their group). The splits here keep groups whole."
    )
    return IMAGE_SPLIT.found(several, detail)


def _labels(given: AuditInput) -> Check:
    if given.dataset.layout.group is None:
        return LABELS.not_applicable("the table names no group; name it with --group-column")
    if given.dataset.layout.group_word == "patients":
        return LABELS.not_applicable("the groups are patients, who may have lesions of several classes")
    table = pd.DataFrame({"group": given.table_groups, "label": given.labels})
    mixed = (table.groupby("group")["label"].transform("nunique") > 1).to_numpy(bool)
    if not mixed.any():
        return LABELS.passed()
    many = len(set(given.table_groups[mixed]))
    rows = offending(given.ids[mixed], given.table_groups[mixed], given.labels[mixed])
    detail = (
        f"{doing(many, given.one, 'hold')} more than one label ({int(mixed.sum()):,} rows): one of them may be wrong."
    )
    return LABELS.found(many, detail, rows)
