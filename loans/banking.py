"""What does a bank's event, or staff's word for it, do?

Money that came is always recorded, whatever has become of its reservation meanwhile. The bank's events may come late,
twice and in any order; a repeat changes nothing.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Literal

from celery import current_app
from django.db import transaction

from loans import ledger, locks, selectors
from loans.ledger import BANK, Actor, Ledger
from loans.models import BankEvent, Transfer
from loans.states import Direction, Event, State, TransferEvent, TransferStatus

OUTCOMES = (
    "funded",
    "too_little",
    "late_money",
    "second_payment",
    "failed",
    "already_failed",
    "returned",
    "paid",
    "already_paid",
    "refund_differs",
    "unknown_reference",
)
SETTLE_TASK = "loans.tasks.settle_loan"


@dataclass(frozen=True)
class Notice:
    """What the bank says: money for `reference` cleared, failed or was paid out, at `occurred_at` by its clock."""

    id: str
    type: Literal["transfer.cleared", "transfer.failed", "refund.paid"]
    reference: str
    amount: Decimal
    occurred_at: datetime


def record(notice: Notice, *, actor: Actor = BANK, reason: str = "", now: datetime | None = None) -> str:
    """Record the notice and do what follows from it; returns the outcome in a word. Raises Busy.

    The same notice again gives the first outcome and changes nothing. What names no transfer of ours is listed for staff.
    """
    direction = Direction.REFUND if notice.type == "refund.paid" else Direction.INBOUND
    known = Transfer.objects.filter(reference=notice.reference, direction=direction).first()
    with locks.short_transaction():
        if known is None:
            return _record_unknown(notice, now)
        locked = locks.by_reservation(known.reservation_id, now)
        event, first_time = _keep(notice, locked.at)
        if first_time:
            with ledger.opened(locked, actor=actor, reason=reason) as book:
                event.outcome = _FOLLOWS[notice.type](book, notice, _payments(notice, direction))
            event.save(update_fields=["outcome"])
        return event.outcome


def is_recorded(notice: Notice) -> bool:
    return BankEvent.objects.filter(pk=notice.id).exists()


def _keep(notice: Notice, at: datetime) -> tuple[BankEvent, bool]:
    event, first_time = BankEvent.objects.get_or_create(pk=notice.id, defaults=vars(notice) | {"recorded_at": at, "outcome": ""})
    if (event.type, event.reference, event.amount) != (notice.type, notice.reference, notice.amount):
        again = f"{notice.type} of {notice.amount} dollars for {notice.reference}"
        ledger.open_case("event_differs", f"The bank's event {notice.id} came again as {again}; what it said at first stands.", at=at)
    return event, first_time


def _record_unknown(notice: Notice, now: datetime | None) -> str:
    at = selectors.instant(now)
    event, first_time = _keep(notice, at)
    if first_time:
        event.outcome = "unknown_reference"
        event.save(update_fields=["outcome"])
        detail = f"{notice.type} of {notice.amount} dollars names {notice.reference}, which is none of our transfers (event {notice.id})."
        ledger.open_case("unknown_reference", detail, at=at)
    return event.outcome


def _payments(notice: Notice, direction: Direction) -> list[Transfer]:
    """All that came, or goes, under the reference; each knows the one reservation object."""
    payments = list(
        Transfer.objects.filter(reference=notice.reference, direction=direction).select_related("reservation__loan").order_by("payment")
    )
    for transfer in payments:
        transfer.reservation = payments[0].reservation
    return payments


def _cleared(book: Ledger, notice: Notice, payments: list[Transfer]) -> str:
    transfer = payments[0]
    if transfer.status not in {TransferStatus.INITIATED, TransferStatus.FAILED}:
        book.receive_again(transfer, payment=len(payments) + 1, amount=notice.amount, occurred_at=notice.occurred_at)
        book.case("second_payment", f"{notice.amount} dollars came again for {notice.reference}; they go back.", transfer.reservation)
        return "second_payment"
    failed_at = transfer.occurred_at if transfer.status == TransferStatus.FAILED else None
    book.move_transfer(transfer, TransferEvent.CLEARED, amount=notice.amount, occurred_at=notice.occurred_at)
    if failed_at and notice.occurred_at < failed_at:
        # The two events came in the wrong order: the money was here and went back.
        book.move_transfer(transfer, TransferEvent.RETURNED, occurred_at=failed_at)
        return "returned"
    return _arrived(book, notice, transfer)


def _arrived(book: Ledger, notice: Notice, transfer: Transfer) -> str:
    claim = transfer.reservation
    awaited = claim.state == State.PENDING and not claim.funded_at and _is_own(transfer)
    if not awaited:
        expired_at = selectors.expired_at(claim) if claim.cause == Event.EXPIRED else None
        in_time = expired_at and notice.occurred_at < expired_at
        told = f"It was there at {notice.occurred_at}, before the deadline of {expired_at}." if in_time else "It goes back."
        book.case(
            "deadline_missed" if in_time else "late_money", f"{notice.amount} dollars for {notice.reference} came late. {told}", claim
        )
        book.refund(claim, transfer.amount)
        return "late_money"
    if transfer.amount != claim.amount:
        book.case("amount_differs", f"{transfer.amount} dollars came for {notice.reference}, {claim.amount} were expected.", claim)
    if transfer.amount < claim.amount:
        return "too_little"
    book.move(claim, Event.FUNDED, funded_at=book.at, expires_at=None)
    settle_soon(claim.loan_id)
    return "funded"


def settle_soon(loan_id: int) -> None:
    """Have the loan's rule applied as soon as this transaction is committed; the settle job would, some minutes later."""
    transaction.on_commit(partial(current_app.send_task, SETTLE_TASK, [loan_id]), robust=True)


