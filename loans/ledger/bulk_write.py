"""Write the changes of a unit of work in one statement, whatever their number.

The rows of each table come as one array a column. A value that its column cannot hold is refused, as by a plain INSERT; a number
with more places than its column, which PostgreSQL would round, is refused here.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.db import connection, models

from loans.models import Loan, Reservation, Transfer, Transition

_LOAN_COLUMNS = ("id", "status", "amount", "opens_at", "closes_at", "settled", "claimed", *Loan.FACTS)
_RESERVATION_COLUMNS = (
    "id",
    "state",
    "cause",
    "amount",
    "settled_amount",
    "expires_at",
    "funded_at",
    "received",
    "refunded",
    "lost",
)
_TRANSFER_CHANGES = ("status", "amount", "cleared_at", "ended_at", "occurred_at")
_TRANSFER_COLUMNS = ("id", "reservation_id", "direction", "method", "reference", "payment", "created_at", *_TRANSFER_CHANGES)
_TRANSITION_COLUMNS = (
    "at",
    "loan_id",
    "reservation_id",
    "transfer_id",
    "event",
    "from_state",
    "to_state",
    "amount",
    "deadline",
    "rule",
    "facts",
    "actor",
    "user_id",
    "reason",
)


def write_changes(
    loans: Sequence[Loan], reservations: Sequence[Reservation], transfers: Sequence[Transfer], transitions: Sequence[Transition]
) -> None:
    """Write the loans and reservations as they are, the transfers, new or changed, and append the transitions in their order.

    Raises:
        ValueError: a number has more places than its column.
        django.db.DataError: a text is too long for its column, or a number too large.
        django.db.IntegrityError: a constraint does not hold.
    """
    new_loans, loan_arrays = _rows(Loan, _LOAN_COLUMNS, loans)
    new_reservations, reservation_arrays = _rows(Reservation, _RESERVATION_COLUMNS, reservations)
    new_transfers, transfer_arrays = _rows(Transfer, _TRANSFER_COLUMNS, transfers)
    new_transitions, transition_arrays = _rows(Transition, _TRANSITION_COLUMNS, transitions)
    statement = f"""
        WITH reservations AS (
            UPDATE loans_reservation AS old SET {_assign(_RESERVATION_COLUMNS[1:], "new")}
            FROM {new_reservations} WHERE old.id = new.id
        ), transfers AS (
            INSERT INTO loans_transfer ({", ".join(_TRANSFER_COLUMNS)})
            SELECT {", ".join(_TRANSFER_COLUMNS)} FROM {new_transfers}
            ON CONFLICT (id) DO UPDATE SET {_assign(_TRANSFER_CHANGES, "excluded")}
        ), history AS (
            INSERT INTO loans_transition ({", ".join(_TRANSITION_COLUMNS)})
            SELECT {", ".join(_TRANSITION_COLUMNS)} FROM {new_transitions} ORDER BY line
        )
        UPDATE loans_loan AS old SET {_assign(_LOAN_COLUMNS[1:], "new")}, version = old.version + 1
        FROM {new_loans} WHERE old.id = new.id
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, [*reservation_arrays, *transfer_arrays, *transition_arrays, *loan_arrays])


def exact(number: Decimal, places: int = 2) -> Decimal:
    """Return the number.

    Raises:
        ValueError: it has more than so many decimal places, so that PostgreSQL would round it.
    """
    if round(number, places) != number:
        raise ValueError(f"{number} has more than {places} decimal places.")
    return number


def _rows(model: type[models.Model], columns: Sequence[str], instances: Sequence[models.Model]) -> tuple[str, list[list[Any]]]:
    """Return SQL for a table `new` with the columns of the instances, each with its `line`; and an array for each column."""
    types, arrays = [], []
    for column in columns:
        field = model._meta.get_field(column)
        assert isinstance(field, models.Field)  # noqa: S101 - for mypy: a column's name is that of no reverse relation
        values = [getattr(instance, column) for instance in instances]
        if isinstance(field, models.DecimalField):
            values = [value if value is None else exact(value, field.decimal_places) for value in values]
        # The type without its length: a cast to varchar(10) would cut what is longer, an INSERT refuses it.
        types.append(str(field.db_type(connection)).partition("(")[0])
        arrays.append(values)
    unnested = ", ".join(f"%s::{type_}[]" for type_ in types)
    return f"unnest({unnested}) WITH ORDINALITY AS new({', '.join(columns)}, line)", arrays


def _assign(columns: Sequence[str], source: str) -> str:
    return ", ".join(f"{column} = {source}.{column}" for column in columns)
