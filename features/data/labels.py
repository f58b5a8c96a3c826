"""Classes from label cells: spellings joined, what says nothing left out, malignant and positive classes settled."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from dermfuse.cache.errors import MOST_NAMES, UserError, listed, usage_error
from dermfuse.features.data.metadata import codes_in
from dermfuse.features.tables.columns import Layout
from dermfuse.features.tables.read import EMPTY, MISSING, says_nothing
from dermfuse.features.tables.spelling import by_spelling, one_spelling, rows, spelling, told_of

_MALIGNANT = "melanoma melanomas malignant malignancy malign cancer carcinoma sarcoma lymphoma"
_POSITIVE = (
    "mel bcc scc tumor tumour neoplasm positive pos yes y true present disease diseased abnormal case cases sick ill "
    "affected suspicious +"
)
_NEGATIVE = (
    "benign nevus naevus nevi naevi nv negative neg no n false not non none without free absent normal healthy control "
    "controls unaffected unsuspicious -"
)
MALIGNANT_WORDS = frozenset(_MALIGNANT.split())
# Words by which one class of two is taken for the positive one where nobody says which is.
POSITIVE_WORDS = MALIGNANT_WORDS | frozenset(_POSITIVE.split())
NEGATIVE_WORDS = frozenset(_NEGATIVE.split())


@dataclass(frozen=True)
class ReadLabels:
    """What became of a column of label cells.

    Attributes
    ----------
    classes : Series of object
        The class of each row, None where the cell says nothing.
    counts : list of (str, int)
        Rows without a label, by what stands there.
    told : list of str
        What a person should be told.
    """

    classes: pd.Series
    counts: list[tuple[str, int]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def read_labels(cells: pd.Series, layout: Layout) -> ReadLabels:
    """The class of each label cell.

    A cell that `layout.label_names` names is the class it stands for. Cells that differ only in spelling are one class,
    under the preset's name for it, else the most frequent one. Empty cells and words such as ``unknown`` are missing
    labels, unless a person names that word in ``dataset.toml`` or as malignant or positive: that a published table has
    a column for it is nobody's word.

    Parameters
    ----------
    cells : Series of str
        Without blanks at the ends.
    layout : Layout
    """
    counts = {str(cell): int(n) for cell, n in cells.value_counts().items()}
    name_of = _named(counts, layout.label_names)
    silent, told = _silent(name_of, layout), _doubtful(name_of, counts, layout)
    totals: dict[str, int] = {}
    for cell, name in name_of.items():
        if cell not in silent:
            totals[name] = totals.get(name, 0) + counts[cell]
    read_as = one_spelling(totals, _settled(layout))
    where = f"label column {layout.label!r}"
    of = {cell: read_as[name] for cell, name in name_of.items() if cell not in silent}
    without, words = _without_label(silent, counts)
    told += told_of(totals, read_as, where, "class")
    if words:
        told.append(
            f"{where}: {listed(words, repr)} is read as a missing label, not as a class; where it is a class, "
            "name it under [label_names] in dataset.toml"
        )
    return ReadLabels(pd.Series([of.get(cell) for cell in cells], cells.index, dtype=object), without, told)


def _named(cells: Iterable[str], label_names: Sequence[tuple[str, str]]) -> dict[str, str]:
    """What each cell is called: its own name, else that of another spelling, else as it is spelled."""
    exact: dict[str, str] = dict(label_names)
    loose: dict[str, set[str]] = {}
    for cell, name in label_names:
        loose.setdefault(spelling(cell), set()).add(name)
    sure = {key: next(iter(names)) for key, names in loose.items() if len(names) == 1}
    return {cell: exact[cell] if cell in exact else sure.get(spelling(cell), cell) for cell in cells}


def _silent(name_of: Mapping[str, str], layout: Layout) -> set[str]:
    """Cells that say nothing, and that no person has named as a class."""
    meant = {*layout.malignant, layout.positive}
    if layout.preset == "generic":
        meant |= {*layout.one_hot, *layout.benign, *(word for pair in layout.label_names for word in pair)}
    kept = {spelling(word) for word in meant if word}
    if "+" in name_of:
        kept |= {"-", "\u2013", "--"}  # then a dash is the other answer
    nothing = says_nothing(pd.Series(list(name_of.values()), dtype=object), MISSING)
    pairs, codes = zip(name_of.items(), nothing, strict=True), codes_in(name_of.values())
    silent = {(cell, name) for (cell, name), no in pairs if no or name in codes}
    return {cell for cell, name in silent if not name or not {spelling(cell), spelling(name)} & kept}


def _doubtful(name_of: Mapping[str, str], counts: Mapping[str, int], layout: Layout) -> list[str]:
    """Tell of a third class beside 0 and 1 that may stand for missing."""
    cells = {spelling(cell): cell for cell, name in name_of.items() if cell == name}
    if not {"0", "1"} <= cells.keys():
        return []
    return [
        f"label column {layout.label!r}: {cells[code]!r} ({rows(counts[cells[code]])}) is read as a class beside 0 and "
        f'1; where it stands for missing, write "{cells[code]}" = "" under [label_names] in dataset.toml'
        for code in ("-1", "9", "99")
        if code in cells
    ]


def _settled(layout: Layout) -> list[str]:
    """Class names whose spelling was settled before the table was read."""
    preset = (*layout.malignant, *layout.benign) if layout.preset != "generic" and layout.benign else ()
    return list(dict.fromkeys((*(name for _, name in layout.label_names), *preset)))


def _without_label(silent: set[str], counts: Mapping[str, int]) -> tuple[list[tuple[str, int]], list[str]]:
    """Rows without a label, counted by word, and the words; what programs write for nothing is counted as empty."""
    empty, words = 0, {}
    told = one_spelling({cell: counts[cell] for cell in sorted(silent)})
    for cell in sorted(silent):
        if " ".join(cell.split()).lower() in EMPTY:
            empty += counts[cell]
        else:
            words[told[cell]] = words.get(told[cell], 0) + counts[cell]
    found = [("rows without a label, left out", empty)] if empty else []
    return [*found, *((f"rows labelled {word!r}, left out", n) for word, n in words.items())], list(words)


# Malignant and benign


def with_malignant(layout: Layout, classes: Sequence[str]) -> Layout:
    """The layout with the malignant and benign classes that are there, as they are spelled there.

    Raises
    ------
    UserError
        A person names one that is not there, or one as both.
    """
    there = by_spelling(classes) | {name: name for name in classes}
    found = {}
    for role in ("malignant", "benign"):
        names = {name: there.get(name) or there.get(spelling(name)) for name in getattr(layout, role)}
        absent = [name for name, is_there in names.items() if is_there is None]
        if absent and _by_person(layout):
            raise UserError(
                f"{role!r} names {absent[0]!r}, but the classes are {listed(sorted(classes))}. "
                f"Mend {'--malignant or ' if role == 'malignant' else ''}dataset.toml."
            )
        found[role] = tuple(dict.fromkeys(name for name in names.values() if name is not None))
    both = [name for name in found["malignant"] if name in found["benign"]]
    if both:
        raise UserError(f"{both[0]!r} is named as malignant and as benign. Mend dataset.toml.")
    return replace(layout, **found)


def _by_person(layout: Layout) -> bool:
    """Whether a person said which classes are malignant; a preset always says which are benign, too."""
    return layout.preset == "generic" or not layout.benign


def settle_malignant(layout: Layout, counts: Mapping[str, int], told: list[str]) -> Layout:
    """The layout without malignant classes where nobody knows of every class whether it is one.

    Where a person names malignant classes and no benign ones, all others are benign by that word.

    Parameters
    ----------
    layout : Layout
        As :func:`with_malignant` gives it.
    counts : mapping of str to int
        Rows of each class.
    told : list of str
        What a person should be told is added here.
    """
    others = [name for name in sorted(counts) if name not in layout.malignant]
    if not layout.malignant and _by_person(layout):
        return layout
    if not layout.benign:
        for name in others:
            if _tokens(name) & MALIGNANT_WORDS and not _tokens(name) & NEGATIVE_WORDS:
                told.append(f"the class {name!r} is read as benign, since 'malignant' does not name it")
        return layout
    strangers = [name for name in others if name not in layout.benign]
    if not strangers:
        return layout
    who = "dataset.toml does not say" if layout.preset == "generic" else f"{layout.name} does not know"
    unsure = listed(strangers, lambda name: f"{name!r} ({rows(counts[name])})")
    known = ",".join((*layout.malignant[:MOST_NAMES], "..."))
    told.append(
        f"{who} whether {unsure} {'is' if len(strangers) == 1 else 'are'} malignant, so malignant against benign is "
        f"left out; name every malignant class with --malignant {known} or as malignant = [...] in dataset.toml"
    )
    return replace(layout, malignant=())


# Positive


def settle_positive(layout: Layout, counts: Mapping[str, int], told: list[str]) -> Layout:
    """The layout with the positive one of two classes: the one that was named, else the malignant one, else a choice.

    The choice is by the words in the names, else the rarer class, and is told.

    Parameters
    ----------
    layout : Layout
    counts : mapping of str to int
        Rows of each class.
    told : list of str
        The choice is added here.

    Raises
    ------
    UserError
        The named one is no class, or there are not two classes (exit code 2).
    """
    classes = sorted(counts)
    if layout.positive:
        there = by_spelling(classes) | {name: name for name in classes}
        name = there.get(layout.positive) or there.get(spelling(layout.positive))
        if name is None:
            raise usage_error(
                f"'positive' names {layout.positive!r}, but the classes are {listed(classes)}. Mend --positive or "
                "dataset.toml."
            )
        if len(classes) > 2:
            raise usage_error(
                f"'positive' is said of two classes, but there are {len(classes)}: {listed(classes)}. Leave it out; "
                "--malignant names classes to be read against the others."
            )
        return replace(layout, positive=name)
    if len(classes) != 2:
        return layout
    malignant = [name for name in classes if name in layout.malignant]
    if len(malignant) == 1:
        return replace(layout, positive=malignant[0])
    name, why = choose_positive(counts)
    told.append(
        f"the positive class is {name!r}, chosen {why}: AUC, average precision, sensitivity and the decision curve are "
        "of it; choose with --positive"
    )
    return replace(layout, positive=name)


def choose_positive(counts: Mapping[str, int]) -> tuple[str, str]:
    """The class of two that is taken for the positive one, and why.

    Examples
    --------
    >>> choose_positive({"nevus": 10, "melanoma": 90})
    ('melanoma', 'by its name')
    >>> choose_positive({"non-melanoma": 10, "melanoma": 90})
    ('melanoma', 'by its name')
    >>> choose_positive({"0": 10, "1": 90})
    ('1', 'by its name')
    >>> choose_positive({"type A": 10, "type B": 90})
    ('type A', 'as the rarer one')
    """
    first, second = sorted(counts)
    codes = {spelling(first): first, spelling(second): second}
    if "1" in codes and codes.keys() & {"0", "-1"}:
        return codes["1"], "by its name"
    sides = {name: _side(name) for name in (first, second)}
    if sides[first] != sides[second]:
        return max(sides, key=sides.get), "by its name"
    if counts[first] == counts[second]:
        return second, "as the second in order"
    return min(counts, key=counts.get), "as the rarer one"


def _side(name: str) -> int:
    """1 for a name that says positive, -1 for one that says negative, 0 for one that says neither."""
    tokens = _tokens(name)
    if tokens & NEGATIVE_WORDS:
        return -1
    return int(bool(tokens & POSITIVE_WORDS))


def _tokens(name: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]+|[+-](?=$)", spelling(name))) | {spelling(name)}
