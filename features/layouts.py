"""Which column of a table is what: presets of published datasets, ``dataset.toml``, and column flags."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from cache.errors import UserError, usage_error

# Columns of published tables that are known only once the diagnosis is known.
KNOWN_LEAKS = ("dx_type", "diagnosis", "benign_malignant", "diagnosis_confirm_type", "biopsed")

# Names under which published tables keep age, sex and site.
KNOWN_NUMERIC = ("age", "age_approx")
KNOWN_CATEGORICAL = (
    "sex",
    "gender",
    "localization",
    "anatom_site_general",
    "anatom_site_general_challenge",
    "site",
)


@dataclass(frozen=True)
class Layout:
    """The roles of a table's columns.

    Attributes
    ----------
    name : str
        Name of the dataset; empty means the folder's name.
    image, label, group : str or None
        Columns with the image id, the label, and the lesion or patient that images share.
    group_word : str
        What the groups are, in the plural.
    numeric, categorical : tuple of str
        Metadata columns that may become features.
    leaks : tuple of str
        Columns that give the label away; never features.
    table : str or None
        File name of the table; None lets the columns decide.
    images : tuple of str
        Folders with images; empty means anywhere below the dataset's folder.
    preset : str
        Which preset this is, ``generic`` for none.
    synthetic : bool
        Whether the pictures are drawn by a program.
    """

    name: str = ""
    image: str | None = None
    label: str | None = None
    group: str | None = None
    group_word: str = "groups"
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    leaks: tuple[str, ...] = ()
    table: str | None = None
    images: tuple[str, ...] = ()
    preset: str = "generic"
    synthetic: bool = False

    def over(self, other: Layout) -> Layout:
        """This layout with what it leaves open taken from `other`; metadata columns are taken from one of both."""
        defaults = Layout()
        stated = {k: v for k, v in vars(self).items() if v != getattr(defaults, k)}
        if self.numeric or self.categorical:
            stated |= {"numeric": self.numeric, "categorical": self.categorical}
        return replace(other, **stated)


@dataclass(frozen=True)
class Preset:
    """A published layout, recognised by the columns of its table."""

    layout: Layout
    required: frozenset[str]

    def fitted_to(self, columns: set[str]) -> Layout:
        """The layout with only the optional columns that this table has."""
        keep = {
            role: tuple(c for c in getattr(self.layout, role) if c in columns)
            for role in ("numeric", "categorical", "leaks")
        }
        return replace(self.layout, **keep)

    def describe(self) -> str:
        """The preset's name and the columns it is known by."""
        return f"{self.layout.name} (columns {', '.join(sorted(self.required))})"


HAM10000 = Preset(
    Layout(
        name="HAM10000",
        image="image_id",
        label="dx",
        group="lesion_id",
        group_word="lesions",
        numeric=("age",),
        categorical=("sex", "localization"),
        leaks=("dx_type",),
        preset="ham10000",
    ),
    frozenset({"lesion_id", "image_id", "dx"}),
)

PRESETS = (HAM10000,)


def metadata_by_name(columns: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Columns that are age, sex or site by their usual names: (numeric, categorical)."""
    numeric = tuple(c for c in columns if c.lower() in KNOWN_NUMERIC)
    categorical = tuple(c for c in columns if c.lower() in KNOWN_CATEGORICAL)
    return numeric, categorical


def layout_from_flags(table=None, image=None, label=None, group=None, metadata=None) -> Layout | None:
    """Column flags of the command line as a layout; None when none is given.

    Parameters
    ----------
    table, image, label, group : str or None
    metadata : str or None
        Columns by comma. ``age=number`` or ``site=category`` sets the kind; without it, ages are numbers and
        everything else categories.

    Raises
    ------
    UserError
        A kind other than number or category (exit code 2).
    """
    if not any((table, image, label, group, metadata)):
        return None
    kinds = {}
    for item in filter(None, (part.strip() for part in (metadata or "").split(","))):
        name, _, kind = item.partition("=")
        kind = kind or ("number" if name.lower() in KNOWN_NUMERIC else "category")
        if kind not in ("number", "category"):
            raise usage_error(f"--metadata-columns {item!r}: unknown kind {kind!r}. Known: number, category.")
        kinds[name] = kind
    return Layout(
        table=table,
        image=image,
        label=label,
        group=group,
        numeric=tuple(name for name, kind in kinds.items() if kind == "number"),
        categorical=tuple(name for name, kind in kinds.items() if kind == "category"),
    )


def layout_from_toml(path: Path) -> Layout:
    """Read a ``dataset.toml``.

    Raises
    ------
    UserError
        Not TOML, an unknown key, a value of the wrong type, or no image or label column.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}. Expected a TOML file as the README shows.") from None
    known = {
        **dict.fromkeys(("name", "table", "image", "label", "group", "group_word"), str),
        **dict.fromkeys(("images", "numeric", "categorical", "leaks"), list),
        "synthetic": bool,
    }
    flat = {}
    for key, value in content.items():
        if key not in ("columns", "metadata"):
            flat[key] = value
        elif isinstance(value, dict):
            flat |= value
        else:
            raise UserError(f"{path}: {key} = {value!r} should be a table.")
    for key, value in flat.items():
        if key not in known:
            raise UserError(f"{path} has the unknown key {key!r}. Known: {', '.join(known)}.")
        if not isinstance(value, known[key]):
            raise UserError(f"{path}: {key} = {value!r} should be a {known[key].__name__}.")
        if known[key] is list and not all(isinstance(item, str) for item in value):
            raise UserError(f"{path}: {key} = {value!r} should be a list of str.")
    for role in ("image", "label"):
        if not flat.get(role):
            raise UserError(f"{path} names no {role} column. Add '{role} = \"...\"' under [columns].")
    flat = {k: tuple(v) if isinstance(v, list) else v for k, v in flat.items()}
    return Layout(**flat)
