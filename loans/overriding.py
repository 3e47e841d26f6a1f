"""What may staff do to one reservation, its money, or a case? Each step needs a reason, which is kept."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from loans import banking, ledger, limits, locks, selectors
from loans.banking import Notice, settle_soon
from loans.banking_days import money_deadline, transfer_deadline
from loans.errors import IllegalTransition, Invalid, LoanNotOpen, NotFound, OverLimit
from loans.investing import claim_under_lock, lapsing, refuse_lapsed
from loans.ledger import Actor
from loans.models import Case, Reservation, Transfer
from loans.states import LIVE, Direction, Event, LoanStatus, State, TransferStatus


def cancel_by_staff(*, reservation_id: UUID, actor: Actor, reason: str, now: datetime | None = None) -> Reservation:
    """Cancel a live claim; money that is here goes back. A repeat changes nothing."""
    with locks.short_transaction(), ledger.opened(locks.by_reservation(reservation_id, now), actor=actor, reason=reason) as book:
        claim = claim_under_lock(book, reservation_id)
        if claim.cause != Event.CANCELED_BY_STAFF:
            refuse_lapsed(claim)
            book.move(claim, Event.CANCELED_BY_STAFF)
        return claim


def extend_claim(*, reservation_id: UUID, expires_at: datetime, actor: Actor, reason: str, now: datetime | None = None) -> Reservation:
    """Give a live claim until `expires_at`. A lapsed claim can only be reinstated."""
    with locks.short_transaction(), ledger.opened(locks.by_reservation(reservation_id, now), actor=actor, reason=reason) as book:
        claim = claim_under_lock(book, reservation_id)
        if claim.expires_at == expires_at:
            return claim
        refuse_lapsed(claim)
        if claim.funded_at:
            raise IllegalTransition("Its money is here, so no clock is running that could be extended.", state=claim.state)
        if expires_at <= max(book.at, claim.expires_at or book.at):
            raise Invalid(f"Name an instant after {max(book.at, claim.expires_at or book.at)}.")
        book.move(claim, Event.EXTENDED, expires_at=expires_at)
        return claim


def accept_amount(*, reservation_id: UUID, actor: Actor, reason: str, now: datetime | None = None) -> Reservation:
    """Take the smaller sum that came for what was asked: the claim shrinks to it and is funded. A repeat changes nothing."""
    with locks.short_transaction(), ledger.opened(locks.by_reservation(reservation_id, now), actor=actor, reason=reason) as book:
        claim = claim_under_lock(book, reservation_id)
        refuse_lapsed(claim)
        transfer = selectors.own_transfer(claim)
        came = transfer.amount if transfer and transfer.status == TransferStatus.CLEARED else None
        if claim.funded_at and claim.amount == came and claim.transitions.filter(event=Event.AMOUNT_ACCEPTED).exists():
            return claim
        if came is None or claim.state != State.PENDING or claim.funded_at:
            raise IllegalTransition("No smaller sum waits to be accepted.", state=claim.state)
        if came < book.loan.minimum:
            raise Invalid(f"{came} came, which is below the loan's minimum of {book.loan.minimum}.")
        book.move(claim, Event.AMOUNT_ACCEPTED, amount=came)
        book.move(claim, Event.FUNDED, funded_at=book.at, expires_at=None)
        settle_soon(claim.loan_id)
        return claim


def reinstate(*, reservation_id: UUID, actor: Actor, reason: str, now: datetime | None = None) -> Reservation:
    """Bring a canceled claim back to its old place, as far as the loan has room for it.

    Where its money is here it waits for its turn, where its transfer is on the way it has five fresh banking days,
    otherwise 24 fresh hours. A repeat changes nothing.
    """
    with locks.short_transaction(), ledger.opened(locks.by_reservation(reservation_id, now), actor=actor, reason=reason) as book:
        claim, loan = claim_under_lock(book, reservation_id), book.loan
        if claim.state in LIVE and selectors.last_event(claim) in {Event.REINSTATED_RESERVED, Event.REINSTATED_PENDING}:
            return claim
        if claim.state != State.CANCELED:
            raise IllegalTransition(f"This is {claim.state}; only a canceled reservation can be reinstated.", state=claim.state)
        if loan.status != LoanStatus.OPEN or not loan.closes_at or loan.closes_at <= book.at:
            raise LoanNotOpen(
                f"{loan.reference} takes no reservations: it is {loan.status} and closes at {loan.closes_at}.", loan_status=loan.status
            )
        available = limits.available(loan.remaining, loan.overbooking_rate, loan.claimed)
        if claim.amount > available:
            raise OverLimit(f"{claim.amount} is more than the {available} available.", available=available)
        if claim.transfers.filter(status=TransferStatus.PAID).exists():
            raise IllegalTransition("A refund of it has been paid, so it cannot be reinstated.", state=claim.state)
        transfer = selectors.own_transfer(claim)
        if transfer and transfer.status == TransferStatus.CLEARED and transfer.amount >= claim.amount:
            book.move(claim, Event.REINSTATED_PENDING, funded_at=transfer.cleared_at)
            settle_soon(claim.loan_id)
        elif transfer and transfer.status == TransferStatus.INITIATED:
            book.move(claim, Event.REINSTATED_PENDING, expires_at=lapsing(book.at, money_deadline(book.at)))
        else:
            book.move(claim, Event.REINSTATED_RESERVED, expires_at=lapsing(book.at, transfer_deadline(book.at)))
        return claim


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
    """Record that a claim's money is here; all that was expected, unless `amount` says otherwise."""
    with locks.short_transaction():
        transfer = _transfer_under_lock(reservation_id, now)
        return banking.record(
            Notice(
                f"staff:{notice_id}:{transfer.reference}", "transfer.cleared", transfer.reference, amount or transfer.amount, occurred_at
            ),
            actor=actor,
            reason=reason,
            now=now,
        )


