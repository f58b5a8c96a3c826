"""One block of the store: the embeddings of one recipe, a folder of shards that only its writer changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from dermfuse.cache.atomic import remove_temporaries
from dermfuse.cache.errors import UserError
from dermfuse.cache.manifest import RECIPE_FILE, Manifest, write_manifest
from dermfuse.cache.notices import Damage, warn
from dermfuse.cache.record import DamagedShard, ShardRecord, read_record
from dermfuse.cache.shard import as_stored, check_keys, iterate_shard, quick_check, verify_shard, write_shard
from dermfuse.cache.upkeep import locked, remove_unfinished, set_aside

SHARD_ROWS = 2048
# Writers beside each other hold the lock for moments; a wait is worth telling only after this many seconds.
PATIENCE = 10.0
_THREADS = min(os.cpu_count() or 1, 8)


class MissingRows(UserError, LookupError):  # noqa: N818
    """Rows were asked for that a block does not hold.

    Parameters
    ----------
    message : str
        The line that is printed.
    keys : list of str
        The row keys that are missing, without repeats.
    """

    def __init__(self, message: str, keys: list[str]):
        super().__init__(message)
        self.keys = keys

    def __reduce__(self):  # a worker process sends it to its parent by pickle
        return type(self), (str(self), self.keys)


class Block:
    """The embeddings of one recipe: n rows of one width, found by the SHA-256 of the image's bytes.

    Reading needs no lock and never writes. Rows come in through :meth:`writer` and :meth:`append`, by one process that
    holds the block, or through :meth:`tidy` and :meth:`add`, by many beside each other. Made by
    :meth:`dermfuse.cache.store.Store.open_block`.

    Parameters
    ----------
    folder : Path
        The block's folder.
    manifest : Manifest
        Its ``recipe.json``.

    Attributes
    ----------
    folder : Path
    name, key, recipe, width, dtype, created
        As in :class:`dermfuse.cache.manifest.Manifest`.
    """

    def __init__(self, folder: Path, manifest: Manifest):
        self.folder = Path(folder)
        self.name = manifest.name
        self.key = manifest.key
        self.recipe = manifest.recipe
        self.width = manifest.width
        self.dtype = manifest.dtype
        self.created = manifest.created
        # A process that gets a copy of a block, by fork or by pickle, does not get the lock with it.
        self._writing_process: int | None = None
        self._records: dict[str, tuple[tuple[int, int], ShardRecord]] = {}
        # Keys of all rows, while this process holds the lock: nobody else adds or takes any.
        self._held: set[str] | None = None
        # Shards that an `add` has looked at, and the keys of their rows.
        self._seen: set[str] = set()
        self._seen_keys: set[str] = set()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_records": {}, "_held": None, "_seen": set(), "_seen_keys": set()}

    def __repr__(self) -> str:
        return f"Block({self.folder.name!r}, width={self.width}, dtype={self.dtype!r})"

    @property
    def row_keys(self) -> dict[str, tuple[str, int]]:
        """Row key -> (shard name, index in it), of all rows that can be believed at a glance, read anew."""
        return {key: (record.name, index) for record in self._scan()[0] for index, key in enumerate(record.rows)}

    @property
    def size_bytes(self) -> int:
        """Bytes of all files of the block, the quarantine included."""
        return sum(entry.stat().st_size for entry in self.folder.rglob("*") if entry.is_file())

    @property
    def last_written(self) -> datetime:
        """When the last shard was finished, or the block was created; UTC."""
        return datetime.fromtimestamp(self._written_ns() / 1e9, UTC)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that the block does not hold.

        Parameters
        ----------
        keys : iterable of str
            Row keys.

        Returns
        -------
        list of str
            In the order given, without repeats. Rows of a damaged shard are missing.
        """
        asked = dict.fromkeys(keys)
        if self._writes_here:
            held = self._held_keys()
        else:
            held = set().union(*(asked.keys() & record.rows for record in self._scan()[0]))
        return [key for key in asked if key not in held]

    def gather(self, keys: Iterable[str]) -> np.ndarray:
        """Embeddings by row key.

        Shards are read one after another: exactly the rows that are asked for, each of them checked.

        Parameters
        ----------
        keys : iterable of str
            n row keys, repeats allowed.

        Returns
        -------
        ndarray of shape (n, width), float32
            Row i belongs to key i.

        Raises
        ------
        MissingRows
            If rows are not held; says how many.
        DamagedShard
            If a shard is found damaged while reading; no value of it is returned.
        """
        keys = list(keys)
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        records, damages = self._scan()
        places: dict[str, tuple[ShardRecord, int]] = {}
        for record in records:
            places.update((key, (record, index)) for index, key in enumerate(record.rows) if key in numbers)
        self._refuse_missing([key for key in numbers if key not in places], len(keys), damages)
        wanted: dict[str, tuple[ShardRecord, list[int], list[int]]] = {}
        for key, (record, index) in places.items():
            _, rows, indices = wanted.setdefault(record.name, (record, [], []))
            rows.append(numbers[key])
            indices.append(index)
        result = np.empty((len(numbers), self.width), np.float32)
        for record, rows, indices in wanted.values():
            for found, values in iterate_shard(self.folder, record, np.array(indices, np.intp)):
                result[np.array(rows, np.intp)[found]] = values
        return result if len(numbers) == len(keys) else result[[numbers[key] for key in keys]]

    @contextmanager
    def writer(
        self,
        on_wait: Callable[[str], None] | None = None,
        on_damage: Callable[[Damage], None] = warn,
    ) -> Iterator[Block]:
        """Hold the block for writing, after what earlier writers left behind was put in order.

        Temporary files and shards without a record are deleted: they were never done. Every shard is hashed, and
        damaged ones are moved to ``quarantine/``, so that their rows are missing and can be computed again: what
        :meth:`missing` does not name inside this context is held and sound.

        Parameters
        ----------
        on_wait : callable, optional
            Called once with a line of text when another writer holds the block.
        on_damage : callable, optional
            Called with each :class:`~dermfuse.cache.notices.Damage` that was set aside. Warns by default.

        Yields
        ------
        Block
            This one; :meth:`append` works inside the context.

        Raises
        ------
        UserError
            If the folder cannot be written to.
        """
        with locked(self.folder, on_wait), self._writing():
            self._held = self._put_in_order(on_damage)
            yield self

    def append(self, keys: Sequence[str], matrix: np.ndarray) -> list[ShardRecord]:
        """Add rows as new shards of at most :data:`SHARD_ROWS` rows; all is checked before any is written.

        From one thread at a time.

        Parameters
        ----------
        keys : sequence of str
            n row keys, distinct and not held yet.
        matrix : ndarray of shape (n, width)
            Their embeddings, finite, in any real type; cast to the block's dtype.

        Returns
        -------
        list of ShardRecord
            The shards written; empty for n = 0.

        Raises
        ------
        RuntimeError
            Outside :meth:`writer`.
        ValueError
            If keys repeat or are held already, the shape is wrong, or a value is not finite in the block's
            dtype.
        UserError
            If the disk is full or cannot be written to; shards finished before, also by this call, are kept.
        """
        if not self._writes_here:
            raise RuntimeError("append needs the block's lock: call it inside `with block.writer():`")
        keys, matrix = list(keys), np.asarray(matrix)
        if matrix.ndim != 2 or matrix.shape[1] != self.width:
            raise ValueError(f"expected a matrix of width {self.width}. Got shape {matrix.shape}")
        check_keys(self.key, keys, len(matrix))
        if not keys:
            return []
        held = len(self._held_keys().intersection(keys))
        if held:
            raise ValueError(f"{held} of {len(keys)} rows are held by {self.folder.name} already; ask `missing` first")
        stored = as_stored(matrix, self.dtype)
        records = []
        for start in range(0, len(keys), SHARD_ROWS):
            here = slice(start, start + SHARD_ROWS)
            known, self._held = self._held, None  # an interruption leaves open whether the shard was finished
            records.append(write_shard(self.folder, self.key, keys[here], stored[here]))
            known.update(keys[here])
            self._held = known
        return records

    def tidy(
        self,
        keys: Iterable[str] | None = None,
        on_wait: Callable[[str], None] | None = None,
        on_damage: Callable[[Damage], None] = warn,
    ) -> None:
        """Put in order what earlier writers left behind, as :meth:`writer` does, and leave the block to all.

        Hashing, the long part of it, needs no lock: a shard never changes.

        Parameters
        ----------
        keys : iterable of str, optional
            Row keys that are going to be relied on: shards that hold none of them are not hashed, their presence and
            size are looked at. All shards are hashed when omitted.
        on_wait, on_damage
            As for :meth:`writer`.

        Raises
        ------
        UserError
            If the folder cannot be written to.
        """
        wanted = None if keys is None else set(keys)

        def check(folder: Path, record: ShardRecord) -> None:
            relied_on = wanted is None or not wanted.isdisjoint(record.rows)
            (verify_shard if relied_on else quick_check)(folder, record)

        suspects = [damage.shard for damage in self._scan(check)[1]]
        with locked(self.folder, on_wait, PATIENCE):
            self._restore_recipe()
            remove_temporaries(self.folder)
            for shard in suspects:
                path = self.folder / f"{shard}.json"
                # Another process may have set it aside, and written it again, meanwhile.
                found = self._look(path, verify_shard) if path.exists() else None
                if isinstance(found, Damage):
                    set_aside(self.folder, shard)
                    on_damage(found)
            remove_unfinished(self.folder)

    def add(self, keys: Sequence[str], matrix: np.ndarray, on_wait: Callable[[str], None] | None = None) -> int:
        """Add rows beside other processes that add to the same block; what they have added meanwhile is left out.

        The lock is held for this call only, and only shards that appeared since the last one are looked at. From one
        thread at a time.

        Parameters
        ----------
        keys : sequence of str
            n row keys, distinct.
        matrix : ndarray of shape (n, width)
            As for :meth:`append`.
        on_wait : callable, optional
            Called once with a line of text when another writer holds the block for longer than a moment.

        Returns
        -------
        int
            How many rows were added; the others are held.

        Raises
        ------
        RuntimeError
            Inside :meth:`writer`.
        ValueError, UserError
            As :meth:`append`.
        """
        if self._writes_here:
            raise RuntimeError("add takes the block's lock for itself: inside `with block.writer():` call append")
        keys, matrix = list(keys), np.asarray(matrix)
        check_keys(self.key, keys, len(matrix))
        with locked(self.folder, on_wait, PATIENCE), self._writing():
            self._held = self._keys_seen()
            rows = [row for row, key in enumerate(keys) if key not in self._held]
            self.append([keys[row] for row in rows], matrix[rows])
        return len(rows)

    def verify(self, full: bool = True, advance: Callable[[], object] | None = None) -> list[Damage]:
        """Look for damage, changing nothing.

        Parameters
        ----------
        full : bool, default=True
            Hash every shard again. Otherwise look at records, presence and sizes only.
        advance : callable, optional
            Called after each shard.

        Returns
        -------
        list of Damage
            Sorted by shard; empty when all is well.
        """
        return self._scan(verify_shard if full else quick_check, advance)[1]

    def _scan(
        self,
        check: Callable[[Path, ShardRecord], None] = quick_check,
        advance: Callable[[], object] | None = None,
    ) -> tuple[list[ShardRecord], list[Damage]]:
        """The shards that pass the check and the damage of those that do not, by name."""
        paths, found = sorted(self.folder.glob("shard-*.json")), []
        look = partial(self._look, check=check)
        # Hashing runs beside other threads; a glance at a size is over before a thread has begun.
        with ThreadPoolExecutor(_THREADS) as pool:
            for each in map(look, paths) if check is quick_check else pool.map(look, paths):
                found.append(each)
                if advance is not None:
                    advance()
        records = [each for each in found if isinstance(each, ShardRecord)]
        return records, [each for each in found if isinstance(each, Damage)]

    def _look(self, path: Path, check: Callable[[Path, ShardRecord], None]) -> ShardRecord | Damage:
        """One shard by its record's file, or its damage."""
        try:
            record = self._record(path)
            check(self.folder, record)
        except DamagedShard as error:
            return Damage(self.folder.name, path.stem, error.reason)
        return record

    def _record(self, path: Path) -> ShardRecord:
        """A record, parsed once as long as its file does not change."""
        try:
            facts = path.stat()
        except FileNotFoundError as error:
            raise DamagedShard(path, "the file is missing") from error
        seal = (facts.st_mtime_ns, facts.st_size)
        if self._records.get(path.name, (None,))[0] != seal:
            self._records[path.name] = (seal, read_record(path))
        record = self._records[path.name][1]
        if (record.block_key, record.width, record.dtype) != (self.key, self.width, self.dtype):
            raise DamagedShard(path, "the record belongs to another recipe")
        return record

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Have this process write; it holds the lock."""
        self._restore_recipe()
        self._writing_process = os.getpid()
        try:
            yield
        finally:
            self._writing_process, self._held = None, None

    def _keys_seen(self) -> set[str]:
        """Keys of all rows, for one that adds beside others: what was seen at an earlier call is not read again."""
        names = {path.name for path in self.folder.glob("shard-*.json")}
        if not self._seen <= names:  # another process has set a damaged one aside
            self._seen, self._seen_keys = set(), set()
        for name in names - self._seen:
            found = self._look(self.folder / name, quick_check)
            if isinstance(found, ShardRecord):  # rows of a damaged one are not held
                self._seen.add(name)
                self._seen_keys.update(found.rows)
        return self._seen_keys

    @property
    def _writes_here(self) -> bool:
        return self._writing_process == os.getpid()

    def _held_keys(self) -> set[str]:
        """Keys of all rows, for the writer: kept, so that an append costs the same however many shards there are."""
        if self._held is None:
            self._held = _keys_of(self._scan()[0])
        return self._held

    def _refuse_missing(self, absent: list[str], asked: int, damages: list[Damage]) -> None:
        if absent:
            because = f" ({len(damages)} damaged shards, the first: {damages[0]})" if damages else ""
            raise MissingRows(
                f"{len(absent)} of {asked} images have no embedding in {self.folder.name}{because}. "
                "Run `extract` for these images first",
                absent,
            )

    def _written_ns(self) -> int:
        times = [path.stat().st_mtime_ns for path in self.folder.glob("shard-*.json")]
        return max(times, default=0) or (self.folder / RECIPE_FILE).stat().st_mtime_ns

    def _restore_recipe(self) -> None:
        """Write ``recipe.json`` again if the block was deleted while this writer waited for its lock."""
        if not (self.folder / RECIPE_FILE).exists():
            write_manifest(
                self.folder, Manifest(self.name, self.key, self.recipe, self.width, self.dtype, self.created)
            )

    def _put_in_order(self, on_damage: Callable[[Damage], None]) -> set[str]:
        """Clear away what is unfinished or damaged, and return the keys of the rows that are left."""
        remove_temporaries(self.folder)
        records, damages = self._scan(verify_shard)
        for damage in damages:
            set_aside(self.folder, damage.shard)
            on_damage(damage)
        remove_unfinished(self.folder)
        return _keys_of(records)


def _keys_of(records: list[ShardRecord]) -> set[str]:
    return {key for record in records for key in record.rows}
