"""Stream the rows of a model as CSV: in constant memory, and safe to open in a spreadsheet."""

import csv
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Field, QuerySet
from django.utils import timezone

from peerloans.csv_cells import escape_formula

BATCH_ROWS = 2_000


class _Echo:
    """A file whose `write` returns the line instead of storing it."""

    def write(self, line: str) -> str:
        return line


def csv_lines(queryset: QuerySet[Any], excluded_fields: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the header, then the rows in the order of primary keys; a foreign key is written as the name of its row.

    Each batch starts after the last key of the batch before, so that no database cursor stays open in between.
    """
    fields = [field for field in queryset.model._meta.concrete_fields if field.name not in excluded_fields]
    queryset = queryset.order_by("pk").select_related(*(field.name for field in fields if field.is_relation))
    writer = csv.writer(_Echo())
    yield writer.writerow(field.name for field in fields)
    batch = list(queryset[:BATCH_ROWS])
    while batch:
        yield "".join(writer.writerow(_cell(field, row) for field in fields) for row in batch)
        batch = list(queryset.filter(pk__gt=batch[-1].pk)[:BATCH_ROWS])


def _cell(field: "Field[Any, Any]", row: Any) -> str:
    value = getattr(row, field.name)
    if value is None:
        return ""
    if isinstance(value, datetime):
        return timezone.localtime(value).isoformat()
    if isinstance(value, Decimal | int):
        return str(value)
    return escape_formula(str(value))
