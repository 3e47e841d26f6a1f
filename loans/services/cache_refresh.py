"""Rebuild what Redis shows of each loan from the database, and list for staff where the two differ."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from redis.exceptions import RedisError

from loans import remaining_cache
from loans.ledger.review_items import open_review_item
from loans.selectors.loans import all_loan_ids
from peerloans.database.clock import database_now
from peerloans.wording import dollars_text

logger = logging.getLogger(__name__)

BATCH_LOANS = 500  # Keys in one command to Redis: a few tens of kilobytes.


@dataclass(frozen=True)
class Refreshed:
    """How many loans' values were rebuilt, how many of them were wrong before, and whether Redis answered until the end."""

    loans: int
    drifted: int
    complete: bool


def refresh_remaining_cache(now: datetime | None = None, *, batch: int = BATCH_LOANS) -> Refreshed:
    """Rebuild the remaining value of each loan in Redis. Wrong values are listed for staff first. Stop if Redis cannot be reached."""
    loans = drifted = 0
    loan_ids = all_loan_ids()
    for start in range(0, len(loan_ids), batch):
        try:
            comparison = remaining_cache.compare(loan_ids[start : start + batch])
            report_drift(comparison.drift, now)
            remaining_cache.repair(comparison)
        except RedisError as error:
            logger.warning("Redis cannot be reached, so what remains of each loan was not refreshed beyond %s loans: %s", loans, error)
            return Refreshed(loans, drifted, complete=False)
        loans += len(comparison.rows)
        drifted += len(comparison.drift)
    return Refreshed(loans, drifted, complete=True)


def report_drift(drift: Iterable[remaining_cache.Drift], now: datetime | None = None) -> None:
    """Open a review item for each loan whose remaining value in Redis is wrong."""
    for entry in drift:
        shown = "holds something unreadable" if entry.cached is None else f"shows {dollars_text(entry.cached)}"
        detail = f"Redis {shown} for {entry.loan.reference}, of which {dollars_text(entry.remaining)} remains."
        logger.warning(detail)
        open_review_item("drift", detail, at=database_now(now), loan_id=entry.loan.pk)
