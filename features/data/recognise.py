"""Which table of a folder is the dataset's, and its layout: flags, else ``dataset.toml``, else a preset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from dermfuse.cache.errors import UserError, listed, usage_error
from dermfuse.features.data.presets import PRESETS, Preset
from dermfuse.features.files.endings import image_id
from dermfuse.features.files.listing import find_images
from dermfuse.features.files.matching import clean, with_slashes
from dermfuse.features.tables.column_names import lacks, other_spellings
from dermfuse.features.tables.columns import Layout, layout_from_toml, metadata_by_name
from dermfuse.features.tables.read import ids_of, packed_in, read_columns, tables_in
from dermfuse.features.tables.sheets import header_of, why_no_table

MOST_FOLDERS, DEEPEST = 2000, 3  # that are looked into for a table
MOST_NAMED = 20  # of the tables of a folder, in an error


def folder_of_table(folder: Path, flags: Layout | None) -> Path:
    """`folder` where it holds the dataset's table, else the one folder below it that does.

    Raises
    ------
    UserError
        Several folders below do.
    """
    flags = flags or Layout()
    if _holds_table(folder, flags):
        return folder
    found = [place for place in _folders_below(folder) if _holds_table(place, flags)]
    if len(found) > 1:
        names = ", ".join(str(place.relative_to(folder)) for place in found[:4])
        raise UserError(
            f"no table of a known layout in {folder}, but one in each of {len(found)} folders below it ({names}). "
            f"Give one of them, as in --data {found[0]}."
        )
    return found[0] if found else folder


def choose_layout(folder: Path, flags: Layout | None, images: Path | None = None) -> tuple[Layout, Path, list[str]]:
    """Flags go over ``dataset.toml``, else over the preset that a table's columns tell.

    Parameters
    ----------
    folder : Path
        Holds the tables.
    flags : Layout or None
    images : Path, optional
        Where images are looked for; `folder` if not given.

    Returns
    -------
    Layout, Path, list of str
        The layout, its table, and what a person should be told about that choice.

    Raises
    ------
    UserError
        No table fits, or several do.
    """
    flags, toml = flags or Layout(), folder / "dataset.toml"
    if toml.is_file():
        layout = flags.over(layout_from_toml(toml))
        return layout, _table_for(folder, layout), []
    tables = [_table_for(folder, flags)] if flags.table or flags.label else tables_in(folder)
    columns = {path: header_of(path) for path in tables}
    preset, fitting = _preset_of(columns)
    if preset:
        return _layout_of_preset(folder, preset, fitting, flags, images or folder)
    if flags.label and flags.image:
        # A named label column has led to one table above.
        numeric, categorical = metadata_by_name([c for c in columns[tables[0]] if c != flags.label])
        by_name = Layout(numeric=numeric, categorical=categorical, subgroups=(*numeric, *categorical))
        return flags.over(by_name), tables[0], []
    if flags.label:
        raise usage_error(f"the label column {flags.label!r} is named, but no image column. Give --image-column too.")
    _refuse_nearly_known(folder)
    names = [path.name for path in tables_in(folder)]
    seen = listed(names, most=MOST_NAMED)
    unread = next(filter(None, map(why_no_table, tables_in(folder))), "")
    packed = ", ".join(p.name for p in packed_in(folder)[:3])
    more = "".join(f" {text}" for text in (unread, packed and f"Not read as they are: {packed}; unpack them.") if text)
    raise UserError(
        f"no table of a known layout in {folder} (tables seen: {seen or 'none'}).{more} Known: "
        f"{'; '.join(p.describe() for p in PRESETS)}. For another, give --image-column and --label-column "
        "(and --group-column), or put a dataset.toml beside the table; 'python cli.py demo' needs no data."
    )


def _holds_table(folder: Path, flags: Layout) -> bool:
    """Whether a folder holds a ``dataset.toml``, or a table that the flags or a preset describe."""
    if (folder / "dataset.toml").is_file():
        return True
    if flags.table:
        return (folder / flags.table).is_file()
    columns = {path: header_of(path) for path in tables_in(folder)}
    wanted = {flags.image, flags.label} - {None}
    if flags.label:
        return any(wanted <= _called(names, wanted) for names in columns.values())
    return _preset_of(columns)[0] is not None


def _folders_below(folder: Path) -> Iterator[Path]:
    """Folders below another, from the top; no hidden ones, and not all of very many."""
    level, looked = [folder], 0
    for _ in range(DEEPEST):
        below = []
        for place in level:
            try:
                inside = sorted(p for p in place.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX")))
            except OSError:
                continue  # of somebody else; what lies in it is not for this dataset
            below += inside[: MOST_FOLDERS - looked]
            looked += len(inside)
        yield from below
        level = below if looked < MOST_FOLDERS else []


def _called(columns: Iterable[str], wanted: Iterable[str]) -> set[str]:
    """The columns of a table, those that spell a wanted one otherwise by its wanted name."""
    spelled = other_spellings(columns, wanted)
    return {spelled.get(name, name) for name in columns}


def _preset_of(columns: dict[Path, list[str]]) -> tuple[Preset | None, list[Path]]:
    """The first preset that tables fit, and these tables; as its columns are spelled, else in other spellings."""
    for as_spelled in (True, False):
        for preset in PRESETS:
            names = set() if as_spelled else preset.layout.columns | preset.required
            fitting = [path for path, own in columns.items() if preset.required <= _called(own, names)]
            if fitting:
                return preset, fitting
    return None, []


def _layout_of_preset(
    folder: Path, preset: Preset, fitting: list[Path], flags: Layout, images: Path
) -> tuple[Layout, Path, list[str]]:
    """The preset's layout for one of the tables that fit it, and the table published beside it."""
    path, told = fitting[0], []
    if len(fitting) > 1:
        shared = _with_images(fitting, preset, images)
        # Challenges publish tables of their test images in the same layout.
        path = max(fitting, key=lambda p: (shared[p], "train" in p.name.lower()))
        others = listed(p.name for p in fitting if p != path)
        told.append(f"{path.name} is read and not {others}, which has the same layout; choose with --table")
    second = None
    if preset.second:
        second, why = _second_table(folder, preset, path)
        told += why
    columns = _called([*header_of(path), *(header_of(second) if second else ())], preset.layout.columns)
    layout = replace(preset.fitted_to(columns), second_table=second.name if second else None)
    return flags.over(layout), path, told


