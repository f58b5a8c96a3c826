"""The run folder: everything a report or a prediction needs, written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from dermfuse.cache.atomic import check_room, disk_errors_told, make_folder
from dermfuse.cache.beside import digests_in
from dermfuse.cache.errors import UserError, listed, usage_error
from dermfuse.pipelines.runs import digests, drafts, schema
from dermfuse.pipelines.runs.modelfile import MODEL, load_model, save_model
from dermfuse.pipelines.runs.opened import blocks_of, read_document

__all__ = ["MODEL", "load_model", "save_model"]

# The smallest run folder: model, report, tables; and of each row, with its predictions and its place in the splits.
# A logistic regression of the demo takes 1.4 MB, one of 6,000 images 6.7 MB.
RUN_BYTES, ROW_BYTES = 2**20, 200
# Of a name that is made up: room is left for a number and for the names of files inside.
LONGEST_STEM, SHORTEST_STEM = 80, 20


def create_run(
    runs: Path,
    name: str | None,
    default: str,
    write: Callable[[Path], None],
    tell: Callable[[str], None] = lambda text: None,
) -> Path:
    """Have `write` fill a folder, which gets its name when that ends well and is removed when it does not.

    Parameters
    ----------
    runs : Path
        Where runs are kept.
    name : str or None
        The run's name; None takes `default`, numbered when it is taken.
    default : str
    write : callable
        Given the folder to fill.
    tell : callable
        Given a line where another run took the name while this one was computed: the work is kept under the name with
        a number.

    Returns
    -------
    Path
        The run folder.

    Raises
    ------
    UserError
        The name is taken before the work or is no plain folder name, or the disk is full.
    """
    make_folder(runs)
    wanted = check_name(runs, name).name if name is not None else _plain(default)
    draft = runs / drafts.new_name()
    with disk_errors_told(draft):
        draft.mkdir()
        try:
            write(draft)
            facts = read_json(draft, "config.json")
            # Named last: another run may have taken the name while this one was computed.
            target = claim(runs, wanted)
            try:
                write_json(draft, "config.json", {**facts, "name": target.name})
                digests.seal(draft)
                os.replace(draft, target)
            except BaseException:
                target.rmdir()
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    if name and target.name != name:
        tell(f"another run took the name {name} meanwhile; this one is {target}")
    return target


def claim(runs: Path, wanted: str) -> Path:
    """Make an empty folder called `wanted`, numbered when that is taken; no other process is given the same one."""
    while True:
        target = _free(runs, wanted)
        try:
            target.mkdir()
            return target
        except FileExistsError:  # taken just now
            continue


def check_name(runs: Path, name: str) -> Path:
    """The folder a run of this name will have.

    Raises
    ------
    UserError
        The name is taken, or is no plain folder name.
    """
    path = runs / plain_name(name)
    if os.path.lexists(path):
        raise usage_error(f"there is a run {path} already. Give another --name, or remove that folder.")
    return path


def plain_name(name: str) -> str:
    """The name, where a folder can be called so on any machine.

    Raises
    ------
    UserError
        It cannot (exit code 2).
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise usage_error(f"run name {name!r} cannot be used. Expected letters, digits, '.', '_' and '-'.")
    return name


def check_space(runs: Path, rows: int, count: int = 1) -> None:
    """Refuse a disk that has less room than the smallest runs take, before hours of work go into them.

    Parameters
    ----------
    runs : Path
        Where runs are kept.
    rows : int
        Of the table.
    count : int, default=1
        Runs that are going to be written.

    Raises
    ------
    UserError
        There is too little room.
    """
    check_room(runs, count * (RUN_BYTES + rows * ROW_BYTES), "a run" if count == 1 else f"{count} runs")


def check_place(runs: Path, name: str | None = None) -> None:
    """Try whether a run could be written, before hours of work go into it; nothing is left there.

    Parameters
    ----------
    runs : Path
        Where runs are kept; where it is not there, the folder that it would be made in is tried.
    name : str or None
        The run's name, where it has one.

    Raises
    ------
    UserError
        Nothing can be written there, or as :func:`check_name`.
    """
    if name is not None:
        check_name(runs, name)
    place = runs.absolute()
    while not os.path.lexists(place):
        place = place.parent
    trial = place / drafts.new_name(drafts.TRIAL)
    with disk_errors_told(runs.absolute()):
        trial.mkdir()
        trial.rmdir()


def find_run(runs: Path, given: str) -> Path:
    """A run by its path, or by its name below `runs`.

    Raises
    ------
    UserError
        There is none, or it is not a run folder of this schema.
    """
    for path in (Path(given), runs / given):
        # Whatever is wrong with them is told by who opens the run.
        if any(os.path.lexists(path / name) for name in ("config.json", digests.FILE)):
            return path
    there = run_names(runs)
    seen = (
        f"runs in {runs}: {listed(there)}" if there else f"there are no runs in {runs}; 'python cli.py fit' makes one"
    )
    raise UserError(f"no run {given!r}. Expected the name or folder of a run ({seen}).")


def run_names(runs: Path) -> list[str]:
    """Names of the finished runs in a folder, sorted, those of an ablation with its name before: ``NAME/rf-both``."""
    found = [*runs.glob("[!.]*/config.json"), *runs.glob("[!.]*/[!.]*/config.json")]
    return sorted(path.parent.relative_to(runs).as_posix() for path in found)


def digests_in_use(runs: Path) -> dict[str, list[str]]:
    """What the finished runs in a folder need from the cache: keys of blocks, and digests that their recipes name.

    Returns
    -------
    dict of str to list of str
        Digest to the names of the runs that need it.

    Raises
    ------
    UserError
        A run's ``config.json`` cannot be read, so nobody can say what it needs.
    """
    found: dict[str, list[str]] = {}
    for name in run_names(runs):
        for digest in sorted(set(digests_in(blocks_of(runs / name)))):
            found.setdefault(digest, []).append(name)
    return found


def write_json(folder: Path, name: str, content: dict) -> None:
    """Write one of the run's JSON files.

    Raises
    ------
    ValueError
        It is not as the schema of its name says.
    """
    text = json.dumps(content, indent=1, allow_nan=False)
    fault = schema.fault_in(name, json.loads(text))
    if fault:
        raise ValueError(f"{name}: {fault}")
    (folder / name).write_text(text, encoding="utf-8")


def read_json(folder: Path, name: str) -> dict:
    """Read one of the run's JSON files, without a look at the others: for what was just written.

    Raises
    ------
    UserError
        It is missing, damaged or of another schema.
    """
    return read_document(folder / name)


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write one of the run's parquet files."""
    table.to_parquet(folder / name, index=False)


def first_free(runs: Path, default: str) -> Path:
    """The folder of a run that was given no name: called `default`, shortened, and numbered when that is taken."""
    return _free(runs, _plain(default))


def _plain(text: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.").lower() or "run"
    if len(stem) > LONGEST_STEM:  # what stands last tells most: the model, or that it is an ablation
        end = stem.rpartition("-")[2][-SHORTEST_STEM:]
        stem = f"{stem[: LONGEST_STEM - len(end) - 1].rstrip('-.')}-{end}"
    return stem


def _free(runs: Path, stem: str) -> Path:
    number = 1
    while (path := runs / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return path
