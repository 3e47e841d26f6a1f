"""What may staff do to one reservation, its money, or a review_item? Each step needs a reason, which is kept."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from loans.domain import limits
from loans.domain.actors import Actor
from loans.domain.business_calendar import money_deadline, transfer_deadline
from loans.domain.errors import IllegalTransition, Invalid, LoanNotOpen, NotFound, OverLimit
from loans.domain.states import LIVE, Direction, Event, LoanStatus, State, TransferStatus
from loans.ledger import locks
from loans.ledger.review_items import close_review_item
from loans.ledger.unit_of_work import unit_of_work
from loans.models import Reservation, ReviewItem, Transfer
from loans.selectors.reservations import last_event
from loans.selectors.transfers import current_transfer
from loans.services.payments import Notice, is_bank_event_recorded, record_bank_event, settle_soon
from loans.services.reservations import deadline_in_demo_time, refuse_expired, reservation_under_lock
from peerloans.database.clock import database_now


def cancel_by_staff(*, reservation_id: UUID, actor: Actor, reason: str, now: datetime | None = None) -> Reservation:
    """Cancel a live reservation; money that is here goes back. A repeat changes nothing."""
    with locks.short_transaction(), unit_of_work(locks.by_reservation(reservation_id, now), actor=actor, reason=reason) as work:
        reservation = reservation_under_lock(work, reservation_id)
        if reservation.cause != Event.CANCELED_BY_STAFF:
            refuse_expired(reservation)
            work.move(reservation, Event.CANCELED_BY_STAFF)
        return reservation


def extend_reservation(
    *, reservation_id: UUID, expires_at: datetime, actor: Actor, reason: str, now: datetime | None = None
) -> Reservation:
    """Give a live reservation until `expires_at`. A lapsed reservation can only be reinstated."""
    with locks.short_transaction(), unit_of_work(locks.by_reservation(reservation_id, now), actor=actor, reason=reason) as work:
        reservation = reservation_under_lock(work, reservation_id)
        if reservation.expires_at == expires_at:
            return reservation
        refuse_expired(reservation)
        if reservation.funded_at:
            raise IllegalTransition("Its money is here, so no clock is running that could be extended.", state=reservation.state)
        if expires_at <= max(work.at, reservation.expires_at or work.at):
            raise Invalid(f"Name an instant after {max(work.at, reservation.expires_at or work.at)}.")
        work.move(reservation, Event.EXTENDED, expires_at=expires_at)
        return reservation


def accept_amount(*, reservation_id: UUID, actor: Actor, reason: str, now: datetime | None = None) -> Reservation:
    """Take the smaller sum that came for what was asked: the reservation shrinks to it and is funded. A repeat changes nothing."""
    with locks.short_transaction(), unit_of_work(locks.by_reservation(reservation_id, now), actor=actor, reason=reason) as work:
        reservation = reservation_under_lock(work, reservation_id)
        refuse_expired(reservation)
        transfer = current_transfer(reservation)
        came = transfer.amount if transfer and transfer.status == TransferStatus.CLEARED else None
        if reservation.funded_at and reservation.amount == came and reservation.transitions.filter(event=Event.AMOUNT_ACCEPTED).exists():
            return reservation
        if came is None or reservation.state != State.PENDING or reservation.funded_at:
            raise IllegalTransition("No smaller sum waits to be accepted.", state=reservation.state)
        if came < work.loan.minimum:
            raise Invalid(f"{came} came, which is below the loan's minimum of {work.loan.minimum}.")
        work.move(reservation, Event.AMOUNT_ACCEPTED, amount=came)
        work.move(reservation, Event.FUNDED, funded_at=work.at, expires_at=None)
        settle_soon(reservation.loan_id)
        return reservation


def reinstate_reservation(*, reservation_id: UUID, actor: Actor, reason: str, now: datetime | None = None) -> Reservation:
    """Bring a canceled reservation back to its old place, as far as the loan has room for it.

    Where its money is here it waits for its turn, where its transfer is on the way it has five fresh banking days,
    otherwise 24 fresh hours. A repeat changes nothing.
    """
    with locks.short_transaction(), unit_of_work(locks.by_reservation(reservation_id, now), actor=actor, reason=reason) as work:
        reservation, loan = reservation_under_lock(work, reservation_id), work.loan
        if reservation.state in LIVE and last_event(reservation) in {Event.REINSTATED_RESERVED, Event.REINSTATED_PENDING}:
            return reservation
        if reservation.state != State.CANCELED:
            raise IllegalTransition(f"This is {reservation.state}; only a canceled reservation can be reinstated.", state=reservation.state)
        if loan.status != LoanStatus.OPEN or not loan.closes_at or loan.closes_at <= work.at:
            raise LoanNotOpen(
                f"{loan.reference} takes no reservations: it is {loan.status} and closes at {loan.closes_at}.", loan_status=loan.status
            )
        available = limits.available(loan.remaining, loan.overbooking_rate, loan.claimed)
        if reservation.amount > available:
            raise OverLimit(f"{reservation.amount} is more than the {available} available.", available=available)
        if reservation.transfers.filter(status=TransferStatus.PAID).exists():
            raise IllegalTransition("A refund of it has been paid, so it cannot be reinstated.", state=reservation.state)
        transfer = current_transfer(reservation)
        if transfer and transfer.status == TransferStatus.CLEARED and transfer.amount >= reservation.amount:
            work.move(reservation, Event.REINSTATED_PENDING, funded_at=transfer.cleared_at)
            settle_soon(reservation.loan_id)
        elif transfer and transfer.status == TransferStatus.INITIATED:
            work.move(reservation, Event.REINSTATED_PENDING, expires_at=deadline_in_demo_time(work.at, money_deadline(work.at)))
        else:
            work.move(reservation, Event.REINSTATED_RESERVED, expires_at=deadline_in_demo_time(work.at, transfer_deadline(work.at)))
        return reservation


# --- What the bank would have told ------------------------------------------------------------------------------------
# `notice_id` tells one deed from the next, as the bank's own ids do: the same deed again changes nothing.
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
    """Record that a reservation's money is here; all that was expected, unless `amount` says otherwise."""
    with locks.short_transaction():
        transfer = _transfer_under_lock(reservation_id, now)
        return record_bank_event(
            Notice(
                f"staff:{notice_id}:{transfer.reference}", "transfer.cleared", transfer.reference, amount or transfer.amount, occurred_at
            ),
            actor=actor,
            reason=reason,
            now=now,
        )


