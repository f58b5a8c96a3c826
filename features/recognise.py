"""Which table of a folder is the dataset's, and its layout: flags, else ``dataset.toml``, else a preset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cache.errors import UserError, usage_error
from features.layouts import Layout, layout_from_toml, metadata_by_name
from features.presets import PRESETS, Preset
from features.tables import header_of, ids_of, read_table, tables_in


def choose_layout(folder: Path, flags: Layout | None) -> tuple[Layout, Path, list[str]]:
    """Flags go over ``dataset.toml``, else over the preset that a table's columns tell.

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
    for preset in PRESETS:
        fitting = [path for path in tables if preset.required <= set(columns[path])]
        if fitting:
            return _layout_of_preset(folder, preset, fitting, flags)
    if flags.label and flags.image:
        # A named label column has led to one table above.
        numeric, categorical = metadata_by_name([c for c in columns[tables[0]] if c != flags.label])
        by_name = Layout(numeric=numeric, categorical=categorical, subgroups=(*numeric, *categorical))
        return flags.over(by_name), tables[0], []
    if flags.label:
        raise usage_error(f"the label column {flags.label!r} is named, but no image column. Give --image-column too.")
    _refuse_nearly_known(folder)
    seen = ", ".join(p.name for p in tables_in(folder)) or "none"
    raise UserError(
        f"no table of a known layout in {folder} (tables seen: {seen}). Known: "
        f"{'; '.join(p.describe() for p in PRESETS)}. For another, give --image-column and --label-column "
        "(and --group-column), or put a dataset.toml beside the table; 'python cli.py demo' needs no data."
    )


def _layout_of_preset(folder: Path, preset: Preset, fitting: list[Path], flags: Layout) -> tuple[Layout, Path, list]:
    """The preset's layout for one of the tables that fit it, and the table published beside it."""
    # Challenges publish tables of their test images in the same layout.
    path = next((p for p in fitting if "train" in p.name.lower()), fitting[0])
    told = []
    if len(fitting) > 1:
        others = ", ".join(p.name for p in fitting if p != path)
        told.append(f"{path.name} is read and not {others}, which has the same layout; choose with --table")
    second = None
    if preset.second:
        second, why = _second_table(folder, preset, path)
        told += why
    columns = {*header_of(path), *(header_of(second) if second else ())}
    layout = replace(preset.fitted_to(columns), second_table=second.name if second else None)
    return flags.over(layout), path, told


def _second_table(folder: Path, preset: Preset, path: Path) -> tuple[Path | None, list[str]]:
    """The table beside `path` that has most of its images, or None with the reason."""
    tables = [p for p in tables_in(folder) if p != path and preset.second <= set(header_of(p))]
    named = f"columns {', '.join(sorted(preset.second))}"
    if not tables:
        return None, [f"{path.name} is read alone: the table published beside it ({named}) is not here"]
    image = preset.layout.image
    ids = ids_of(read_table(path), image)
    shared = {p: int(ids_of(read_table(p), image).isin(ids).sum()) for p in tables}
    best = max(tables, key=shared.get)
    if not shared[best]:
        return None, [f"{path.name} is read alone: {best.name} ({named}) has no row of one of its images"]
    return best, []


def _refuse_nearly_known(folder: Path) -> None:
    """Name the column or the table that keeps a table from being one of the presets."""
    for path in tables_in(folder):
        columns = set(header_of(path))
        for preset in PRESETS:
            absent = preset.required - columns
            if len(absent) == 1:
                raise UserError(
                    f"{path.name} looks like {preset.layout.name} but has no column {next(iter(absent))!r}. "
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
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(p.name for p in matching)
        raise usage_error(f"several tables have the columns {sorted(wanted)}: {names}. Name one with --table.")
    if len(tables) == 1:
        return tables[0]
    raise UserError(f"no table in {folder} has the columns {sorted(wanted)}. Mend the column flags, or name --table.")
