"""Copy checked files into the database as a new dataset, beside the data in use."""

import uuid
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import IO

from django.db import connection

from cbsa.area_names import search_text
from cbsa.imports.census import Census
from cbsa.imports.crosswalk import Crosswalk
from cbsa.models import Area, Dataset, Zip, ZipShare
from cbsa.rules import DIVISION, METROPOLITAN, MICROPOLITAN, effective_cbsa

COPY_LINES = 20_000
NULL = r"\N"  # in the text form of COPY


def load(checksums: dict[str, str], census: Census, crosswalk: Crosswalk, rows: IO[str]) -> Dataset:
    """Copy everything beside the data in use. Return the new dataset, whose label is not its own yet.

    The rows of all files have been checked, so none needs quoting.
    """
    from psycopg.types.json import Json

    latest_year = max(int(year) for area in census.areas for year in area.population)
    facts = {"zips": len(crosswalk.cbsa_of_zip), "latest_year": latest_year}
    dataset = Dataset.objects.create(vintage=uuid.uuid4().hex, **checksums, **facts)
    zips = _zips_by_area(census, crosswalk)
    columns = "dataset_id, cbsa, mdiv, stcou, name, lsad, population, people, zips, search_text"
    with connection.cursor() as cursor, cursor.copy(f"COPY {Area._meta.db_table} ({columns}) FROM STDIN") as copy:
        for area in census.areas:
            code = {METROPOLITAN: area.cbsa, MICROPOLITAN: area.cbsa, DIVISION: area.mdiv}.get(area.lsad, "")
            people = area.population[max(area.population)]
            words = search_text(area.name, is_county=not code)
            copy.write_row((dataset.pk, *area[:-1], Json(area.population), people, zips[code], words))
    with connection.cursor() as cursor:
        # Without it, a search reads all areas instead of the index of their words until autovacuum comes.
        cursor.execute(f"ANALYZE {Area._meta.db_table}")
    rows.seek(0)
    good_rows = (row for row in rows if row[:5] not in crosswalk.left_out) if crosswalk.left_out else rows
    _copy_lines(ZipShare._meta.db_table, "zip, cbsa, tot_ratio, res_ratio, bus_ratio, oth_ratio", dataset, good_rows)
    area_ids = dict(Area.objects.filter(dataset=dataset, lsad__in=[METROPOLITAN, MICROPOLITAN]).values_list("cbsa", "pk"))
    _copy_lines(Zip._meta.db_table, "zip, cbsa, effective_cbsa, area_id", dataset, _zip_lines(census, crosswalk, area_ids))
    return dataset


def _zips_by_area(census: Census, crosswalk: Crosswalk) -> Counter[str]:
    """Count the ZIPs that the rule places in each CBSA and in each division."""
    zips = Counter(crosswalk.cbsa_of_zip.values())
    for division, cbsa in census.divided.items():
        zips[cbsa] += zips[division]
    return zips


def _zip_lines(census: Census, crosswalk: Crosswalk, area_ids: dict[str, int]) -> Iterator[str]:
    for zip_code, cbsa in crosswalk.cbsa_of_zip.items():
        effective = effective_cbsa(cbsa, census.divided)
        yield f"{zip_code}\t{cbsa}\t{effective}\t{area_ids.get(effective, NULL)}\n"


def _copy_lines(table: str, columns: str, dataset: Dataset, lines: Iterator[str] | IO[str]) -> None:
    lead = f"{dataset.pk}\t"
    with connection.cursor() as cursor:
        # One COPY for each batch: within a single COPY, bytes that the server has not read yet would fill memory without bound.
        while batch := list(islice(lines, COPY_LINES)):
            with cursor.copy(f"COPY {table} (dataset_id, {columns}) FROM STDIN") as copy:
                copy.write(lead + lead.join(batch))