def reverse_payment(
    *, reservation_id: UUID, notice_id: UUID, occurred_at: datetime, actor: Actor, reason: str, now: datetime | None = None
) -> str:
    """Record that the bank took a reservation's money back: the reservation is canceled, without a refund."""
    with locks.short_transaction():
        transfer = _transfer_under_lock(reservation_id, now)
        notice = Notice(f"staff:{notice_id}:{transfer.reference}", "transfer.failed", transfer.reference, transfer.amount, occurred_at)
        if transfer.status != TransferStatus.CLEARED and not is_bank_event_recorded(notice):
            raise IllegalTransition(
                f"The transfer {transfer.reference} is {transfer.status}: no money of it is here.", state=transfer.status
            )
        return record_bank_event(notice, actor=actor, reason=reason, now=now)


def _transfer_under_lock(reservation_id: UUID, now: datetime | None) -> Transfer:
    locks.by_reservation(reservation_id, now)
    transfer = current_transfer(Reservation.objects.get(pk=reservation_id))
    if not transfer:
        raise IllegalTransition("No transfer has been started for it; record that first.")
    return transfer


def mark_refund_paid(
    *, transfer_id: UUID, notice_id: UUID, occurred_at: datetime, actor: Actor, reason: str, now: datetime | None = None
) -> str:
    """Record that a refund has been paid."""
    refund = Transfer.objects.filter(pk=transfer_id).first()
    if not refund:
        raise NotFound(f"There is no transfer {transfer_id}.")
    if refund.direction != Direction.REFUND:
        raise IllegalTransition(f"{refund.reference} is no refund.", state=refund.status)
    notice = Notice(f"staff:{notice_id}:{refund.reference}", "refund.paid", refund.reference, refund.amount, occurred_at)
    return record_bank_event(notice, actor=actor, reason=reason, now=now)


def resolve_review_item(*, review_item_id: int, actor: Actor, reason: str, now: datetime | None = None) -> ReviewItem:
    """Take a review item off the list; `reason` says what became of it."""
    with locks.short_transaction():
        review_item = ReviewItem.objects.select_for_update().filter(pk=review_item_id).first()
        if not review_item:
            raise NotFound(f"There is no review item {review_item_id}.")
        if review_item.resolved_at:
            raise IllegalTransition(f"It was closed at {review_item.resolved_at}.")
        close_review_item(review_item, user_id=actor.user_id, note=reason, at=database_now(now))
        return review_item
