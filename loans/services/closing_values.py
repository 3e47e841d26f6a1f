"""How are the values that are shown kept right? What remains, in Redis; and the closing value of each banking day."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from django.db import connection
from redis.exceptions import RedisError

from loans import remaining_cache
from loans.domain.business_calendar import close_of, closed_banking_days
from loans.domain.errors import Busy
from loans.ledger import locks
from loans.ledger.review_items import open_review_item
from loans.selectors.closing_values import loans_without_closing_value
from loans.selectors.loans import all_loan_ids
from peerloans.database.clock import database_now

logger = logging.getLogger(__name__)

BATCH_SHOWN = 500  # Keys in one command to Redis: a few tens of kilobytes.
BATCH_CLOSED = 100  # Loans whose history is summed up in one statement.
DAYS_BACK = 10  # Banking days that are made up for where the job did not run; after a longer pause there is a gap.


@dataclass(frozen=True)
class Refreshed:
    """How many loans' values were rebuilt, how many of them had drifted, and whether Redis was there to the end."""

    loans: int
    drifted: int
    complete: bool


def refresh_remaining_cache(now: datetime | None = None, *, batch: int = BATCH_SHOWN) -> Refreshed:
    """Rebuild what Redis shows from the database; drift is listed for staff first. Without Redis it stops and says so."""
    loans = drifted = 0
    for loan_ids in _batches(all_loan_ids(), batch):
        try:
            found = remaining_cache.compare(loan_ids)
            report_drift(found.drift, now)
            remaining_cache.repair(found)
        except RedisError as error:
            logger.warning("Redis is away, so what remains of each loan was not refreshed beyond %s loans: %s", loans, error)
            return Refreshed(loans, drifted, complete=False)
        loans += len(found.rows)
        drifted += len(found.drift)
    return Refreshed(loans, drifted, complete=True)


def report_drift(drift: Iterable[remaining_cache.Drift], now: datetime | None = None) -> None:
    """List for staff where Redis does not show what remains."""
    for entry in drift:
        said = "holds something unreadable" if entry.cached is None else f"shows {entry.cached} dollars"
        detail = f"Redis {said} for {entry.loan.reference}, of which {entry.remaining} dollars remain."
        logger.warning(detail)
        open_review_item("drift", detail, at=database_now(now), loan_id=entry.loan.pk)


# As of the close, by history, whatever has happened since: a reservation's last row up to then tells its state, amount and
# deadline, and the loan's own last row its status and amount.
_CLOSE = """
    INSERT INTO loans_closingvalue (loan_id, day, remaining, settled, claimed)
    SELECT loan.id, %(day)s, offered.amount - settled, settled, claimed
    FROM unnest(%(loan_ids)s::bigint[]) AS loan (id)
    CROSS JOIN LATERAL (
        SELECT to_state, amount FROM loans_transition
        WHERE loan_id = loan.id AND reservation_id IS NULL AND at <= %(close)s ORDER BY id DESC LIMIT 1
    ) AS offered
    CROSS JOIN LATERAL (
        SELECT COALESCE(sum(amount) FILTER (WHERE to_state = 'settled'), 0) AS settled,
            COALESCE(
                sum(amount) FILTER (WHERE to_state IN ('reserved', 'pending') AND (deadline IS NULL OR deadline > %(close)s)), 0
            ) AS claimed
        FROM (
            SELECT DISTINCT ON (reservation_id) to_state, amount, deadline FROM loans_transition
            WHERE loan_id = loan.id AND reservation_id IS NOT NULL AND transfer_id IS NULL AND event <> 'lost' AND at <= %(close)s
            ORDER BY reservation_id, id DESC
        ) AS reservation
    ) AS reservations
    WHERE offered.to_state IN ('open', 'funded')
    ON CONFLICT DO NOTHING
"""


def record_due_closing_values(now: datetime | None = None, *, batch: int = BATCH_CLOSED) -> int:
    """Keep what remained of each open and funded loan at the close of each banking day of late; returns how many values are new.

    The values are those of the close itself, told by history, so a late run writes what one in time would have written.
    """
    written = 0
    for day in closed_banking_days(database_now(now), DAYS_BACK):
        for loan_ids in _batches(loans_without_closing_value(day, close_of(day)), batch):
            try:
                written += _close(loan_ids, day, now)
            except Busy as problem:  # the job comes again soon
                logger.info("Closing values of %s are not complete: %s", day, problem)
    return written


def _close(loan_ids: list[int], day: date, now: datetime | None) -> int:
    # Whoever holds one of the loans may have an instant before the close and not have committed yet: wait for them. Whoever
    # comes after us has a later one, so nobody has to wait while we count.
    with locks.short_transaction():
        locks.by_id(loan_ids, now)
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE, {"loan_ids": loan_ids, "day": day, "close": close_of(day)})
        new: int = cursor.rowcount
        return new


def _batches(loan_ids: list[int], size: int) -> Iterable[list[int]]:
    return (loan_ids[start : start + size] for start in range(0, len(loan_ids), size))
