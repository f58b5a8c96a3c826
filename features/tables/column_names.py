"""Column names: the wanted ones in another spelling, and those that look like one that is missing."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

_BETWEEN = re.compile(r"[\s_\-.]+")

# Names under which tables keep one thing; the first column of a table that bears another name of it looks like it.
_SAME = (
    ("image_id", "image", "image_name", "img_id", "img", "isic_id", "file", "filename", "file_name", "path", "id"),
    ("age", "age_approx", "patient_age", "alter"),
    ("sex", "gender", "patient_sex", "geschlecht"),
    ("localization", "localisation", "location", "site", "anatom_site_general", "anatom_site_general_challenge")
    + ("region", "body_site", "lokalisation"),
    ("dx", "diagnosis", "diagnostic", "label", "target", "class", "dx_name"),
    ("lesion_id", "lesion", "patient_id", "patient"),
)


def folded(name: str) -> str:
    """A column's name without case, without what cannot be seen, and without what stands between its words.

    Examples
    --------
    >>> folded("Image ID ") == folded("image_id")
    True
    >>> folded("cafe\\u0301") == folded("caf\\u00e9")
    True
    """
    return _BETWEEN.sub("", seen(name)).casefold()


def seen(name: str) -> str:
    """What a person sees of a name: no characters of control or format, one code for a letter with its accents.

    Examples
    --------
    >>> seen("a\\u00a0b\\u200b\\x01") == "a b"
    True
    """
    if name.isascii() and name.isprintable():
        return name.strip()
    name = "".join(c for c in unicodedata.normalize("NFKC", name) if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join(name.split())


def same_to_the_eye(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two of the names that a person cannot tell apart; None where all can be.

    Examples
    --------
    >>> same_to_the_eye(["Age", "age", "sex\\x01", "sex"])
    ('sex\\x01', 'sex')
    """
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(seen(name), name)
        if other != name:
            return other, name
    return None


def other_spellings(columns: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Columns that are a wanted one but for case, blanks and underscores, with the wanted name.

    A name that two columns spell is none of either.
    """
    columns, wanted = list(columns), set(wanted)
    by_fold: dict[str, list[str]] = {}
    for name in columns:
        by_fold.setdefault(folded(name), []).append(name)
    found = {}
    for name in sorted(wanted - set(columns)):
        alike = by_fold.get(folded(name), [])
        if len(alike) == 1 and alike[0] not in wanted:
            found[alike[0]] = name
    return found


def looks_like(wanted: str, columns: Iterable[str]) -> str | None:
    """The column that looks most like one that is not there; None where none does."""
    names = {folded(name): name for name in columns}
    others = next((group for group in _SAME if wanted.lower() in group), ())
    known = next((names[folded(other)] for other in others if folded(other) in names), None)
    close = difflib.get_close_matches(folded(wanted), names, n=1, cutoff=0.75)
    return known or (names[close[0]] if close else None)


def lacks(wanted: Iterable[str], columns: Iterable[str]) -> str:
    """In words, the first wanted column that is not there, and the column that looks like it.

    Examples
    --------
    >>> lacks(["image_id"], ["image", "age"])
    "no column 'image_id' (its column 'image' looks like it)"
    """
    columns = list(columns)
    absent = next(name for name in wanted if name not in columns)
    alike = looks_like(absent, [name for name in columns if name not in set(wanted)])
    return f"no column {absent!r}" + (f" (its column {alike!r} looks like it)" if alike else "")
