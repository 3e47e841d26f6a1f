"""Record what the bank reports about money, and change the reservations accordingly.

A `Notice` is what was received: a report of the bank, or of staff, who record money by hand through the same functions. A `BankEvent`
is the row that stores it, with its outcome. Notices may arrive late, twice and in any order. Money that was received is recorded
whatever the state of its reservation.
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
from loans.domain.states import Direction, ReservationEvent, ReservationState, TransferEvent, TransferStatus
from loans.ledger import locks
from loans.ledger.review_items import open_review_item
from loans.ledger.unit_of_work import UnitOfWork, unit_of_work
from loans.models import BankEvent, Reservation, Transfer
from loans.selectors.reservations import deadline_in_history
from loans.selectors.transfers import current_transfer
from peerloans.database.clock import database_now

OUTCOMES = (
    "funded",  # The whole amount of the reservation was received.
    "too_little",  # Less was received. It waits until staff accept it, or the reservation lapses.
    "late_money",  # Money was received that the reservation no longer expects; it is refunded.
    "second_payment",  # Money was received again under the same reference; it is refunded.
    "failed",  # The transfer failed before money was received.
    "already_failed",  # The same, reported again; or all its money was taken back before.
    "returned",  # The bank took back money that was received.
    "paid",  # A refund was paid.
    "already_paid",  # The same, reported again.
    "refund_differs",  # A refund was paid that is void, or with another amount; staff decide.
    "unknown_reference",  # No transfer has the reference; staff decide.
)
SETTLE_TASK = "loans.tasks.settle_loan"

NoticeType = Literal["transfer.cleared", "transfer.failed", "refund.paid"]


@dataclass(frozen=True)
class Notice:
    """A report about `amount` dollars for the transfer or refund `reference`. It happened at `occurred_at`, by the bank's clock.

    - `transfer.cleared`: the money was received.
    - `transfer.failed`: the money will not be received; or, after it was received, the bank took it back.
    - `refund.paid`: the money was paid to the investor.

    A notice with the same id is a repetition.
    """

    id: str
    type: NoticeType
    reference: str
    amount: Decimal
    occurred_at: datetime


def record_bank_event(notice: Notice, *, actor: Actor = BANK, reason: str = "", now: datetime | None = None) -> str:
    """Record the notice, do what follows from it, and return the outcome, one of OUTCOMES.

    A repeated notice gets the first outcome and moves no money; if it differs from the first one, it opens a review item. Its
    reference may have text around it; one that no transfer has opens a review item too.

    Raises:
        Invalid: with it, the money received for one reservation would exceed limits.MAX_DOLLARS. Nothing is recorded.
        Busy.
    """
    direction = Direction.REFUND if notice.type == "refund.paid" else Direction.INBOUND
    reference = reference_in(notice.reference) or notice.reference
    under_reference = Transfer.objects.filter(reference=reference, direction=direction)
    reservation_id = under_reference.values_list("reservation_id", flat=True).first()
    if reservation_id is None:
        with locks.short_transaction():
            return _record_unknown_reference(notice, database_now(now))
    with unit_of_work(reservation_id=reservation_id, actor=actor, reason=reason, now=now) as work:
        bank_event, is_new = _store(notice, work.at)
        if is_new:
            transfers = _read_transfers(under_reference)
            bank_event.outcome = _FOLLOW_UPS[notice.type](work, notice, transfers)
            _refuse_overflow(notice, transfers[0].reservation)
            bank_event.save(update_fields=["outcome"])
        return bank_event.outcome


def _refuse_overflow(notice: Notice, reservation: Reservation) -> None:
    """Raise Invalid where the notice would leave a sum that the columns of its reservation do not hold."""
    if max(reservation.received, reservation.refunded, reservation.lost) > MAX_DOLLARS:
        raise Invalid(
            f"With these {notice.amount} dollars more than {MAX_DOLLARS} would have been received for one reservation, which is the limit."
        )


def is_bank_event_recorded(notice: Notice) -> bool:
    """Return whether a notice with this id has been recorded."""
    return BankEvent.objects.filter(pk=notice.id).exists()


def _store(notice: Notice, at: datetime) -> tuple[BankEvent, bool]:
    """Store the notice unless its id is stored already. Return the bank event, and whether it is new.

    A repeat that differs opens a review item.
    """
    bank_event, is_new = BankEvent.objects.get_or_create(pk=notice.id, defaults=vars(notice) | {"recorded_at": at, "outcome": ""})
    if (bank_event.type, bank_event.reference, bank_event.amount) != (notice.type, notice.reference, notice.amount):
        repetition = f"{notice.type} of {notice.amount} dollars for {notice.reference}"
        detail = f"The bank's event {notice.id} was received again as {repetition}; what was received first stands."
        open_review_item("event_differs", detail, at=at)
    return bank_event, is_new


def _record_unknown_reference(notice: Notice, at: datetime) -> str:
    bank_event, is_new = _store(notice, at)
    if is_new:
        bank_event.outcome = "unknown_reference"
        bank_event.save(update_fields=["outcome"])
        detail = f"{notice.type} of {notice.amount} dollars names {notice.reference}, which is none of our transfers (event {notice.id})."
        open_review_item("unknown_reference", detail, at=at)
    return bank_event.outcome


def _read_transfers(queryset: QuerySet[Transfer]) -> list[Transfer]:
    """Read the transfers with one reference, by payment number. They share one reservation object, so that it is changed only once."""
    transfers = list(queryset.select_related("reservation__loan").order_by("payment_number"))
    for transfer in transfers:
        transfer.reservation = transfers[0].reservation
    return transfers


# --- What follows from a notice. Each function returns the outcome. `transfers` have the notice's reference: first the one that was
# started, then a transfer for each further payment. A refund is alone. ------------------------------------------------------
def _money_cleared(work: UnitOfWork, notice: Notice, transfers: Sequence[Transfer]) -> str:
    transfer = transfers[0]
    if transfer.status not in {TransferStatus.INITIATED, TransferStatus.FAILED}:
        payment_number = len(transfers) + 1
        work.refund_further_payment(transfer, payment_number, amount=notice.amount, occurred_at=notice.occurred_at)
        detail = f"{notice.amount} dollars were received again for {notice.reference}; they are refunded."
        work.add_review_item("second_payment", detail, transfer.reservation)
        return "second_payment"
    failed_at = transfer.occurred_at if transfer.status == TransferStatus.FAILED else None
    work.change_transfer(transfer, TransferEvent.CLEARED, amount=notice.amount, occurred_at=notice.occurred_at)
    if failed_at and notice.occurred_at < failed_at:
        # The two notices arrived in the wrong order: the money was received, and then taken back.
        work.change_transfer(transfer, TransferEvent.RETURNED, occurred_at=failed_at)
        return "returned"
    reservation = transfer.reservation
    if reservation.state == ReservationState.PENDING and not reservation.funded_at and _is_current(transfer):
        return _receive_expected_money(work, notice, transfer)
    return _refund_late_money(work, notice, transfer)


def _receive_expected_money(work: UnitOfWork, notice: Notice, transfer: Transfer) -> str:
    reservation = transfer.reservation
    if transfer.amount != reservation.amount:
        detail = f"{transfer.amount} dollars were received for {notice.reference}, {reservation.amount} were expected."
        work.add_review_item("amount_differs", detail, reservation)
    if transfer.amount < reservation.amount:
        return "too_little"
    work.change_reservation(reservation, ReservationEvent.FUNDED, funded_at=work.at, expires_at=None)
    settle_soon(reservation.loan_id)
    return "funded"


def _refund_late_money(work: UnitOfWork, notice: Notice, transfer: Transfer) -> str:
    reservation = transfer.reservation
    late = f"{notice.amount} dollars for {notice.reference} were received late."
    expired_at = deadline_in_history(reservation) if reservation.cause == ReservationEvent.EXPIRED else None
    if expired_at and notice.occurred_at < expired_at:
        # The money cleared in time and only the notice was late. Staff may reinstate the reservation, which voids the refund.
        detail = f"{late} They cleared at {notice.occurred_at}, before the deadline of {expired_at}."
        work.add_review_item("deadline_missed", detail, reservation)
    else:
        work.add_review_item("late_money", f"{late} They are refunded.", reservation)
    work.refund(reservation, transfer.amount)
    return "late_money"


def _transfer_failed(work: UnitOfWork, notice: Notice, transfers: Sequence[Transfer]) -> str:
    transfer = transfers[0]
    if transfer.status != TransferStatus.INITIATED:
        return _payment_returned(work, notice, transfers)
    reservation = transfer.reservation
    work.change_transfer(transfer, TransferEvent.FAILED, occurred_at=notice.occurred_at)
    if reservation.state == ReservationState.PENDING and _is_current(transfer):
        work.change_reservation(reservation, ReservationEvent.TRANSFER_FAILED)
        detail = f"The transfer {notice.reference} of {notice.amount} dollars failed."
        work.add_review_item("transfer_failed", detail, reservation)
    return "failed"


def _payment_returned(work: UnitOfWork, notice: Notice, transfers: Sequence[Transfer]) -> str:
    transfer = transfers[0]
    reservation = transfer.reservation
    cleared = [candidate for candidate in transfers if candidate.status == TransferStatus.CLEARED]
    if not cleared:
        return "already_failed"
    # The notice does not say which payment was returned: take the newest of exactly this amount, or else the newest.
    returned = next((candidate for candidate in reversed(cleared) if candidate.amount == notice.amount), cleared[-1])
    work.change_transfer(returned, TransferEvent.RETURNED, occurred_at=notice.occurred_at)
    is_live_or_settled = reservation.state in {ReservationState.PENDING, ReservationState.SETTLED}
    if returned is transfer and is_live_or_settled and _is_current(transfer):
        work.change_reservation(reservation, ReservationEvent.PAYMENT_RETURNED)
    else:
        # This money was already being refunded, so its refund is voided; if that has been paid, the amount is lost.
        work.void_refunds(reservation, returned.amount)
    return "returned"


def _refund_paid(work: UnitOfWork, notice: Notice, transfers: Sequence[Transfer]) -> str:
    refund = transfers[0]
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
    """Return whether this is the reservation's newest started transfer. A reinstated reservation can have an older one."""
    current = current_transfer(transfer.reservation)
    return current is not None and current.pk == transfer.pk


def settle_soon(loan_id: int) -> None:
    """Send the job that settles this loan, after this transaction has committed. The schedule settles all loans each few minutes anyway."""

    def send() -> None:
        current_app.send_task(SETTLE_TASK, [loan_id])

    transaction.on_commit(send, robust=True)
