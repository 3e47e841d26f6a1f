"""Write the changes of a unit of work in one statement, whatever their number.

Each column of each table is sent as one array. PostgreSQL refuses a value that its column cannot hold, as in a plain INSERT. It
would round a number with more decimal places than its column, so that is refused here.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection, models
from psycopg.types.json import Jsonb

from loans.models import Loan, Reservation, Transfer, Transition

_LOAN_COUNTERS = ("waiting_dollars", "waiting_entries", "last_number")
_LOAN_PROGRESS = ("id", "status", "amount", "opens_at", "closes_at", "settled", "claimed", *_LOAN_COUNTERS, "lottery_secret")
_RESERVATION_COLUMNS = (
    "id",
    "state",
    "cause",
    "amount",
    "settled_amount",
    "expires_at",
    "funded_at",
    "let_go_at",
    "received",
    "refunded",
    "lost",
)
_NEW_RESERVATION_COLUMNS = ("loan_id", "investor_id", "number", "standing_order_id", "created_at", *_RESERVATION_COLUMNS)
_TRANSFER_CHANGES = ("status", "amount", "moved", "cleared_at", "ended_at", "occurred_at")
_TRANSFER_COLUMNS = ("id", "reservation_id", "direction", "method", "reference", "created_at", *_TRANSFER_CHANGES)


@dataclass(kw_only=True, slots=True)
class TransitionRow:
    """A row of history to append. A settled loan has hundreds, and each would take ten times as long to make as a model."""

    at: datetime
    loan_id: int
    reservation_id: UUID | None = None
    transfer_id: UUID | None = None
    waiting_entry_id: UUID | None = None
    event: str
    from_state: str
    to_state: str
    amount: Decimal
    deadline: datetime | None = None
    rule: str = ""
    facts: Jsonb | None = None
    actor: str
    user_id: int | None
    reason: str
    reason_shown: bool
    approved_by_id: int | None


_TRANSITION_COLUMNS = tuple(field.name for field in fields(TransitionRow))


def write_changes(
    loans: Sequence[Loan],
    new_reservations: Sequence[Reservation],
    reservations: Sequence[Reservation],
    transfers: Sequence[Transfer],
    transitions: Sequence[TransitionRow | Transition],
    changed_facts: Collection[str] = Loan.FACTS,
) -> None:
    """Insert the new reservations, update the loans and reservations, insert or update the transfers, and append the transitions.

    The transitions keep their order. Of the loans' facts only `changed_facts` are written: a description has up to 4,000 characters, and
    most units of work change none.

    Raises:
        ValueError: a number has more decimal places than its column.
        django.db.DataError: a text is too long for its column, or a number too large.
        django.db.IntegrityError: a constraint does not hold.
    """
    # The arrays follow in the order in which the statement names their tables.
    inserted_reservations, inserted_arrays = _rows(Reservation, _NEW_RESERVATION_COLUMNS, new_reservations)
    changed_reservations, reservation_arrays = _rows(Reservation, _RESERVATION_COLUMNS, reservations)
    changed_transfers, transfer_arrays = _rows(Transfer, _TRANSFER_COLUMNS, transfers)
    new_transitions, transition_arrays = _rows(Transition, _TRANSITION_COLUMNS, transitions)
    loan_columns = [*_LOAN_PROGRESS, *(name for name in Loan.FACTS if name in changed_facts)]
    changed_loans, loan_arrays = _rows(Loan, loan_columns, loans)
    statement = f"""
        WITH new_reservations AS (
            INSERT INTO loans_reservation ({", ".join(_NEW_RESERVATION_COLUMNS)})
            SELECT {", ".join(_NEW_RESERVATION_COLUMNS)} FROM {inserted_reservations} ORDER BY line
        ), reservations AS (
            UPDATE loans_reservation AS old SET {_assign(_RESERVATION_COLUMNS[1:], "new")}
            FROM {changed_reservations} WHERE old.id = new.id
        ), transfers AS (
            INSERT INTO loans_transfer ({", ".join(_TRANSFER_COLUMNS)})
            SELECT {", ".join(_TRANSFER_COLUMNS)} FROM {changed_transfers}
            ON CONFLICT (id) DO UPDATE SET {_assign(_TRANSFER_CHANGES, "excluded")}
        ), history AS (
            INSERT INTO loans_transition ({", ".join(_TRANSITION_COLUMNS)})
            SELECT {", ".join(_TRANSITION_COLUMNS)} FROM {new_transitions} ORDER BY line
        )
        UPDATE loans_loan AS old SET {_assign(loan_columns[1:], "new")}, version = old.version + 1
        FROM {changed_loans} WHERE old.id = new.id
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, [*inserted_arrays, *reservation_arrays, *transfer_arrays, *transition_arrays, *loan_arrays])


def refuse_extra_decimals(number: Decimal, places: int = 2) -> Decimal:
    """Return the number as it is.

    Raises:
        ValueError: it has more than `places` decimal places, so PostgreSQL would round it.
    """
    if round(number, places) != number:
        raise ValueError(f"{number} has more than {places} decimal places.")
    return number


def _rows(model: type[models.Model], columns: Sequence[str], instances: Sequence[object]) -> tuple[str, list[list[Any]]]:
    """Return the SQL of a table `new` with these columns and the row's number `line`; and its parameters, an array for each column.

    The arrays go in the binary form. In the text form Python would look for quotation marks in each value.
    """
    types, arrays = [], []
    for column in columns:
        field = model._meta.get_field(column)
        assert isinstance(field, models.Field)  # noqa: S101 - for mypy: no column has the name of a reverse relation
        values = [getattr(instance, column) for instance in instances]
        if isinstance(field, models.DecimalField):
            values = [value if value is None else refuse_extra_decimals(value, field.decimal_places) for value in values]
        # The type without its length: a cast to varchar(10) would cut a longer text, where an INSERT refuses it.
        types.append(str(field.db_type(connection)).partition("(")[0])
        arrays.append(values)
    unnested = ", ".join(f"%b::{type_}[]" for type_ in types)
    return f"unnest({unnested}) WITH ORDINALITY AS new({', '.join(columns)}, line)", arrays


def _assign(columns: Sequence[str], source: str) -> str:
    return ", ".join(f"{column} = {source}.{column}" for column in columns)
