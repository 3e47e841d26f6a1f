"""Read a workbook's XML before its reader does: refuse what would cost too much, and note the cells that have no value.

The reader (calamine) allocates every cell between the first and the last that a sheet names. Two cells far apart in a
file of 5 kB would need half a terabyte and end the process. It also returns an empty text for an error such as #N/A and for
a formula that was never calculated, so both are noted here.
"""

import posixpath
import re
from collections.abc import Mapping
from typing import NoReturn
from xml.parsers import expat

from cbsa.errors import ImportRefused

CELLS_LIMIT = 10_000_000  # HUD's workbook has 400,000; the reader takes about 30 bytes for each
CELL = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
FORMULA = "a formula without a calculated value"
PROBLEMS_LIMIT = 100_000  # of one sheet; each is a bad row, and nothing is gained by noting more

Problems = dict[tuple[int, int], str]
"""By row and column, both from 1: the cell's error such as "#N/A", or FORMULA."""


class XmlCheck:
    """Check one XML file of a workbook, chunk by chunk, and note its sheets, its links and the cells without a value."""

    def __init__(self) -> None:
        self.sheet_links: dict[str, str] = {}
        self.targets: dict[str, str] = {}
        self.problems: Problems = {}
        self.row = self.column = self.rows = self.columns = 0
        self._kind = ""  # of the cell that is being read: "error", "formula", or "" for a plain value
        self._value: list[str] = []
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
        if final:
            self._end_cell()

    def _doctype(self, *_: object) -> NoReturn:
        raise ImportRefused("its XML declares a document type, which no workbook does.")

    def _element(self, name: str, attributes: dict[str, str]) -> None:
        match name.rpartition(" ")[2]:
            case "c":
                self._start_cell(attributes)
            case "row":
                if self._kind:
                    self._end_cell()
                self.row, self.column = _row(attributes.get("r", str(self.row + 1))), 0
            case "f":
                self._kind = self._kind or "formula"
                return
            case "v":
                if self._kind:
                    self.parser.CharacterDataHandler = self._value.append
                return
            case "sheet":
                link = next((value for key, value in attributes.items() if key.endswith(" id")), "")
                self.sheet_links[attributes.get("name", "")] = link
                return
            case "Relationship":
                self.targets[attributes.get("Id", "")] = attributes.get("Target", "")
                return
            case _:
                return
        self.rows, self.columns = max(self.rows, self.row), max(self.columns, self.column)
        if self.rows * self.columns > CELLS_LIMIT:
            raise ImportRefused(f"a sheet of it reaches over more than {CELLS_LIMIT:,} cells, which no such file does.")

    def _start_cell(self, attributes: dict[str, str]) -> None:
        if self._kind:
            self._end_cell()
        if "r" in attributes:
            self.column, self.row = _cell(attributes["r"])
        else:
            self.column += 1
        if attributes.get("t") == "e":
            self._kind = "error"

    def _end_cell(self) -> None:
        """Note the cell that was read, where its value is an error, or where it has a formula and no value."""
        value = "".join(self._value).strip()
        if len(self.problems) < PROBLEMS_LIMIT:
            if self._kind == "error":
                self.problems[self.row, self.column] = value[:20] or "an error"
            elif self._kind == "formula" and not value:
                self.problems[self.row, self.column] = FORMULA
        self._kind, self._value = "", []
        self.parser.CharacterDataHandler = None


def problems_by_sheet(checks: Mapping[str, XmlCheck]) -> dict[str, Problems]:
    """Return the cells without a value of each sheet, given the check of each XML file by its path in the workbook."""
    links = checks["xl/workbook.xml"].sheet_links
    targets = checks["xl/_rels/workbook.xml.rels"].targets if "xl/_rels/workbook.xml.rels" in checks else {}
    problems = {}
    for name, link in links.items():
        path = posixpath.normpath(posixpath.join("/xl", targets.get(link, ""))).lstrip("/")
        problems[name] = checks[path].problems if path in checks else {}
    return problems


def cell_name(row: int, column: int) -> str:
    """Return a reference such as AB12 for a row and a column, both from 1."""
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return f"{letters}{row}"


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
