"""Let investors wait for a loan, leave its waiting list, or be removed by staff; and serve the lists: the job that runs each minute.

Each unit of work serves the lists of its loans in the same transaction (`loans/ledger/unit_of_work.py`). The job serves what
they have left, because the expire job freed dollars, an investor was locked, more were to be served than one transaction does, or an
investor is within the limits again.
"""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from loans.domain.actors import SYSTEM, Actor
from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.errors import IllegalTransition, Invalid, NotFound
from loans.domain.states import WaitingListEvent, WaitingListState
from loans.ledger.jobs import skip_loan_on_failure
from loans.ledger.unit_of_work import UnitOfWork, unit_of_work
from loans.models import Investor, Loan, WaitingListEntry
from loans.selectors.investor_limits import exceeded_limit
from loans.selectors.offers import LoanOffer, may_buy
from loans.selectors.waiting_list import entry_of_investor, loans_with_room_for_waiting
from loans.services.refusal_wording import (
    refuse_below_minimum,
    refuse_beyond_limit,
    refuse_more_than_asked,
    refuse_unless_accredited,
    refuse_unless_open,
)
from peerloans.wording import dollars_text


def join_waiting_list(
    *, reference: str, investor: Investor, amount: Decimal, at_least: Decimal | None = None, now: datetime | None = None
) -> WaitingListEntry:
    """Let an investor wait for `amount` dollars of a loan, and return the entry. A repeat returns the entry that waits.

    If enough is available for those before the investor and for the investor, the entry becomes a reservation at once. `at_least` is the
    least that it may become, by default all of `amount`.

    Raises:
        Invalid: `at_least` is more than `amount`, or more is wanted than remains of the loan.
        IllegalTransition: the investor waits for another amount of this loan.
        NotFound, LoanNotOpen, NotAccredited, BelowMinimum, InvestorLimit: a reservation of this amount would be refused likewise.
        Busy; ValueError: an amount has fractions of a cent.
    """
    least = amount if at_least is None else at_least
    with unit_of_work(reference=reference, actor=Actor("investor", investor.user_id), now=now) as work:
        loan = work.loan
        entry = WaitingListEntry.objects.filter(loan=loan, investor=investor, state=WaitingListState.WAITING).first()
        if entry is None:
            _refuse_to_wait(loan, investor.pk, amount, least, work.at)
            entry = work.join_waiting_list(loan, investor.pk, amount, least)
        elif (entry.amount, entry.at_least) != (amount, least):
            raise IllegalTransition(
                f"You wait for {dollars_text(entry.amount)} of {reference} already. Leave the list to join it anew.", state=entry.state
            )
    return entry_of_investor(investor.pk, entry.pk)  # It may have become a reservation.


def _refuse_to_wait(loan: Loan, investor_id: int, amount: Decimal, least: Decimal, at: datetime) -> None:
    if loan.opens_at is None:  # It was never announced or opened, so only staff see it.
        raise NotFound(f"There is no loan {loan.reference}.")
    refuse_unless_open(LoanOffer(loan, at, loan.claimed, lapsed=ZERO_DOLLARS))  # A unit of work has no lapsed reservations.
    refuse_unless_accredited(may_buy(investor_id, at))
    refuse_more_than_asked(least, amount)
    if amount > loan.remaining:
        raise Invalid(f"{dollars_text(amount)} is more than the {dollars_text(loan.remaining)} that remain of {loan.reference}.")
    refuse_below_minimum(loan, amount)
    refuse_below_minimum(loan, least)
    refuse_beyond_limit(exceeded_limit(investor_id, loan, least, at), loan.reference)


def leave_waiting_list(*, entry_id: UUID, investor: Investor, now: datetime | None = None) -> WaitingListEntry:
    """Take an entry off its list for its investor. A repeat changes nothing.

    Raises:
        NotFound: there is no such entry, or it is another investor's.
        IllegalTransition: it has ended in another way.
        Busy.
    """
    loan_id = entry_of_investor(investor.pk, entry_id).loan_id
    with unit_of_work(loan_ids=[loan_id], actor=Actor("investor", investor.user_id), now=now) as work:
        return _end(work, entry_id, WaitingListEvent.LEFT)


def remove_from_waiting_list(*, entry_id: UUID, actor: Actor, reason: str, now: datetime | None = None) -> WaitingListEntry:
    """Let staff take an entry off its list. A repeat changes nothing.

    Raises:
        IllegalTransition: it has ended in another way.
        NotFound, Busy.
    """
    loan_id = WaitingListEntry.objects.filter(pk=entry_id).values_list("loan_id", flat=True).first()
    if loan_id is None:
        raise NotFound(f"There is no entry {entry_id} of a waiting list.")
    with unit_of_work(loan_ids=[loan_id], actor=actor, reason=reason, now=now) as work:
        return _end(work, entry_id, WaitingListEvent.REMOVED)


def _end(work: UnitOfWork, entry_id: UUID, event: WaitingListEvent) -> WaitingListEntry:
    entry = WaitingListEntry.objects.select_related("loan").get(pk=entry_id)
    if entry.state != event:  # An event has the name of the state that it leads to.
        work.end_waiting(entry, event)
    return entry


# --- The job --------------------------------------------------------------------------------------------------------------
def serve_waiting_lists(now: datetime | None = None) -> int:
    """Serve the list of each loan that has dollars for it, and return how many entries became reservations."""
    return sum(serve_waiting_list(loan_id, now) for loan_id in loans_with_room_for_waiting(now))


def serve_waiting_list(loan_id: int, now: datetime | None = None) -> int:
    """Serve one loan's list, and return how many entries became reservations; 0 where that fails.

    See `skip_loan_on_failure` for what becomes of an error.
    """
    with skip_loan_on_failure(loan_id, "Its waiting list could not be served", now):
        with unit_of_work(loan_ids=[loan_id], actor=SYSTEM, now=now) as work:
            waited = work.loan.waiting_entries
        return waited - work.loan.waiting_entries
    return 0  # `skip_loan_on_failure` has reported why.
