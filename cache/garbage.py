"""What a cache holds that nothing needs: found without changing anything, deleted only when asked to."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dermfuse.cache.atomic import TEMPORARY_PREFIX, disk_errors_told, sync_folder
from dermfuse.cache.beside import (
    LEARNED,
    RUNTIMES,
    WEIGHTS,
    Kept,
    builders,
    bytes_below,
    digests_in,
    kept_damage,
    kept_in,
)
from dermfuse.cache.block import Block
from dermfuse.cache.errors import UserError, listed, usage_error
from dermfuse.cache.findings import AUDITS, DIGITS
from dermfuse.cache.manifest import RECIPE_FILE, DamagedBlock, Manifest, read_manifest
from dermfuse.cache.store import Store, is_block_folder
from dermfuse.cache.upkeep import LOCK_FILE, QUARANTINE, USED_FILE, last_used, locked_now, unfinished

# Weights are kept before the block that names them: what is younger may be of a process that is still at work.
FRESH_SECONDS = 3600
# What an audit found is computed anew where it is asked for again.
AUDIT_DAYS = 30
WRITTEN_TO = "another process writes to it"
_DAY = 24 * 3600


@dataclass(frozen=True)
class Garbage:
    """One thing to delete.

    Attributes
    ----------
    path : Path
        A file; a block's folder, which is emptied; or the folder of a trained network.
    kind : str
        ``temporary``, ``unfinished``, ``quarantined``, ``damaged block``, ``block``, ``weights``, ``learned``,
        ``audits`` or ``runtimes``.
    bytes : int
    reason : str
        Why nothing needs it, in words.
    lock : Path
        The folder whose lock is held to delete it: the block, the cache, or the one of trained networks.
    key : str or None
        The key of a whole block, where that can be read.
    """

    path: Path
    kind: str
    bytes: int
    reason: str
    lock: Path
    key: str | None = None


@dataclass(frozen=True)
class Left:
    """Something that looks like garbage and is left where it is, with the reason."""

    path: Path
    reason: str


@dataclass
class Sweep:
    """What was found, or what was deleted; and what was left alone."""

    garbage: list[Garbage] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Of all garbage together."""
        return sum(item.bytes for item in self.garbage)


_Finder = Callable[[Path], list[Garbage]]


