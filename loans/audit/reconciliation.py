"""Check every invariant each night, and list each breach for staff. Repairs nothing but what Redis shows."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from loans.audit.history_chain import check_chain
from loans.audit.invariants import INVARIANTS, SWEPT_WITHIN, Invariant
from loans.domain.business_calendar import closing_time, last_ended_banking_days
from loans.ledger.review_items import open_review_item
from loans.models import ReviewItem
from loans.selectors.closing_values import loans_without_closing_value
from loans.services.cache_refresh import refresh_remaining_cache
from peerloans.database.clock import database_now

logger = logging.getLogger(__name__)

CLOSING_VALUES_WITHIN = timedelta(hours=2)  # of the close; the job runs for an hour after it
MOST_LISTED = 1_000  # of one invariant in one night; a longer list would not help staff


@dataclass(frozen=True)
class Breach:
    """Where an invariant does not hold."""

    sentence: str
    loan_id: int | None
    reservation_id: UUID | None
    expected: object
    actual: object

    @property
    def detail(self) -> str:
        """Return what the review item says."""
        return f"{self.sentence}: {self.expected} expected, {self.actual} found."


def find_breaches(now: datetime | None = None) -> int:
    """Check everything at `now`, list the breaches, and return how many there are.

    A breach whose review item is still open is counted, and not listed again. A wrong value in Redis is listed, and then corrected;
    Redis is left out while it is away.
    """
    at = database_now(now)
    number = sum(_list_for_staff(_breaches(invariant, at), at) for invariant in INVARIANTS)
    return (
        number
        + _list_for_staff(_missing_closing_values(at), at)
        + _list_for_staff(_broken_block(), at)
        + refresh_remaining_cache(at).drifted
    )


def _breaches(invariant: Invariant, at: datetime) -> list[Breach]:
    statement = f"""
        SELECT loan_id, reservation_id::uuid, expected, actual
        FROM ({invariant.breaches_sql}) AS breach (loan_id, reservation_id, expected, actual)
        ORDER BY loan_id, reservation_id LIMIT %(most_listed)s
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, {"at": at, "swept_by": at - SWEPT_WITHIN, "most_listed": MOST_LISTED})
        return [Breach(invariant.sentence, *row) for row in cursor.fetchall()]


def _missing_closing_values(at: datetime) -> list[Breach]:
    (day,) = last_ended_banking_days(at - CLOSING_VALUES_WITHIN, 1)
    sentence = "A loan that was open or funded at the end of a banking day has a closing value"
    loan_ids = loans_without_closing_value(day, closing_time(day))[:MOST_LISTED]
    return [Breach(sentence, loan_id, None, f"one of {day}", "none") for loan_id in loan_ids]


def _broken_block() -> list[Breach]:
    chain = check_chain()
    sentence = "The blocks of history hold"
    return [Breach(sentence, None, None, "no broken block", f"block {chain.block} ({chain.fault})")] if chain.fault else []


def _list_for_staff(breaches: list[Breach], at: datetime) -> int:
    """Open a review item for each breach of one invariant that has none open, whatever amounts that names; return their number."""
    if breaches:
        items = ReviewItem.objects.filter(kind="breach", resolved_at=None, detail__startswith=f"{breaches[0].sentence}:")
        already_open = set(items.values_list("loan_id", "reservation_id"))
        for breach in breaches:
            logger.error("Breach on loan %s, reservation %s: %s", breach.loan_id, breach.reservation_id, breach.detail)
            if (breach.loan_id, breach.reservation_id) not in already_open:
                open_review_item("breach", breach.detail, at=at, loan_id=breach.loan_id, reservation_id=breach.reservation_id)
    return len(breaches)
