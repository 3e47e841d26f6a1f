"""Lock loans, investors and Idempotency-Keys, and refuse a request whose lock does not come in time.

The row of a loan is the lock for the loan, its reservations, their transfers and its history: nothing writes any of them without
it. The row of an investor is the lock for what counts in the investor's limits: a transaction that adds to what counts also raises the
version of the row. The line of standing orders has an advisory lock, which every change of an order holds.

To avoid deadlocks, an Idempotency-Key is locked before any loan, then loans in the order of their ids, then the line, then
investors in the order of their ids. A batch of reservations (loans/services/batches.py) and the preview of a staff action on several rows
lock all their loans first, and then investors row by row. Where that is a deadlock with another request, PostgreSQL ends one of the two,
which is refused as Busy; a waiting list that was to be served is left to its job. A wait for a lock ends after PostgreSQL's `lock_timeout`.

Locks of other modules (of the dataset in use, of watched loans, of the chain of history) are taken after these, or alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.db import OperationalError, connection, transaction
from psycopg.errors import DeadlockDetected, LockNotAvailable

from loans.domain.errors import Busy, NotFound, RequestInProgress
from loans.domain.first_answer import Key
from loans.models import Loan
from peerloans.errors import Problem

KEY_LOCK = "hashtextextended(%(user_id)s::bigint || ' ' || %(key)s, 0)"
"""SQL: the number of the advisory lock of an Idempotency-Key. If two keys have the same number, one request waits for the other."""


_STANDING_ORDERS_LOCK = 7_264_001
"""The number of the advisory lock of the line of standing orders. Those of Idempotency-Keys are 64-bit hashes."""


class LockedLoans(NamedTuple):
    """Loans under lock, in the order of their ids. `at` is the instant of the decisions, read when all were locked."""

    loans: list[Loan]
    at: datetime


@contextmanager
def _translate_lock_error(errors: tuple[type[Exception], ...], problem: type[Problem], detail: str) -> Iterator[None]:
    """Raise the problem in place of an OperationalError that one of these PostgreSQL errors caused."""
    try:
        yield
    except OperationalError as error:
        if isinstance(error.__cause__, errors):
            raise problem(detail) from error
        raise


def busy_if_late() -> AbstractContextManager[None]:
    """Raise Busy when a lock does not come in time, or PostgreSQL ends the transaction to break a deadlock."""
    detail = "Another request is changing the same loan or investor. Try again in a moment."
    return _translate_lock_error((LockNotAvailable, DeadlockDetected), Busy, detail)


def in_progress_if_late() -> AbstractContextManager[None]:
    """Raise RequestInProgress when the lock of an Idempotency-Key does not come in time."""
    detail = "The first request with this Idempotency-Key is still running. Try again in a moment."
    return _translate_lock_error((LockNotAvailable,), RequestInProgress, detail)


@contextmanager
def short_transaction() -> Iterator[None]:
    """Open a transaction that holds locks. Only decide and write inside: a call to another server would make others wait.

    Raises:
        Busy: a lock did not come in time.
    """
    with busy_if_late(), transaction.atomic():
        yield


def wait_for_key(key: Key) -> None:
    """Wait until no other request holds the key, without holding it. Call it outside a transaction.

    Raises:
        RequestInProgress: the other request took too long.
    """
    hold_key(key)  # The lock ends with the statement, which is a transaction by itself.


def hold_key(key: Key) -> None:
    """Wait until no other request holds the key, then hold it until the end of the transaction.

    Raises:
        RequestInProgress: the other request took too long.
    """
    with in_progress_if_late(), connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_xact_lock({KEY_LOCK})", {"user_id": key.user_id, "key": key.text})


def lock_loans(
    *,
    loan_ids: Sequence[int] | None = None,
    reference: str | None = None,
    reservation_id: UUID | None = None,
    skip_locked: bool = False,
    now: datetime | None = None,
) -> LockedLoans:
    """Lock loans by their ids, or one loan by its reference or by one of its reservations. Pass one of the three.

    Ids that no loan has are skipped; with `skip_locked` also loans that another transaction holds, instead of waiting for it.

    Raises:
        NotFound: no loan was found, or all are skipped.
        OperationalError: a lock does not come in time; `short_transaction` translates it to Busy.
    """
    value: Any
    if reservation_id is not None:
        condition, value = "id = (SELECT loan_id FROM loans_reservation WHERE id = %s)", reservation_id
    elif reference is not None:
        condition, value = "reference = %s", reference
    else:
        condition, value = "id = ANY(%s)", list(loan_ids or ())
    # The clock is read outside of the SELECT that locks, so that it is read when all loans are locked.
    statement = f"""
        WITH locked AS MATERIALIZED (SELECT * FROM loans_loan WHERE {condition} ORDER BY id FOR UPDATE{" SKIP LOCKED" * skip_locked})
        SELECT locked.*, COALESCE(%s::timestamptz, clock_timestamp()) AS at FROM locked ORDER BY id
    """
    loans = list(Loan.objects.raw(statement, [value, now]))
    if not loans:
        named = f"reservation {value}" if reservation_id else f"loan {value}" if reference else "such loan"
        raise NotFound(f"There is no {named}.")
    return LockedLoans(loans, loans[0].at)  # type: ignore[attr-defined]


def wait_for_loans(loan_ids: Sequence[int]) -> None:
    """Wait until the transactions that now hold one of these loans have ended. Call it outside a transaction.

    Raises:
        NotFound, Busy.
    """
    with short_transaction():
        lock_loans(loan_ids=loan_ids)


def lock_standing_orders() -> None:
    """Lock the line of standing orders until the end of the transaction. Lock the loans before.

    Raises:
        OperationalError: the lock does not come in time; `short_transaction` translates it to Busy.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_STANDING_ORDERS_LOCK])