def reverse(*, reservation_id: UUID, notice_id: UUID, occurred_at: datetime, actor: Actor, reason: str, now: datetime | None = None) -> str:
    """Record that the bank took a claim's money back: the claim is canceled, without a refund."""
    with locks.short_transaction():
        transfer = _transfer_under_lock(reservation_id, now)
        notice = Notice(f"staff:{notice_id}:{transfer.reference}", "transfer.failed", transfer.reference, transfer.amount, occurred_at)
        if transfer.status != TransferStatus.CLEARED and not banking.is_recorded(notice):
            raise IllegalTransition(
                f"The transfer {transfer.reference} is {transfer.status}: no money of it is here.", state=transfer.status
            )
        return banking.record(notice, actor=actor, reason=reason, now=now)


def _transfer_under_lock(reservation_id: UUID, now: datetime | None) -> Transfer:
    locks.by_reservation(reservation_id, now)
    transfer = selectors.own_transfer(Reservation.objects.get(pk=reservation_id))
    if not transfer:
        raise IllegalTransition("No transfer has been started for it; record that first.")
    return transfer


def mark_paid(*, transfer_id: UUID, notice_id: UUID, occurred_at: datetime, actor: Actor, reason: str, now: datetime | None = None) -> str:
    """Record that a refund has been paid."""
    refund = Transfer.objects.filter(pk=transfer_id).first()
    if not refund:
        raise NotFound(f"There is no transfer {transfer_id}.")
    if refund.direction != Direction.REFUND:
        raise IllegalTransition(f"{refund.reference} is no refund.", state=refund.status)
    notice = Notice(f"staff:{notice_id}:{refund.reference}", "refund.paid", refund.reference, refund.amount, occurred_at)
    return banking.record(notice, actor=actor, reason=reason, now=now)


def close_case(*, case_id: int, actor: Actor, reason: str, now: datetime | None = None) -> Case:
    """Take a case off the list; `reason` says what became of it."""
    with locks.short_transaction():
        case = Case.objects.select_for_update().filter(pk=case_id).first()
        if not case:
            raise NotFound(f"There is no case {case_id}.")
        if case.closed_at:
            raise IllegalTransition(f"It was closed at {case.closed_at}.")
        ledger.close_case(case, user_id=actor.user_id, note=reason, at=selectors.instant(now))
        return case