class Collector:
    """Finds and deletes garbage by one rule; deleting looks at everything again under the block's lock.

    Parameters
    ----------
    store : Store
    in_use : collection of str
        SHA-256 digests that something outside the cache needs: keys of blocks, digests of weights.
    unused_days : float, optional
        Blocks that nobody used or wrote to for so many days, and that are not in use, are garbage too.
    chosen : list of str
        Blocks to delete, as ``NAME-KEY`` with at least four digits of the key; then nothing else is garbage.

    Raises
    ------
    UserError
        A chosen block is not there.
    """

    def __init__(
        self,
        store: Store,
        in_use: Collection[str] = (),
        unused_days: float | None = None,
        chosen: Iterable[str] = (),
    ):
        self._store = store
        self._in_use = set(in_use)
        self._cutoff = None if unused_days is None else time.time() - unused_days * _DAY
        self._chosen = {_chosen_folder(store, name) for name in chosen}

    def find(self) -> Sweep:
        """What is garbage now; nothing is changed."""
        sweep = Sweep()
        for folder in self._store.folders():
            found = self._in_block(folder)
            if found and not is_block_folder(folder.name):
                sweep.left.append(Left(folder, "its name is not one that a block has"))
            elif found and folder.is_symlink():
                sweep.left.append(Left(folder, "it is a link; what it leads to is not touched"))
            elif found and _is_held(folder):
                sweep.left.append(Left(folder, WRITTEN_TO))
            else:
                sweep.garbage += found
        if not self._chosen:
            doomed = {item.path for item in sweep.garbage if item.kind in ("block", "damaged block")}
            outside = Sweep()
            self._outside_blocks(outside, [folder for folder in self._store.folders() if folder not in doomed])
            held = {lock for lock in {item.lock for item in outside.garbage} if _is_held(lock)}
            sweep.left += outside.left
            sweep.left += [Left(item.path, WRITTEN_TO) for item in outside.garbage if item.lock in held]
            sweep.garbage += [item for item in outside.garbage if item.lock not in held]
        return sweep

    def delete(self, found: Sweep) -> Sweep:
        """Delete what was found and is still garbage.

        After a crash at any moment, a block is either whole with fewer rows, or still garbage.

        Parameters
        ----------
        found : Sweep
            From :meth:`find`.

        Returns
        -------
        Sweep
            What was deleted, and what was left, with the reasons.

        Raises
        ------
        UserError
            Something cannot be deleted; what was deleted before stays deleted.
        """
        done = Sweep()
        blocks = self._store.folders()
        for folder in dict.fromkeys(item.lock for item in found.garbage):
            listed = [item for item in found.garbage if item.lock == folder]
            with locked_now(folder) as held:
                if not held:
                    done.left += [Left(path, WRITTEN_TO) for path in _told(listed)]
                elif folder in blocks:
                    self._delete_listed(listed, self._in_block(folder), done)
                else:
                    still = Sweep()
                    self._outside_blocks(still, self._store.folders())
                    self._delete_listed(listed, still.garbage, done)
        return done

    @staticmethod
    def _delete_listed(listed: list[Garbage], still: list[Garbage], done: Sweep) -> None:
        same = {(item.path, item.kind) for item in still}
        for item in listed:
            if (item.path, item.kind) not in same:
                done.left.append(Left(item.path, "it is needed or gone by now"))
                continue
            with disk_errors_told(item.path):
                if item.kind in ("block", "damaged block"):
                    _empty_block(item.path)
                else:
                    _delete(item.path)
            done.garbage.append(item)

    def _in_block(self, folder: Path) -> list[Garbage]:
        try:
            manifest, reason = read_manifest(folder), f"{RECIPE_FILE} is missing"
        except DamagedBlock as error:
            manifest, reason = None, error.reason
        if self._chosen:
            return [_whole(folder, manifest, "block", "named")] if folder in self._chosen else []
        if manifest is None and (any(folder.glob("shard-*.json")) or (folder / RECIPE_FILE).exists()):
            reason = f"{reason}, so its rows cannot be read until `extract` with the same recipe writes that file anew"
            return [_whole(folder, None, "damaged block", reason)]
        if manifest is not None and self._cutoff is not None and manifest.key not in self._in_use:
            block = Block(folder, manifest)
            used = max(filter(None, (last_used(folder), block.last_written)))
            if used.timestamp() <= self._cutoff:
                return [_whole(folder, manifest, "block", f"unused since {used:%Y-%m-%d}, and no run uses it")]
        return _leftovers(folder)

    def _outside_blocks(self, sweep: Sweep, folders: list[Path]) -> None:
        """Temporaries beside the blocks, and what extractors keep that no block in `folders` names."""
        root = self._store.root
        used = {digest[:DIGITS] for digest in self._in_use}
        for folder in folders:
            with suppress(DamagedBlock):
                manifest = read_manifest(folder)
                used.update(digest[:DIGITS] for digest in digests_in(manifest.recipe if manifest else None))
        places = {root: root, root / "blocks": root, root / LEARNED: root / LEARNED}
        places |= {root / kind: root for kind in (WEIGHTS, AUDITS, RUNTIMES)}
        places.update({kept.path: root / LEARNED for kept in kept_in(root) if kept.kind == LEARNED})
        found = []
        for place, lock in places.items():
            if place == root or not place.is_symlink():
                found += _temporaries(place, lock)
        for kept in kept_in(root):
            reason = _unneeded(kept, used)
            if reason is None:
                continue
            if (root / kept.kind).is_symlink() or kept.path.is_symlink():
                sweep.left.append(Left(kept.path, "it is reached by a link; what that leads to is not touched"))
                continue
            lock = root / LEARNED if kept.kind == LEARNED else root
            found.append(Garbage(kept.path, kept.kind, kept.bytes, reason, lock))
        doomed = {item.path for item in found if item.kind == LEARNED}
        for item in sorted(found, key=lambda item: item.lock != root):
            if item.path.parent in doomed:
                continue  # it goes with its folder
            if _age(item.path) < FRESH_SECONDS:
                sweep.left.append(Left(item.path, "it is younger than an hour: a process may be at work on it"))
            else:
                sweep.garbage.append(item)


