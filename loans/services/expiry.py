"""What happens to reservations whose time has run out? They are canceled, oldest first, in batches, until none is due."""

import logging
from datetime import UTC, datetime
from uuid import UUID

from django.db import Error, InterfaceError, OperationalError

from loans.domain.actors import SYSTEM
from loans.domain.errors import Busy
from loans.ledger import locks
from loans.ledger.expiry import expire_oldest
from loans.ledger.review_items import open_review_item
from loans.ledger.unit_of_work import UnitOfWork
from loans.selectors.loans import loans_with_lapsed_reservations
from peerloans.database.clock import database_now

logger = logging.getLogger(__name__)

BATCH = 5_000  # Dearer by a third than one statement for all, but no lock is held for long.
MOST_BATCHES = 2_000  # Ten million reservations; a run that needs more ends here and the next one goes on.
BEGINNING = (datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))


def expire_due(now: datetime | None = None, *, batch: int = BATCH) -> int:
    """Cancel every reservation that has lapsed, oldest first; returns how many.

    Loans that somebody else holds are left for the next run. A batch that fails is done again loan by loan, so that one
    bad loan stops no other; what still fails is a review item for staff.
    """
    at = database_now(now)
    canceled, reached = 0, BEGINNING
    for _ in range(MOST_BATCHES):
        try:
            swept = expire_oldest(at=at, batch=batch, after=reached, now=now)
        except Error:
            logger.exception("A batch of lapsed reservations could not be canceled at once")
            return canceled + sum(_expire_alone(loan_id, now) for loan_id in loans_with_lapsed_reservations(at))
        if swept is None:
            break
        canceled += swept.canceled
        reached = (swept.expires_at, swept.id)
        if swept.due < batch:
            break
    return canceled


def _expire_alone(loan_id: int, now: datetime | None) -> int:
    try:
        with locks.short_transaction():
            return UnitOfWork(locks.by_id([loan_id], now), actor=SYSTEM).swept
    except (Busy, OperationalError, InterfaceError) as trouble:
        logger.warning("Loan %s was not swept: %s", loan_id, trouble)
    except Error as error:
        logger.exception("The lapsed reservations of loan %s could not be canceled", loan_id)
        open_review_item("job_failed", f"Its lapsed reservations could not be canceled: {error}", at=database_now(now), loan_id=loan_id)
    return 0
