"""Let staff change one reservation, and record its money by hand. Each change needs a reason, which history keeps.

record_money and reverse_payment record what the bank would report, and return one of `bank_events.OUTCOMES`. Their `notice_id` identifies
one submission of the form: a second call with the same `notice_id` records nothing new.
"""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.conf import settings
from django.db.models import Q

from loans.domain import loan_limits
from loans.domain.actors import Actor
from loans.domain.approval_limit import refuse_without_approval
from loans.domain.deadlines import money_deadline, start_deadline
from loans.domain.errors import IllegalTransition, Invalid, LoanNotOpen, OverLimit
from loans.domain.states import LIVE, Direction, LoanStatus, ReservationEvent, ReservationState, TransferEvent, TransferStatus
from loans.ledger import locks
from loans.ledger.jobs import SETTLE_TASK, send_after_commit
from loans.ledger.unit_of_work import UnitOfWork, unit_of_work
from loans.models import BankEvent, Reservation, Transfer
from loans.selectors.reservations import last_event
from loans.selectors.transfers import current_transfer
from loans.services.bank_events import Notice, NoticeType, is_bank_event_recorded, record_bank_event
from loans.services.refusal_wording import refuse_expired, refuse_unless_investor_may_buy
from peerloans.wording import deadline_text, dollars_text, instant_text


def cancel_by_staff(*, reservation_id: UUID, actor: Actor, reason: str, now: datetime | None = None) -> Reservation:
    """Cancel a live reservation, and refund the money that it has received. A repeat changes nothing.

    Raises:
        NotFound, ReservationExpired, IllegalTransition, Busy.
    """
    with unit_of_work(reservation_id=reservation_id, actor=actor, reason=reason, now=now) as work:
        reservation = work.read_reservation(reservation_id)
        if reservation.cause != ReservationEvent.CANCELED_BY_STAFF:
            refuse_expired(reservation)
            work.change_reservation(reservation, ReservationEvent.CANCELED_BY_STAFF)
        return reservation


def extend_reservation(
    *, reservation_id: UUID, expires_at: datetime, actor: Actor, reason: str, now: datetime | None = None
) -> Reservation:
    """Give a live reservation time until `expires_at`. A repeat changes nothing.

    Raises:
        ReservationExpired: it has lapsed, so it can only be reinstated.
        IllegalTransition: it is not live, or it is funded and has no deadline.
        Invalid: `expires_at` has passed, or is not later than the former deadline.
        NotFound, Busy.
    """
    with unit_of_work(reservation_id=reservation_id, actor=actor, reason=reason, now=now) as work:
        reservation = work.read_reservation(reservation_id)
        if reservation.expires_at == expires_at:
            return reservation
        refuse_expired(reservation)
        if reservation.funded_at:
            raise IllegalTransition("Its money was received, so it has no deadline to extend.", state=reservation.state)
        earliest = max(work.at, reservation.expires_at or work.at)
        if expires_at <= earliest:
            raise Invalid(f"Choose a time after {instant_text(earliest)}.")
        work.change_reservation(reservation, ReservationEvent.EXTENDED, expires_at=expires_at)
        return reservation


def accept_amount(*, reservation_id: UUID, actor: Actor, reason: str, now: datetime | None = None) -> Reservation:
    """Lower the amount of a reservation to the smaller amount that waits for it, so that it is funded. A repeat changes nothing.

    That is what was received, less what the bank paid out by refunds although they were void.

    Raises:
        IllegalTransition: no smaller amount waits.
        Invalid: the received amount is below the loan's minimum, and the reservation was not a closing piece.
        NotFound, ReservationExpired, Busy.
    """
    with unit_of_work(reservation_id=reservation_id, actor=actor, reason=reason, now=now) as work:
        reservation = work.read_reservation(reservation_id)
        refuse_expired(reservation)
        transfer = current_transfer(reservation)
        if reservation.funded_at and transfer and transfer.amount == reservation.amount and _was_accepted(reservation):
            return reservation  # A repeat: this amount was accepted before.
        if not transfer or reservation.waiting_money <= 0 or reservation.state != ReservationState.PENDING or reservation.funded_at:
            raise IllegalTransition("No smaller amount waits to be accepted.", state=reservation.state)
        accepted, minimum = reservation.waiting_money, work.loan.minimum
        if accepted < minimum <= reservation.amount:
            raise Invalid(f"{dollars_text(accepted)} waits for it, which is below the loan's minimum of {dollars_text(minimum)}.")
        transfer.reservation = reservation
        work.change_transfer(transfer, TransferEvent.ACCEPTED, accepted)
        work.change_reservation(reservation, ReservationEvent.AMOUNT_ACCEPTED, amount=accepted)
        work.change_reservation(reservation, ReservationEvent.FUNDED, funded_at=work.at, expires_at=None)
        send_after_commit(SETTLE_TASK, reservation.loan_id)
        return reservation


def _was_accepted(reservation: Reservation) -> bool:
    return reservation.transitions.filter(event=ReservationEvent.AMOUNT_ACCEPTED).exists()


