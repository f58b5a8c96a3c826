"""Workbooks of Excel and LibreOffice as rows of text, or the reason for which one cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dermfuse.cache.errors import UserError

ENDINGS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
ZIP, OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"  # how the new and the old ones begin


def rows_of_workbook(path: Path) -> Iterator[list[str]]:
    """The rows of a workbook's one sheet that has cells, as text; whole numbers without a point.

    Raises
    ------
    UserError
        It is damaged, locked or no workbook, or several sheets have cells.
    """
    import python_calamine

    try:
        with python_calamine.CalamineWorkbook.from_path(str(path)) as book:
            sheets = {name: book.get_sheet_by_name(name) for name in book.sheet_names}
            filled = [name for name, sheet in sheets.items() if sheet.height]
            rows = sheets[filled[0]].iter_rows() if len(filled) == 1 else ()
            if len(filled) == 1:
                yield from ([_text(cell) for cell in row] for row in rows)
                return
    except python_calamine.PasswordError:
        raise UserError(f"the workbook {path} is locked by a password. Save it without one, or as CSV.") from None
    except (python_calamine.CalamineError, OSError, ValueError) as error:
        raise UserError(
            f"cannot read the workbook {path}: {' '.join(str(error).split())}. Expected an Excel workbook (.xlsx) with "
            "one sheet: save it anew, or as CSV."
        ) from None
    if not filled:
        raise UserError(f"the workbook {path} has no cells. Expected a sheet with a header line.")
    raise UserError(
        f"the workbook {path} has {len(filled)} sheets with cells ({', '.join(filled[:5])}). Expected one: save the "
        "one with the images as a workbook of its own, or as CSV."
    )


def _text(cell) -> str:
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return str(cell)
