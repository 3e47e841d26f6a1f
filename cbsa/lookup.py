"""Which metropolitan area is this ZIP in? Reads of the dataset in use; `cbsa/rule.py` holds the rule itself."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connection

from cbsa.errors import NoDataset
from cbsa.models import Zip
from cbsa.rule import Share, growth_percent, rank


class Market(NamedTuple):
    """A metropolitan statistical area: the code of its CBSA, and its name."""

    cbsa: str
    msa: str


def market_of(zip_code: str) -> Market | None:
    """The market of a five-digit ZIP; None where it is unknown or lies in no metropolitan area."""
    return markets_of([zip_code]).get(zip_code)


def markets_of(zip_codes: Collection[str]) -> dict[str, Market]:
    """The markets of those five-digit ZIPs that lie in a metropolitan area, in one query."""
    found = Zip.objects.filter(dataset__active=True, zip__in=zip_codes, msa__isnull=False)
    return {zip_code: Market(cbsa, msa) for zip_code, cbsa, msa in found.values_list("zip", "effective_cbsa", "msa__name")}


@dataclass(frozen=True)
class Found:
    """Answers out of one dataset. `version` changes with each import; `answers` has no entry for an unknown ZIP."""

    version: str
    answers: dict[str, dict[str, Any]]


# One statement, so that all of an answer is of one dataset. Without any ZIP found, the dataset's row comes alone.
QUERY = """
SELECT d.id, left(d.zips_sha256, 8), left(d.metros_sha256, 8), d.vintage, z.zip, z.cbsa, z.effective_cbsa, a.name, a.population,
       s.cbsa, s.tot_ratio, s.res_ratio, s.bus_ratio, s.oth_ratio
FROM cbsa_dataset d
LEFT JOIN cbsa_zip z ON z.dataset_id = d.id AND z.zip = ANY(%s)
LEFT JOIN cbsa_area a ON a.id = z.msa_id
LEFT JOIN cbsa_zipshare s ON s.dataset_id = d.id AND s.zip = z.zip
WHERE d.active
"""


def find(zip_codes: Collection[str]) -> Found:
    """What the dataset in use says of these five-digit ZIPs. Raises NoDataset before the first import."""
    with connection.cursor() as cursor:
        cursor.execute(QUERY, [list(zip_codes)])
        rows = cursor.fetchall()
    if not rows:
        raise NoDataset("No ZIP data has been imported yet; manage.py import_cbsa does it.")
    answers: dict[str, dict[str, Any]] = {}
    shares: dict[str, list[Share]] = {}
    for _, _, _, vintage, zip_code, cbsa, effective, msa, population, *share in rows:
        if zip_code is None:
            continue
        if zip_code not in answers:
            by_year = json.loads(population) if population else {}
            shares[zip_code] = []
            answers[zip_code] = {
                "zip": zip_code,
                "cbsa": cbsa,
                "effective_cbsa": effective,
                "msa": msa,
                "population": by_year,
                "growth_percent": growth_percent(by_year),
                "matches": [],
                "vintage": vintage,
            }
        shares[zip_code].append(Share(*share))
    for zip_code, answer in answers.items():
        answer["matches"] = [share._asdict() for share in sorted(shares[zip_code], key=rank)]
    return Found("-".join(map(str, rows[0][:3])), answers)
