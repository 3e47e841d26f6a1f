"""Read a whole dataset as rows of a table, one for each ZIP."""

import json
from collections.abc import Iterator

from django.db import connection, transaction

from cbsa.models import Dataset
from cbsa.rules import Kind, growth_percent, kind_of

COLUMNS = ("zip", "cbsa", "effective_cbsa", "kind", "msa", "year", "population", "growth_percent", "tot_ratio", "vintage")
ROWS_AT_ONCE = 2_000

ROWS = """
SELECT z.zip, z.cbsa, z.effective_cbsa, z.area_id, s.tot_ratio
FROM cbsa_zip z JOIN cbsa_zipshare s ON s.dataset_id = z.dataset_id AND s.zip = z.zip AND s.cbsa = z.cbsa
WHERE z.dataset_id = %s
ORDER BY z.zip
"""
AREAS = (
    "SELECT id, lsad, name, population FROM cbsa_area WHERE dataset_id = %s AND id IN (SELECT area_id FROM cbsa_zip WHERE dataset_id = %s)"
)


def table_rows(dataset: Dataset) -> Iterator[tuple[object, ...]]:
    """Yield a row of COLUMNS for each ZIP of the dataset, by ZIP. Memory holds ROWS_AT_ONCE of them."""
    with connection.cursor() as cursor:
        cursor.execute(AREAS, [dataset.pk, dataset.pk])
        areas = {area_id: (lsad, *_facts(lsad, name, population)) for area_id, lsad, name, population in cursor.fetchall()}
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(ROWS, [dataset.pk])
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            for zip_code, cbsa, effective_cbsa, area_id, tot_ratio in rows:
                lsad, *facts = areas.get(area_id, (None, None, None, None, None))
                yield zip_code, cbsa, effective_cbsa, kind_of(effective_cbsa, lsad), *facts, tot_ratio, dataset.vintage


def _facts(lsad: str, name: str, population: str) -> tuple[str | None, str | None, int | None, float | None]:
    """Return the name, the latest year, its population and the growth of a metropolitan area; nothing of another one."""
    if kind_of("", lsad) is not Kind.METROPOLITAN:
        return None, None, None, None
    by_year: dict[str, int] = json.loads(population)
    year = max(by_year)
    return name, year, by_year[year], growth_percent(by_year)
