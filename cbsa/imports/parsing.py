"""Check every row of HUD's crosswalk and of the Census Bureau's estimates, and choose each ZIP's CBSA, before any is loaded.

The columns are those of HUD, "USPS ZIP Code Crosswalk Files", and of the Census Bureau, "Annual Estimates of the Resident
Population for Metropolitan and Micropolitan Statistical Areas" (CBSA-EST…-alldata).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from operator import itemgetter
from typing import IO, NamedTuple

from cbsa.errors import ImportRefused
from cbsa.imports.sources import Progress, Source
from cbsa.imports.tables import Row, Sheet
from cbsa.imports.xlsx import FORMULA, cell_name
from cbsa.rules import COUNTY, DIVISION, METROPOLITAN, MICROPOLITAN, NO_CBSA, Share, rank

RATIOS = ("TOT_RATIO", "RES_RATIO", "BUS_RATIO", "OTH_RATIO")
ZIP_COLUMNS = ("ZIP", "CBSA", *RATIOS)
ZIP_ALIASES = {"GEOID": "CBSA"}  # HUD's API calls the other area of every crosswalk so
METRO_COLUMNS = ("CBSA", "MDIV", "NAME", "LSAD")
POPULATION = re.compile(r"POPESTIMATE([0-9]{4})")
LSADS = (METROPOLITAN, MICROPOLITAN, DIVISION, COUNTY)

HEADER_WITHIN_ROWS = 20  # captions may stand above it
AREAS_LIMIT = 50_000  # a census file has about 3,000 rows, and they are held in memory
YEARS_LIMIT = 30  # it has up to 11
CODES_LIMIT = 5_000  # a crosswalk names about 1,000 CBSAs
RATIOS_REMEMBERED = 20_000
REJECTS_KEPT = 1_000
LEFT_OUT_KEPT = 1_000
PROGRESS_ROWS = 5_000

SUM_TOLERANCE = 0.01
"""How far from 1 a ZIP's TOT_RATIO may add up: HUD warns of rounding, and users round to two decimals. The worst of five
crosswalks that HUD published is 1.3e-7. A row of so little cannot have decided the ZIP's CBSA."""
RATIO_TOLERANCE = 1e-6
"""How far a ratio may lie outside of 0 to 1, as sums of rounded numbers do."""
LEAST_KNOWN_CODES = 0.5
"""The share of a crosswalk's codes that must be CBSAs of the census file. A pair of two far vintages has 0.95."""


# --- What the checks find --------------------------------------------------------------------------------------------------
class Reject(NamedTuple):
    """A row that cannot be used, and the reason."""

    file: str
    line: int
    reason: str


@dataclass
class Findings:
    """The bad rows of all files, and warnings for the operator. The first REJECTS_KEPT bad rows are kept, and all are counted."""

    tolerated: int
    bad_rows: int = 0
    rejects: list[Reject] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sheets: dict[str, str] = field(default_factory=dict)
    """The sheet that was read of each workbook, by the file's name."""
    _lines: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def reject(self, source: Source, line: int, reason: str) -> None:
        self.bad_rows += 1
        if len(self.rejects) < REJECTS_KEPT:
            self.rejects.append(Reject(source.name, line, reason))

    def warn_at(self, line: int, text: str) -> None:
        """Note a line for a warning that many lines may share; `flush_lines` writes it."""
        self._lines[text].append(line)

    def flush_lines(self, source: Source) -> None:
        """Write one warning for each text, with the lines at which it was noted."""
        for text, lines in self._lines.items():
            shown = ", ".join(f"{line:,}" for line in lines[:5])
            rest = f" and {len(lines) - 5:,} more" if len(lines) > 5 else ""
            self.warnings.append(f"{source.name}: {text} (line{'s' if len(lines) > 1 else ''} {shown}{rest}).")
        self._lines.clear()

    def check(self) -> None:
        """Raise ImportRefused with the bad rows where there are more of them than tolerated."""
        if self.bad_rows > self.tolerated:
            count = "1 bad row" if self.bad_rows == 1 else f"{self.bad_rows:,} bad rows"
            raise ImportRefused(
                f"{count}. Correct the file and import it again.",
                hint="Or leave out up to N of them, and the ZIPs that they belong to, with --skip-bad-rows N.",
                rejects=[reject._asdict() for reject in self.rejects],
                bad_rows=self.bad_rows,
            )


