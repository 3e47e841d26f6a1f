"""Read ZIPs and their metropolitan areas from the dataset in use, or from an earlier one. `cbsa/rules.py` holds the rule itself.

Each process remembers answers of the dataset in use, so that a popular ZIP needs no query. A remembered answer is at most
FRESH_SECONDS old.
"""

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from cbsa.errors import NoDataset, UnknownVintage, UnknownZip
from cbsa.models import Dataset, Zip
from cbsa.rules import METROPOLITAN, Kind, Share, growth_percent, kind_of, rank

SWITCH_LOCK = 0x7377697463  # an advisory lock of our own: "switc" in ASCII
NOTHING_IMPORTED = "No ZIP data has been imported yet; manage.py import_cbsa does it."


class Market(NamedTuple):
    """A metropolitan statistical area: the code of its CBSA, and its name."""

    cbsa: str
    msa: str


def market_of(zip_code: str) -> Market | None:
    """Return the market of a five-digit ZIP; None where the ZIP is unknown or lies in no metropolitan area."""
    return markets_of([zip_code]).get(zip_code)


def markets_of(zip_codes: Collection[str], dataset_id: int | None = None) -> dict[str, Market]:
    """Return the markets of those five-digit ZIPs that lie in a metropolitan area, with one query.

    Reads the dataset with `dataset_id`, or else the one in use.
    """
    dataset = {"dataset": dataset_id} if dataset_id else {"dataset__active": True}
    zips = Zip.objects.filter(**dataset, zip__in=zip_codes, area__lsad=METROPOLITAN)
    return {zip_code: Market(cbsa, msa) for zip_code, cbsa, msa in zips.values_list("zip", "effective_cbsa", "area__name")}


def keep_dataset_in_use() -> None:
    """Let no other dataset come into use until this transaction ends. Others may do the same at the same time.

    Call it before reading an answer that will be stored. The next activation then waits until the stored answer is committed, so that
    the receivers of `dataset_activated` see it.

    Raises:
        OperationalError: another dataset is coming into use, and that takes longer than `lock_timeout`.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [SWITCH_LOCK])


def has_dataset() -> bool:
    """Return whether any ZIP data are in use."""
    return Dataset.objects.filter(active=True).exists()


def dataset_of(vintage: str | None) -> Dataset:
    """Return the dataset of a vintage, or the one in use where `vintage` is None.

    Raises:
        NoDataset: nothing has been imported yet.
        UnknownVintage: there is no such vintage.
    """
    chosen = {"active": True} if vintage is None else {"vintage": vintage}
    dataset = Dataset.objects.filter(**chosen).first() if _is_storable(vintage) else None
    if dataset is None:
        raise _no_dataset(vintage)
    return dataset


@dataclass(frozen=True, eq=False)  # equal only to itself, so that it can be a key
class ZipAnswer:
    """What one dataset says of one ZIP: the fields of the API's answer, in its order.

    `kind` says why there is no MSA. `population` holds people by year and is empty without an MSA. `matches` holds the ZIP's
    shares, the deciding one first.
    """

    zip: str
    cbsa: str
    effective_cbsa: str
    kind: Kind
    msa: str | None
    population: dict[str, int]
    growth_percent: float | None
    matches: tuple[Share, ...]
    vintage: str
    imported_at: datetime


@dataclass(frozen=True)
class ZipAnswers:
    """The answers to several ZIPs, all out of one dataset. `version` names it; an unknown ZIP has no answer."""

    version: str
    by_zip: dict[str, ZipAnswer]


# One statement, so that all answers are of one dataset. Without any known ZIP the dataset's row comes alone.
QUERY = """
SELECT d.id, left(d.zips_sha256, 8), left(d.metros_sha256, 8), d.active, d.latest_year, d.vintage, d.imported_at,
       z.zip, z.cbsa, z.effective_cbsa, a.lsad, a.name, a.population,
       s.cbsa, s.tot_ratio, s.res_ratio, s.bus_ratio, s.oth_ratio
