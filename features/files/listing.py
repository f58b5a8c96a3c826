"""What lies in a folder: the images that are read, and all that looks like one and is not, counted by reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dermfuse.cache.errors import UserError, listed
from dermfuse.features.files.endings import SUFFIXES, UNREAD, ending_of, is_image_inside

FORMATS = "JPEG, PNG, WebP, BMP or TIFF"
MACOS_FOLDER, MACOS_PREFIX = "__MACOSX", "._"

# Why a file is no image of the listing, in the order in which it is told.
OF_MACOS = "files that macOS puts beside images (._*, __MACOSX), left out"
NOT_READ = f"image files of another format than {FORMATS}, left out"
NOT_NAMED = "files that are images by their bytes and not by their ending, left out"


@dataclass(frozen=True)
class Listing:
    """The files below some folders.

    Attributes
    ----------
    inside : list of str
        What the paths of files in each folder begin with.
    images : list of str
        Files that are named like an image, and those without an ending that begin like one; sorted.
    apart : dict of str to list of str
        Files that look like images and are not read, by the reason.
    """

    inside: list[str]
    images: list[str]
    apart: dict[str, list[str]] = field(default_factory=dict)

    def below(self, path: str) -> str:
        """Where an image lies below its folder, with ``/`` between the folders."""
        for inside in self.inside:
            if path.startswith(inside):
                return path.removeprefix(inside).replace(os.sep, "/")
        return os.path.basename(path)

    def within(self, path: str) -> str:
        """Where an image lies below the image folder that was named for it."""
        inside = next((inside for inside in reversed(self.inside) if path.startswith(inside)), "")
        return path.removeprefix(inside).replace(os.sep, "/")


def list_images(folder: Path, subfolders: tuple[str, ...] = ()) -> Listing:
    """Every file below `folder` (or its `subfolders`) that is an image by its name; links are followed.

    Raises
    ------
    UserError
        A subfolder that is not there.
    """
    roots = [folder / name for name in subfolders] or [folder]
    absent = [str(root) for root in roots if not root.is_dir()]
    if absent:
        raise UserError(f"no such image folder: {listed(absent)}. Mend 'images' in dataset.toml.")
    images: list[str] = []
    apart: dict[str, set[str]] = {OF_MACOS: set(), NOT_READ: set(), NOT_NAMED: set()}
    for root in roots:
        for path, why in _walked(root):
            if why is None:
                images.append(path)
            else:
                apart[why].add(path)
    images = sorted(images if len(roots) == 1 else set(images))
    # The folder itself too, since ids may be paths below it.
    places = [inside_of(place) for place in dict.fromkeys((folder, *roots))]
    return Listing(places, images, {why: sorted(files) for why, files in apart.items() if files})


def find_images(folder: Path, subfolders: tuple[str, ...] = ()) -> list[str]:
    """The images of :func:`list_images`."""
    return list_images(folder, subfolders).images


def inside_of(folder: Path) -> str:
    """What the paths of files in a folder begin with."""
    return "" if folder == Path() else os.path.join(folder, "")


def _walked(root: Path) -> Iterator[tuple[str, str | None]]:
    """Files below a folder that look like images, each with the reason for which it is none."""
    seen = set()  # real folders, since a link may lead back up
    for where, folders, files in os.walk(root, followlinks=True):
        of_macos = MACOS_FOLDER in Path(where).relative_to(root).parts
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        home = inside_of(Path(where))
        if not of_macos:  # a folder that is named like an image is set aside with a reason when it is read
            yield from ((home + name, None) for name in folders if ending_of(name) in SUFFIXES)
        for name in files:
            ending = ending_of(name)
            if ending in SUFFIXES and (of_macos or name.startswith(MACOS_PREFIX)):
                yield home + name, OF_MACOS
            elif name.startswith(".") or of_macos:
                continue
            elif ending in SUFFIXES:
                yield home + name, None
            elif ending in UNREAD:
                yield home + name, NOT_READ
            elif is_image_inside(home + name):
                yield home + name, NOT_NAMED if ending else None
