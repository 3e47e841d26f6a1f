"""Let staff record by hand that a refund was paid or came back.

How much of a reservation is refunded is decided in loans/domain/refunds.py. Refunds are sent to the bank by
loans/services/payment_files.py.
"""

from datetime import datetime
from uuid import UUID

from django.conf import settings

from loans.domain.actors import Actor
from loans.domain.approval_limit import refuse_without_approval
from loans.domain.errors import IllegalTransition, NotFound
from loans.domain.states import Direction
from loans.ledger import locks
from loans.models import Transfer
from loans.services.bank_events import NoticeType, record_bank_event
from loans.services.staff_overrides import notice_by_staff


def mark_refund_paid(
    *, transfer_id: UUID, notice_id: UUID, occurred_at: datetime, actor: Actor, reason: str, now: datetime | None = None
) -> str:
    """Record that a refund has been paid. Return the outcome.

    Raises:
        IllegalTransition: the transfer is not a refund.
        NotFound, Busy, ApprovalNeeded.
    """
    return _record_by_hand("refund.paid", transfer_id, notice_id, occurred_at, actor, reason, now)


def mark_refund_bounced(
    *, transfer_id: UUID, notice_id: UUID, occurred_at: datetime, actor: Actor, reason: str, now: datetime | None = None
) -> str:
    """Record that a refund could not be delivered or came back, so that it is due again. Return the outcome.

    Raises:
        IllegalTransition: the transfer is not a refund.
        NotFound, Busy.
    """
    return _record_by_hand("refund.failed", transfer_id, notice_id, occurred_at, actor, reason, now)


def _record_by_hand(
    kind: NoticeType, transfer_id: UUID, notice_id: UUID, occurred_at: datetime, actor: Actor, reason: str, now: datetime | None
) -> str:
    with locks.short_transaction():
        refund = _refund_under_lock(transfer_id, now)
        expected = refund.outstanding if kind == "refund.paid" else refund.moved
        # Where `expected` is 0, the notice is about the whole amount: the refund is paid once more, or came back before it was paid.
        notice = notice_by_staff(notice_id, kind, refund, None, occurred_at, default=expected or refund.amount)
        if kind == "refund.paid":
            refuse_without_approval(actor, notice.amount, settings.APPROVAL_ABOVE_DOLLARS)
        return record_bank_event(notice, actor=actor, reason=reason, now=now)


def _refund_under_lock(transfer_id: UUID, now: datetime | None) -> Transfer:
    refund = Transfer.objects.filter(pk=transfer_id).first()
    if not refund:
        raise NotFound(f"There is no transfer {transfer_id}.")
    if refund.direction != Direction.REFUND:
        raise IllegalTransition(f"{refund.reference} is not a refund.", state=refund.status)
    locks.lock_loans(reservation_id=refund.reservation_id, now=now)
    return Transfer.objects.get(pk=transfer_id)
