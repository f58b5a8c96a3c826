"""Groups too large to be one lesion or person: an id that stands for many, such as ``0`` or ``anonymous``."""

from __future__ import annotations

import re

import numpy as np

from dermfuse.features.tables.spelling import spelling
from dermfuse.pipelines.audit.check import Check, Question, offending, plural
from dermfuse.pipelines.audit.given import AuditInput

SIZE = Question("GROUP_SIZE", "No group is too large to be one lesion or person", "warning")
USUAL = 0.9  # share of the groups that are no larger than the usual size
FEWEST_GROUPS = 10  # fewer do not tell what is usual
# Of the 2,056 patients of SIIM-ISIC 2020, nine in ten have 35 images or fewer and none more than 115.
LARGE, TIMES = 20, 10
LARGE_PLACEHOLDER, TIMES_PLACEHOLDER = 6, 3
_PLACEHOLDERS = frozenset(
    [
        "anonymous",
        "anonymised",
        "anonymized",
        "anon",
        "dummy",
        "test",
        "other",
        "others",
        "nobody",
        "no id",
        "no",
        "false",
    ]
)
_PLACEHOLDER = re.compile(r"-?0+|-1|9{2,}|x+|(?:id|patient|lesion|case)?\s?(?:0+|none|null|nan|unknown|missing|x+)")


def check_sizes(given: AuditInput) -> list[Check]:
    """All checks of the sizes of groups."""
    if given.dataset.layout.group is None:
        return [SIZE.not_applicable("the table names no group; name it with --group-column")]
    rows = given.whole.rows
    sizes = rows["group"].value_counts()
    if len(sizes) < FEWEST_GROUPS:
        return [SIZE.not_applicable(f"{plural(len(sizes), 'group')} do not tell what size is usual")]
    # Without the largest, which would be the usual one where groups are few.
    usual = int(np.quantile(sizes.iloc[1:], USUAL, method="inverted_cdf"))
    large = [name for name, size in sizes.items() if _too_large(str(name), int(size), usual)]
    if not large:
        return [SIZE.passed(f"The largest of the {given.word} has {plural(int(sizes.iloc[0]), 'row')}.")]
    inside = rows["group"].isin(large).to_numpy(bool)
    has = "has" if len(large) == 1 else "have"
    detail = (
        f"{len(large):,} of {len(sizes):,} {given.word} {has} {int(inside.sum()):,} of the {len(rows):,} rows, up to "
        f"{int(sizes.iloc[0]):,} each, where nine in ten have {usual:,} or fewer. An id that stands for 'not known' "
        "makes strangers one group: empty its cells, and each row is a group of its own."
    )
    listed = offending(rows["id"][inside], rows["group"][inside], "in a group of implausible size")
    return [SIZE.found(len(large), detail, listed)]


def _too_large(name: str, size: int, usual: int) -> bool:
    word = spelling(name)
    if word in _PLACEHOLDERS or _PLACEHOLDER.fullmatch(word):
        return size >= max(LARGE_PLACEHOLDER, TIMES_PLACEHOLDER * usual)
    return size >= max(LARGE, TIMES * usual)
