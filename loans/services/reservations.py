"""Do what investors ask for: reserve part of a loan, start the transfer for it, or cancel it."""

from datetime import datetime
from decimal import Decimal
from functools import partial
from uuid import UUID

from loans.domain import loan_limits
from loans.domain.actors import Actor
from loans.domain.deadlines import money_deadline
from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.errors import Busy
from loans.domain.first_answer import AnsweredBefore, Key
from loans.domain.states import ReservationEvent, ReservationState
from loans.ledger import locks
from loans.ledger.admission import Admission, admit_reservation
from loans.ledger.expiry import expire_lapsed
from loans.ledger.unit_of_work import serve_lists_of, unit_of_work
from loans.models import Investor, Reservation
from loans.selectors.investor_limits import exceeded_limit
from loans.selectors.offers import investor_offer
from loans.selectors.transfers import current_transfer
from loans.services.refusal_wording import (
    refuse_beyond_limit,
    refuse_expired,
    refuse_more_than_asked,
    refuse_unless_investor_may_buy,
    refuse_unless_offered,
)

ATTEMPTS = 3  # Other requests may take what is available between the reading of the offer and the next attempt; a third is rare.


def reserve(
    *,
    reference: str,
    investor: Investor,
    amount: Decimal,
    at_least: Decimal | None = None,
    key: Key | None = None,
    now: datetime | None = None,
) -> Reservation:
    """Reserve `amount` dollars of a loan for the investor, and return the reservation with its number in the queue.

    With `at_least`, reserve the lesser of `amount` and what is available, if that is at least so much. With a key, the key is kept with
    the reservation, and a repeat is not decided again; call it outside a transaction, since it may wait for the key.

    Raises:
        Invalid: `at_least` is more than `amount`.
        NotFound: there is no such loan.
        LoanNotOpen, NotAccredited, BelowMinimum, OverLimit, InvestorLimit: the rules refuse it.
        Busy: a lock did not come in time, or other requests took what was available in each attempt.
        ValueError: the amount has fractions of a cent.
        AnsweredBefore: the key has a first answer.
        RequestInProgress: the first request with the key took too long.
    """
    least = amount if at_least is None else at_least
    refuse_more_than_asked(least, amount)
    admit = partial(
        admit_reservation,
        reference=reference,
        investor_id=investor.pk,
        actor=Actor("investor", investor.user_id),
        key=key,
    )
    for _ in range(ATTEMPTS):
        with locks.busy_if_late():
            admission = admit(amount=amount, now=now)
        if admission.refused:
            offer = investor_offer(investor.pk, reference, now)
            taken = loan_limits.dollars_to_take(amount, least, offer.available)
            refuse_unless_offered(offer, taken, least)
            refuse_beyond_limit(exceeded_limit(investor.pk, offer.loan, taken, now), reference)
            # The offer allows it, but the admission refused: the admission counts lapsed reservations until they are canceled, and knows
            # only an upper bound of the investor's unfunded dollars. Or another transaction has changed something in between. So cancel,
            # count anew, and try once more with loan and investor locked.
            admission = _admit_under_lock(admit, reference, investor.pk, amount, least, key, now)
        if admission.reservation:
            return admission.reservation
        if admission.first_answer:
            raise AnsweredBefore(admission.first_answer)
        if key and admission.key_in_use:
            # When the other request has ended, the next attempt finds its answer, or decides.
            locks.wait_for_key(key)
        # Where no key was in use, other requests took what was available. The next attempt reads a new offer.
    raise Busy("Many investors are reserving this loan. Try again in a moment.")


def _admit_under_lock(
    admit: "partial[Admission]",
    reference: str,
    investor_id: int,
    amount: Decimal,
    least: Decimal,
    key: Key | None,
    now: datetime | None,
) -> Admission:
    """Lock the loan and the investor, count the investor's unfunded dollars anew, and try once more.

    Before, cancel lapsed reservations of the loan, the oldest first, until the amount fits, and serve the waiting list. What was
    canceled and served stays, even if the amount is refused.
    """
    with locks.short_transaction():
        if key:
            locks.hold_key(key)  # The lock order (see locks.py): the key before the loan.
        (loan,), at = locks.lock_loans(reference=reference, now=now)
        unclaimed = loan_limits.limit(loan.remaining, loan.overbooking_rate) - loan.claimed
        expire_lapsed([loan], at, needed=amount + loan.waiting_dollars - unclaimed)
        # Where entries may be served, this investor is locked together with theirs, in the order of ids. It is 0 dollars, since
        # only the lock is wanted. Else `recount_unfunded` locks this investor.
        serve_lists_of([loan], at, added_to_limits={investor_id: ZERO_DOLLARS} if loan.waiting_entries else {})
        locks.recount_unfunded(investor_id, at)
        available = loan_limits.available(loan.remaining, loan.overbooking_rate, loan.claimed, loan.waiting_dollars)
        return admit(amount=loan_limits.dollars_to_take(amount, least, available), now=at)


def start_transfer(
    *, reservation_id: UUID, method: str, actor: Actor, investor_id: int | None = None, reason: str = "", now: datetime | None = None
) -> Reservation:
    """Make the reservation pending, with a transfer for its money and a new deadline.

    The deadline is midnight in New York at the end of the fifth banking day after today.

    `method` is ach or wire. `investor_id` is the investor who asks; None where staff record the transfer. A repeat changes nothing.

    Raises:
        NotFound: there is no such reservation, or it is another investor's.
        NotAccredited: the investor is not accredited any more, or not active. This step commits the investor to buy.
        ReservationExpired, IllegalTransition, Busy.
    """
    with unit_of_work(reservation_id=reservation_id, actor=actor, reason=reason, now=now) as work:
        reservation = work.read_reservation(reservation_id, investor_id)
        transfer = current_transfer(reservation)
        if reservation.state in {ReservationState.PENDING, ReservationState.SETTLED} and transfer and transfer.method == method:
            return reservation
        refuse_expired(reservation)
        refuse_unless_investor_may_buy(reservation, work.at)
        work.change_reservation(reservation, ReservationEvent.TRANSFER_STARTED, expires_at=money_deadline(work.at))
        work.start_transfer(reservation, method)
        return reservation


def cancel_reservation(*, reservation_id: UUID, actor: Actor, investor_id: int, now: datetime | None = None) -> Reservation:
    """Cancel a reservation for its investor, before a transfer has been started. A repeat changes nothing.

    Raises:
        NotFound: there is no such reservation, or it is another investor's.
        ReservationExpired, IllegalTransition, Busy.
    """
    with unit_of_work(reservation_id=reservation_id, actor=actor, now=now) as work:
        reservation = work.read_reservation(reservation_id, investor_id)
        if reservation.cause == ReservationEvent.CANCELED_BY_INVESTOR:
            return reservation
        refuse_expired(reservation)
        work.change_reservation(reservation, ReservationEvent.CANCELED_BY_INVESTOR)
        return reservation
