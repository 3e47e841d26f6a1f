"""Turn an unpacked file into rows of text: from CSV, from a workbook's sheets, or from JSON."""

import codecs
import csv
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cbsa.errors import ImportRefused
from cbsa.imports.xlsx import Problems

CHUNK_BYTES = 1 << 16
JSON_BYTES = 32 * 2**20  # HUD's API answers with 6 MB for all ZIPs; JSON is read into memory whole
ZIP_MAGIC = b"PK\x03\x04"

Row = tuple[int, list[str]]
"""A line number (in a workbook the row's, in JSON the entry's) and its cells."""


@dataclass(frozen=True)
class Sheet:
    """A table: a sheet of a workbook, or the only one of another file, without a name.

    `problems` holds the cells without a value, by row and by column from 0 in `rows`.
    """

    rows: Iterator[Row]
    name: str = ""
    visible: bool = True
    problems: Problems = field(default_factory=dict)
    first_column: int = 1


def read_sheets(path: Path, problems: dict[str, Problems]) -> Iterator[Sheet]:
    """Yield the tables in the file. A text file is yielded twice: read with commas, and with tabs.

    Raises:
        ImportRefused: the file is of a kind that is not read. The rows raise it where they cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(CHUNK_BYTES)
    if start.startswith(ZIP_MAGIC):
        yield from _workbook_sheets(path, problems)
        return
    encoding = _encoding(path, start)
    if start.removeprefix(codecs.BOM_UTF8).lstrip()[:1] in {b"{", b"["}:
        yield Sheet(_json_rows(path, encoding))
        return
    for delimiter in (",", "\t"):
        yield Sheet(_text_rows(path, encoding, delimiter))


# --- Workbooks ----------------------------------------------------------------------------------------------------------
def _workbook_sheets(path: Path, problems: dict[str, Problems]) -> Iterator[Sheet]:
    from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

    try:
        with CalamineWorkbook.from_path(path) as workbook:
            for facts in workbook.sheets_metadata:
                if facts.typ != SheetTypeEnum.WorkSheet:
                    continue
                sheet = workbook.get_sheet_by_name(facts.name)
                first_column = sheet.start[1] + 1 if sheet.start else 1
                rows = ((line, [_text(cell) for cell in row]) for line, row in enumerate(sheet.iter_rows(), 1))
                visible = facts.visible == SheetVisibleEnum.Visible
                yield Sheet(rows, facts.name, visible, problems.get(facts.name, {}), first_column)
    except (CalamineError, OSError) as error:
        raise ImportRefused(f"the workbook cannot be read: {error}.") from error


def _text(cell: object) -> str:
    """Return a workbook's cell as a CSV file has it: whole numbers without a decimal point."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


# --- JSON ---------------------------------------------------------------------------------------------------------------
def _json_rows(path: Path, encoding: str) -> Iterator[Row]:
    """Yield the rows of HUD's API answer, or of a plain list of objects or of lists. The names of an object's fields come first."""
    if path.stat().st_size > JSON_BYTES:
        raise ImportRefused(
            f"it holds more than {JSON_BYTES:,} bytes of JSON, which is read into memory. Take the CSV file or the workbook."
        )
    try:
        content = json.loads(path.read_text(encoding))
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"it is not JSON: {error}.") from error
    entries = _json_entries(content)
    if not all(isinstance(entry, dict) for entry in entries):
        for number, entry in enumerate(entries):
            yield number, [_json_text(value) for value in entry] if isinstance(entry, list) else [_json_text(entry)]
        return
    names = list(dict.fromkeys(name for entry in entries for name in entry))
    yield 0, names
    for number, entry in enumerate(entries, 1):
        yield number, [_json_text(entry.get(name)) for name in names]


def _json_entries(content: Any) -> list[Any]:
    """Return the list in HUD's API answer, `{"data": {"results": [...]}}`, or in less of it."""
    for name in ("data", "results"):
        if isinstance(content, dict) and name in content:
            content = content[name]
    if isinstance(content, list):
        return content
    raise ImportRefused("its JSON holds no list of rows, neither itself nor as `results`.")


def _json_text(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


# --- Text ---------------------------------------------------------------------------------------------------------------
def _text_rows(path: Path, encoding: str, delimiter: str) -> Iterator[Row]:
    with path.open(newline="", encoding=encoding, errors="replace") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        start = 1
        try:
            for row in reader:
                yield reader.line_num, row
                start = reader.line_num + 1
        except csv.Error as error:
            if reader.line_num > start or "end of data" in str(error):
                reason = "a quotation mark is opened there and not closed where its cell ends. Close it, or remove it."
            else:
                reason = f"{error}."
            raise ImportRefused(f"line {start} is not CSV: {reason}") from error


BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""UTF-32's marks first, since one of them begins with a mark of UTF-16."""

OTHER_KINDS = {
    b"%PDF": "a PDF. Take the CSV file or the workbook",
    b"SQLite format 3": "an SQLite database. Export the table as CSV",
    b"PAR1": "a Parquet file. Export it as CSV",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive. Unpack it",
    b"Rar!": "a RAR archive. Unpack it",
    b"BZh": "packed with bzip2. Unpack it",
    b"\xfd7zXZ": "packed with xz. Unpack it",
    b"\x28\xb5\x2f\xfd": "packed with zstd. Unpack it",
    b"{\\rtf": "an RTF document. Save the table as CSV",
}
OLD_OFFICE = b"\xd0\xcf\x11\xe0"
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


def _encoding(path: Path, start: bytes) -> str:
    """Return the encoding: by the file's mark, else UTF-8 where the whole file is valid UTF-8, else Windows-1252.

    The Census Bureau publishes in Latin-1, of which Windows-1252 is the superset that spreadsheets write.
    """
    _refuse_other_kinds(path, start)
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if start.startswith(mark):
            return encoding
    encoding, decoder = "utf-8-sig", codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        for chunk in itertools.chain(iter(partial(file.read, CHUNK_BYTES), b""), [b""]):
            if b"\0" in chunk:
                _refuse_zero_bytes(start)
            if encoding != "cp1252":
                try:
                    decoder.decode(chunk, final=not chunk)
                except UnicodeDecodeError:
                    encoding = "cp1252"
    return encoding


def _refuse_other_kinds(path: Path, start: bytes) -> None:
    for magic, kind in OTHER_KINDS.items():
        if start.startswith(magic):
            raise ImportRefused(f"this is {kind}.")
    if start.startswith(OLD_OFFICE):
        if ENCRYPTED in path.read_bytes():
            raise ImportRefused("this is a workbook that is protected by a password. Save it without one.")
        raise ImportRefused("this is a workbook of the old Excel format (.xls). Save it as .xlsx or CSV.")
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith(b"<"):
        if b"urn:schemas-microsoft-com:office:spreadsheet" in text:
            raise ImportRefused("this is a workbook of the format XML Spreadsheet 2003. Save it as .xlsx or CSV.")
        if text.startswith(b"<?xml") and b"<html" not in text.lower():
            raise ImportRefused("this is an XML file, not a table. Take the CSV file or the workbook.")
        raise ImportRefused("this is a web page, not a table; perhaps the publisher's error page. Download the file itself.")


def _refuse_zero_bytes(start: bytes) -> None:
    if not any(start[0:200:2]) or not any(start[1:200:2]):
        raise ImportRefused("this is UTF-16 text without its byte order mark. Save it as CSV in UTF-8.")
    raise ImportRefused("this is neither text nor .xlsx, .gz or .zip.")
