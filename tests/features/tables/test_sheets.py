"""Table files as people keep them: read, told how, or named for what they are."""

from __future__ import annotations

import datetime
import zipfile

import pandas as pd
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.tables.sheets import header_of, read_sheet, why_no_table
from tests.features.folders import COLUMNS, NAMES, refusal
from tests.features.pictures import HEADER, table_rows, write_pictures

openpyxl = pytest.importorskip("openpyxl", reason="workbooks are written by openpyxl")

PLAIN = "\n".join([HEADER, *(",".join(row) for row in table_rows(NAMES))]) + "\n"


def tabs(text: str, between: str = "\t") -> str:
    return text.replace(",", between)


WAYS = {
    "sep line": ("sep=;\r\n" + tabs(PLAIN, ";")).encode(),
    "quoted sep line": ('"sep=|"\n' + tabs(PLAIN, "|")).encode(),
    "bars": tabs(PLAIN, "|").encode(),
    "UTF-16": tabs(PLAIN).encode("utf-16"),
    "UTF-16 BE": b"\xfe\xff" + tabs(PLAIN).encode("utf-16-be"),
    "UTF-16 without a mark": tabs(PLAIN).encode("utf-16-le"),
    "UTF-16 with sep line": ("sep=;\r\n" + tabs(PLAIN, ";")).encode("utf-16"),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "Mac line ends": PLAIN.replace("\n", "\r").encode(),
    "trailing delimiters": PLAIN.replace("\n", ",,\n").encode(),
    "trailing delimiters below the header": PLAIN.replace("\n", ",,\n").replace(",,\n", "\n", 1).encode(),
    "empty rows at the end": (tabs(PLAIN, ";") + ";;;;;;\r\n" * 40).encode(),
    "empty lines above": ("\n\n" + PLAIN).encode(),
    "every cell in quotes": ('"' + PLAIN.replace(",", '","').replace("\n", '"\n"')).removesuffix('"').encode(),
    "another case": PLAIN.replace(HEADER, HEADER.upper().replace("_", " ")).encode(),
    "blanks around": PLAIN.replace(HEADER, HEADER.replace(",", " , ")).encode(),
}


@pytest.mark.parametrize("content", WAYS.values(), ids=WAYS)
def test_a_table_is_the_same_however_it_was_saved(content, tmp_path):
    (tmp_path / "HAM10000_metadata.csv").write_bytes(content)
    write_pictures(tmp_path / "images", [f"{name}.jpg" for name in NAMES])
    dataset = load_dataset(tmp_path)
    assert dataset.layout.preset == "ham10000"
    assert dataset.rows.id.tolist() == NAMES
    assert dataset.rows.label.tolist() == [row[2] for row in table_rows(NAMES)]
    assert dataset.rows.age.tolist() == [float(row[4]) for row in table_rows(NAMES)]
    assert dataset.layout.leaks == ("dx_type",)
    assert not [name for name in dataset.unused if name.startswith("Unnamed")]


def test_columns_in_another_spelling_are_told(tmp_path):
    (tmp_path / "table.csv").write_text(PLAIN.replace("image_id", "Image ID"))
    dataset = load_dataset(tmp_path)
    assert "columns of table.csv in another spelling: 'Image ID' is read as 'image_id'" in dataset.noticed


@pytest.mark.parametrize(
    "above", ["Export of 3 May\n", "# made by a program, twice\n#\n", "Clinic\n\n", "Clinic;;;;;;\n"]
)
def test_lines_above_the_header_are_passed_over_and_told(above, tmp_path):
    (tmp_path / "table.csv").write_text(above + tabs(PLAIN, ";"))
    dataset = load_dataset(tmp_path)
    assert dataset.rows.id.tolist() == NAMES
    assert any("lines above the header, passed over in table.csv: " in notice for notice in dataset.noticed)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-8", "utf-16"])
def test_umlauts_are_read_and_a_guessed_encoding_is_told(encoding, tmp_path):
    (tmp_path / "table.csv").write_bytes("file;kind;Körperstelle\na;nävus;Rücken\n".encode(encoding))
    sheet = read_sheet(tmp_path / "table.csv")
    assert list(sheet.cells) == ["file", "kind", "Körperstelle"]
    assert sheet.cells.loc[0].tolist() == ["a", "nävus", "Rücken"]
    dataset = load_dataset(tmp_path, COLUMNS)
    assert dataset.classes == ["nävus"]
    told = "table.csv is no UTF-8 and is read as Windows-1252 (first: 'Körperstelle')" in dataset.noticed
    assert told == (encoding in ("cp1252", "latin-1"))


def test_line_ends_and_delimiters_in_quotes_belong_to_the_cell(tmp_path):
    (tmp_path / "table.csv").write_bytes(b'file,kind,note\r\na,nv,"two\r\nlines, one cell"\r\nb,mel,x\r\n')
    cells = read_sheet(tmp_path / "table.csv").cells
    assert cells.file.tolist() == ["a", "b"]
    assert cells.note[0].splitlines() == ["two", "lines, one cell"]


