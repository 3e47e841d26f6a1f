"""Check every row of HUD's crosswalk and of the Census Bureau's estimates, and choose each ZIP's CBSA, before any is loaded.

The columns are those of HUD, "USPS ZIP Code Crosswalk Files", and of the Census Bureau, "Annual Estimates of the Resident
Population for Metropolitan and Micropolitan Statistical Areas" (CBSA-EST…-alldata).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import IO, NamedTuple

from cbsa.errors import ImportRefused
from cbsa.imports.sources import Progress, Row, Source
from cbsa.rules import METROPOLITAN, MICROPOLITAN, Share, rank

RATIOS = ("TOT_RATIO", "RES_RATIO", "BUS_RATIO", "OTH_RATIO")
ZIP_COLUMNS = ("ZIP", "CBSA", *RATIOS)
METRO_COLUMNS = ("CBSA", "MDIV", "NAME", "LSAD")
POPULATION = re.compile(r"POPESTIMATE([0-9]{4})")

HEADER_WITHIN_ROWS = 20  # captions may stand above it
AREAS_LIMIT = 50_000  # a census file has about 3,000 rows, and they are held in memory
YEARS_LIMIT = 30  # it has up to 11
CODES_LIMIT = 5_000  # a crosswalk names about 1,000 CBSAs
REJECTS_KEPT = 1_000
PROGRESS_ROWS = 5_000


class Reject(NamedTuple):
    """A row that cannot be used, and the reason."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass
class Rejects:
    """The bad rows of both files. `check` refuses the import where there are more than `tolerated`."""

    tolerated: int
    rows: list[Reject] = field(default_factory=list)

    def add(self, source: Source, line: int, reason: str) -> None:
        self.rows.append(Reject(source.name, line, reason))
        if len(self.rows) > max(self.tolerated, REJECTS_KEPT):
            self.check()

    def check(self) -> None:
        """Raise ImportRefused with the bad rows where there are more of them than tolerated."""
        if len(self.rows) > self.tolerated:
            count = "1 bad row" if len(self.rows) == 1 else f"{len(self.rows):,} bad rows"
            raise ImportRefused(
                f"{count}. Mend them, or have up to N of them passed over (--skip-bad-rows N).",
                rejects=[reject._asdict() for reject in self.rows[:REJECTS_KEPT]],
            )


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


@dataclass(frozen=True)
class Crosswalk:
    """HUD's file: the CBSA of each ZIP by the rule, and the number of rows, which are on disk."""

    cbsa_of_zip: dict[str, str]
    rows: int


def read_census(source: Source, rejects: Rejects, progress: Progress) -> Census:
    """Check the census file and return what it holds.

    Raises:
        ImportRefused: the file is of another kind.
    """
    header, width, rows = _table(source, METRO_COLUMNS)
    years = {match[1]: column for column in header if (match := POPULATION.fullmatch(column))}
    if not years:
        source.refuse("the header has no column POPESTIMATE followed by a year.")
    if len(years) > YEARS_LIMIT:
        source.refuse(f"the header names more than {YEARS_LIMIT} years.")
    census = Census()
    pick = itemgetter(*(header[column] for column in (*METRO_COLUMNS, *years.values())))
    stcou = header.get("STCOU")
    for number, (line, row) in enumerate(rows):
        if number % PROGRESS_ROWS == 0:
            progress(f"Checking {source.name}: {number:,} rows")
        try:
            _check_length(row, width)
            cbsa, mdiv, name, lsad, *counts = map(str.strip, pick(row))
            population = {year: _whole(column, text) for (year, column), text in zip(years.items(), counts, strict=True)}
            county = row[stcou].strip() if stcou is not None else ""
            codes = _code("CBSA", cbsa), mdiv and _code("MDIV", mdiv), county and _code("STCOU", county.zfill(5))
            census.add(AreaRow(*codes, _words("NAME", name), _kind(_words("LSAD", lsad)), population))
        except ValueError as error:
            if not _is_caption(row):
                rejects.add(source, line, f"{error}.")
        if len(census.areas) > AREAS_LIMIT:
            source.refuse(f"it has more than {AREAS_LIMIT:,} rows, which no census file does.")
    if METROPOLITAN not in census.kinds.values():
        rejects.check()
        source.refuse(f"no row has LSAD {METROPOLITAN!r}, so no ZIP would find its metro.")
    return census


