"""What is kept of loans, and what can never be true of it?

Amounts are dollars with two places, instants UTC. Only loans/ledger/ writes states, totals and history; the
constraints are the last line behind it.
"""

from decimal import Decimal
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

ZERO = Decimal("0.00")


def dollars(**options: object) -> "models.DecimalField[Decimal, Decimal]":
    return models.DecimalField(max_digits=14, decimal_places=2, **options)  # type: ignore[arg-type]


def choices(values: object) -> list[tuple[str, str]]:
    return [(str(value), str(value).replace("_", " ").capitalize()) for value in values]  # type: ignore[attr-defined]


class TransactionId(models.Field):  # type: ignore[type-arg]  # not subscriptable at run time
    """PostgreSQL's xid8: a transaction's number, which never comes again."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "xid8"

    def get_prep_value(self, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    def from_db_value(self, value: str | None, *_: object) -> int | None:
        return None if value is None else int(value)