def _with_images(tables: list[Path], preset: Preset, folder: Path) -> dict[Path, int]:
    """How many rows of each table have a file of their name below a folder."""
    names = {image_id(os.path.basename(path)).casefold() for path in find_images(folder)}
    image, shared = preset.layout.image, dict.fromkeys(tables, 0)
    for path in tables if names else ():
        cells = read_columns(path, preset.layout.columns, ())[0][image]
        stems = (image_id(os.path.basename(with_slashes(clean(cell)))).casefold() for cell in cells)
        shared[path] = sum(stem in names for stem in stems)
    return shared


def _second_table(folder: Path, preset: Preset, path: Path) -> tuple[Path | None, list[str]]:
    """The table beside `path` that has most of its images, or None with the reason."""
    names = preset.layout.columns | preset.second
    tables = [p for p in tables_in(folder) if p != path and preset.second <= _called(header_of(p), names)]
    named = f"columns {', '.join(sorted(preset.second))}"
    if not tables:
        return None, [f"{path.name} is read alone: the table published beside it ({named}) is not here"]
    image = preset.layout.image
    ids = ids_of(read_columns(path, names, ())[0], image)
    shared = {p: int(ids_of(read_columns(p, names, ())[0], image).isin(ids).sum()) for p in tables}
    best = max(tables, key=shared.get)
    if not shared[best]:
        return None, [f"{path.name} is read alone: {best.name} ({named}) has no row of one of its images"]
    return best, []


def _refuse_nearly_known(folder: Path) -> None:
    """Name the column or the table that keeps a table from being one of the presets."""
    for path in tables_in(folder):
        for preset in PRESETS:
            columns = _called(header_of(path), preset.layout.columns)
            absent = preset.required - columns
            if len(absent) == 1:
                raise UserError(
                    f"{path.name} looks like {preset.layout.name} but has {lacks(preset.required, sorted(columns))}. "
                    "Add it, or name the columns with --image-column, --label-column and --group-column."
                )
            if preset.second and preset.second <= columns:
                raise UserError(
                    f"{path.name} looks like a table of {preset.layout.name} without labels. Put the ground truth "
                    f"beside it (columns {', '.join(sorted(preset.required))}), or name the columns with flags."
                )


def _table_for(folder: Path, layout: Layout) -> Path:
    if layout.table:
        path = folder / layout.table
        if not path.is_file():
            raise UserError(f"no such table: {path}. Mend 'table' in dataset.toml or --table.")
        return path
    tables = [p for p in tables_in(folder) if p.name != layout.second_table]
    wanted = {layout.image, *(layout.one_hot or (layout.label,))} - {None}
    matching = [p for p in tables if wanted <= set(header_of(p))]
    matching = matching or [p for p in tables if wanted <= _called(header_of(p), wanted)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = listed(p.name for p in matching)
        raise usage_error(f"several tables have the columns {sorted(wanted)}: {names}. Name one with --table.")
    if len(tables) == 1:
        return tables[0]
    nearest = max(tables, key=lambda p: len(wanted & set(header_of(p))), default=None)
    near = f"; {nearest.name} has {lacks(sorted(wanted), header_of(nearest))}" if nearest and wanted else ""
    raise UserError(
        f"no table in {folder} has the columns {sorted(wanted)}{near}. Mend the column flags, or name --table."
    )
