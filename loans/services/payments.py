"""What does a bank's event, or staff's word for it, do?

Money that came is always recorded, whatever has become of its reservation meanwhile. The bank's events may come late,
twice and in any order; a repeat changes nothing.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from celery import current_app
from django.db import transaction

from loans.domain.actors import BANK, Actor
from loans.domain.states import Direction, Event, State, TransferEvent, TransferStatus
from loans.ledger import locks
from loans.ledger.review_items import open_review_item
from loans.ledger.unit_of_work import UnitOfWork, unit_of_work
from loans.models import BankEvent, Transfer
from loans.selectors.reservations import deadline_in_history
from loans.selectors.transfers import current_transfer
from peerloans.database.clock import database_now

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


def record_bank_event(notice: Notice, *, actor: Actor = BANK, reason: str = "", now: datetime | None = None) -> str:
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
            with unit_of_work(locked, actor=actor, reason=reason) as work:
                event.outcome = _FOLLOWS[notice.type](work, notice, _payments(notice, direction))
            event.save(update_fields=["outcome"])
        return event.outcome


def is_bank_event_recorded(notice: Notice) -> bool:
    return BankEvent.objects.filter(pk=notice.id).exists()


def _keep(notice: Notice, at: datetime) -> tuple[BankEvent, bool]:
    event, first_time = BankEvent.objects.get_or_create(pk=notice.id, defaults=vars(notice) | {"recorded_at": at, "outcome": ""})
    if (event.type, event.reference, event.amount) != (notice.type, notice.reference, notice.amount):
        again = f"{notice.type} of {notice.amount} dollars for {notice.reference}"
        open_review_item("event_differs", f"The bank's event {notice.id} came again as {again}; what it said at first stands.", at=at)
    return event, first_time


def _record_unknown(notice: Notice, now: datetime | None) -> str:
    at = database_now(now)
    event, first_time = _keep(notice, at)
    if first_time:
        event.outcome = "unknown_reference"
        event.save(update_fields=["outcome"])
        detail = f"{notice.type} of {notice.amount} dollars names {notice.reference}, which is none of our transfers (event {notice.id})."
        open_review_item("unknown_reference", detail, at=at)
    return event.outcome


def _payments(notice: Notice, direction: Direction) -> list[Transfer]:
    """All that came, or goes, under the reference; each knows the one reservation object."""
    payments = list(
        Transfer.objects.filter(reference=notice.reference, direction=direction).select_related("reservation__loan").order_by("payment")
    )
    for transfer in payments:
        transfer.reservation = payments[0].reservation
    return payments


def _cleared(work: UnitOfWork, notice: Notice, payments: list[Transfer]) -> str:
    transfer = payments[0]
    if transfer.status not in {TransferStatus.INITIATED, TransferStatus.FAILED}:
        work.receive_again(transfer, payment=len(payments) + 1, amount=notice.amount, occurred_at=notice.occurred_at)
        work.add_review_item(
            "second_payment", f"{notice.amount} dollars came again for {notice.reference}; they go back.", transfer.reservation
        )
        return "second_payment"
    failed_at = transfer.occurred_at if transfer.status == TransferStatus.FAILED else None
    work.move_transfer(transfer, TransferEvent.CLEARED, amount=notice.amount, occurred_at=notice.occurred_at)
    if failed_at and notice.occurred_at < failed_at:
        # The two events came in the wrong order: the money was here and went back.
        work.move_transfer(transfer, TransferEvent.RETURNED, occurred_at=failed_at)
        return "returned"
    return _arrived(work, notice, transfer)


def _arrived(work: UnitOfWork, notice: Notice, transfer: Transfer) -> str:
    reservation = transfer.reservation
    awaited = reservation.state == State.PENDING and not reservation.funded_at and _is_own(transfer)
    if not awaited:
        expired_at = deadline_in_history(reservation) if reservation.cause == Event.EXPIRED else None
        in_time = expired_at and notice.occurred_at < expired_at
        told = f"It was there at {notice.occurred_at}, before the deadline of {expired_at}." if in_time else "It goes back."
        work.add_review_item(
            "deadline_missed" if in_time else "late_money", f"{notice.amount} dollars for {notice.reference} came late. {told}", reservation
        )
        work.refund(reservation, transfer.amount)
        return "late_money"
    if transfer.amount != reservation.amount:
        work.add_review_item(
            "amount_differs", f"{transfer.amount} dollars came for {notice.reference}, {reservation.amount} were expected.", reservation
        )
    if transfer.amount < reservation.amount:
        return "too_little"
    work.move(reservation, Event.FUNDED, funded_at=work.at, expires_at=None)
    settle_soon(reservation.loan_id)
    return "funded"


def settle_soon(loan_id: int) -> None:
    """Have the loan's rule applied as soon as this transaction is committed; the settle job would, some minutes later."""

    def send() -> None:
        current_app.send_task(SETTLE_TASK, [loan_id])

    transaction.on_commit(send, robust=True)


def _is_own(transfer: Transfer) -> bool:
    own = current_transfer(transfer.reservation)
    return own is not None and own.pk == transfer.pk


def _failed(work: UnitOfWork, notice: Notice, payments: list[Transfer]) -> str:
    transfer = payments[0]
    reservation = transfer.reservation
    if transfer.status == TransferStatus.INITIATED:
        work.move_transfer(transfer, TransferEvent.FAILED, occurred_at=notice.occurred_at)
        if reservation.state == State.PENDING and _is_own(transfer):
            work.move(reservation, Event.TRANSFER_FAILED)
            work.add_review_item("transfer_failed", f"The transfer {notice.reference} of {notice.amount} dollars failed.", reservation)
        return "failed"
    cleared = [payment for payment in payments if payment.status == TransferStatus.CLEARED]
    if not cleared:
        return "already_failed"
    returned = next((payment for payment in reversed(cleared) if payment.amount == notice.amount), cleared[-1])
    work.move_transfer(returned, TransferEvent.RETURNED, occurred_at=notice.occurred_at)
    if returned is transfer and reservation.state in {State.PENDING, State.SETTLED} and _is_own(transfer):
        work.move(reservation, Event.PAYMENT_RETURNED)
    else:
        work.take_back(reservation, returned.amount)
    return "returned"


def _paid(work: UnitOfWork, notice: Notice, payments: list[Transfer]) -> str:
    refund = payments[0]
    if notice.amount != refund.amount or refund.status == TransferStatus.VOID:
        detail = f"The bank paid {notice.amount} dollars for refund {refund.reference}, which is {refund.status} with {refund.amount}."
        work.add_review_item("refund_differs", detail, refund.reservation)
        return "refund_differs"
    if refund.status == TransferStatus.PAID:
        return "already_paid"
    work.move_transfer(refund, TransferEvent.PAID, occurred_at=notice.occurred_at)
    return "paid"


_FOLLOWS = {"transfer.cleared": _cleared, "transfer.failed": _failed, "refund.paid": _paid}