def test_a_header_alone_is_a_table_without_rows(tmp_path):
    (tmp_path / "table.csv").write_text("file,kind\n")
    assert header_of(tmp_path / "table.csv") == ["file", "kind"]
    assert read_sheet(tmp_path / "table.csv").cells.shape == (0, 2)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["45,5", "60", ""], [45.5, 60.0, None]),
        (["45,5", "1,125", "7"], [45.5, 1.125, 7.0]),
        (["0,75", "22,50", "33"], [0.75, 22.5, 33.0]),
    ],
)
@pytest.mark.parametrize("between", ";\t|")
def test_decimal_commas_are_read_where_no_comma_stands_between_cells(cells, expected, between, tmp_path):
    rows = [between.join(row) for row in zip("abc", ("nv", "mel", "nv"), cells, strict=True)]
    (tmp_path / "table.csv").write_text("\n".join([between.join(("file", "kind", "age")), *rows]) + "\n")
    dataset = load_dataset(tmp_path, COLUMNS)
    assert [None if pd.isna(age) else age for age in dataset.rows.age] == expected
    assert any(notice.startswith("decimal commas in column 'age': ") for notice in dataset.noticed)


@pytest.mark.parametrize("cells", [("1,234", "2,000"), ("45,5", "1.5"), ("1,234,567", "3"), ("45,5 J", "3")])
def test_a_comma_that_may_part_thousands_is_refused(cells, tmp_path):
    (tmp_path / "table.csv").write_text(f"file;kind;age\na;nv;{cells[0]}\nb;mel;{cells[1]}\n")
    assert "column 'age' should hold finite numbers" in str(refusal(tmp_path, COLUMNS))


def write_workbook(path, rows, *more_sheets):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for name, cells in more_sheets:
        sheet = book.create_sheet(name)
        for row in cells:
            sheet.append(row)
    book.save(path)


def numbers_as_numbers(row):
    return [int(cell) if cell.isdigit() else cell for cell in row]


@pytest.mark.parametrize("above", [[], [["Export"], []]], ids=["plain", "title"])
@pytest.mark.parametrize("more", [(), (("empty", []),)], ids=["one sheet", "an empty sheet too"])
def test_a_workbook_of_one_sheet_is_read(above, more, tmp_path):
    rows = [*above, HEADER.split(","), *map(numbers_as_numbers, table_rows(NAMES)), [None] * 7]
    write_workbook(tmp_path / "HAM10000_metadata.xlsx", rows, *more)
    write_pictures(tmp_path / "images", [f"{name}.jpg" for name in NAMES])
    dataset = load_dataset(tmp_path)
    assert dataset.rows.id.tolist() == NAMES and dataset.has_images
    assert dataset.rows.age.tolist() == [float(row[4]) for row in table_rows(NAMES)]


def test_cells_of_a_workbook_are_text_as_a_person_sees_it(tmp_path):
    write_workbook(
        tmp_path / "t.xlsx", [["file", "x", "when"], [24306, 45.5, datetime.date(2024, 5, 3)], ["007", True, None]]
    )
    cells = read_sheet(tmp_path / "t.xlsx").cells
    assert cells.to_numpy().tolist() == [["24306", "45.5", "2024-05-03"], ["007", "True", ""]]


def test_a_workbook_of_several_sheets_is_refused_by_their_names(tmp_path):
    write_workbook(tmp_path / "table.xlsx", [["file", "kind"], ["a", "nv"]], ("codes", [["nv", "nevus"]]))
    with pytest.raises(UserError, match=r"has 2 sheets with cells \(Sheet, codes\). Expected one"):
        read_sheet(tmp_path / "table.xlsx")
    assert "2 sheets with cells" in str(refusal(tmp_path))


def test_what_is_no_table_is_named_for_what_it_is(tmp_path):
    for name in ("broken.xlsx", "named.csv"):
        zipfile.ZipFile(tmp_path / name, "w").writestr("xl/workbook.xml", "<workbook/>")
        with pytest.raises(UserError, match="cannot read the workbook"):
            read_sheet(tmp_path / name)
        assert header_of(tmp_path / name) == []
    (tmp_path / "packed.csv").write_bytes(b"\x1f\x8b\x08\0")
    assert "compressed by gzip" in why_no_table(tmp_path / "packed.csv")
    message = str(refusal(tmp_path))
    assert "tables seen: broken.xlsx, named.csv, packed.csv" in message
    assert "cannot read the workbook" in message


def test_lines_that_are_one_cell_each_are_named(tmp_path):
    (tmp_path / "table.csv").write_text("".join(f'"{line}"\n' for line in PLAIN.splitlines()))
    assert "each line of the table" in str(refusal(tmp_path))