def recount_unfunded(investor_id: int, at: datetime) -> None:
    """Lock the investor until the end of the transaction, and count the unfunded dollars anew. Lock the loans before.

    Each reservation adds its dollars to the stored number (`Investor.unfunded_at_most`), and nothing subtracts them until this counts. A
    reservation has a deadline only while it is live and not funded.

    Raises:
        OperationalError: the lock does not come in time; `short_transaction` translates it to Busy.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM loans_investor WHERE id = %s FOR NO KEY UPDATE", [investor_id])
        # This is another statement, so that it sees what was committed before the lock was taken.
        statement = """
            UPDATE loans_investor SET unfunded_at_most = (
                SELECT COALESCE(sum(amount), 0) FROM loans_reservation WHERE investor_id = loans_investor.id AND expires_at > %s
            ) WHERE id = %s
        """
        cursor.execute(statement, [at, investor_id])


def lock_investors(investor_ids: Iterable[int]) -> None:
    """Lock the investors until the end of the transaction. Lock the loans before.

    Raises:
        OperationalError: a lock does not come in time; `short_transaction` translates it to Busy.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM loans_investor WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", [list(investor_ids)])


def add_to_limits(dollars: Mapping[int, Decimal]) -> None:
    """Lock the investors, and count more in their limits: these unfunded dollars, by investor's id. Lock the loans before.

    It is 0 dollars where a reservation was let go. Then only the version of the investor's row changes, so that an admission that has
    read it before is tried again.

    Raises:
        OperationalError: a lock does not come in time; `short_transaction` translates it to Busy.
    """
    if not dollars:
        return
    statement = """
        WITH locked AS MATERIALIZED (
            SELECT id, added FROM loans_investor JOIN unnest(%s::bigint[], %s::numeric[]) AS more (id, added) USING (id)
            ORDER BY id FOR NO KEY UPDATE OF loans_investor
        )
        UPDATE loans_investor SET unfunded_at_most = unfunded_at_most + added, version = version + 1
        FROM locked WHERE loans_investor.id = locked.id
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, [list(dollars), list(dollars.values())])
