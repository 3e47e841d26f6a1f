"""Find the entries of waiting lists that are served now. Only the ledger's unit of work turns them into reservations."""

from collections.abc import Collection, Sequence
from datetime import datetime

from loans.domain import loan_limits
from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.states import LoanStatus
from loans.domain.waiting_list import Placement, Waiting, placements
from loans.ledger.jobs import SERVE_TASK, send_after_commit
from loans.models import Loan, WaitingListEntry
from loans.selectors.waiting_list import servable_entries

MOST_SERVED = 100  # entries of a loan in one transaction, so that its lock is held for a short time. A job serves the rest right after it.


def investors_to_serve(loans: Sequence[Loan], at: datetime) -> set[int]:
    """Return the ids of the investors whose entries may be served now. Lock them before `due_placements`, after the loans."""
    return {waiting.entry.investor_id for loan in loans for waiting in _servable(loan, at)}


def due_placements(loan: Loan, at: datetime, investor_ids: Collection[int]) -> list[Placement[WaitingListEntry]]:
    """Return which entries of these investors are served now. The caller holds the locks of the loan and the investors.

    Where more may be served than MOST_SERVED, a job goes on after the commit.
    """
    waiting = _servable(loan, at)
    placed = placements(
        (each for each in waiting if each.entry.investor_id in investor_ids),
        remaining=loan.remaining,
        overbooking_rate=loan.overbooking_rate,
        claimed=loan.claimed,
        minimum=loan.minimum,
    )
    if placed and len(waiting) == MOST_SERVED:
        send_after_commit(SERVE_TASK, loan.pk)
    return placed


def _servable(loan: Loan, at: datetime) -> list[Waiting[WaitingListEntry]]:
    if not loan.waiting_entries or loan.status != LoanStatus.OPEN or not loan.closes_at or loan.closes_at <= at:
        return []
    # To those who wait, the list's own dollars are available too.
    available = loan_limits.available(loan.remaining, loan.overbooking_rate, loan.claimed)
    if available == ZERO_DOLLARS:
        return []
    return servable_entries(loan, available, at, MOST_SERVED)