def _is_own(transfer: Transfer) -> bool:
    own = selectors.own_transfer(transfer.reservation)
    return own is not None and own.pk == transfer.pk


def _failed(book: Ledger, notice: Notice, payments: list[Transfer]) -> str:
    transfer = payments[0]
    claim = transfer.reservation
    if transfer.status == TransferStatus.INITIATED:
        book.move_transfer(transfer, TransferEvent.FAILED, occurred_at=notice.occurred_at)
        if claim.state == State.PENDING and _is_own(transfer):
            book.move(claim, Event.TRANSFER_FAILED)
            book.case("transfer_failed", f"The transfer {notice.reference} of {notice.amount} dollars failed.", claim)
        return "failed"
    cleared = [payment for payment in payments if payment.status == TransferStatus.CLEARED]
    if not cleared:
        return "already_failed"
    returned = next((payment for payment in reversed(cleared) if payment.amount == notice.amount), cleared[-1])
    book.move_transfer(returned, TransferEvent.RETURNED, occurred_at=notice.occurred_at)
    if returned is transfer and claim.state in {State.PENDING, State.SETTLED} and _is_own(transfer):
        book.move(claim, Event.PAYMENT_RETURNED)
    else:
        book.take_back(claim, returned.amount)
    return "returned"


def _paid(book: Ledger, notice: Notice, payments: list[Transfer]) -> str:
    refund = payments[0]
    if notice.amount != refund.amount or refund.status == TransferStatus.VOID:
        detail = f"The bank paid {notice.amount} dollars for refund {refund.reference}, which is {refund.status} with {refund.amount}."
        book.case("refund_differs", detail, refund.reservation)
        return "refund_differs"
    if refund.status == TransferStatus.PAID:
        return "already_paid"
    book.move_transfer(refund, TransferEvent.PAID, occurred_at=notice.occurred_at)
    return "paid"


_FOLLOWS = {"transfer.cleared": _cleared, "transfer.failed": _failed, "refund.paid": _paid}
