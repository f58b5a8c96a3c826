"""Near-duplicates: nearest neighbours by embedding, confirmed by comparing their pixels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from dermfuse.pipelines.audit.check import Check, Pairs, Question, offending, plural
from dermfuse.pipelines.audit.given import AuditInput
from dermfuse.pipelines.audit.groups import sides
from dermfuse.pipelines.audit.memo import Findings, nan_if_none, signatures
from dermfuse.pipelines.audit.neighbours import Neighbours, neighbours
from dermfuse.pipelines.audit.pictures import AGREEMENT, Pictures

NEAR = Question(
    "NEAR_DUPLICATE", "No picture has a copy in another group", "warning", "Copies of pictures in other groups", True
)

CANDIDATES = 400  # pairs whose pixels are compared, for each of two ways to rank them
SHOWN = 6


@dataclass(frozen=True)
class Compared:
    """Pairs of pictures whose pixels were compared.

    Attributes
    ----------
    pairs : list of (int, int)
        Rows of the dataset.
    agreement : list of float
        Of each pair; NaN where a picture could not be read.
    search : str
        How neighbours were searched where that was not exact, for a sentence.
    """

    pairs: list[tuple[int, int]]
    agreement: list[float]
    search: str

    @property
    def copies(self) -> list[tuple[tuple[int, int], float]]:
        """Pairs that agree as copies do, with their agreement, the most alike first."""
        found = [(pair, value) for pair, value in zip(self.pairs, self.agreement, strict=True) if value >= AGREEMENT]
        return sorted(found, key=lambda one: -one[1])


def check_near(given: AuditInput, findings: Findings | None = None) -> tuple[Check, Pairs | None]:
    """Copies in other groups, and pictures of the worst of them; searched for where `findings` does not know them."""
    block = block_of(given)
    if block is None:
        return NEAR.not_applicable("no embeddings; run extract"), None
    if not given.dataset.has_images:
        return NEAR.not_applicable("the folder holds no images"), None
    compared = _compared(given, block, findings or Findings())
    looked = f"{plural(len(compared.pairs), 'pair')}, nearest by {block}, compared pixel by pixel"
    looked += f"; {compared.search}" if compared.search else ""
    if not compared.copies:
        read = [value for value in compared.agreement if not np.isnan(value)]
        most = f"; they agree to {max(read):.2f} at most" if read else ""
        return NEAR.passed(f"{looked}{most}"), None
    shown = compared.copies[:SHOWN]
    pictures = Pictures(list(given.dataset.rows["path"]))
    pairs = pictures.shown([pair for pair, _ in shown], np.array([value for _, value in shown]))
    return _found(given, compared.copies, looked), pairs


def _compared(given: AuditInput, block: str, findings: Findings) -> Compared:
    files = given.keys if given.keys is not None and None not in given.keys else signatures(given.dataset.rows["path"])
    inputs = {"matrix": _matrix(given, block), "groups": given.groups, "files": files, "seed": given.seed}
    part = findings.part("copies", inputs, lambda: compare_nearest(given, block))
    pairs = [(a, b) for a, b in part["pairs"]]
    return Compared(pairs, [nan_if_none(value) for value in part["agreement"]], part["search"])


def compare_nearest(given: AuditInput, block: str) -> Compared:
    """Search the rows that are nearest by an image block and compare their pictures."""
    found = neighbours(_matrix(given, block), given.groups, given.seed)
    pairs = candidate_pairs(found)
    agreement = Pictures(list(given.dataset.rows["path"])).agreements(pairs)
    return Compared(pairs, agreement.tolist(), found.words())


def _matrix(given: AuditInput, block: str) -> np.ndarray:
    places = given.table.X.columns.get_indexer(given.table.columns.images[block])
    if (np.diff(places) == 1).all():
        places = slice(places[0], places[-1] + 1)  # of columns side by side pandas makes no copy
    return given.table.X.iloc[:, places].to_numpy(np.float32)


def candidate_pairs(found: Neighbours, most: int = CANDIDATES) -> list[tuple[int, int]]:
    """Pairs worth comparing: the most similar, and those whose neighbour stands out from the second nearest.

    The latter is the ratio of distances of Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60
    (2004); a copy that was cropped or made smaller is not very similar, but nothing else comes near it.
    """
    near = np.flatnonzero((found.nearest >= 0) & np.isfinite(found.first))
    ratio = (1 - found.first[near]) / np.maximum(1 - np.where(np.isfinite(found.second), found.second, -1)[near], 1e-9)
    pairs: dict[tuple[int, int], None] = {}
    for order in (np.argsort(-found.first[near], kind="stable"), np.argsort(ratio, kind="stable")):
        ranked = (tuple(sorted((int(i), int(found.nearest[i])))) for i in near[order])
        pairs |= dict.fromkeys(itertools.islice(dict.fromkeys(ranked), most))
    return list(pairs)


def block_of(given: AuditInput) -> str | None:
    """The image block to search: one that learned nothing from these images, if there is one."""
    names = list(given.table.columns.images) if given.table is not None else []
    return min(names, key=lambda name: given.learned.get(name) != set(), default=None)


def _found(given: AuditInput, copies: list[tuple[tuple[int, int], float]], looked: str) -> Check:
    ids, groups, labels = given.ids, given.groups, given.labels
    where = sides(given.fold) if given.fold is not None else np.full(len(ids), "no split")
    rows, test, across, mixed = [], 0, 0, 0
    for number, ((a, b), value) in enumerate(copies, start=1):
        rows += [(i, f"pair {number}, agreement {value:.2f}, {where[i]}, {labels[i]}") for i in (a, b)]
        across += where[a] != where[b]
        test += given.fold is not None and (given.fold[a] < 0) != (given.fold[b] < 0)
        mixed += labels[a] != labels[b]
    places, words = zip(*rows, strict=True)
    table = offending(ids[list(places)], groups[list(places)], list(words))
    detail = (
        f"{plural(len(copies), 'pair')} of pictures in different groups {'is' if len(copies) == 1 else 'are'} copies"
    )
    if given.fold is not None:
        detail += f"; on two sides of a split {across:,}, of them in training and locked test {test:,}"
    detail += f"; with different labels {mixed:,}. {looked}."
    return NEAR.found(len(copies), detail, table, "error" if test else None)