# --- The census file -------------------------------------------------------------------------------------------------------
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
        required = METRO_COLUMNS if source is sources[0] else tuple(name for name in METRO_COLUMNS if name != "MDIV")
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
            cbsa, name, lsad, *counts = map(_plain, pick(row))
            population = {year: _whole(column, text) for (year, column), text in zip(years.items(), counts, strict=True)}
            mdiv = _plain(row[mdiv_at]) if mdiv_at is not None else ""
            county = _plain(row[stcou_at]) if stcou_at is not None else ""
            codes = _code("CBSA", cbsa), mdiv and _code("MDIV", mdiv), county and _code("STCOU", county.zfill(5))
            area = AreaRow(*codes, _words("NAME", name), _kind(_words("LSAD", lsad)), population)
            census.add(area)
        except ValueError as error:
            if not _is_caption(row):
                findings.reject(source, line, f"{error}.")
            continue
        if not area.name.isascii() and (doubt := _doubt(area.name)):
            findings.warn_at(line, doubt)
        if area.lsad not in LSADS:
            findings.warn_at(line, f"LSAD {area.lsad[:60]!r} is none that the rule knows, so the row gives no ZIP its metro")
        if len(census.areas) > AREAS_LIMIT:
            source.refuse(f"it has more than {AREAS_LIMIT:,} rows, which no census file does.")
    findings.flush_lines(source)


# --- HUD's crosswalk ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Crosswalk:
    """HUD's file: the CBSA of each ZIP by the rule, the number of rows, which are on disk, and the ZIPs that were left out."""

    cbsa_of_zip: dict[str, str]
    rows: int
    left_out: frozenset[str] = frozenset()


OneRow = tuple[int, tuple[str, float, float, float, float]]
"""What is remembered of a ZIP with one row: its line, and the share. Plain tuples cost the collector of garbage nothing."""


class _SplitZip:
    """What is remembered of a ZIP with several rows: the line of the first, the sum of TOT_RATIO, the deciding share, all codes."""

    __slots__ = ("codes", "deciding", "line", "total")

    def __init__(self, line: int, first: Share) -> None:
        self.line, self.total, self.deciding = line, first.tot_ratio, first
        self.codes: tuple[str, ...] = (first.cbsa,)

    def add(self, zip_code: str, share: Share) -> None:
        """Add a row. Raises ValueError where an earlier one has the same CBSA."""
        if share.cbsa in self.codes:
            raise ValueError(f"ZIP {zip_code} with CBSA {share.cbsa} stands on an earlier line, too")
        self.codes = (*self.codes, share.cbsa)
        self.total += share.tot_ratio
        if rank(share) < rank(self.deciding):
            self.deciding = share


