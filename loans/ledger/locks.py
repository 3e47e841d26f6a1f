"""In which order is what locked?

A loan's row is the lock for the loan, its reservations, their transfers and its history: nobody writes any of them
without it. Several loans are locked in the order of their ids, and a request's key before its loan. A lock that does not
come within the database's `lock_timeout` is answered as Busy.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import OperationalError, connection, transaction
from psycopg.errors import DeadlockDetected, LockNotAvailable

from loans.domain.errors import Busy, NotFound, RequestInProgress
from loans.domain.idempotency import Key
from loans.models import Loan
from peerloans.errors import Problem

FOR_UPDATE = "FOR UPDATE"
# A request's key is locked before the loan. Where two keys have one hash, one of them waits without need.
OF_A_KEY = "hashtextextended(%(user_id)s::bigint || ' ' || %(key)s, 0)"


class Locked(NamedTuple):
    """Loans whose locks we hold, and the instant at which they were ours: the database's clock, or the given `now`."""

    loans: list[Loan]
    at: datetime


@contextmanager
def _patient(given_up: tuple[type[Exception], ...], problem: type[Problem], why: str) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if isinstance(error.__cause__, given_up):
            raise problem(why) from error
        raise


def patient() -> AbstractContextManager[None]:
    """Raises Busy where a lock does not come in time."""
    why = "Somebody else is changing this loan right now; try again in a moment."
    return _patient((LockNotAvailable, DeadlockDetected), Busy, why)


def patient_with_key() -> AbstractContextManager[None]:
    """Raises RequestInProgress where the first request with a key takes too long."""
    why = "The first request with this Idempotency-Key is still running; try again in a moment."
    return _patient((LockNotAvailable,), RequestInProgress, why)


@contextmanager
def short_transaction() -> Iterator[None]:
    """Decide and write in here, and do nothing else. Raises Busy where a lock does not come in time."""
    with patient(), transaction.atomic():
        yield


def await_key(key: Key) -> None:
    """Return once no other request with the key is being decided. Raises RequestInProgress where that takes too long."""
    with patient_with_key(), connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_xact_lock({OF_A_KEY})", {"user_id": key.user_id, "key": key.text})


def by_id(loan_ids: Sequence[int], now: datetime | None = None) -> Locked:
    return _lock("id = ANY(%s)", list(loan_ids), now)


def by_reference(reference: str, now: datetime | None = None) -> Locked:
    return _lock("reference = %s", reference, now)


def by_reservation(reservation_id: UUID, now: datetime | None = None) -> Locked:
    return _lock("id = (SELECT loan_id FROM loans_reservation WHERE id = %s)", reservation_id, now)


def _lock(which: str, value: object, now: datetime | None) -> Locked:
    # The clock is read outside of the locking SELECT, so after the lock has come.
    statement = f"""
        WITH locked AS MATERIALIZED (SELECT * FROM loans_loan WHERE {which} ORDER BY id {FOR_UPDATE})
        SELECT locked.*, COALESCE(%s::timestamptz, clock_timestamp()) AS at FROM locked ORDER BY id
    """
    loans = list(Loan.objects.raw(statement, [value, now]))
    if not loans:
        raise NotFound(f"There is nothing like {value} here.")
    return Locked(loans, loans[0].at)  # type: ignore[attr-defined]
