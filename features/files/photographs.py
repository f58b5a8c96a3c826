"""The photographs of a folder, without masks, thumbnails and copies; and which of them each row of a table has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dermfuse.cache.errors import UserError
from dermfuse.features.files.copies import without_copies
from dermfuse.features.files.listing import FORMATS, Listing, list_images
from dermfuse.features.files.lookalikes import drawn_apart, named_apart
from dermfuse.features.files.matching import Match, clean, match, with_slashes

LOOKALIKES = "pictures that are no photographs (masks, superpixels, thumbnails), left out"
COPIES = "identical copies of an image file, left out"
THUMBNAILS = "smaller files of an image that is there, left out"


@dataclass(frozen=True)
class Photographs:
    """Image files, and those that stand apart.

    Attributes
    ----------
    images : list of str
    named : list of str
        Masks and the like by their names.
    drawn : dict of str to str
        Pictures that are no photographs by size or colours, and what they look like.
    """

    images: list[str]
    named: list[str]
    drawn: dict[str, str]

    @property
    def apart(self) -> list[str]:
        """All that are no photographs."""
        return [*self.named, *self.drawn]

    def example(self) -> str:
        """One of those that stand apart, and why."""
        if self.named:
            return f"{'/'.join(Path(self.named[0]).parts[-2:])!r}, by its name"
        path, kind = next(iter(self.drawn.items()))
        return f"{os.path.basename(path)!r}, {kind}"


@dataclass
class Pairing:
    """The image of each row, and what was left out.

    Attributes
    ----------
    paths : list of (str or None)
    counts : list of (str, int, str)
        What was left out, how often, and an example.
    told : list of str
        Matches by another spelling.
    left : list of str
        Photographs that no row has.
    """

    paths: list[str | None]
    counts: list[tuple[str, int, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def photographs(listing: Listing, cells: Iterable[str] = ()) -> Photographs:
    """Tell photographs from masks and the like; what a cell names in full, with its ending, is asked for.

    Parameters
    ----------
    listing : Listing
    cells : iterable of str
        The id column of a table.
    """
    if not listing.images:
        return Photographs([], [], {})
    named = [path for path in listing.images if named_apart(listing.within(path))]
    others = set(named)
    rest = [path for path in listing.images if path not in others] if named else listing.images
    asked = {os.path.basename(with_slashes(clean(cell))) for cell in cells}
    drawn = drawn_apart(path for path in rest if os.path.basename(path) not in asked)
    return Photographs([path for path in rest if path not in drawn] if drawn else rest, named, drawn)


def pair(cells: Sequence[str], listing: Listing) -> Pairing:
    """The image of each row of a table, and a count of all else.

    Raises
    ------
    UserError
        As :func:`dermfuse.features.files.matching.match`.
    """
    found = photographs(listing, cells)
    matched = match(cells, found.images, listing.below, found.named)
    files = [*found.images, *found.named]
    paths = [None if i is None else files[i] for i in matched.images]
    used = {path for path in paths if path is not None}
    apart = Photographs([], [path for path in found.named if path not in used], found.drawn)
    copies, left = _left_over(found.images, used, matched)
    counts = [(why, len(some), repr(os.path.basename(some[0]))) for why, some in listing.apart.items()]
    if apart.apart:
        counts.append((LOOKALIKES, len(apart.apart), apart.example()))
    for what, some in ((COPIES, copies), (THUMBNAILS, matched.thumbnails)):
        if some:
            counts.append((what, len(some), repr(listing.below(some[0]))))
    return Pairing(paths, counts, matched.told, left)


def without_copies_by_name(images: list[str]) -> tuple[list[str], list[str]]:
    """Images without those that have the name and the bytes of another one, and these."""
    by_name: dict[str, list[str]] = {}
    for path in images:
        by_name.setdefault(os.path.basename(path), []).append(path)
    copies = set()
    for files in by_name.values():
        if len(files) > 1:
            copies.update(set(files) - set(without_copies(files)))
    return [path for path in images if path not in copies], [path for path in images if path in copies]


def _left_over(images: list[str], used: set[str], matched: Match) -> tuple[list[str], list[str]]:
    """Of the images that no row has, the copies of one that a row has, and the others."""
    aside = {*matched.copies, *matched.thumbnails}
    left = [path for path in images if path not in used and path not in aside]
    names = {os.path.basename(path) for path in left}
    twins: dict[str, list[str]] = {}
    for path in used:
        if os.path.basename(path) in names:
            twins.setdefault(os.path.basename(path), []).append(path)
    copies = [p for p in left if (same := twins.get(os.path.basename(p))) and p not in without_copies([*same, p])]
    alone = set(left) - set(copies)
    return [*matched.copies, *copies], [path for path in left if path in alone]


def photographs_below(folder: Path, told: dict[str, list[str]], cells: Sequence[str] = ()) -> list[str]:
    """The photographs below a folder, and what is called like a mask where one of some id cells names it in full.

    Parameters
    ----------
    folder : Path
    told : dict of str to list of str
        Gets the files that are left out, by the reason.
    cells : sequence of str
        The id column of a table, if one is at hand.

    Raises
    ------
    UserError
        There is none.
    """
    listing = list_images(folder)
    found = photographs(listing, cells)
    asked = {found.named[i] for i in match(cells, [], listing.below, found.named).images if i is not None}
    if asked:
        images = sorted([*found.images, *asked])
        found = Photographs(images, [path for path in found.named if path not in asked], found.drawn)
    for why, files in [*listing.apart.items(), (LOOKALIKES, found.apart)]:
        if files:
            told.setdefault(why, []).extend(files)
    if found.images:
        return found.images
    if found.apart:
        raise UserError(
            f"none of the {len(listing.images):,} images below {folder} is a photograph: all are masks, superpixels or "
            f"thumbnails (first: {found.example()}). Give the folder of the photographs, or name image files to score "
            "them all the same."
        )
    others = "".join(f"; {line}" for line in lines_of(listing.apart))
    raise UserError(f"no images below {folder}{others}. Expected {FORMATS} files.")


def lookalikes_named(paths: list[str]) -> list[str]:
    """A line where files that were named one by one look like masks or the like."""
    apart = [path for path in paths if named_apart(os.path.basename(path))]
    drawn = drawn_apart(set(paths) - set(apart))
    if not apart and not drawn:
        return []
    n, example = len(apart) + len(drawn), Photographs([], apart, drawn).example()
    return [f"images that look like masks or thumbnails, used since they were named: {n:,} (first: {example})"]


def lines_of(left_out: dict[str, list[str]]) -> list[str]:
    """A line a reason for which files were left out, with their number and an example."""
    some = {why: files for why, files in left_out.items() if files}
    return [f"{why}: {len(files):,} (first: {os.path.basename(files[0])!r})" for why, files in some.items()]
