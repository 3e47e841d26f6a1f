"""How do staff take a list out? As CSV, streamed, in memory that does not grow, and safe to open in a spreadsheet."""

import csv
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Field, QuerySet
from django.utils import timezone

BATCH = 2_000
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _Echo:
    """A file that gives back what is written into it."""

    def write(self, line: str) -> str:
        return line


def rows(found: QuerySet[Any], left_out: tuple[str, ...] = ()) -> Iterator[str]:
    """Lines of CSV, in the order of primary keys: the columns of the model, and names in place of what they point to.

    Batches go by the last key, so the database keeps nothing open between two of them.
    """
    fields = [field for field in found.model._meta.concrete_fields if field.name not in left_out]
    related = [field.name for field in fields if field.is_relation]
    found = found.order_by("pk").select_related(*related)
    writer = csv.writer(_Echo())
    yield writer.writerow(field.name for field in fields)
    last = None
    while batch := list((found if last is None else found.filter(pk__gt=last))[:BATCH]):
        yield "".join(writer.writerow(_cell(field, row) for field in fields) for row in batch)
        last = batch[-1].pk


def _cell(field: "Field[Any, Any]", row: Any) -> str:
    value = getattr(row, field.name)
    if value is None:
        return ""
    if isinstance(value, datetime):
        return timezone.localtime(value).isoformat()
    if isinstance(value, Decimal | int):
        return str(value)
    return harmless(str(value))


def harmless(text: str) -> str:
    """The text, with an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text