def _unneeded(kept: Kept, used: set[str]) -> str | None:
    """Why nothing needs what is kept beside the blocks, in words; `used` are digits of digests that are needed."""
    if kept.kind not in (AUDITS, RUNTIMES) and kept.digits in used:
        return None
    broken = kept_damage(kept)
    if kept.kind == RUNTIMES:
        by = "an earlier version of dermfuse" if kept.builders is None else kept.builders
        return broken or (None if by == builders() else f"built by {by}, which is not what is here")
    if kept.kind == AUDITS:
        old = f"unused for {AUDIT_DAYS} days" if _age(kept.path) > AUDIT_DAYS * _DAY else None
        return broken or old
    return "no block and no run uses it" + (f"; {broken}" if broken else "")


def _told(listed: list[Garbage]) -> list[Path]:
    """Where to say that garbage was left: a block once, other things each."""
    return list(dict.fromkeys(item.lock if item.lock.parent.name == "blocks" else item.path for item in listed))


def _whole(folder: Path, manifest: Manifest | None, kind: str, reason: str) -> Garbage:
    size = sum(bytes_below(entry) for entry in folder.iterdir())
    return Garbage(folder, kind, size, reason, folder, manifest.key if manifest else None)


def _leftovers(folder: Path) -> list[Garbage]:
    """What interrupted or repaired work left in a block's folder."""
    aside = folder / QUARANTINE
    quarantined = sorted(aside.iterdir()) if aside.is_dir() and not aside.is_symlink() else []
    found = _temporaries(folder, folder)
    for kind, reason, paths in (
        ("unfinished", "its writer was interrupted before it was done", unfinished(folder)),
        ("quarantined", "it was found damaged and set aside", quarantined),
    ):
        files = (path for path in paths if path.is_file() or path.is_symlink())
        found += [Garbage(path, kind, path.lstat().st_size, reason, folder) for path in files]
    return found


def _temporaries(place: Path, lock: Path) -> list[Garbage]:
    entries = sorted(place.glob(f"{TEMPORARY_PREFIX}*")) if place.is_dir() else []
    reason = "its writer was interrupted"
    return [Garbage(path, "temporary", bytes_below(path), reason, lock) for path in entries]


def _is_held(folder: Path) -> bool:
    """Whether another process writes to a block; in a cache that may not be written to, nobody does."""
    if not (folder / LOCK_FILE).exists():
        return False
    try:
        with locked_now(folder) as mine:
            return not mine
    except UserError:
        return False


def _empty_block(folder: Path) -> None:
    """Delete all of a block but its lock file; the caller holds that lock.

    Records go first, so that at any moment the block is whole with fewer rows; ``recipe.json`` goes last. The folder
    and its lock stay, because another process may be waiting for it.
    """
    last = (USED_FILE, RECIPE_FILE)
    records = sorted(folder.glob("shard-*.json"))
    for path in records:
        path.unlink()
    sync_folder(folder)
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (LOCK_FILE, *last):
            path.unlink()
    sync_folder(folder)
    for name in last:
        (folder / name).unlink(missing_ok=True)
    sync_folder(folder)


def _delete(path: Path) -> None:
    """Delete a file, or a folder: that is renamed first, so that no half of it is ever taken for a whole."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    if not path.name.startswith(TEMPORARY_PREFIX):
        doomed = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
        os.replace(path, doomed)
        sync_folder(path.parent)
        path = doomed
    shutil.rmtree(path)


def _age(path: Path) -> float:
    """Seconds since a file, or the newest file in a folder, was written."""
    newest = path.lstat().st_mtime
    if path.is_dir() and not path.is_symlink():
        newest = max([newest, *(entry.lstat().st_mtime for entry in path.iterdir())])
    return time.time() - newest


def _chosen_folder(store: Store, given: str) -> Path:
    name, _, key = given.rpartition("-")
    known = store.folders()
    fits = [folder for folder in known if _fits(*folder.name.rpartition("-")[::2], name, key)]
    if len(fits) == 1:
        return fits[0]
    names = listed(folder.name if folder.name.isprintable() else ascii(folder.name) for folder in known) or "none"
    what = f"{len(fits)} blocks are called" if fits else "no block"
    raise usage_error(f"{what} {given!r}. Expected NAME-KEY as 'cache ls' shows them; known: {names}.")


def _fits(folder_name: str, folder_key: str, name: str, key: str) -> bool:
    return folder_name == name and len(key) >= 4 and (folder_key.startswith(key) or key.startswith(folder_key))
