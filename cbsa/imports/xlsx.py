"""Refuse a workbook whose XML would cost its reader too much, by reading each XML file first, in chunks.

The reader (calamine) allocates every cell between the first and the last that a sheet names. Two cells far apart in a
file of 5 kB would need half a terabyte and end the process.
"""

import re
from typing import NoReturn
from xml.parsers import expat

from cbsa.errors import ImportRefused

CELLS_LIMIT = 10_000_000  # HUD's workbook has 400,000; the reader takes about 30 bytes for each
CELL = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")


class XmlCheck:
    """Check one XML file of a workbook, chunk by chunk."""

    def __init__(self) -> None:
        self.row = self.column = self.rows = self.columns = 0
        self.parser = expat.ParserCreate("UTF-8", " ")
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._element

    def feed(self, chunk: bytes, *, final: bool = False) -> None:
        """Check the next chunk.

        Raises:
            ImportRefused: the XML is not well-formed, declares a document type, or its cells lie too far apart.
        """
        if b"\0" in chunk:  # UTF-16, which the reader might decode differently
            raise ImportRefused("its XML is not in UTF-8.")
        try:
            self.parser.Parse(chunk, final)
        except expat.ExpatError as error:
            raise ImportRefused(f"it is broken or cannot be unpacked: its XML is not well-formed ({error}).") from error

    def _doctype(self, *_: object) -> NoReturn:
        raise ImportRefused("its XML declares a document type, which no workbook does.")

    def _element(self, name: str, attributes: dict[str, str]) -> None:
        kind = name.rpartition(" ")[2]
        if kind == "row":
            self.row, self.column = _row(attributes.get("r", str(self.row + 1))), 0
        elif kind == "c" and "r" in attributes:
            self.column, self.row = _cell(attributes["r"])
        elif kind == "c":
            self.column += 1
        else:
            return
        self.rows, self.columns = max(self.rows, self.row), max(self.columns, self.column)
        if self.rows * self.columns > CELLS_LIMIT:
            raise ImportRefused(f"a sheet of it reaches over more than {CELLS_LIMIT:,} cells, which no such file does.")


def _row(text: str) -> int:
    if not re.fullmatch("[0-9]{1,7}", text):
        raise ImportRefused(f"a row of it has the number {text[:20]!r}.")
    return int(text)


def _cell(reference: str) -> tuple[int, int]:
    """Return the column and the row of a reference such as AB12, both from 1."""
    match = CELL.fullmatch(reference)
    if not match:
        raise ImportRefused(f"a cell of it has the place {reference[:20]!r}.")
    column = 0
    for letter in match[1]:
        column = column * 26 + ord(letter) - ord("A") + 1
    return column, int(match[2])