def reinstate_reservation(*, reservation_id: UUID, actor: Actor, reason: str, now: datetime | None = None) -> Reservation:
    """Make a canceled reservation live again, with its old number in the queue, if so much is available. A repeat changes nothing.

    If its whole amount was received, it is funded again and its refund is voided. If its transfer is on the way, it has five new
    banking days for its money; otherwise 24 new hours to start a transfer. The investor's limits do not hinder staff; afterwards the
    reservation counts in them again.

    Raises:
        IllegalTransition: it is not canceled, or a refund of it was sent or paid.
        LoanNotOpen: the loan takes no reservations.
        OverLimit: its amount is more than is available.
        NotAccredited: its investor is not accredited any more, or not active.
        NotFound, Busy.
    """
    with unit_of_work(reservation_id=reservation_id, actor=actor, reason=reason, now=now) as work:
        reservation = work.read_reservation(reservation_id)
        if reservation.state in LIVE and last_event(reservation) in {
            ReservationEvent.REINSTATED_RESERVED,
            ReservationEvent.REINSTATED_PENDING,
        }:
            return reservation
        _refuse_unless_reinstatable(work, reservation)
        refuse_unless_investor_may_buy(reservation, work.at)
        transfer = current_transfer(reservation)
        if transfer and transfer.moved >= reservation.amount:
            work.change_reservation(reservation, ReservationEvent.REINSTATED_PENDING, funded_at=transfer.cleared_at)
            send_after_commit(SETTLE_TASK, reservation.loan_id)
        elif transfer and transfer.status == TransferStatus.INITIATED:
            work.change_reservation(reservation, ReservationEvent.REINSTATED_PENDING, expires_at=money_deadline(work.at))
        else:
            work.change_reservation(reservation, ReservationEvent.REINSTATED_RESERVED, expires_at=start_deadline(work.at))
        return reservation


def _refuse_unless_reinstatable(work: UnitOfWork, reservation: Reservation) -> None:
    loan = work.loan
    if reservation.state != ReservationState.CANCELED:
        raise IllegalTransition(f"This is {reservation.state}; only a canceled reservation can be reinstated.", state=reservation.state)
    if loan.status != LoanStatus.OPEN or not loan.closes_at or loan.closes_at <= work.at:
        is_open = loan.status == LoanStatus.OPEN
        why = f"it closed at {deadline_text(loan.closes_at)}" if is_open and loan.closes_at else f"it is {loan.status}"
        raise LoanNotOpen(f"{loan.reference} takes no reservations: {why}.", loan_status=loan.status)
    available = loan_limits.available(loan.remaining, loan.overbooking_rate, loan.claimed, loan.waiting_dollars)
    if reservation.amount > available:
        raise OverLimit(f"{dollars_text(reservation.amount)} is more than the {dollars_text(available)} available.", available=available)
    refunds = reservation.transfers.filter(direction=Direction.REFUND)
    if refunds.filter(Q(status=TransferStatus.SENT) | Q(moved__gt=0)).exists():
        raise IllegalTransition("A refund of it was sent or paid, so it cannot be reinstated.", state=reservation.state)


# --- Bank events recorded by hand ---------------------------------------------------------------------------------------
def record_money(
    *,
    reservation_id: UUID,
    notice_id: UUID,
    occurred_at: datetime,
    actor: Actor,
    reason: str,
    amount: Decimal | None = None,
    now: datetime | None = None,
) -> str:
    """Record that `amount` dollars of a reservation's transfer cleared; without an amount, as many as are expected. Return the outcome.

    Raises:
        IllegalTransition: no transfer has been started.
        NotFound, Busy, ApprovalNeeded.
    """
    with locks.short_transaction():
        transfer = _transfer_under_lock(reservation_id, now)
        notice = notice_by_staff(notice_id, "transfer.cleared", transfer, amount, occurred_at, default=transfer.amount)
        refuse_without_approval(actor, notice.amount, settings.APPROVAL_ABOVE_DOLLARS)
        return record_bank_event(notice, actor=actor, reason=reason, now=now)


def reverse_payment(
    *,
    reservation_id: UUID,
    notice_id: UUID,
    occurred_at: datetime,
    actor: Actor,
    reason: str,
    amount: Decimal | None = None,
    now: datetime | None = None,
) -> str:
    """Record that the bank took back `amount` dollars of a reservation; without an amount, all that was received. Return the outcome.

    If at least the loan's minimum is left, the reservation's amount becomes what is left. If less is left, it is canceled. Where the
    reservation does not keep the money any more, its refund is voided.

    Raises:
        IllegalTransition: no transfer has been started, or it has no received money.
        Invalid: less than `amount` was received.
        NotFound, Busy.
    """
    with locks.short_transaction():
        transfer = _transfer_under_lock(reservation_id, now)
        notice = notice_by_staff(notice_id, "transfer.failed", transfer, amount, occurred_at, default=transfer.moved or transfer.amount)
        if not is_bank_event_recorded(notice):
            if not transfer.moved:
                raise IllegalTransition(
                    f"The transfer {transfer.reference} is {transfer.status}: it has no received money that could be returned.",
                    state=transfer.status,
                )
            if notice.amount > transfer.moved:
                raise Invalid(f"Only {dollars_text(transfer.moved)} of {transfer.reference} was received.")
        return record_bank_event(notice, actor=actor, reason=reason, now=now)


def notice_by_staff(
    notice_id: UUID, kind: NoticeType, transfer: Transfer, amount: Decimal | None, occurred_at: datetime, *, default: Decimal
) -> Notice:
    """Return the notice by which staff record what the bank would report. `notice_id` is the form's: the form sent twice is one notice.

    Without an amount it is about `default` dollars; if this form has been sent before, about as many as were recorded then.
    """
    key = f"staff:{notice_id}:{transfer.reference}"
    if amount is None:
        amount = BankEvent.objects.filter(pk=key).values_list("amount", flat=True).first() or default
    return Notice(key, kind, transfer.reference, amount, occurred_at, source="staff")


def _transfer_under_lock(reservation_id: UUID, now: datetime | None) -> Transfer:
    locks.lock_loans(reservation_id=reservation_id, now=now)
    transfer = current_transfer(Reservation.objects.get(pk=reservation_id))
    if not transfer:
        raise IllegalTransition("No transfer has been started for it; record that first.")
    return transfer
