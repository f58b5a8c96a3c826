"""The one rule by which the rows of a table and image files find each other, for fitting and for predicting."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from dermfuse.cache.errors import UserError
from dermfuse.features.files.copies import without_copies, without_thumbnails
from dermfuse.features.files.endings import image_id
from dermfuse.features.files.lookalikes import named_apart

# What a copy and paste, or an export, leaves at the ends of a cell.
_UNSEEN = "\ufeff\u200b\u200e\u200f"
_AS_TEXT = re.compile(r'="([^"]*)"')  # ="0012", which keeps Excel from reading a number
_ABSOLUTE = re.compile(r"[A-Za-z]:/|/|[a-z]+:/")
_NUMBER = re.compile(r"\d+")
MOST_FOLDERS = 4  # that the ends of two paths are compared by
# A number that Excel has shortened, and what it makes of 1-2 or 3/4.
_BY_EXCEL = re.compile(
    r"\d([.,]\d+)?E\+\d+|\d{4}-\d\d-\d\d( .*|T.*)?|\d{1,2}[-. /]([A-Za-z]{3,4}|\d{1,2})\.?([-. /]\d{2,4})?",
    re.IGNORECASE,
)


@dataclass
class Match:
    """Who found whom.

    Attributes
    ----------
    images : list of (int or None)
        For each row the position of its image. Two rows may have found the same one, which the caller refuses.
    copies, thumbnails : list of str
        Files that are left out since another one of the same id stands for them.
    told : list of str
        Matches by another spelling, with their number and an example.
    """

    images: list[int | None]
    copies: list[str] = field(default_factory=list)
    thumbnails: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def clean(cell: str) -> str:
    """An id column's cell without blanks and unseen characters around it, and without ``="..."``."""
    cell = cell.strip()
    if cell and (cell[0] in _UNSEEN or cell[-1] in _UNSEEN):
        cell = cell.strip(_UNSEEN + " ")
    quoted = _AS_TEXT.fullmatch(cell) if cell.startswith("=") else None
    return quoted[1] if quoted else cell


def match(cells: Sequence[str], images: Sequence[str], below: Callable[[str], str], apart: Sequence[str] = ()) -> Match:
    """Find the image of each row; linear in rows and images.

    A row finds the image at its path below the folder; else the one whose path ends in the row's path, with or without
    the ending of the file, with ``\\`` for ``/`` too. Rows and images that are left find each other where they differ
    in case alone, in leading zeros alone, or in the folders of another machine, and only one with one.

    Parameters
    ----------
    cells : sequence of str
        The id column.
    images : sequence of str
        Paths of image files.
    below : callable
        An image's path below its folder, with ``/``.
    apart : sequence of str
        Pictures that are masks or the like by their names. A row finds one only if the row's own name says so too;
        their positions go on after those of `images`.

    Returns
    -------
    Match

    Raises
    ------
    UserError
        An id finds several files that differ.
    """
    if not images and not apart:
        return Match([None] * len(cells))
    return _Matching(cells, images, below, apart).found


def by_excel(cells: Sequence[str]) -> list[str]:
    """Cells that look like what Excel makes of an id: a shortened number or a date."""
    return [cell for cell in cells if _BY_EXCEL.fullmatch(clean(cell))]