FROM (SELECT * FROM cbsa_dataset WHERE {dataset}) d
LEFT JOIN cbsa_zip z ON z.dataset_id = d.id AND z.zip = ANY(%(zips)s)
LEFT JOIN cbsa_area a ON a.id = z.area_id
LEFT JOIN cbsa_zipshare s ON s.dataset_id = d.id AND s.zip = z.zip
"""
IN_USE = QUERY.format(dataset="active LIMIT 1")
OF_VINTAGE = QUERY.format(dataset="vintage = %(vintage)s")
OF_ALL = QUERY.format(dataset="true")

FRESH_SECONDS = 1.0
REMEMBERED_ZIPS = 20_000  # about 30 MB


@dataclass
class _Memory:
    """What this process has read of one dataset, and when it last saw that dataset in use."""

    version: str = ""
    checked_at: float = 0.0  # by time.monotonic()
    by_zip: dict[str, ZipAnswer] = field(default_factory=dict)

    def answers_all(self, zip_codes: Collection[str]) -> bool:
        """Return whether all these ZIPs are remembered and recent enough."""
        return time.monotonic() - self.checked_at < FRESH_SECONDS and all(zip_code in self.by_zip for zip_code in zip_codes)


_memory = _Memory()


def forget() -> None:
    """Make the next read ask the database."""
    global _memory
    _memory = _Memory()


def is_remembered(zip_code: str) -> bool:
    """Return whether the answer to this ZIP needs no database."""
    return _memory.answers_all([zip_code])


def zip_answers(zip_codes: Collection[str], vintage: str | None = None) -> ZipAnswers:
    """Return what the dataset in use, or the one of a vintage, says of these five-digit ZIPs.

    The answers are all remembered or all from one statement, so that two datasets never mix.

    Raises:
        NoDataset: nothing has been imported yet.
        UnknownVintage: there is no such vintage.
    """
    global _memory
    if vintage is not None:
        return _read(zip_codes, vintage)
    memory, now = _memory, time.monotonic()
    if memory.answers_all(zip_codes):
        return ZipAnswers(memory.version, {zip_code: memory.by_zip[zip_code] for zip_code in zip_codes})
    answers = _read(zip_codes)
    if answers.version != memory.version or len(memory.by_zip) > REMEMBERED_ZIPS:
        memory = _Memory(answers.version)
    memory.by_zip.update(answers.by_zip)
    memory.checked_at = now
    _memory = memory
    return answers


def zip_answer(zip_code: str, vintage: str | None = None) -> ZipAnswer:
    """Return what the dataset in use, or the one of a vintage, says of one five-digit ZIP.

    Raises:
        NoDataset: nothing has been imported yet.
        UnknownVintage: there is no such vintage.
        UnknownZip: the dataset has no such ZIP.
    """
    answers = zip_answers([zip_code], vintage)
    if zip_code not in answers.by_zip:
        raise unknown_zip(zip_code, vintage)
    return answers.by_zip[zip_code]


def unknown_zip(zip_code: str, vintage: str | None = None) -> UnknownZip:
    """Return the error that names a ZIP as unknown."""
    where = "the data in use" if vintage is None else f"the data of {vintage}"
    return UnknownZip(f"ZIP {zip_code} is not in {where}.", zip=zip_code)


def _read(zip_codes: Collection[str], vintage: str | None = None) -> ZipAnswers:
    rows: list[Any] = []
    if _is_storable(vintage):
        rows = _rows(IN_USE if vintage is None else OF_VINTAGE, zips=list(zip_codes), vintage=vintage)
    if not rows:
        raise _no_dataset(vintage)
    return _answers(rows)


def _rows(query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _answers(rows: Sequence[Sequence[Any]]) -> ZipAnswers:
    """Return the answers in the rows of one dataset."""
    facts: dict[str, Sequence[Any]] = {}
    shares: dict[str, list[Share]] = {}
    for row in rows:
        _, _, _, _, _, vintage, imported_at, zip_code, cbsa, effective_cbsa, lsad, name, population, *share = row
        if zip_code:
            facts[zip_code] = vintage, imported_at, zip_code, cbsa, effective_cbsa, lsad, name, population
            shares.setdefault(zip_code, []).append(Share(*share))
    by_zip = {zip_code: _answer(*fact, shares=shares[zip_code]) for zip_code, fact in facts.items()}
    return ZipAnswers("-".join(map(str, rows[0][:3])), by_zip)


def _answer(
    vintage: str,
    imported_at: datetime,
    zip_code: str,
    cbsa: str,
    effective_cbsa: str,
    lsad: str | None,
    name: str | None,
    population: str | None,
    *,
    shares: list[Share],
) -> ZipAnswer:
    kind = kind_of(effective_cbsa, lsad)
    metropolitan = kind is Kind.METROPOLITAN
    by_year: dict[str, int] = json.loads(population) if population and metropolitan else {}
    return ZipAnswer(
        zip=zip_code,
        cbsa=cbsa,
        effective_cbsa=effective_cbsa,
        kind=kind,
        msa=name if metropolitan else None,
        population=by_year,
        growth_percent=growth_percent(by_year),
        matches=tuple(sorted(shares, key=rank)),
        vintage=vintage,
        imported_at=imported_at,
    )


# --- Vintages ------------------------------------------------------------------------------------------------------------------
COMPARED = ("kind", "cbsa", "effective_cbsa", "msa")


@dataclass(frozen=True)
class VintageOfZip:
    """What one vintage says of a ZIP, None where it lacks the ZIP, and what differs from the vintage before it.

    `changes` holds the values before and after of each field of COMPARED that differs; it is empty in the first vintage.
    """

    vintage: str
    imported_at: datetime
    in_use: bool
    answer: ZipAnswer | None
    changes: dict[str, tuple[str | None, str | None]]


def vintages() -> list[Dataset]:
    """Return all datasets, from the earliest data to the latest: by the latest year of their estimates, then by label."""
    return sorted(Dataset.objects.all(), key=lambda dataset: _order(dataset.latest_year, dataset.vintage))


def _order(latest_year: int | None, vintage: str) -> tuple[int, str]:
    return latest_year or 0, vintage


def zip_history(zip_code: str) -> list[VintageOfZip]:
    """Return what each vintage says of a five-digit ZIP, the earliest data first, with one query.

    Raises:
        NoDataset: nothing has been imported yet.
        UnknownZip: no vintage has such a ZIP.
    """
    rows_of_dataset: dict[int, list[Any]] = {}
    for row in _rows(OF_ALL, zips=[zip_code]):
        rows_of_dataset.setdefault(row[0], []).append(row)
    if not rows_of_dataset:
        raise NoDataset(NOTHING_IMPORTED)
    history: list[VintageOfZip] = []
    for rows in sorted(rows_of_dataset.values(), key=lambda rows: _order(*rows[0][4:6])):
        _, _, _, in_use, _, vintage, imported_at, *_ = rows[0]
        answer = _answers(rows).by_zip.get(zip_code)
        before, after = (_compared(history[-1].answer) if history else None), _compared(answer)
        changes = {name: (before[name], after[name]) for name in COMPARED if before[name] != after[name]} if before else {}
        history.append(VintageOfZip(vintage, imported_at, in_use, answer, changes))
    if not any(entry.answer for entry in history):
        raise UnknownZip(f"ZIP {zip_code} is not in the data in use. No other vintage has it.", zip=zip_code)
    return history


def _compared(answer: ZipAnswer | None) -> dict[str, str | None]:
    return {name: getattr(answer, name, None) for name in COMPARED}


def _no_dataset(vintage: str | None) -> NoDataset | UnknownVintage:
    """Return the error for a dataset that is not there."""
    labels = list(Dataset.objects.order_by("vintage").values_list("vintage", flat=True))
    if vintage is None or not labels:
        return NoDataset(NOTHING_IMPORTED)
    return UnknownVintage(f"There is no vintage {vintage[:50]!r}. These are imported: {', '.join(labels)}.", vintages=labels)


def _is_storable(text: str | None) -> bool:
    """Return whether PostgreSQL can hold the text, which excludes NUL and lone surrogates."""
    return text is None or ("\0" not in text and text.isprintable())
