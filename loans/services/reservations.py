"""What may an investor do? Reserve a piece, start the transfer for it, or let it go."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from uuid import UUID

from django.conf import settings

from loans.domain import limits
from loans.domain.actors import SYSTEM, Actor
from loans.domain.business_calendar import TIME_TO_START_TRANSFER, money_deadline
from loans.domain.errors import BelowMinimum, Busy, LoanNotOpen, NotAccredited, NotFound, OverLimit, ReservationExpired
from loans.domain.idempotency import Key, RequestRunning
from loans.domain.states import Event, State
from loans.ledger import locks
from loans.ledger.admission import admit_reservation
from loans.ledger.unit_of_work import UnitOfWork, unit_of_work
from loans.models import Investor, Reservation
from loans.selectors.offers import InvestorOffer, LoanOffer, investor_offer
from loans.selectors.reservations import deadline_in_history
from loans.selectors.transfers import current_transfer

ATTEMPTS = 3  # Room that others free and take meanwhile can make a second look necessary; a third is rare.


def reserve(*, reference: str, investor: Investor, amount: Decimal, key: Key | None = None, now: datetime | None = None) -> Reservation:
    """Claim `amount` dollars of a loan; the reservation's place in the queue is fixed here, and its request's key is kept with it.

    Raises NotFound, LoanNotOpen, NotAccredited, BelowMinimum or OverLimit, and Busy; for a key AnsweredBefore and RequestInProgress.
    """
    admit = partial(
        admit_reservation,
        reference=reference,
        investor_id=investor.pk,
        amount=amount,
        time_to_live=TIME_TO_START_TRANSFER / settings.TIME_LAPSE,
        actor=Actor("investor", investor.user_id),
        key=key,
    )
    for _ in range(ATTEMPTS):
        try:
            with locks.patient():
                reservation = admit(now=now)
            if reservation:
                return reservation
            offer = investor_offer(investor.pk, reference, now)
            _refuse_unless_eligible(offer, amount)
            if amount > offer.available:
                raise _over_limit(offer, amount)
            # There is room, or there would be without the reservations that have lapsed.
            with locks.short_transaction():
                reservation = _after_sweep(admit, reference, amount, now)
            if reservation:
                return reservation
        except RequestRunning:
            assert key  # noqa: S101
            locks.await_key(key)
    raise Busy("Many are reserving this loan right now; try again in a moment.")


def _after_sweep(admit: Callable[..., Reservation | None], reference: str, amount: Decimal, now: datetime | None) -> Reservation | None:
    """Sweep just enough of the loan's lapsed reservations, oldest first; what is swept stays swept."""
    locked = locks.by_reference(reference, now)
    (loan,) = locked.loans
    room = limits.limit(loan.remaining, loan.overbooking_rate) - loan.claimed
    UnitOfWork(locked, actor=SYSTEM, needed=amount - room)
    return admit(now=locked.at)


def _refuse_unless_eligible(offer: InvestorOffer, amount: Decimal) -> None:
    loan = offer.loan
    if not offer.takes_reservations:
        raise LoanNotOpen(f"{loan.reference} takes no reservations: it is {loan.status}{_closing(offer)}.", loan_status=loan.status)
    if not offer.may_buy:
        raise NotAccredited("Only accredited investors may reserve; your accreditation is missing or has ended.")
    if not limits.meets_minimum(amount, loan.minimum, loan.remaining):
        closing_piece = loan.remaining < loan.minimum
        helpful = f"exactly {loan.remaining}, all that remains" if closing_piece else f"at least {loan.minimum}"
        raise BelowMinimum(f"Reserve {helpful}.", minimum=loan.remaining if closing_piece else loan.minimum)


def _closing(offer: LoanOffer) -> str:
    closes_at = offer.loan.closes_at
    return f" and closed on {closes_at:%Y-%m-%d %H:%M} UTC" if closes_at and closes_at <= offer.at else ""


def _over_limit(offer: InvestorOffer, amount: Decimal) -> OverLimit:
    then = f"; at {offer.frees_at.isoformat()} up to {offer.available_then} may be free" if offer.frees_at else ""
    return OverLimit(
        f"{amount} is more than the {offer.available} available of {offer.loan.reference}{then}.",
        available=offer.available,
        frees_at=offer.frees_at,
        available_then=offer.available_then,
    )


def start_transfer(
    *, reservation_id: UUID, method: str, actor: Actor, investor_id: int | None = None, reason: str = "", now: datetime | None = None
) -> Reservation:
    """The reservation becomes pending and its money is awaited until the end of the fifth banking day. A repeat changes nothing.

    `investor_id` is the owner who asks; None where staff record it. Raises NotFound, ReservationExpired, IllegalTransition, Busy.
    """
    with locks.short_transaction(), unit_of_work(locks.by_reservation(reservation_id, now), actor=actor, reason=reason) as work:
        reservation = reservation_under_lock(work, reservation_id, investor_id)
        transfer = current_transfer(reservation)
        if reservation.state in {State.PENDING, State.SETTLED} and transfer and transfer.method == method:
            return reservation
        refuse_expired(reservation)
        work.move(reservation, Event.TRANSFER_STARTED, expires_at=deadline_in_demo_time(work.at, money_deadline(work.at)))
        work.start_transfer(reservation, method)
        return reservation


def cancel_reservation(*, reservation_id: UUID, actor: Actor, investor_id: int, now: datetime | None = None) -> Reservation:
    """The investor lets a reserved reservation go. A repeat changes nothing.

    Raises NotFound, ReservationExpired, IllegalTransition (a transfer has started), Busy.
    """
    with locks.short_transaction(), unit_of_work(locks.by_reservation(reservation_id, now), actor=actor) as work:
        reservation = reservation_under_lock(work, reservation_id, investor_id)
        if reservation.cause == Event.CANCELED_BY_INVESTOR:
            return reservation
        refuse_expired(reservation)
        work.move(reservation, Event.CANCELED_BY_INVESTOR)
        return reservation


def deadline_in_demo_time(at: datetime, deadline: datetime) -> datetime:
    """When a reservation's time that begins at `at` runs out: at the deadline, or in a demo the sooner by TIME_LAPSE."""
    return at + (deadline - at) / settings.TIME_LAPSE


def reservation_under_lock(work: UnitOfWork, reservation_id: UUID, investor_id: int | None = None) -> Reservation:
    """The reservation as it stands now that its loan is locked; NotFound where it is not the investor's."""
    reservation = Reservation.objects.select_related("loan").filter(pk=reservation_id).first()
    if not reservation or (investor_id is not None and reservation.investor_id != investor_id):
        raise NotFound(f"There is no reservation {reservation_id}.")
    return reservation


def refuse_expired(reservation: Reservation) -> None:
    """A lapsed reservation is dead, whatever step is asked of it."""
    if reservation.cause == Event.EXPIRED:
        expired_at = deadline_in_history(reservation)
        raise ReservationExpired(f"This reservation expired at {expired_at}.", expired_at=expired_at, state=reservation.state)
