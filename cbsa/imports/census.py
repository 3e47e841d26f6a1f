"""Check every row of the Census Bureau's estimates before any is loaded.

The columns are those of "Annual Estimates of the Resident Population for Metropolitan and Micropolitan Statistical Areas"
(CBSA-EST…-alldata).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from cbsa.imports.cells import LSADS, check_code, check_people, check_text, decoding_doubt, is_caption, known_kind, plain
from cbsa.imports.findings import Findings
from cbsa.imports.header import find_table
from cbsa.imports.sources import PROGRESS_ROWS, Progress, Source
from cbsa.rules import METROPOLITAN, MICROPOLITAN

COLUMNS = ("CBSA", "MDIV", "NAME", "LSAD")
POPULATION = re.compile(r"POPESTIMATE([0-9]{4})")
AREAS_LIMIT = 50_000  # a census file has about 3,000 rows, and they are held in memory
YEARS_LIMIT = 30  # it has up to 11


class AreaRow(NamedTuple):
    """One row of the census file."""

    cbsa: str
    mdiv: str
    stcou: str
    name: str
    lsad: str
    population: dict[str, int]


@dataclass
class Census:
    """The census file: its rows, the CBSA of each metropolitan division, and the kind (LSAD) of each CBSA."""

    areas: list[AreaRow] = field(default_factory=list)
    divided: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    def add(self, area: AreaRow) -> None:
        """Add a row. Raises ValueError where it contradicts an earlier one."""
        if area.mdiv and self.divided.get(area.mdiv, area.cbsa) != area.cbsa:
            raise ValueError(f"division {area.mdiv} belongs to CBSA {self.divided[area.mdiv]} on an earlier line, here to {area.cbsa}")
        if area.lsad in {METROPOLITAN, MICROPOLITAN}:
            if area.cbsa in self.kinds:
                raise ValueError(f"CBSA {area.cbsa} has its own row on an earlier line, too")
            self.kinds[area.cbsa] = area.lsad
        if area.mdiv:
            self.divided[area.mdiv] = area.cbsa
        self.areas.append(area)


def read_census(sources: Sequence[Source], findings: Findings, progress: Progress) -> Census:
    """Check the census files and return what they hold together. Puerto Rico's estimates are published as a file of their own.

    Raises:
        ImportRefused: a file is of another kind.
    """
    census = Census()
    for source in sources:
        # A file beside the first may lack the column of divisions, which only the largest areas have.
        required = COLUMNS if source is sources[0] else tuple(name for name in COLUMNS if name != "MDIV")
        _read_census_file(source, required, census, findings, progress)
    if METROPOLITAN not in census.kinds.values():
        findings.check()
        sources[0].refuse(f"no row has LSAD {METROPOLITAN!r}, so no ZIP would find its metro.")
    return census


def _read_census_file(source: Source, required: Sequence[str], census: Census, findings: Findings, progress: Progress) -> None:
    table = find_table(source, findings, required)
    years = {match[1]: column for column in table.header if (match := POPULATION.fullmatch(column))}
    if not years:
        source.refuse("the header has no column POPESTIMATE followed by a year.")
    if len(years) > YEARS_LIMIT:
        source.refuse(f"the header names more than {YEARS_LIMIT} years.")
    columns = ("CBSA", "NAME", "LSAD", *years.values())
    pick = itemgetter(*(table.header[column] for column in columns))
    mdiv_at, stcou_at = table.header.get("MDIV"), table.header.get("STCOU")
    for number, (line, row) in enumerate(table.rows):
        if number % PROGRESS_ROWS == 0:
            progress(f"Checking {source.name}: {number:,} rows")
        try:
            table.check_row(line, row, columns)
            cbsa, name, lsad, *counts = map(plain, pick(row))
            population = {year: check_people(column, text) for (year, column), text in zip(years.items(), counts, strict=True)}
            mdiv = plain(row[mdiv_at]) if mdiv_at is not None else ""
            county = plain(row[stcou_at]) if stcou_at is not None else ""
            codes = check_code("CBSA", cbsa), mdiv and check_code("MDIV", mdiv), county and check_code("STCOU", county.zfill(5))
            area = AreaRow(*codes, check_text("NAME", name), known_kind(check_text("LSAD", lsad)), population)
            census.add(area)
        except ValueError as error:
            if not is_caption(row):
                findings.reject(source, line, f"{error}.")
            continue
        if not area.name.isascii() and (doubt := decoding_doubt(area.name)):
            findings.warn_at(line, doubt)
        if area.lsad not in LSADS:
            findings.warn_at(line, f"LSAD {area.lsad[:60]!r} is none that the rule knows, so the row gives no ZIP its metro")
        if len(census.areas) > AREAS_LIMIT:
            source.refuse(f"it has more than {AREAS_LIMIT:,} rows, which no census file does.")
    findings.flush_lines(source)
