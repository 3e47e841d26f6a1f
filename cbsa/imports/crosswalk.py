"""Check every row of HUD's crosswalk before any is loaded, and choose each ZIP's CBSA by the rule.

The columns are those of HUD, "USPS ZIP Code Crosswalk Files".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import IO

from cbsa.errors import ImportRefused
from cbsa.imports.cells import PLAIN_RATIO, check_code, check_ratio, is_caption
from cbsa.imports.census import Census
from cbsa.imports.findings import Findings
from cbsa.imports.header import Table, find_table
from cbsa.imports.sources import PROGRESS_ROWS, Progress, Source
from cbsa.rules import NO_CBSA, Share, rank

RATIOS = ("TOT_RATIO", "RES_RATIO", "BUS_RATIO", "OTH_RATIO")
COLUMNS = ("ZIP", "CBSA", *RATIOS)
ALIASES = {"GEOID": "CBSA"}  # HUD's API calls the other area of every crosswalk so
CODES_LIMIT = 5_000  # a crosswalk names about 1,000 CBSAs
RATIOS_REMEMBERED = 20_000

SUM_TOLERANCE = 0.01
"""How far from 1 a ZIP's TOT_RATIO may add up: HUD warns of rounding, and users round to two decimals. The worst of five
crosswalks that HUD published is 1.3e-7. A row of so little cannot have decided the ZIP's CBSA."""
LEAST_KNOWN_CODES = 0.5
"""The share of a crosswalk's codes that must be CBSAs of the census file. A pair of two far vintages has 0.95."""


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
        self.pick = itemgetter(*(table.header[column] for column in COLUMNS))
        self.zips: dict[str, OneRow | _SplitZip] = {}
        self.cbsas: dict[str, str] = {}  # each code once, so that the ZIPs share it in memory
        self.ratios: dict[str, float] = {}  # by their texts, in a form that COPY takes

    def add(self, line: int, row: list[str]) -> str:
        """Check a row, count it for its ZIP, and return it as PostgreSQL's COPY reads it. Raises ValueError."""
        if len(row) != self.width or self.table.problems:
            self.table.check_row(line, row, COLUMNS)
        zip_code, cbsa, tot, res, bus, oth = self.pick(row)
        if zip_code not in self.zips:
            zip_code = check_code("ZIP", zip_code)
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
        code = check_code("CBSA", cbsa)
        self.cbsas.setdefault(code, code)
        texts = [code]
        for column, text in zip(RATIOS, ratios, strict=True):
            if text in self.ratios:
                texts.append(text)
                continue
            if PLAIN_RATIO.fullmatch(text) and (ratio := float(text)) <= 1:
                plain = text
            else:
                ratio = check_ratio(column, text)
                plain = repr(ratio)
            self.ratios[plain] = ratio
            texts.append(plain)
        return texts

    def zip_of(self, row: Sequence[str]) -> str:
        """Return the ZIP of a bad row, or "" where that is bad, too."""
        try:
            return check_code("ZIP", row[self.table.header["ZIP"]])
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
    table = find_table(source, findings, COLUMNS, ALIASES, sheet)
    rows, spoilt = _CrosswalkRows(table), dict[str, None]()
    for number, (line, row) in enumerate(table.rows):
        if number % PROGRESS_ROWS == 0:
            progress(f"Checking {source.name}: {number:,} rows")
        try:
            copy.write(rows.add(line, row))
        except ValueError as error:
            if not is_caption(row):
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
