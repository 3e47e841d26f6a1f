"""Record what the bank reports about money, and let the reservations follow it.

Money that came is recorded in any case, whatever the state of its reservation. The bank's events may arrive late, twice and in any
order. Staff record money by hand through the same functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from celery import current_app
from django.db import transaction
from django.db.models import QuerySet

from loans.domain.actors import BANK, Actor
from loans.domain.errors import Invalid
from loans.domain.limits import MAX_DOLLARS
from loans.domain.payment_reference import reference_in
from loans.domain.states import Direction, Event, State, TransferEvent, TransferStatus
from loans.ledger import locks
from loans.ledger.review_items import open_review_item
from loans.ledger.unit_of_work import UnitOfWork, unit_of_work
from loans.models import BankEvent, Reservation, Transfer
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

NoticeType = Literal["transfer.cleared", "transfer.failed", "refund.paid"]


@dataclass(frozen=True)
class Notice:
    """What the bank reports: `amount` dollars for `reference` cleared, failed or were paid out, at `occurred_at` by its clock."""

    id: str
    type: NoticeType
    reference: str
    amount: Decimal
    occurred_at: datetime


def record_bank_event(notice: Notice, *, actor: Actor = BANK, reason: str = "", now: datetime | None = None) -> str:
    """Record the notice, do what follows from it, and return the outcome, one of OUTCOMES.

    A notice with the same id is not recorded again and gets the first outcome. Its reference may have text around it; one that no
    transfer has is listed for staff.

    Raises:
        Invalid: with it, the money received for one reservation would exceed limits.MAX_DOLLARS. Nothing is recorded.
        Busy.
    """
    direction = Direction.REFUND if notice.type == "refund.paid" else Direction.INBOUND
    reference = reference_in(notice.reference) or notice.reference
    payments = Transfer.objects.filter(reference=reference, direction=direction)
    reservation_id = payments.values_list("reservation_id", flat=True).first()
    if reservation_id is None:
        with locks.short_transaction():
            return _record_unknown_reference(notice, database_now(now))
    with unit_of_work(reservation_id=reservation_id, actor=actor, reason=reason, now=now) as work:
        event, is_new = _bank_event(notice, work.at)
        if is_new:
            transfers = _sharing_one_reservation(payments)
            event.outcome = _FOLLOW_UPS[notice.type](work, notice, transfers)
            _refuse_overflow(notice, transfers[0].reservation)
            event.save(update_fields=["outcome"])
        return event.outcome


def is_bank_event_recorded(notice: Notice) -> bool:
    """Return whether a notice with this id has been recorded."""
    return BankEvent.objects.filter(pk=notice.id).exists()


def _bank_event(notice: Notice, at: datetime) -> tuple[BankEvent, bool]:
    """Return the event of this id, and whether it is new."""
    event, is_new = BankEvent.objects.get_or_create(pk=notice.id, defaults=vars(notice) | {"recorded_at": at, "outcome": ""})
    if (event.type, event.reference, event.amount) != (notice.type, notice.reference, notice.amount):
        again = f"{notice.type} of {notice.amount} dollars for {notice.reference}"
        open_review_item("event_differs", f"The bank's event {notice.id} came again as {again}; what it said at first stands.", at=at)
    return event, is_new


def _record_unknown_reference(notice: Notice, at: datetime) -> str:
    event, is_new = _bank_event(notice, at)
    if is_new:
        event.outcome = "unknown_reference"
        event.save(update_fields=["outcome"])
        detail = f"{notice.type} of {notice.amount} dollars names {notice.reference}, which is none of our transfers (event {notice.id})."
        open_review_item("unknown_reference", detail, at=at)
    return event.outcome


def _refuse_overflow(notice: Notice, reservation: Reservation) -> None:
    """Raise Invalid where the notice would leave a sum that the columns of its reservation do not hold."""
    if max(reservation.received, reservation.refunded, reservation.lost) > MAX_DOLLARS:
        raise Invalid(
            f"With these {notice.amount} dollars more than {MAX_DOLLARS} would have been received for one reservation, which is the limit."
        )


def _sharing_one_reservation(payments: QuerySet[Transfer]) -> list[Transfer]:
    """Read the payments under one reference, the first one first. All refer to the same reservation object, so that it changes once."""
    transfers = list(payments.select_related("reservation__loan").order_by("payment"))
    for transfer in transfers:
        transfer.reservation = transfers[0].reservation
    return transfers


# --- What follows from a notice. Each function returns the outcome. -------------------------------------------------------
def _money_cleared(work: UnitOfWork, notice: Notice, payments: Sequence[Transfer]) -> str:
    transfer = payments[0]
    if transfer.status not in {TransferStatus.INITIATED, TransferStatus.FAILED}:  # its money has come before
        work.refund_further_payment(transfer, payment=len(payments) + 1, amount=notice.amount, occurred_at=notice.occurred_at)
        detail = f"{notice.amount} dollars came again for {notice.reference}; they go back."
        work.add_review_item("second_payment", detail, transfer.reservation)
        return "second_payment"
    failed_at = transfer.occurred_at if transfer.status == TransferStatus.FAILED else None
    work.change_transfer(transfer, TransferEvent.CLEARED, amount=notice.amount, occurred_at=notice.occurred_at)
    if failed_at and notice.occurred_at < failed_at:
        # The two events came in the wrong order: the money was here and went back.
        work.change_transfer(transfer, TransferEvent.RETURNED, occurred_at=failed_at)
        return "returned"
    reservation = transfer.reservation
    if reservation.state == State.PENDING and not reservation.funded_at and _is_current(transfer):
        return _receive_expected_money(work, notice, transfer)
    return _refund_late_money(work, notice, transfer)


def _receive_expected_money(work: UnitOfWork, notice: Notice, transfer: Transfer) -> str:
    reservation = transfer.reservation
    if transfer.amount != reservation.amount:
        detail = f"{transfer.amount} dollars came for {notice.reference}, {reservation.amount} were expected."
        work.add_review_item("amount_differs", detail, reservation)
    if transfer.amount < reservation.amount:
        return "too_little"
    work.change_reservation(reservation, Event.FUNDED, funded_at=work.at, expires_at=None)
    settle_soon(reservation.loan_id)
    return "funded"


def _refund_late_money(work: UnitOfWork, notice: Notice, transfer: Transfer) -> str:
    reservation = transfer.reservation
    late = f"{notice.amount} dollars for {notice.reference} came late."
    expired_at = deadline_in_history(reservation) if reservation.cause == Event.EXPIRED else None
    if expired_at and notice.occurred_at < expired_at:
        detail = f"{late} It was there at {notice.occurred_at}, before the deadline of {expired_at}."
        work.add_review_item("deadline_missed", detail, reservation)
    else:
        work.add_review_item("late_money", f"{late} It goes back.", reservation)
    work.refund(reservation, transfer.amount)
    return "late_money"


def _transfer_failed(work: UnitOfWork, notice: Notice, payments: Sequence[Transfer]) -> str:
    transfer = payments[0]
    reservation = transfer.reservation
    if transfer.status == TransferStatus.INITIATED:
        work.change_transfer(transfer, TransferEvent.FAILED, occurred_at=notice.occurred_at)
        if reservation.state == State.PENDING and _is_current(transfer):
            work.change_reservation(reservation, Event.TRANSFER_FAILED)
            detail = f"The transfer {notice.reference} of {notice.amount} dollars failed."
            work.add_review_item("transfer_failed", detail, reservation)
        return "failed"
    cleared = [payment for payment in payments if payment.status == TransferStatus.CLEARED]
    if not cleared:
        return "already_failed"
    # The newest payment of exactly this amount was returned, or else the newest.
    returned = next((payment for payment in reversed(cleared) if payment.amount == notice.amount), cleared[-1])
    work.change_transfer(returned, TransferEvent.RETURNED, occurred_at=notice.occurred_at)
    if returned is transfer and reservation.state in {State.PENDING, State.SETTLED} and _is_current(transfer):
        work.change_reservation(reservation, Event.PAYMENT_RETURNED)
    else:  # this money has been refunded, when it came or when the reservation was canceled
        work.void_refunds(reservation, returned.amount)
    return "returned"


def _refund_paid(work: UnitOfWork, notice: Notice, payments: Sequence[Transfer]) -> str:
    refund = payments[0]
    if notice.amount != refund.amount or refund.status == TransferStatus.VOID:
        detail = f"The bank paid {notice.amount} dollars for refund {refund.reference}, which is {refund.status} with {refund.amount}."
        work.add_review_item("refund_differs", detail, refund.reservation)
        return "refund_differs"
    if refund.status == TransferStatus.PAID:
        return "already_paid"
    work.change_transfer(refund, TransferEvent.PAID, occurred_at=notice.occurred_at)
    return "paid"


_FOLLOW_UPS = {"transfer.cleared": _money_cleared, "transfer.failed": _transfer_failed, "refund.paid": _refund_paid}


def _is_current(transfer: Transfer) -> bool:
    """Return whether the reservation expects its money by this transfer, and not by a newer one."""
    current = current_transfer(transfer.reservation)
    return current is not None and current.pk == transfer.pk


def settle_soon(loan_id: int) -> None:
    """Have the loan's settlement rule applied after this transaction has committed. Without that, the job comes within minutes."""

    def send() -> None:
        current_app.send_task(SETTLE_TASK, [loan_id])

    transaction.on_commit(send, robust=True)
