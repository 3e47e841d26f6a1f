"""Read ZIPs and their metropolitan areas from the dataset in use. `cbsa/rules.py` holds the rule itself.

Each process remembers answers, so that a popular ZIP needs no query. A remembered answer is at most FRESH_SECONDS old.
"""

import json
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db import connection

from cbsa.errors import NoDataset, UnknownZip
from cbsa.models import Dataset, Zip
from cbsa.rules import Share, growth_percent, rank


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
    zips = Zip.objects.filter(**dataset, zip__in=zip_codes, msa__isnull=False)
    return {zip_code: Market(cbsa, msa) for zip_code, cbsa, msa in zips.values_list("zip", "effective_cbsa", "msa__name")}


def has_dataset() -> bool:
    """Return whether any ZIP data are in use."""
    return Dataset.objects.filter(active=True).exists()


@dataclass(frozen=True, eq=False)  # equal only to itself, so that it can be a key
class ZipAnswer:
    """What the dataset in use says of one ZIP: the fields of the API's answer, in its order.

    `population` holds people by year and is empty without an MSA. `matches` holds the ZIP's shares, the deciding one first.
    """

    zip: str
    cbsa: str
    effective_cbsa: str
    msa: str | None
    population: dict[str, int]
    growth_percent: float | None
    matches: tuple[Share, ...]
    vintage: str


@dataclass(frozen=True)
class ZipAnswers:
    """The answers to several ZIPs, all out of one dataset. `version` names it; an unknown ZIP has no answer."""

    version: str
    by_zip: dict[str, ZipAnswer]


# One statement, so that all answers are of one dataset. Without any known ZIP the dataset's row comes alone.
QUERY = """
SELECT d.id, left(d.zips_sha256, 8), left(d.metros_sha256, 8), d.vintage, z.zip, z.cbsa, z.effective_cbsa, a.name, a.population,
       s.cbsa, s.tot_ratio, s.res_ratio, s.bus_ratio, s.oth_ratio
FROM (SELECT * FROM cbsa_dataset WHERE active LIMIT 1) d
LEFT JOIN cbsa_zip z ON z.dataset_id = d.id AND z.zip = ANY(%s)
LEFT JOIN cbsa_area a ON a.id = z.msa_id
LEFT JOIN cbsa_zipshare s ON s.dataset_id = d.id AND s.zip = z.zip
"""


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


def zip_answers(zip_codes: Collection[str]) -> ZipAnswers:
    """Return what the dataset in use says of these five-digit ZIPs.

    The answers are all remembered or all from one statement, so that two datasets never mix.

    Raises:
        NoDataset: nothing has been imported yet.
    """
    global _memory
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


def zip_answer(zip_code: str) -> ZipAnswer:
    """Return what the dataset in use says of one five-digit ZIP.

    Raises:
        NoDataset: nothing has been imported yet.
        UnknownZip: the dataset in use has no such ZIP.
    """
    answers = zip_answers([zip_code])
    if zip_code not in answers.by_zip:
        raise UnknownZip(f"ZIP {zip_code} is not in the data in use.", zip=zip_code)
    return answers.by_zip[zip_code]


def _read(zip_codes: Collection[str]) -> ZipAnswers:
    with connection.cursor() as cursor:
        cursor.execute(QUERY, [list(zip_codes)])
        rows = cursor.fetchall()
    if not rows:
        raise NoDataset("No ZIP data has been imported yet; manage.py import_cbsa does it.")
    facts: dict[str, tuple[Any, ...]] = {}
    shares: dict[str, list[Share]] = {}
    for _, _, _, vintage, zip_code, cbsa, effective_cbsa, msa, population, *share in rows:
        if zip_code:
            facts[zip_code] = cbsa, effective_cbsa, msa, population, vintage
            shares.setdefault(zip_code, []).append(Share(*share))
    by_zip = {zip_code: _answer(zip_code, *fact, shares=shares[zip_code]) for zip_code, fact in facts.items()}
    return ZipAnswers("-".join(map(str, rows[0][:3])), by_zip)


def _answer(
    zip_code: str, cbsa: str, effective_cbsa: str, msa: str | None, population: str | None, vintage: str, *, shares: list[Share]
) -> ZipAnswer:
    by_year: dict[str, int] = json.loads(population) if population else {}
    matches = tuple(sorted(shares, key=rank))
    return ZipAnswer(zip_code, cbsa, effective_cbsa, msa, by_year, growth_percent(by_year), matches, vintage)
