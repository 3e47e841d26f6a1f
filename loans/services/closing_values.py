"""Record what remained of each loan at the end of each banking day: at 18:00 in New York."""

import logging
from datetime import date, datetime

from django.db import connection

from loans.domain.business_calendar import closing_time, last_ended_banking_days
from loans.domain.errors import Busy
from loans.ledger import locks
from loans.selectors.closing_values import loans_without_closing_value
from peerloans.database.clock import database_now

logger = logging.getLogger(__name__)

LOANS_PER_STATEMENT = 100  # Loans whose history is summed up in one statement.
DAYS_BACK = 10  # Past banking days that each run completes. If the job pauses for longer, the days before them stay missing.

# The values come from history up to the end of the day, so it does not matter when the statement runs.
_INSERT_CLOSING_VALUES = """
    INSERT INTO loans_closingvalue (loan_id, day, remaining, settled, claimed)
    SELECT loan.id, %(day)s, offered.amount - settled, settled, claimed
    FROM unnest(%(loan_ids)s::bigint[]) AS loan (id)
    -- The loan's status and amount: its own last transition.
    CROSS JOIN LATERAL (
        SELECT to_state, amount FROM loans_transition
        WHERE loan_id = loan.id AND reservation_id IS NULL AND waiting_entry_id IS NULL AND at <= %(closing_time)s ORDER BY id DESC LIMIT 1
    ) AS offered
    -- Each reservation's state, amount and deadline: its own last transition. Where that leads to `settled`, its amount is what has
    -- settled. The events `lost` and `recovered` change no state.
    CROSS JOIN LATERAL (
        SELECT COALESCE(sum(amount) FILTER (WHERE to_state = 'settled'), 0) AS settled,
            COALESCE(
                sum(amount) FILTER (WHERE to_state IN ('reserved', 'pending') AND (deadline IS NULL OR deadline > %(closing_time)s)), 0
            ) AS claimed
        FROM (
            SELECT DISTINCT ON (reservation_id) to_state, amount, deadline FROM loans_transition
            WHERE loan_id = loan.id AND reservation_id IS NOT NULL AND transfer_id IS NULL AND event NOT IN ('lost', 'recovered')
                AND at <= %(closing_time)s
            ORDER BY reservation_id, id DESC
        ) AS reservation
    ) AS reservations
    WHERE offered.to_state IN ('open', 'funded')
    ON CONFLICT DO NOTHING
"""


def record_due_closing_values(now: datetime | None = None, *, batch: int = LOANS_PER_STATEMENT) -> int:
    """Record the missing closing values of the last banking days, for loans that were open or funded; return how many are new.

    They come from history, so a late run records the same values as one in time. A batch whose loans are busy is left for the next run.
    """
    recorded = 0
    for day in last_ended_banking_days(database_now(now), DAYS_BACK):
        loan_ids = loans_without_closing_value(day, closing_time(day))
        for start in range(0, len(loan_ids), batch):
            try:
                recorded += _record(loan_ids[start : start + batch], day, now)
            except Busy as problem:
                logger.info("Closing values of %s are not complete: %s", day, problem)
    return recorded


def _record(loan_ids: list[int], day: date, now: datetime | None) -> int:
    # A transaction that holds a loan now may have an instant before the end of the day and commit after it. One that locks the loan later
    # has a later instant. So it is enough to wait for the first kind; the statement needs no lock.
    locks.wait_for_loans(loan_ids)
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_CLOSING_VALUES, {"loan_ids": loan_ids, "day": day, "closing_time": closing_time(day)})
        new: int = cursor.rowcount
        return new
