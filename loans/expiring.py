"""What happens to claims whose time has run out? They are canceled, oldest first, in batches, until none is due."""

import logging
from datetime import UTC, datetime
from uuid import UUID

from django.db import Error, InterfaceError, OperationalError

from loans import ledger, locks, selectors
from loans.errors import Busy
from loans.ledger import SYSTEM

logger = logging.getLogger(__name__)

BATCH = 5_000  # Dearer by a third than one statement for all, but no lock is held for long.
MOST_BATCHES = 2_000  # Ten million claims; a run that needs more ends here and the next one goes on.
BEGINNING = (datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))


def expire_due(now: datetime | None = None, *, batch: int = BATCH) -> int:
    """Cancel every claim that has lapsed, oldest first; returns how many.

    Loans that somebody else holds are left for the next run. A batch that fails is done again loan by loan, so that one
    bad loan stops no other; what still fails is a case for staff.
    """
    at = selectors.instant(now)
    canceled, reached = 0, BEGINNING
    for _ in range(MOST_BATCHES):
        try:
            swept = ledger.sweep_oldest(at=at, batch=batch, after=reached, now=now)
        except Error:
            logger.exception("A batch of lapsed claims could not be canceled at once")
            return canceled + sum(_expire_alone(loan_id, now) for loan_id in selectors.loans_with_lapsed_claims(at))
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
            return ledger.Ledger(locks.by_id([loan_id], now), actor=SYSTEM).swept
    except (Busy, OperationalError, InterfaceError) as trouble:
        logger.warning("Loan %s was not swept: %s", loan_id, trouble)
    except Error as error:
        logger.exception("The lapsed claims of loan %s could not be canceled", loan_id)
        ledger.open_case("job_failed", f"Its lapsed claims could not be canceled: {error}", at=selectors.instant(now), loan_id=loan_id)
    return 0
