"""Cancel the lapsed reservations of all loans: the job that runs each minute."""

import logging
from datetime import datetime

from django.db import Error

from loans.domain.actors import SYSTEM
from loans.ledger.expiry import BEFORE_ALL, expire_oldest
from loans.ledger.jobs import skip_loan_on_failure
from loans.ledger.unit_of_work import unit_of_work
from loans.selectors.loans import loans_with_lapsed_reservations
from peerloans.database.clock import database_now

logger = logging.getLogger(__name__)

BATCH = 5_000  # Takes a third longer than one statement for all, but holds no lock for long.
MOST_BATCHES = 2_000  # Ten million reservations. The next run cancels the rest.


def expire_due(now: datetime | None = None, *, batch: int = BATCH) -> int:
    """Cancel every lapsed reservation, the oldest first, and return how many were canceled.

    A loan that another transaction holds is left for the next run. If a batch fails, cancel loan by loan, so that one bad loan does
    not stop the others. A loan's failure opens a review item, unless the error is temporary.
    """
    at = database_now(now)
    canceled, batch_end = 0, BEFORE_ALL
    for _ in range(MOST_BATCHES):
        try:
            expired = expire_oldest(at=at, size=batch, after=batch_end, now=now)
        except Error:
            logger.exception("A batch of lapsed reservations could not be canceled at once")
            return canceled + sum(_expire_one_loan(loan_id, now) for loan_id in loans_with_lapsed_reservations(at))
        if expired is None:
            break
        canceled += expired.canceled
        batch_end = expired.end
        if expired.lapsed < batch:
            break
    return canceled


def _expire_one_loan(loan_id: int, now: datetime | None) -> int:
    with (
        skip_loan_on_failure(loan_id, "Its lapsed reservations could not be canceled", now),
        unit_of_work(loan_ids=[loan_id], actor=SYSTEM, now=now) as work,
    ):
        return work.expired
    return 0
