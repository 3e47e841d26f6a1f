"""Read areas: a CBSA or a division with its counties and ZIPs, and the search for areas by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet, Sum

from cbsa.area_names import Match, area_name, query_words, without_begun_filler
from cbsa.errors import UnknownArea
from cbsa.lookup import dataset_of
from cbsa.models import Area, Dataset, Zip, ZipShare
from cbsa.rules import DIVISION, METROPOLITAN, MICROPOLITAN, Kind, growth_percent, kind_of

CBSA_KINDS = (METROPOLITAN, MICROPOLITAN)


@dataclass(frozen=True)
class Part:
    """A division or a county of an area. `division` is the code of the division that a county lies in, "" for none."""

    code: str
    name: str
    population: dict[str, int]
    division: str = ""


@dataclass(frozen=True)
class AreaAnswer:
    """What one dataset says of an area. `name` is None where the census file lacks it; `parent` is the CBSA of a division."""

    cbsa: str
    name: str | None
    kind: Kind
    parent: Part | None
    divisions: list[Part]
    counties: list[Part]
    population: dict[str, int]
    growth_percent: float | None
    zips: int
    dataset: Dataset


def area_answer(code: str, vintage: str | None = None) -> AreaAnswer:
    """Return what the dataset in use, or the one of a vintage, says of a CBSA or of a metropolitan division.

    Raises:
        NoDataset: nothing has been imported yet.
        UnknownVintage: there is no such vintage.
        UnknownArea: no ZIP and no row of the census file has this code.
    """
    dataset = dataset_of(vintage)
    rows = list(_rows_of(dataset, code))
    own = next((row for row in rows if _code_of(row) == code), None)
    if own is None:
        return _absent_area(dataset, code)
    parent = None
    if own.lsad == DIVISION:
        row = Area.objects.get(dataset=dataset, cbsa=own.cbsa, lsad=METROPOLITAN)
        parent = Part(row.cbsa, row.name, row.population)
    return AreaAnswer(
        cbsa=code,
        name=own.name,
        kind=kind_of(code, own.lsad),
        parent=parent,
        divisions=[Part(row.mdiv, row.name, row.population) for row in rows if row.lsad == DIVISION and row != own],
        counties=[Part(row.stcou, row.name, row.population, row.mdiv) for row in rows if row.stcou],
        population=own.population,
        growth_percent=growth_percent(own.population),
        zips=own.zips,
        dataset=dataset,
    )


def _rows_of(dataset: Dataset, code: str) -> QuerySet[Area]:
    """Return the rows of a CBSA, or of a division: its own, its divisions' and its counties'."""
    if not _is_code(code):
        return Area.objects.none()
    return Area.objects.filter(Q(cbsa=code) | Q(mdiv=code), dataset=dataset).order_by("mdiv", "stcou")


def _code_of(row: Area) -> str:
    """Return the code of a CBSA's or a division's own row; "" for a county."""
    return {METROPOLITAN: row.cbsa, MICROPOLITAN: row.cbsa, DIVISION: row.mdiv}.get(row.lsad, "")


def _is_code(text: str) -> bool:
    return len(text) == 5 and text.isascii() and text.isdigit()


def _absent_area(dataset: Dataset, code: str) -> AreaAnswer:
    """Return an area of which the census file has no row, as Puerto Rico's, if a ZIP lies in it. Raises UnknownArea."""
    kind = kind_of(code, None)
    zips = Zip.objects.filter(dataset=dataset, effective_cbsa=code).count() if _is_code(code) and kind is Kind.ABSENT else 0
    if not zips:
        raise UnknownArea(f"{code[:20]!r} is the code of no CBSA and of no metropolitan division in the data of {dataset}.", cbsa=code[:20])
    return AreaAnswer(code, None, kind, None, [], [], {}, None, zips, dataset)


# --- The ZIPs of an area ---------------------------------------------------------------------------------------------------------
RATIOS = ("tot_ratio", "res_ratio", "bus_ratio", "oth_ratio")


def area_zips(answer: AreaAnswer, *, partial: bool) -> QuerySet[Zip]:
    """Return the ZIPs that the rule places in the area, by ZIP; with `partial` also those of which only a part lies there."""
    shares = ZipShare.objects.filter(dataset=answer.dataset, cbsa__in=_codes(answer))
    zips = Zip.objects.filter(dataset=answer.dataset, zip__in=shares.values("zip")).order_by("zip")
    if partial:
        return zips
    return zips.filter(cbsa=answer.cbsa) if answer.kind is Kind.DIVISION else zips.filter(effective_cbsa=answer.cbsa)


def area_zip_codes(answer: AreaAnswer) -> list[str]:
    """Return the ZIPs that the rule places in the area, in order."""
    return list(area_zips(answer, partial=False).values_list("zip", flat=True))


def shares_in(answer: AreaAnswer, zips: Sequence[Zip]) -> dict[str, dict[str, float]]:
    """Return how much of each ZIP's addresses lies in the area, by ratio, over all of its divisions."""
    shares = ZipShare.objects.filter(dataset=answer.dataset, cbsa__in=_codes(answer), zip__in=[row.zip for row in zips])
    sums = shares.order_by().values_list("zip").annotate(*(Sum(name) for name in RATIOS))
    return {zip_code: {name: min(ratio, 1.0) for name, ratio in zip(RATIOS, ratios, strict=True)} for zip_code, *ratios in sums}


def _codes(answer: AreaAnswer) -> list[str]:
    """Return the codes under which HUD's file has the area: its own, or those of its divisions."""
    return [answer.cbsa, *(division.code for division in answer.divisions)]


