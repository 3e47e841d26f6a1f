"""Find the table in a file: the sheet and the row that name the required columns, with captions above it or not."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from cbsa.errors import ImportRefused
from cbsa.imports.cells import plain
from cbsa.imports.findings import Findings
from cbsa.imports.sources import Source
from cbsa.imports.tables import Row, Sheet
from cbsa.imports.xlsx import FORMULA, cell_name

HEADER_WITHIN_ROWS = 20  # captions may stand above it


@dataclass(frozen=True)
class Table:
    """The table that was found in a file: the position of each column, the header's length, and the rows below it."""

    header: dict[str, int]
    width: int
    rows: Iterator[Row]
    sheet: str = ""
    problems: Mapping[int, Mapping[int, str]] = field(default_factory=dict)
    """The cells without a value, by row and by position in the row."""
    first_column: int = 1

    def check_row(self, line: int, row: list[str], columns: Iterable[str]) -> None:
        """Raise ValueError where the row's length is wrong, or a cell in one of the columns has no value."""
        if len(row) != self.width and (len(row) < self.width or any(cell.strip() for cell in row[self.width :])):
            raise ValueError(f"it has {len(row)} cells, the header {self.width}")
        problems = self.problems.get(line, {})
        for column in columns if problems else ():
            if problem := problems.get(self.header[column]):
                place = f"sheet {self.sheet!r}, cell {cell_name(line, self.header[column] + self.first_column)}"
                remedy = "; calculate the workbook and save it again" if problem == FORMULA else ""
                raise ValueError(f"{column} holds {problem} ({place}){remedy}")


def find_table(source: Source, findings: Findings, required: Sequence[str], aliases: Mapping[str, str] = {}, sheet: str = "") -> Table:
    """Return the table of the file that has the required columns and at least one row. Note which sheet it is.

    Hidden sheets count only where no visible one fits.

    Raises:
        ImportRefused: no sheet fits, more than one does, or the one named `sheet` does not exist.
    """
    search = _TableSearch(source, required, aliases)
    names = []
    for candidate in source.sheets():
        names.append(candidate.name)
        if sheet in ("", candidate.name):
            search.try_sheet(candidate)
        if search.tables and not candidate.name:
            break  # a text file that was read with the right delimiter
    if sheet and sheet not in names:
        held = f"It has {', '.join(names)}" if any(names) else "It is no workbook"
        source.refuse(f"there is no sheet {sheet!r}. {held}.")
    chosen, table = search.result()
    if chosen.name:
        findings.sheets[source.name] = chosen.name
        if not chosen.visible:
            findings.warnings.append(f"{source.name}: the sheet {chosen.name!r}, which was read, is hidden.")
    return table


class _TableSearch:
    """The search for a table through the sheets of a file, and the reason where there is none."""

    def __init__(self, source: Source, required: Sequence[str], aliases: Mapping[str, str]) -> None:
        self.source, self.required, self.aliases = source, required, aliases
        self.tables: list[tuple[Sheet, Table]] = []
        self.closest: list[str] = []  # the row most like a header so far
        self.refusal: ImportRefused | None = None

    def try_sheet(self, sheet: Sheet) -> None:
        """Look for the header in the first rows of the sheet."""
        try:
            for _, row in islice(sheet.rows, HEADER_WITHIN_ROWS):
                names = self._names(row)
                if set(self.required) <= set(names):
                    self._take(sheet, names)
                    return
                if len(set(self.required) & set(names)) > len(set(self.required) & set(self.closest)) or not any(self.closest):
                    self.closest = names
        except ImportRefused as refusal:  # the rows cannot be read, as when a file with commas is read with tabs
            if not any(self.closest):
                self.refusal = self.refusal or refusal

    def _names(self, row: list[str]) -> list[str]:
        names = [plain(cell).upper() for cell in row]
        while names and not names[-1]:
            names.pop()
        return [name if self.aliases.get(name) in names else self.aliases.get(name, name) for name in names]

    def _take(self, sheet: Sheet, names: list[str]) -> None:
        doubled = sorted({name for name in names if name and names.count(name) > 1})
        if doubled:
            self._refuse(f"the header names {', '.join(doubled)[:200]} more than once.")
            return
        rows = sheet.rows
        if sheet.name:
            first = next((row for row in rows if any(row[1])), None)
            if first is None:
                self._refuse(f"below the header of sheet {sheet.name!r} there is no row.")
                return
            rows = chain([first], rows)
        problems: dict[int, dict[int, str]] = defaultdict(dict)
        for (line, column), problem in sheet.problems.items():
            problems[line][column - sheet.first_column] = problem
        header = {name: position for position, name in enumerate(names) if name}
        self.tables.append((sheet, Table(header, len(names), rows, sheet.name, dict(problems), sheet.first_column)))

    def _refuse(self, reason: str) -> None:
        """Keep the reason, in case no other sheet fits."""
        self.refusal = self.refusal or ImportRefused(f"{self.source.name}: {reason}")

    def result(self) -> tuple[Sheet, Table]:
        """Return the sheet that fits and its table. Raises ImportRefused."""
        fits = [pair for pair in self.tables if pair[0].visible] or self.tables
        if len(fits) > 1:
            names = ", ".join(sheet.name for sheet, _ in fits)
            raise ImportRefused(
                f"{self.source.name}: {len(fits)} of its sheets have the columns: {names}. Keep only the right one.",
                hint="Or name it with --sheet.",
            )
        if fits:
            return fits[0]
        if self.refusal:
            raise self.refusal
        return self.source.refuse(self._why_no_header())

    def _why_no_header(self) -> str:
        names, required = self.closest, set(self.required)
        if {"ZIP", "LSAD"} & set(names) - required:
            return "this is the other of the two files. HUD's crosswalk comes first, the Census Bureau's estimates second."
        if not any(names):
            return "the file holds no row."
        if len(names) == 1 and (mark := re.search(r"[;|]", names[0])):
            return f"its cells are separated by {mark[0]!r}. Save it with commas."
        missing = ", ".join(sorted(required - set(names)))
        return f"the header has no column {missing}. It starts {', '.join(names)[:60]!r}."
