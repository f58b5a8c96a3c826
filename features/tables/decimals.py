"""Numbers that are written with a decimal comma, told from thousands."""

from __future__ import annotations

import pandas as pd

COMMA = r"[+-]?\d+,\d+"
# 1,234 may be a thousand and more, or little more than one; 0,123 may not.
DOUBTFUL = r"[+-]?[1-9]\d{0,2},\d{3}"


def with_points(column: pd.Series) -> tuple[pd.Series, pd.Series] | None:
    """A column of text with points for decimal commas, and the cells that had one; None where that is not certain.

    Some cell must be no number with thousands, and none may have a point.

    Examples
    --------
    >>> with_points(pd.Series(["45,5", "60"]))[0].tolist()
    ['45.5', '60']
    >>> with_points(pd.Series(["1,234"])) is None
    True
    """
    text = column.str.strip()
    comma = text.str.fullmatch(COMMA)
    certain = comma & ~text.str.fullmatch(DOUBTFUL)
    if not certain.any() or text.str.fullmatch(r"[+-]?\d*\.\d+").any():
        return None
    return text.mask(comma, text.str.replace(",", ".", regex=False)), text[comma]