def read_crosswalk(source: Source, rejects: Rejects, progress: Progress, copy: IO[str]) -> Crosswalk:
    """Check HUD's file, choose each ZIP's CBSA by the rule, and write the good rows to `copy` as PostgreSQL's COPY reads them.

    Memory holds the deciding share of each ZIP, of which there are at most 100,000, and the codes of its rows; the rows
    themselves go to disk.

    Raises:
        ImportRefused: the file is of another kind.
    """
    header, width, rows = _table(source, ZIP_COLUMNS)
    count = 0
    codes = dict[str, str]()  # each code once, so that the ZIPs share it in memory
    codes_of_zip = dict[str, tuple[str, ...]]()
    deciding = dict[str, Share]()
    pick = itemgetter(*(header[column] for column in ZIP_COLUMNS))
    for number, (line, row) in enumerate(rows):
        if number % PROGRESS_ROWS == 0:
            progress(f"Checking {source.name}: {number:,} rows")
        try:
            _check_length(row, width)
            zip_text, cbsa_text, *ratios = pick(row)
            zip_code, cbsa = _code("ZIP", zip_text), _code("CBSA", cbsa_text)
            share = Share(codes.setdefault(cbsa, cbsa), *map(_ratio, RATIOS, ratios))
            earlier_codes = codes_of_zip.get(zip_code, ())
            if cbsa in earlier_codes:
                raise ValueError(f"ZIP {zip_code} with CBSA {cbsa} stands on an earlier line, too")
        except ValueError as error:
            if not _is_caption(row):
                rejects.add(source, line, f"{error}.")
            continue
        if len(codes) > CODES_LIMIT:
            source.refuse(f"it names more than {CODES_LIMIT:,} CBSAs, which no crosswalk does.")
        codes_of_zip[zip_code] = (*earlier_codes, share.cbsa)
        if not earlier_codes or rank(share) < rank(deciding[zip_code]):
            deciding[zip_code] = share
        count += 1
        copy.write("{}\t{}\t{}\t{}\t{}\t{}\n".format(zip_code, *share))
    if not count:
        rejects.check()
        source.refuse("below the header there is no row.")
    return Crosswalk({zip_code: share.cbsa for zip_code, share in deciding.items()}, count)


def _table(source: Source, required: Iterable[str]) -> tuple[dict[str, int], int, Iterator[Row]]:
    """Find the first sheet with the required columns. Return the position of each column, the header's length and the rows below."""
    closest: list[str] = []
    for rows in source.sheets():
        for _, row in islice(rows, HEADER_WITHIN_ROWS):
            names = [cell.strip().upper() for cell in row]
            if set(required) <= set(names):
                doubled = {name for name in required if names.count(name) > 1}
                if doubled:
                    source.refuse(f"the header names {', '.join(sorted(doubled))} more than once.")
                return {name: position for position, name in enumerate(names)}, len(names), rows
            if len(set(required) & set(names)) > len(set(required) & set(closest)) or not any(closest):
                closest = names
    return source.refuse(_why_no_header(closest, set(required)))


def _why_no_header(names: list[str], required: set[str]) -> str:
    if {"ZIP", "LSAD"} & set(names) - required:
        return "this is the other of the two files. --zips takes HUD's crosswalk, --metros the Census Bureau's estimates."
    if not any(names):
        return "the file holds no row."
    if len(names) == 1 and (mark := re.search(r"[;\t|]", names[0])):
        return f"its cells are separated by {mark[0]!r}. Save it with commas."
    missing = ", ".join(sorted(required - set(names)))
    return f"the header has no column {missing}. It starts {', '.join(names)[:60]!r}."


def _is_caption(row: list[str]) -> bool:
    """Return whether the row is blank or holds one text and no figures, as captions of the Census Bureau do."""
    filled = [cell for cell in row if cell and not cell.isspace()]
    return not filled or (len(filled) == 1 and not filled[0].strip()[0].isdigit())


def _check_length(row: list[str], width: int) -> None:
    if len(row) != width and (len(row) < width or any(cell.strip() for cell in row[width:])):
        raise ValueError(f"it has {len(row)} cells, the header {width}")


def _code(column: str, text: str) -> str:
    text = text.strip()
    if len(text) == 5 and text.isascii() and text.isdigit():
        return text
    hint = "; its leading zeros may have been lost in a spreadsheet" if text.isdigit() and len(text) < 5 else ""
    raise ValueError(f"{column} {text[:20]!r} is not five digits{hint}")


@lru_cache(maxsize=20_000)
def _ratio(column: str, text: str) -> float:
    try:
        ratio = float(text) if text.isascii() and "_" not in text else -1
    except ValueError:
        ratio = -1
    if not 0 <= ratio <= 1:
        raise ValueError(f"{column} {text[:20]!r} is not a number from 0 to 1")
    return ratio


def _whole(column: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ValueError(f"{column} {text[:20]!r} is not a number of people")
    return int(text)


def _words(column: str, text: str) -> str:
    if not 0 < len(text) <= 100:
        raise ValueError(f"{column} has {len(text)} characters, which is not from 1 to 100")
    return text


def _kind(text: str) -> str:
    """Return LSAD, with the two kinds that the rule knows in one spelling."""
    return next((kind for kind in (METROPOLITAN, MICROPOLITAN) if kind.casefold() == text.casefold()), text)
