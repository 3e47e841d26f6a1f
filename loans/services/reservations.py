"""Do what investors ask for: reserve part of a loan, start the transfer for it, or cancel it.

The `refuse_` functions check one condition each and write what the investor reads of a refusal. The waiting list and staff use them too.
"""

from datetime import datetime
from decimal import Decimal
from functools import partial
from uuid import UUID

from loans.domain import limits
from loans.domain.actors import Actor
from loans.domain.deadlines import money_deadline
from loans.domain.errors import BelowMinimum, Busy, Invalid, InvestorLimit, LoanNotOpen, NotAccredited, OverLimit, ReservationExpired
from loans.domain.idempotency import AnsweredBefore, Key
from loans.domain.investor_limits import LET_GO, UNFUNDED, ExceededLimit
from loans.domain.reservation_money import ZERO_DOLLARS
from loans.domain.states import LoanStatus, ReservationEvent, ReservationState
from loans.ledger import locks
from loans.ledger.admission import Admission, admit_reservation
from loans.ledger.expiry import expire_lapsed
from loans.ledger.unit_of_work import serve_waiting_lists, unit_of_work
from loans.models import Investor, Loan, Reservation
from loans.selectors.investor_limits import exceeded_limit
from loans.selectors.offers import InvestorOffer, LoanOffer, investor_offer, may_buy
from loans.selectors.reservations import deadline_in_history
from loans.selectors.transfers import current_transfer
from peerloans.wording import deadline_text, dollars_text

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
    the reservation, and a repeat is not decided again. Then call it outside a transaction, since it may wait for the key.

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
            taken = limits.taken(amount, least, offer.available)
            _raise_if_refused(offer, taken, least)
            if exceeded := exceeded_limit(investor.pk, offer.loan, taken, now):
                raise investor_limit(exceeded, reference)
            # The offer leaves lapsed reservations out, and the admission still counts them; of the investor's dollars it knows an upper
            # bound. So cancel lapsed ones, count the dollars, and try again. Another transaction may also have changed what counts for
            # the investor, or what is available, so this time none can.
            admission = _admit_under_lock(admit, reference, investor.pk, amount, least, key, now)
        if admission.reservation:
            return admission.reservation
        if admission.first_answer:
            raise AnsweredBefore(admission.first_answer)
        if key and admission.key_in_use:
            # When the other request has ended, the next attempt finds its answer, or decides.
            locks.wait_for_key(key)
        # Still refused: other requests took what was available. The next attempt reads a new offer.
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

    Before, cancel lapsed reservations of the loan, the oldest first, until the amount fits, and serve the waiting list. This stays so
    if the amount is refused.
    """
    with locks.short_transaction():
        if key:
            locks.hold_key(key)  # The lock order (see locks.py): the key before the loan.
        (loan,), at = locks.lock_loans(reference=reference, now=now)
        unclaimed = limits.limit(loan.remaining, loan.overbooking_rate) - loan.claimed
        expire_lapsed([loan], at, needed=amount + loan.waiting_dollars - unclaimed)
        serve_waiting_lists([loan], at, counting_more={investor_id: ZERO_DOLLARS} if loan.waiting_entries else {})
        locks.recount_unfunded(investor_id, at)
        available = limits.available(loan.remaining, loan.overbooking_rate, loan.claimed, loan.waiting_dollars)
        return admit(amount=limits.taken(amount, least, available), now=at)


def _raise_if_refused(offer: InvestorOffer, amount: Decimal, least: Decimal) -> None:
    """Raise the refusal of a reservation of `amount` dollars, of which at least `least` had to be available."""
    loan = offer.loan
    refuse_unless_open(offer)
    refuse_unless_accredited(offer.may_buy)
    refuse_below_minimum(loan, amount)
    if amount > offer.available:
        freed = f"up to {dollars_text(offer.available_then)} may be available"
        then = f" After {deadline_text(offer.frees_at)} {freed}." if offer.frees_at else ""
        waiting = f" {loan.waiting_entries} on its waiting list come first." if loan.waiting_entries else ""
        raise OverLimit(
            f"{dollars_text(least)} is more than the {dollars_text(offer.available)} available of {loan.reference}.{waiting}{then}",
            available=offer.available,
            frees_at=offer.frees_at,
            available_then=offer.available_then,
            waiting_list={"entries": loan.waiting_entries, "dollars": loan.waiting_dollars},
        )


def refuse_more_than_asked(least: Decimal, amount: Decimal) -> None:
    """Refuse to take at least more than is asked for. Raises: Invalid."""
    if least > amount:
        raise Invalid(f"{dollars_text(least)}, the least to take, is more than {dollars_text(amount)}.")


def refuse_unless_open(offer: LoanOffer) -> None:
    """Refuse a loan that takes no reservations. Raises: LoanNotOpen."""
    loan = offer.loan
    if not offer.takes_reservations:
        raise LoanNotOpen(f"{loan.reference} takes no reservations: it {_closed(offer)}.", loan_status=loan.status)


def refuse_unless_accredited(may_buy: bool) -> None:
    """Refuse an investor who may not buy. Raises: NotAccredited."""
    if not may_buy:
        raise NotAccredited("Only accredited investors may reserve. Your accreditation is missing or has ended; ask us to renew it.")


def refuse_below_minimum(loan: Loan, amount: Decimal) -> None:
    """Refuse an amount that the loan does not accept as a reservation. Raises: BelowMinimum."""
    if not limits.meets_minimum(amount, loan.minimum, loan.remaining):
        if loan.remaining < loan.minimum:
            raise BelowMinimum(f"Reserve exactly {dollars_text(loan.remaining)}, all that remains.", minimum=loan.remaining)
        raise BelowMinimum(f"Reserve at least {dollars_text(loan.minimum)}.", minimum=loan.minimum)


def investor_limit(exceeded: ExceededLimit, reference: str) -> InvestorLimit:
    """Return the refusal that names a limit of the investor."""
    if exceeded.limited == LET_GO:
        detail = f"You let go of {exceeded.used} reservations within a day. With {exceeded.limit} you cannot make another one."
    else:
        where = "on all loans" if exceeded.limited == UNFUNDED else f"of {reference}"
        used, most = (dollars_text(Decimal(dollars)) for dollars in (exceeded.used, exceeded.limit))
        detail = f"You hold {used} {where} whose money we have not received; the most is {most}."
    then = f" Try again at {deadline_text(exceeded.frees_at)}." if exceeded.frees_at else ""
    # Texts, so that dollars and numbers of reservations have one type.
    return InvestorLimit(
        f"{detail}{then}", limited=exceeded.limited, limit=str(exceeded.limit), used=str(exceeded.used), frees_at=exceeded.frees_at
    )


def _closed(offer: LoanOffer) -> str:
    if offer.loan.status == LoanStatus.UPCOMING and offer.loan.opens_at:
        return f"opens at {deadline_text(offer.loan.opens_at, year=True)}"
    closes_at = offer.loan.closes_at
    return f"closed at {deadline_text(closes_at, year=True)}" if closes_at and closes_at <= offer.at else f"is {offer.loan.status}"


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
        reservation = work.reservation(reservation_id, investor_id)
        transfer = current_transfer(reservation)
        if reservation.state in {ReservationState.PENDING, ReservationState.SETTLED} and transfer and transfer.method == method:
            return reservation
        refuse_expired(reservation)
        refuse_unless_may_buy(reservation, work.at)
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
        reservation = work.reservation(reservation_id, investor_id)
        if reservation.cause == ReservationEvent.CANCELED_BY_INVESTOR:
            return reservation
        refuse_expired(reservation)
        work.change_reservation(reservation, ReservationEvent.CANCELED_BY_INVESTOR)
        return reservation


def refuse_unless_may_buy(reservation: Reservation, at: datetime) -> None:
    """Refuse a step that commits the reservation's investor to buy, where the investor may not buy at that instant.

    Raises:
        NotAccredited: the investor is not active, or not accredited on that day.
    """
    if not may_buy(reservation.investor_id, at):
        raise NotAccredited("The investor is not accredited any more, or not active, so the reservation cannot go on.")


def refuse_expired(reservation: Reservation) -> None:
    """Refuse an expired reservation. Call it in a unit of work, which begins by canceling lapsed ones, so that they are refused too.

    Raises:
        ReservationExpired: its cause is `expired`.
    """
    if reservation.cause == ReservationEvent.EXPIRED:
        expired_at = deadline_in_history(reservation)
        expired = f" at {deadline_text(expired_at)}" if expired_at else ""
        raise ReservationExpired(f"This reservation expired{expired}. Make a new one.", expired_at=expired_at, state=reservation.state)