class _Matching:
    """One matching, step by step; every step looks only at what the ones before have left."""

    def __init__(self, cells, images, below, apart):
        self.cells = [clean(cell) for cell in cells]
        self.images, self.below, self._asked = [*images, *apart], below, len(images)
        self.found = Match([None] * len(self.cells))
        self._taken: set[int] = set()
        self._absolute: dict[int, str] = {}
        for key in (str, image_id):
            self._exactly(key)
            for slashes in (str, with_slashes):
                self._by_ending(slashes, key, self._left(), range(self._asked))
        self._asked_for()
        self._alike(_folded, "rows whose file is spelled in another case, matched")
        self._alike(_number, "rows whose id lacks the leading zeros of its file, matched")
        for folders in range(MOST_FOLDERS, -1, -1):
            self._alike(partial(_tail, folders), "rows whose path begins elsewhere, matched by its end", folders)

    def _left(self) -> list[int]:
        return [row for row, image in enumerate(self.found.images) if image is None and self.cells[row]]

    def _take(self, row: int, image: int) -> None:
        self.found.images[row] = image
        self._taken.add(image)

    def _exactly(self, key) -> None:
        """Match rows with the images at their path below the folder."""
        left = self._left()
        wanted = {key(path) for row in left for path in (self.cells[row], with_slashes(self.cells[row]))}
        exact: dict[str, int | None] = {}
        for i in range(self._asked) if wanted else ():
            path = key(self.below(self.images[i]))
            if path in wanted:
                exact[path] = None if path in exact else i  # a.jpg and a.png, say
        for row in left if exact else ():
            paths = (key(self.cells[row]), key(with_slashes(self.cells[row])))
            image = next((exact[path] for path in paths if exact.get(path) is not None), None)
            if image is not None:
                self._take(row, image)

    def _by_ending(self, slashes, key, rows: list[int], images: range) -> None:
        """Match rows with the images whose path ends in theirs, by the number of folders in a row."""
        by_depth: dict[int, dict[int, str]] = {}
        for row in rows:
            path = slashes(self.cells[row])
            if slashes is str or path != self.cells[row]:
                by_depth.setdefault(path.count("/"), {})[row] = key(path)
        for depth, wanted in by_depth.items():
            keys, index = set(wanted.values()), {}
            for i in images:
                ending = key(_ending(self._path(i, depth), depth))
                if ending in keys:
                    index.setdefault(ending, []).append(i)
            chosen = {}
            for row, ending in wanted.items():
                if ending in index:
                    if ending not in chosen:
                        chosen[ending] = self._only(self.cells[row], index[ending])
                    self._take(row, chosen[ending])

    def _path(self, image: int, depth: int) -> str:
        """An image's path as rows may end in it; only rows with folders need what lies above its own."""
        if not depth:
            return os.path.basename(self.images[image])
        if image not in self._absolute:
            self._absolute[image] = os.path.abspath(self.images[image]).replace(os.sep, "/")
        return self._absolute[image]

    def _only(self, cell: str, images: list[int]) -> int:
        """The one image among those that an id finds, once copies and thumbnails are left out."""
        if len(images) == 1:
            return images[0]
        files = {self.images[i]: i for i in images}
        kept = without_copies(list(files))
        single = without_thumbnails(kept) if len(kept) > 1 else kept
        if len(single) > 1:
            raise UserError(
                f"the image id {cell!r} matches {len(single)} files: {', '.join(single[:3])}. Expected one, or "
                "copies of one: remove the others, write paths into the image column, or name 'images' folders in "
                "dataset.toml."
            )
        self.found.copies += [path for path in files if path not in kept]
        self.found.thumbnails += [path for path in kept if path not in single]
        return files[single[0]]

    def _asked_for(self) -> None:
        """Rows whose own name is that of a mask find it: they ask for it."""
        for slashes in (str, with_slashes) if self._asked < len(self.images) else ():
            for key in (str, image_id):
                rows = [row for row in self._left() if named_apart(with_slashes(self.cells[row]))]
                self._by_ending(slashes, key, rows, range(self._asked, len(self.images)))

    def _alike(self, key, what: str, folders: int | None = None) -> None:
        """Match rows and images that are left by a looser key, where it is that of one row and one picture only."""
        left = set(self._left())
        if folders is not None:  # a name alone has nothing that could begin elsewhere
            left = {row for row in left if "/" in self.cells[row] or "\\" in self.cells[row]}
        if not left or len(self._taken) >= self._asked:
            return
        rows: dict[tuple, int | None] = {}
        for row, cell in enumerate(self.cells):  # a key of a row that has its image is that of two as well
            alike = key(with_slashes(cell))
            if alike is not None:
                rows[alike] = None if alike in rows else row
        wanted = {alike for alike, row in rows.items() if row in left}
        images: dict[tuple, list[int]] = {}
        depths = {alike[0] for alike in wanted}
        for i in range(self._asked) if wanted else ():
            for depth in depths:
                alike = key(_ending(self._path(i, depth), depth))
                if alike in wanted:
                    images.setdefault(alike, []).append(i)
        pairs = [(rows[alike], self._same(found)) for alike, found in images.items()]
        pairs = [(row, i) for row, i in pairs if i is not None and i not in self._taken]
        if folders is not None:
            pairs = [(row, i) for row, i in pairs if self._may_differ(row, i, folders)]
        for row, i in pairs:
            self._take(row, i)
        if pairs:
            row, i = min(pairs)
            example = f"{self.cells[row]!r} with {self.below(self.images[i])!r}"
            self.found.told.append(f"{what}: {len(pairs):,} (first: {example})")

    def _same(self, images: list[int]) -> int | None:
        """The image, where all of them are copies of it."""
        if len(images) > 1 and len(without_copies([self.images[i] for i in images])) > 1:
            return None
        self.found.copies += [self.images[i] for i in images[1:]]
        return images[0]

    def _may_differ(self, row: int, image: int, folders: int) -> bool:
        """Whether a row's path may begin elsewhere: it is one of another machine, or agrees in a folder at least.

        Folders that differ in their number alone are those of two patients, and no pair.
        """
        path = with_slashes(self.cells[row])
        if not folders and not _ABSOLUTE.match(path):
            return False
        heads = [p.rsplit("/", folders + 1)[0].rsplit("/")[-1] for p in (path, self._path(image, folders + 1))]
        return heads[0] == heads[1] or _NUMBER.sub("#", heads[0]) != _NUMBER.sub("#", heads[1])


def with_slashes(path: str) -> str:
    """A path with ``/`` for ``\\``, and without ``.``, ``..`` and what is empty between two ``/``."""
    path = path.replace("\\", "/")
    if "./" not in path and "//" not in path:
        return path
    parts = [part for i, part in enumerate(path.split("/")) if part not in (".", "..") and (part or not i)]
    return "/".join(parts)


def _ending(path: str, folders: int) -> str:
    """The last folders of a path and its name."""
    return "/".join(path.rsplit("/", folders + 1)[-folders - 1 :])


def _folded(path: str) -> tuple | None:
    return path.count("/"), unicodedata.normalize("NFC", image_id(path)).casefold()


def _number(path: str) -> tuple | None:
    """An id of digits as a number: a spreadsheet turns 0012 into 12, and a program that into 12.0."""
    folder, _, name = path.rpartition("/")
    stem = image_id(name).removesuffix(".0")
    return (path.count("/"), folder, int(stem)) if stem.isascii() and stem.isdigit() and len(stem) < 19 else None


def _tail(folders: int, path: str) -> tuple | None:
    return (folders, image_id(_ending(path, folders))) if path.count("/") >= folders else None
