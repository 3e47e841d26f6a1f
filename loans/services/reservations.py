"""Do what investors ask for: reserve part of a loan, start the transfer for it, or cancel it."""

from datetime import datetime
from decimal import Decimal
from functools import partial
from uuid import UUID

from django.conf import settings

from loans.domain import limits
from loans.domain.actors import Actor
from loans.domain.deadlines import TIME_TO_START_TRANSFER, money_deadline
from loans.domain.errors import BelowMinimum, Busy, LoanNotOpen, NotAccredited, OverLimit, ReservationExpired
from loans.domain.idempotency import AnsweredBefore, Key
from loans.domain.states import ReservationEvent, ReservationState
from loans.ledger import locks
from loans.ledger.admission import Admission, admit_reservation
from loans.ledger.expiry import expire_lapsed
from loans.ledger.unit_of_work import unit_of_work
from loans.models import Investor, Reservation
from loans.selectors.offers import InvestorOffer, LoanOffer, investor_offer
from loans.selectors.reservations import deadline_in_history
from loans.selectors.transfers import current_transfer
from peerloans.wording import deadline_text, dollars_text

ATTEMPTS = 3  # Other requests may take what is available between the reading of the offer and the next attempt; a third is rare.


def reserve(*, reference: str, investor: Investor, amount: Decimal, key: Key | None = None, now: datetime | None = None) -> Reservation:
    """Reserve `amount` dollars of a loan for the investor, and return the reservation with its number in the queue.

    With a key, the key is kept with the reservation, and a repeat is not decided again. Then call it outside a transaction, since it
    may wait for the key.

    Raises:
        NotFound: there is no such loan.
        LoanNotOpen, NotAccredited, BelowMinimum, OverLimit: the rules refuse it.
        Busy: a lock did not come in time, or other requests took what was available in each attempt.
        ValueError: the amount has fractions of a cent.
        AnsweredBefore: the key has a first answer.
        RequestInProgress: the first request with the key took too long.
    """
    admit = partial(
        admit_reservation,
        reference=reference,
        investor_id=investor.pk,
        amount=amount,
        time_to_live=TIME_TO_START_TRANSFER / settings.TIME_LAPSE,  # the factor by which a demo runs faster, else 1
        actor=Actor("investor", investor.user_id),
        key=key,
    )
    for _ in range(ATTEMPTS):
        with locks.busy_if_late():
            admission = admit(now=now)
        if admission.refused:
            offer = investor_offer(investor.pk, reference, now)
            _raise_if_refused(offer, amount)
            # The offer leaves lapsed reservations out, and the admission still counts them. So cancel lapsed ones and try again.
            admission = _admit_after_expiry(admit, reference, amount, key, now)
        if admission.reservation:
            return admission.reservation
        if admission.first_answer:
            raise AnsweredBefore(admission.first_answer)
        if key and admission.key_in_use:
            # When the other request has ended, the next attempt finds its answer, or decides.
            locks.wait_for_key(key)
        # Still refused: other requests took what was available. The next attempt reads a new offer.
    raise Busy("Many investors are reserving this loan. Try again in a moment.")


def _admit_after_expiry(admit: "partial[Admission]", reference: str, amount: Decimal, key: Key | None, now: datetime | None) -> Admission:
    """Cancel lapsed reservations, the oldest first, until the amount fits, and try once more. They stay canceled if that is refused."""
    with locks.short_transaction():
        if key:
            locks.hold_key(key)  # The lock order (see locks.py): the key before the loan.
        (loan,), at = locks.lock_loans(reference=reference, now=now)
        unclaimed = limits.limit(loan.remaining, loan.overbooking_rate) - loan.claimed
        expire_lapsed([loan], at, needed=amount - unclaimed)
        return admit(now=at)


def _raise_if_refused(offer: InvestorOffer, amount: Decimal) -> None:
    loan = offer.loan
    if not offer.takes_reservations:
        raise LoanNotOpen(f"{loan.reference} takes no reservations: it {_closed(offer)}.", loan_status=loan.status)
    if not offer.may_buy:
        raise NotAccredited("Only accredited investors may reserve. Your accreditation is missing or has ended; ask us to renew it.")
    if not limits.meets_minimum(amount, loan.minimum, loan.remaining):
        if loan.remaining < loan.minimum:
            raise BelowMinimum(f"Reserve exactly {dollars_text(loan.remaining)}, all that remains.", minimum=loan.remaining)
        raise BelowMinimum(f"Reserve at least {dollars_text(loan.minimum)}.", minimum=loan.minimum)
    if amount > offer.available:
        freed = f"up to {dollars_text(offer.available_then)} may be available"
        then = f" After {deadline_text(offer.frees_at)} {freed}." if offer.frees_at else ""
        raise OverLimit(
            f"{dollars_text(amount)} is more than the {dollars_text(offer.available)} available of {loan.reference}.{then}",
            available=offer.available,
            frees_at=offer.frees_at,
            available_then=offer.available_then,
        )


def _closed(offer: LoanOffer) -> str:
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
        ReservationExpired, IllegalTransition, Busy.
    """
    with unit_of_work(reservation_id=reservation_id, actor=actor, reason=reason, now=now) as work:
        reservation = work.reservation(reservation_id, investor_id)
        transfer = current_transfer(reservation)
        if reservation.state in {ReservationState.PENDING, ReservationState.SETTLED} and transfer and transfer.method == method:
            return reservation
        refuse_expired(reservation)
        work.change_reservation(reservation, ReservationEvent.TRANSFER_STARTED, expires_at=money_deadline(work.at, settings.TIME_LAPSE))
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


def refuse_expired(reservation: Reservation) -> None:
    """Refuse an expired reservation. Call it in a unit of work, which begins by canceling lapsed ones, so that they are refused too.

    Raises:
        ReservationExpired: its cause is `expired`.
    """
    if reservation.cause == ReservationEvent.EXPIRED:
        expired_at = deadline_in_history(reservation)
        expired = f" at {deadline_text(expired_at)}" if expired_at else ""
        raise ReservationExpired(f"This reservation expired{expired}. Make a new one.", expired_at=expired_at, state=reservation.state)
