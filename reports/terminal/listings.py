"""What ``cache ls``, ``verify`` and ``gc`` say: lines for a person, or one object for a program."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from dermfuse.cache.atomic import in_units
from dermfuse.cache.beside import LEARNED, RUNTIMES, WEIGHTS, Kept, kept_damage, kept_in
from dermfuse.cache.block import Block
from dermfuse.cache.errors import UserError
from dermfuse.cache.findings import AUDITS
from dermfuse.cache.garbage import WRITTEN_TO, Garbage
from dermfuse.cache.notices import Damage
from dermfuse.cache.recipe import recipe_in_words
from dermfuse.cache.store import Store
from dermfuse.cache.upkeep import last_used
from dermfuse.features.console import Progress, printable
from dermfuse.pipelines.runs.run_folder import run_names
from dermfuse.pipelines.workflows.cache import Collected

KEY_DIGITS = 12
MEND = (
    "Run 'extract' again with the same flags: it sets damaged shards aside, computes their rows anew and writes a "
    "lost recipe.json or lost pretrained weights again. The next audit replaces what is damaged of an earlier one, "
    "and 'cache gc --delete' removes damaged runtimes, which are built anew."
)
TITLES = {WEIGHTS: "kept weights", LEARNED: "trained here", AUDITS: "audited", RUNTIMES: "built runtime"}


def one_line(text: str | Path) -> str:
    """A name on one line of a terminal, whatever bytes it has."""
    return printable(text)


def open_cache(root: Path) -> Store:
    """The cache in a folder, opened for reading.

    Raises
    ------
    UserError
        There is none.
    """
    if not _is_cache(root):
        raise UserError(f"no cache in {one_line(root)}. Name its folder with --cache; 'extract' makes one.")
    return Store(root, on_problem=lambda _line: None)


def ls_facts(root: Path) -> dict:
    """A cache as ``cache ls --json`` prints it; a folder without a cache is an empty one."""
    store = Store(root, on_problem=lambda _line: None)
    blocks = [_block_facts(block) for block in store.blocks()]
    damages = store.verify(full=False)
    kept = [_kept_facts(item) for item in kept_in(root)]
    return {
        "cache": str(root),
        "blocks": blocks,
        "damages": [vars(damage) for damage in damages],
        **{kind: [item for item in kept if item["kind"] == kind] for kind in TITLES},
        "rows": sum(block["rows"] for block in blocks),
        "bytes": sum(item["bytes"] for item in (*blocks, *kept)),
    }


def print_ls(facts: dict) -> None:
    """Print a block a row, what is kept beside them, damage and totals."""
    place = one_line(facts["cache"])
    kept = [item for kind in TITLES for item in facts[kind]]
    if not (facts["blocks"] or facts["damages"] or kept):
        print(f"the cache {place} is empty; 'extract' fills it")
        return
    rows = [_cells(block) for block in facts["blocks"]]
    for line, block in zip(_aligned(rows), facts["blocks"], strict=True):
        words = one_line(block["recipe_in_words"])
        if sys.stdout.isatty():
            width = max(shutil.get_terminal_size().columns, 40)
            line = f"{line}\n" + textwrap.fill(words, width, initial_indent="    ", subsequent_indent="    ")
        else:
            line = f"{line}  {words}"
        print(line)
    for damage in facts["damages"]:
        print(f"damaged: {_damage_line(damage)}")
    cells = [[TITLES[item["kind"]], one_line(item["name"]), item["digest"], in_units(item["bytes"])] for item in kept]
    for line in _aligned(cells):
        print(line)
    blocks = f"{len(facts['blocks'])} block{'' if len(facts['blocks']) == 1 else 's'}"
    print(f"{blocks}, {facts['rows']:,} rows, {in_units(facts['bytes'])} in {place}")


def verify_facts(store: Store, progress: Progress) -> dict:
    """Check everything in a cache; the result as ``cache verify --json`` prints it.

    Parameters
    ----------
    store : Store
    progress : callable
        Shows a bar, as `Console.progress`.
    """
    shards = sum(1 for folder in store.folders() for _ in folder.glob("shard-*.json"))
    kept = kept_in(store.root)
    with progress("verifying", shards + len(kept), unit="files") as advance:
        damages = store.verify(advance=advance)
        for item in kept:
            reason = kept_damage(item)
            if reason is not None:
                damages.append(Damage(f"{item.kind}/{item.path.name}", None, reason))
            advance()
    held = [block.row_keys for block in store.blocks()]
    return {
        "cache": str(store.root),
        "shards": shards,
        "rows": sum(map(len, held)),
        "kept": len(kept),
        "bytes": sum(block.size_bytes for block in store.blocks()) + sum(item.bytes for item in kept),
        "damages": [vars(damage) for damage in damages],
    }


def print_verify(facts: dict) -> None:
    """Say that all is as written; or list the damage, and on stderr what to do."""
    counts = f"{facts['shards']:,} shards, {facts['rows']:,} rows, {in_units(facts['bytes'])}"
    if not facts["damages"]:
        print(f"{counts}: all as written")
        return
    for damage in facts["damages"]:
        print(_damage_line(damage))
    print(f"{len(facts['damages'])} damaged of {counts}. {MEND}", file=sys.stderr)


def gc_facts(root: Path, runs: Path, collected: Collected) -> dict:
    """What nothing needs, or what of it was deleted, as ``cache gc --json`` prints it.

    Parameters
    ----------
    root : Path
        The cache's folder; paths are told from there.
    runs : Path
        Where runs are kept.
    collected : Collected
    """
    sweep, deleted = collected.sweep, collected.deleted
    return {
        "cache": str(root),
        "runs": {"folder": str(runs), "names": run_names(runs)},
        "deleted": deleted,
        "incomplete": deleted and any(item.reason == WRITTEN_TO for item in sweep.left),
        "garbage": [
            {
                "path": os.path.relpath(item.path, root),
                "kind": item.kind,
                "bytes": item.bytes,
                "reason": _reason(item, collected.users),
            }
            for item in sweep.garbage
        ],
        "left": [{"path": os.path.relpath(item.path, root), "reason": item.reason} for item in sweep.left],
        "bytes": sweep.bytes,
    }


def print_gc(facts: dict) -> None:
    """List what was or would be deleted with its bytes and why, what was left, and the total."""
    rows = [
        [one_line(item["path"]), item["kind"], in_units(item["bytes"]), one_line(item["reason"])]
        for item in facts["garbage"]
    ]
    for line in _aligned(rows):
        print(line)
    for left in facts["left"]:
        print(f"left: {one_line(left['path'])}: {left['reason']}")
    count, runs = len(facts["garbage"]), facts["runs"]
    if count:
        print(f"runs looked at: {len(runs['names'])} in {one_line(runs['folder'])}")
    if facts["deleted"]:
        print(f"{count} deleted, {in_units(facts['bytes'])} freed in {one_line(facts['cache'])}")
    elif count:
        print(f"{count} to delete, {in_units(facts['bytes'])} in {one_line(facts['cache'])}")
        print("Nothing was deleted: give --delete to do it.")
    else:
        print(f"nothing to delete in {one_line(facts['cache'])}")


def _is_cache(root: Path) -> bool:
    return any((root / name).exists() for name in ("blocks", WEIGHTS, LEARNED, AUDITS, "files.sqlite"))


def _block_facts(block: Block) -> dict:
    rows = block.row_keys
    used = last_used(block.folder)
    return {
        "name": block.name,
        "key": block.key,
        "rows": len(rows),
        "shards": len({shard for shard, _ in rows.values()}),
        "bytes": block.size_bytes,
        "width": block.width,
        "dtype": block.dtype,
        "last_used": used.isoformat(timespec="seconds") if used else None,
        "last_written": block.last_written.isoformat(timespec="seconds"),
        "recipe": block.recipe,
        "recipe_in_words": recipe_in_words(block.recipe),
    }


def _kept_facts(item: Kept) -> dict:
    return {"kind": item.kind, "name": item.name, "digest": item.digits, "bytes": item.bytes}


def _cells(block: dict) -> list[str]:
    used = f"used {_day(block['last_used'])}" if block["last_used"] else f"written {_day(block['last_written'])}"
    size = in_units(block["bytes"])
    return [one_line(block["name"]), block["key"][:KEY_DIGITS], f"{block['rows']:,} rows", size, block["dtype"], used]


def _day(stamp: str) -> str:
    return f"{datetime.fromisoformat(stamp).astimezone():%Y-%m-%d %H:%M}"


def _damage_line(damage: dict) -> str:
    where = damage["block"] if damage["shard"] is None else f"{damage['block']}/{damage['shard']}"
    return f"{one_line(where)}: {one_line(damage['reason'])}"


def _reason(item: Garbage, users: Mapping[str, list[str]]) -> str:
    runs = users.get(item.key, [])
    if not runs:
        return item.reason
    which = f"run {runs[0]} uses" if len(runs) == 1 else f"runs {', '.join(runs)} use"
    return f"{item.reason}; {which} it: 'predict' will embed its images anew"


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns of equal width, two spaces between them; the last one runs free."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
