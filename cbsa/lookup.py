"""Which metropolitan area is this ZIP in? Reads of the dataset in use; `cbsa/rules.py` holds the rule itself."""

import json
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db import connection

from cbsa.errors import NoDataset
from cbsa.models import Dataset, Zip
from cbsa.rules import Share, growth_percent, rank


class Market(NamedTuple):
    """A metropolitan statistical area: the code of its CBSA, and its name."""

    cbsa: str
    msa: str


def market_of(zip_code: str) -> Market | None:
    """The market of a five-digit ZIP; None where it is unknown or lies in no metropolitan area."""
    return markets_of([zip_code]).get(zip_code)


def markets_of(zip_codes: Collection[str], dataset_id: int | None = None) -> dict[str, Market]:
    """The markets of those five-digit ZIPs that lie in a metropolitan area, in one query; of the dataset in use or the one named."""
    dataset = {"dataset": dataset_id} if dataset_id else {"dataset__active": True}
    found = Zip.objects.filter(**dataset, zip__in=zip_codes, msa__isnull=False)
    return {zip_code: Market(cbsa, msa) for zip_code, cbsa, msa in found.values_list("zip", "effective_cbsa", "msa__name")}


def has_dataset() -> bool:
    """Return whether any ZIP data are in use."""
    return Dataset.objects.filter(active=True).exists()


@dataclass(frozen=True)
class Found:
    """Answers out of one dataset, as JSON. `version` changes with each import; an unknown ZIP has no answer."""

    version: str
    answers: dict[str, str]


# One statement, so that all of an answer is of one dataset. Without any ZIP found, the dataset's row comes alone.
QUERY = """
SELECT d.id, left(d.zips_sha256, 8), left(d.metros_sha256, 8), d.vintage, z.zip, z.cbsa, z.effective_cbsa, a.name, a.population,
       s.cbsa, s.tot_ratio, s.res_ratio, s.bus_ratio, s.oth_ratio
FROM (SELECT * FROM cbsa_dataset WHERE active LIMIT 1) d
LEFT JOIN cbsa_zip z ON z.dataset_id = d.id AND z.zip = ANY(%s)
LEFT JOIN cbsa_area a ON a.id = z.msa_id
LEFT JOIN cbsa_zipshare s ON s.dataset_id = d.id AND s.zip = z.zip
"""

FRESH_SECONDS = 1.0
REMEMBERED_ZIPS = 20_000  # about 10 MB


@dataclass
class _Memory:
    """What this process has read of one dataset, and when it last saw that dataset in use."""

    version: str = ""
    seen_at: float = 0.0
    answers: dict[str, str] = field(default_factory=dict)

    def holds(self, zip_codes: Collection[str]) -> bool:
        """Whether it answers all of them, and lately enough."""
        return time.monotonic() - self.seen_at < FRESH_SECONDS and all(zip_code in self.answers for zip_code in zip_codes)


_memory = _Memory()


def forget() -> None:
    """Ask the database at the next read."""
    global _memory
    _memory = _Memory()


def is_remembered(zip_code: str) -> bool:
    """Whether its answer needs no database."""
    return _memory.holds([zip_code])


def find(zip_codes: Collection[str]) -> Found:
    """What the dataset in use says of these five-digit ZIPs, at most a second ago. Raises NoDataset before the first import.

    All answers are of one dataset: they come either from what is remembered of it, or all from one statement.
    """
    global _memory
    memory, now = _memory, time.monotonic()
    if memory.holds(zip_codes):
        return Found(memory.version, {zip_code: memory.answers[zip_code] for zip_code in zip_codes})
    found = _read(zip_codes)
    if found.version != memory.version or len(memory.answers) > REMEMBERED_ZIPS:
        memory = _Memory(found.version)
    memory.answers.update(found.answers)
    memory.seen_at = now
    _memory = memory
    return found


def _read(zip_codes: Collection[str]) -> Found:
    with connection.cursor() as cursor:
        cursor.execute(QUERY, [list(zip_codes)])
        rows = cursor.fetchall()
    if not rows:
        raise NoDataset("No ZIP data has been imported yet; manage.py import_cbsa does it.")
    facts: dict[str, list[Any]] = {}
    shares: dict[str, list[Share]] = {}
    for _, _, _, vintage, zip_code, *fact, cbsa, tot, res, bus, oth in rows:
        if zip_code:
            facts[zip_code] = [vintage, *fact]
            shares.setdefault(zip_code, []).append(Share(cbsa, tot, res, bus, oth))
    answers = {zip_code: _as_json(zip_code, *fact, shares=shares[zip_code]) for zip_code, fact in facts.items()}
    return Found("-".join(map(str, rows[0][:3])), answers)


def _as_json(
    zip_code: str, vintage: str, cbsa: str, effective_cbsa: str, msa: str | None, population: str | None, *, shares: list[Share]
) -> str:
    by_year = json.loads(population) if population else {}
    answer = {
        "zip": zip_code,
        "cbsa": cbsa,
        "effective_cbsa": effective_cbsa,
        "msa": msa,
        "population": by_year,
        "growth_percent": growth_percent(by_year),
        "matches": [share._asdict() for share in sorted(shares, key=rank)],
        "vintage": vintage,
    }
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
