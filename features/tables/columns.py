"""Which column of a table is what: a layout, read from ``dataset.toml`` or from column flags."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from dermfuse.cache.errors import UserError, usage_error

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

ONE_HOT_LABEL = "class"  # name of the label column that is made from one column per class


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
    subgroups : tuple of str
        Columns by which results are broken down: sex, age, site, source. They need not be features.
    malignant : tuple of str
        Class names that are read as malignant.
    benign : tuple of str
        Class names that are known to be benign; where none is given, all that are not malignant.
    positive : str
        Of two classes, the positive one; empty lets their names and numbers decide.
    label_names : tuple of (str, str)
        Pairs of a label cell and the class name it stands for; other cells are class names themselves.
    split : str or None
        Column with the dataset's own split: ``test``, ``holdout`` or ``hold-out`` is locked test, all else training.
    one_hot : tuple of str
        Columns of 0 and 1, one per class, that take the place of a label column.
    second_table : str or None
        File name of a table with more columns of the same images, joined by the image column.
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
    subgroups: tuple[str, ...] = ()
    malignant: tuple[str, ...] = ()
    benign: tuple[str, ...] = ()
    positive: str = ""
    label_names: tuple[tuple[str, str], ...] = ()
    split: str | None = None
    one_hot: tuple[str, ...] = ()
    second_table: str | None = None

    @property
    def columns(self) -> set[str]:
        """Every column that has a role."""
        single = {self.image, self.label, self.group, self.split} - {None}
        several = (self.numeric, self.categorical, self.leaks, self.subgroups, self.one_hot)
        return single.union(*several)

    @property
    def numbers(self) -> list[str]:
        """Columns that are read as numbers: numeric metadata, and subgroups that are named like an age."""
        by_name = (c for c in self.subgroups if c not in self.categorical and c.lower() in KNOWN_NUMERIC)
        return list(dict.fromkeys((*self.numeric, *by_name)))

    def over(self, other: Layout) -> Layout:
        """This layout with what it leaves open taken from `other`; metadata columns are taken from one of both.

        With a label column of its own, it takes nothing that `other` says about labels; with malignant classes of its
        own, nothing about benign ones.
        """
        defaults = Layout()
        stated = {k: v for k, v in vars(self).items() if v != getattr(defaults, k)}
        if self.numeric or self.categorical:
            stated |= {"numeric": self.numeric, "categorical": self.categorical}
        if self.label and self.label != other.label:
            other = replace(other, one_hot=(), label_names=(), malignant=(), benign=(), positive="")
        if self.malignant:
            other = replace(other, benign=())
        return replace(other, **stated)


def metadata_by_name(columns: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Columns that are age, sex or site by their usual names: (numeric, categorical)."""
    numeric = tuple(c for c in columns if c.lower() in KNOWN_NUMERIC)
    categorical = tuple(c for c in columns if c.lower() in KNOWN_CATEGORICAL)
    return numeric, categorical


def layout_from_flags(
    table=None, image=None, label=None, group=None, metadata=None, malignant=None, positive=None
) -> Layout | None:
    """Column flags of the command line as a layout; None when none is given.

    Parameters
    ----------
    table, image, label, group : str or None
    metadata : str or None
        Columns by comma. ``age=number`` or ``site=category`` sets the kind; without it, ages are numbers and
        everything else categories.
    malignant : str or None
        Class names by comma.
    positive : str or None
        Of two classes, the positive one.

    Raises
    ------
    UserError
        A kind other than number or category, or no name in `malignant` (exit code 2).
    """
    if not any((table, image, label, group, metadata, malignant, positive)):
        return None
    classes = tuple(name.strip() for name in (malignant or "").split(",") if name.strip())
    if malignant and not classes:
        raise usage_error(f"--malignant is {malignant!r}. Give class names by comma, as in mel,bcc.")
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
        malignant=classes,
        positive=(positive or "").strip(),
        numeric=tuple(name for name, kind in kinds.items() if kind == "number"),
        categorical=tuple(name for name, kind in kinds.items() if kind == "category"),
    )


def layout_from_toml(path: Path) -> Layout:
    """Read a ``dataset.toml``.

    Its keys are the fields of :class:`Layout` but ``preset``, at the top or in the tables ``[columns]`` and
    ``[metadata]``; ``label_names`` is a table of its own. Without ``subgroups``, metadata columns that are called like
    age, sex or site are taken.

    Raises
    ------
    UserError
        Not TOML, an unknown key, a value of the wrong type, no image column, or not exactly one of label and one_hot.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # as editors on Windows write it
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read {path}: {reason}. Expected a TOML file as the README shows.") from None
    flat = {}
    for key, value in content.items():
        if key not in ("columns", "metadata"):
            flat[key] = value
        elif isinstance(value, dict):
            flat |= value
        else:
            raise UserError(f"{path}: {key} = {value!r} should be a table.")
    for key, value in flat.items():
        _check_value(path, key, value)
    _check_roles(path, flat)
    flat = {key: _frozen(value) for key, value in flat.items()}
    if "one_hot" in flat:
        flat["label"] = ONE_HOT_LABEL
    known = metadata_by_name([*flat.get("numeric", ()), *flat.get("categorical", ())])
    return Layout(**{"subgroups": sum(known, ()), **flat})


_KEYS = {
    **dict.fromkeys(
        ("name", "table", "second_table", "image", "label", "group", "group_word", "split", "positive"), str
    ),
    **dict.fromkeys(("images", "numeric", "categorical", "leaks", "subgroups", "malignant", "benign"), list),
    "one_hot": list,
    "label_names": dict,
    "synthetic": bool,
}
_KINDS = {str: "a str", list: "a list of str", dict: "a table of str", bool: "a bool"}


def _check_value(path: Path, key: str, value) -> None:
    if key not in _KEYS:
        raise UserError(f"{path} has the unknown key {key!r}. Known: {', '.join(_KEYS)}.")
    kind = _KEYS[key]
    items = value if kind is list else value.values() if kind is dict and isinstance(value, dict) else ()
    if not isinstance(value, kind) or not all(isinstance(item, str) for item in items):
        raise UserError(f"{path}: {key} = {value!r} should be {_KINDS[kind]}.")


def _check_roles(path: Path, flat: dict) -> None:
    if not flat.get("image"):
        raise UserError(f"{path} names no image column. Add 'image = \"...\"' under [columns].")
    if flat.get("label") and "one_hot" in flat:
        raise UserError(f"{path} names both label and one_hot. Keep the one that holds the classes.")
    if not flat.get("label") and "one_hot" not in flat:
        raise UserError(f"{path} names no label column. Add 'label = \"...\"' under [columns].")
    if "one_hot" in flat and len(flat["one_hot"]) < 2:
        raise UserError(f"{path}: one_hot = {flat['one_hot']!r} should name two columns or more, one per class.")


def _frozen(value):
    if isinstance(value, dict):
        return tuple(value.items())
    return tuple(value) if isinstance(value, list) else value