# --- Search ------------------------------------------------------------------------------------------------------------------------
RESULTS_LIMIT = 20
CANDIDATES_LIMIT = 1_000  # about as many as there are CBSAs
COUNTY_LETTERS = 4  # from so many letters on, counties and divisions are searched, too


@dataclass(frozen=True)
class AreaFound:
    """A CBSA that a search found. `matched` is the name that matched, its own or its division's or county's, of `matched_people`."""

    cbsa: str
    name: str
    kind: Kind
    people: int | None
    zips: int
    matched: str
    matched_people: int | None
    match: Match


@dataclass(frozen=True)
class SearchAnswer:
    """The CBSAs that match best, `count` of all that match, and whether several match equally well."""

    results: list[AreaFound]
    count: int
    ambiguous: bool
    vintage: str
    imported_at: datetime


# The dataset's row stands in the statement, so that all is of one dataset; it comes alone where no name matches.
SEARCH = """
SELECT d.vintage, d.imported_at, found.*
FROM (SELECT * FROM cbsa_dataset WHERE {dataset}) d
LEFT JOIN LATERAL (
    SELECT cbsa.cbsa, cbsa.name, cbsa.lsad, cbsa.people, cbsa.zips, area.name AS matched, area.people AS matched_people,
           area.id = cbsa.id AS own,
           to_tsvector('simple', COALESCE(area.search_text, '')) @@ %(words)s::tsquery AS all_words
    FROM cbsa_area area
    JOIN cbsa_area cbsa ON cbsa.dataset_id = d.id AND cbsa.cbsa = area.cbsa AND cbsa.lsad = ANY(%(kinds)s)
    WHERE area.dataset_id = d.id AND to_tsvector('simple', COALESCE(area.search_text, '')) @@ %(any)s::tsquery
        AND (area.id = cbsa.id OR %(counties)s)
    ORDER BY area.id = cbsa.id DESC, area.people DESC NULLS LAST
    LIMIT %(limit)s
) found ON true
"""
SEARCH_IN_USE = SEARCH.format(dataset="active LIMIT 1")
SEARCH_OF_VINTAGE = SEARCH.format(dataset="vintage = %(vintage)s")


def search_areas(text: str, vintage: str | None = None) -> SearchAnswer:
    """Search the dataset in use, or the one of a vintage, for CBSAs by name, with one statement.

    Names are matched without regard to case, accents and punctuation; each word may be cut short. The best matches come
    first, the largest first among equals. Names of divisions and counties count only where no CBSA's own name matches.

    Raises:
        NoDataset: nothing has been imported yet.
        UnknownVintage: there is no such vintage.
    """
    words = query_words(text)
    if not words:
        dataset = dataset_of(vintage)
        return SearchAnswer([], 0, ambiguous=False, vintage=dataset.vintage, imported_at=dataset.imported_at)
    fewer = without_begun_filler(words)
    query = " & ".join(f"'{word}':*" for word in words)
    rows = _search(query, " & ".join(f"'{word}':*" for word in fewer), len("".join(words)) >= COUNTY_LETTERS, vintage)
    if not rows:
        dataset_of(vintage)  # raises, as there is none
    vintage, imported_at = rows[0][:2]
    rows = [row[2:] for row in rows if row[2]]
    if any(all_words for *_, all_words in rows):
        rows = [row for row in rows if row[-1]]
    else:
        words = fewer
    if any(own for *_, own, _ in rows):
        rows = [row for row in rows if row[-2]]
    found = _ranked(rows, words)
    ambiguous = len(found) > 1 and found[0].match == found[1].match
    return SearchAnswer(found[:RESULTS_LIMIT], len(found), ambiguous, vintage, imported_at)


def largest_areas() -> list[AreaFound]:
    """Return the largest metropolitan areas of the dataset in use.

    Raises:
        NoDataset: nothing has been imported yet.
    """
    rows = Area.objects.filter(dataset=dataset_of(None), lsad=METROPOLITAN).order_by("-people", "cbsa")[:RESULTS_LIMIT]
    kind = Kind.METROPOLITAN
    return [AreaFound(row.cbsa, row.name, kind, row.people, row.zips, row.name, row.people, Match.FIRST_CITY) for row in rows]


def _search(words: str, fewer: str, counties: bool, vintage: str | None) -> list[Any]:
    parameters: dict[str, Any] = {
        "words": words,
        "any": f"({words}) | ({fewer})",
        "kinds": list(CBSA_KINDS),
        "counties": counties,
        "limit": CANDIDATES_LIMIT,
        "vintage": vintage,
    }
    if vintage is not None and not vintage.isprintable():
        return []
    with connection.cursor() as cursor:
        cursor.execute(SEARCH_IN_USE if vintage is None else SEARCH_OF_VINTAGE, parameters)
        rows: list[Any] = cursor.fetchall()
    return rows


def _ranked(rows: Sequence[Sequence[Any]], words: Sequence[str]) -> list[AreaFound]:
    """Return each CBSA once, by its best match, then by the population of what matched."""
    best: dict[str, AreaFound] = {}
    for cbsa, name, lsad, people, zips, matched, matched_people, _, _ in rows:
        match = area_name(matched).match(words)
        found = AreaFound(cbsa, name, kind_of(cbsa, lsad), people, zips, matched, matched_people, match)
        if cbsa not in best or found.match < best[cbsa].match:
            best[cbsa] = found
    return sorted(best.values(), key=lambda found: (found.match, -(found.matched_people or 0), found.cbsa))