class _CrosswalkRows:
    """The rows of HUD's file, checked one by one. Texts that were checked before are not checked again, which is most of them."""

    def __init__(self, table: "Table") -> None:
        self.table, self.width = table, table.width
        self.pick = itemgetter(*(table.header[column] for column in ZIP_COLUMNS))
        self.zips: dict[str, OneRow | _SplitZip] = {}
        self.cbsas: dict[str, str] = {}  # each code once, so that the ZIPs share it in memory
        self.ratios: dict[str, float] = {}  # by their texts, in a form that COPY takes

    def add(self, line: int, row: list[str]) -> str:
        """Check a row, count it for its ZIP, and return it as PostgreSQL's COPY reads it. Raises ValueError."""
        if len(row) != self.width or self.table.problems:
            self.table.check_row(line, row, ZIP_COLUMNS)
        zip_code, cbsa, tot, res, bus, oth = self.pick(row)
        if zip_code not in self.zips:
            zip_code = _code("ZIP", zip_code)
        ratios = self.ratios
        try:
            share = self.cbsas[cbsa], ratios[tot], ratios[res], ratios[bus], ratios[oth]
        except KeyError:
            cbsa, tot, res, bus, oth = self._check_texts(cbsa, tot, res, bus, oth)
            share = self.cbsas[cbsa], ratios[tot], ratios[res], ratios[bus], ratios[oth]
        if zip_code in self.zips:
            self._split_zip(zip_code).add(zip_code, Share(*share))
        else:
            self.zips[zip_code] = line, share
        return f"{zip_code}\t{cbsa}\t{tot}\t{res}\t{bus}\t{oth}\n"

    def _split_zip(self, zip_code: str) -> _SplitZip:
        """Return what is remembered of a ZIP of which a further row has come."""
        rows = self.zips[zip_code]
        if isinstance(rows, tuple):
            line, first = rows
            rows = self.zips[zip_code] = _SplitZip(line, Share(*first))
        return rows

    def totals(self) -> Iterator[tuple[str, int, float]]:
        """Yield each ZIP, the line of its first row, and the sum of its TOT_RATIO."""
        for zip_code, rows in self.zips.items():
            yield (zip_code, rows.line, rows.total) if isinstance(rows, _SplitZip) else (zip_code, rows[0], rows[1][1])

    def crosswalk(self, left_out: frozenset[str]) -> Crosswalk:
        """Return the choice for each ZIP that is not left out. The rows are forgotten, so that memory does not hold both."""
        cbsa_of_zip, count = {}, 0
        for zip_code in list(self.zips):
            rows = self.zips.pop(zip_code)
            if zip_code in left_out:
                continue
            if isinstance(rows, _SplitZip):
                cbsa_of_zip[zip_code] = rows.deciding.cbsa
                count += len(rows.codes)
            else:
                cbsa_of_zip[zip_code] = rows[1][0]
                count += 1
        return Crosswalk(cbsa_of_zip, count, left_out)

    def _check_texts(self, cbsa: str, *ratios: str) -> list[str]:
        """Check a CBSA and its ratios, remember them, and return them in a form that COPY takes. Raises ValueError."""
        if len(self.ratios) > RATIOS_REMEMBERED:
            self.ratios.clear()
        code = _code("CBSA", cbsa)
        self.cbsas.setdefault(code, code)
        texts = [code]
        for column, text in zip(RATIOS, ratios, strict=True):
            if text in self.ratios:
                texts.append(text)
                continue
            ratio = _ratio(column, text)
            plain = text if PLAIN_RATIO.fullmatch(text) and float(text) == ratio else repr(ratio)
            self.ratios[plain] = ratio
            texts.append(plain)
        return texts

    def zip_of(self, row: Sequence[str]) -> str:
        """Return the ZIP of a bad row, or "" where that is bad, too."""
        try:
            return _code("ZIP", row[self.table.header["ZIP"]])
        except (ValueError, IndexError):
            return ""


def read_crosswalk(source: Source, findings: Findings, progress: Progress, copy: IO[str], sheet: str = "") -> Crosswalk:
    """Check HUD's file, choose each ZIP's CBSA by the rule, and write the good rows to `copy` as PostgreSQL's COPY reads them.

    `sheet` names the sheet of a workbook, "" the only one that fits. A ZIP of which any row is bad, or whose TOT_RATIO do
    not add up to 1, is left out whole. Memory holds a few facts of each ZIP, of which there are at most 100,000; the rows
    themselves go to disk.

    Raises:
        ImportRefused: the file is of another kind, or the reversed crosswalk.
    """
    table = find_table(source, findings, ZIP_COLUMNS, ZIP_ALIASES, sheet)
    rows, spoilt = _CrosswalkRows(table), dict[str, None]()
    for number, (line, row) in enumerate(table.rows):
        if number % PROGRESS_ROWS == 0:
            progress(f"Checking {source.name}: {number:,} rows")
        try:
            copy.write(rows.add(line, row))
        except ValueError as error:
            if not _is_caption(row):
                findings.reject(source, line, f"{error}.")
                spoilt[rows.zip_of(row)] = None
        if len(rows.cbsas) > CODES_LIMIT:
            source.refuse(f"it names more than {CODES_LIMIT:,} CBSAs, which no crosswalk does.")
    if not rows.zips:
        findings.check()
        source.refuse("below the header there is no row.")
    _check_sums(source, rows, spoilt, findings)
    return rows.crosswalk(frozenset(zip_code for zip_code in spoilt if zip_code))


def _check_sums(source: Source, rows: _CrosswalkRows, spoilt: dict[str, None], findings: Findings) -> None:
    """Reject each ZIP whose TOT_RATIO do not add up to 1. Raises ImportRefused where that is true of most of them."""
    wrong = [(zip_code, line, total) for zip_code, line, total in rows.totals() if abs(total - 1) > SUM_TOLERANCE]
    count = len(rows.zips)
    if len(wrong) > max(2, count / 2):
        source.refuse(
            f"for {len(wrong):,} of its {count:,} ZIPs the TOT_RATIO do not add up to 1. It looks like HUD's reversed "
            "crosswalk, CBSA to ZIP, whose ratios are shares of the CBSA. Take the crosswalk ZIP to CBSA."
        )
    for zip_code, line, total in wrong:
        if zip_code not in spoilt:
            fault = "a row of it is missing" if total < 1 else "a row of it is too much"
            findings.reject(source, line, f"the TOT_RATIO of ZIP {zip_code} add up to {total:.6g}, not to 1: {fault}.")
            spoilt[zip_code] = None


def check_codes(source: Source, crosswalk: Crosswalk, census: Census) -> None:
    """Refuse a crosswalk of which most codes are no CBSAs, such as one from ZIPs to counties.

    Raises:
        ImportRefused: fewer than LEAST_KNOWN_CODES of the codes are in the census file.
    """
    codes = set(crosswalk.cbsa_of_zip.values()) - {NO_CBSA}
    unknown = sorted(code for code in codes if code not in census.kinds and code not in census.divided)
    if len(codes) - len(unknown) < LEAST_KNOWN_CODES * len(codes):
        raise ImportRefused(
            f"{source.name}: of the {len(codes):,} codes in its column CBSA, {len(unknown):,} are no CBSAs of the census file, "
            f"such as {', '.join(unknown[:3])}. It looks like a crosswalk to counties or to other areas. Take the crosswalk ZIP to CBSA.",
            hint="If these codes are right, repeat the import with --force.",
        )


# --- Tables --------------------------------------------------------------------------------------------------------------------
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
        names = [_plain(cell).upper() for cell in row]
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


def _is_caption(row: list[str]) -> bool:
    """Return whether the row is blank or holds one text and no figures, as captions of the Census Bureau do."""
    filled = [cell for cell in row if cell and not cell.isspace()]
    return not filled or (len(filled) == 1 and not filled[0].strip()[0].isdigit())


# --- Cells ---------------------------------------------------------------------------------------------------------------------
INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u200e\u200f\u00ad"))
"""Marks that spreadsheets and copying leave in a text: byte order marks, zero-width spaces, direction marks, soft hyphens."""

CONTROL = {code: bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0xA0)}
"""The characters that Windows-1252 has where Latin-1 has control characters, which no name holds."""

FIVE_DIGITS = re.compile(r"[0-9]{5}")
PLAIN_RATIO = re.compile(r"[01]|[01]?\.[0-9]{1,20}")


def _plain(text: str) -> str:
    """Return a text without invisible marks, and with one plain blank where it has no-break spaces or several blanks."""
    if not text.isascii():
        text = text.translate(INVISIBLE)
    return " ".join(text.split())


def _code(column: str, text: str) -> str:
    if not FIVE_DIGITS.fullmatch(text):
        text = _plain(text)
        if not FIVE_DIGITS.fullmatch(text):
            hint = "; its leading zeros may have been lost in a spreadsheet" if text.isdigit() and len(text) < 5 else ""
            raise ValueError(f"{column} {text[:20]!r} is not five digits{hint}")
    return text


def _ratio(column: str, text: str) -> float:
    text = _plain(text)
    try:
        ratio = float(text) if text.isascii() and "_" not in text else -1.0
    except ValueError:
        ratio = -1.0
    if not -RATIO_TOLERANCE <= ratio <= 1 + RATIO_TOLERANCE:
        raise ValueError(f"{column} {text[:20]!r} is not a number from 0 to 1")
    return min(ratio, 1.0) if ratio > 0 else 0.0


def _whole(column: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ValueError(f"{column} {text[:20]!r} is not a number of people")
    return int(text)


def _words(column: str, text: str) -> str:
    if not 0 < len(text) <= 100:
        raise ValueError(f"{column} has {len(text)} characters, which is not from 1 to 100")
    return text.translate(CONTROL) if not text.isascii() else text


def _kind(text: str) -> str:
    """Return LSAD, with the kinds that the rule knows in one spelling."""
    return next((kind for kind in LSADS if kind.casefold() == text.casefold()), text)


def _doubt(name: str) -> str:
    """Return why a name looks wrongly decoded; "" where it does not."""
    if "\N{REPLACEMENT CHARACTER}" in name:
        return f"NAME {name[:60]!r} has a letter that could not be decoded (U+FFFD)"
    try:
        repaired = name.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return ""
    return f"NAME {name[:60]!r} looks wrongly decoded; it may be meant as {repaired[:60]!r}"
