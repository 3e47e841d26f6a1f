"""Let one member of staff request an act that moves much money, and another approve or reject it.

An approved act is done by the very service that refused it without approval. History names both people.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.utils.dateparse import parse_datetime

from loans.domain.actors import Actor, user_of
from loans.domain.errors import IllegalTransition, NotFound, NotPermitted
from loans.ledger import locks
from loans.ledger.review_items import mark_resolved, open_review_item
from loans.models import ApprovalRequest, ReviewItem
from loans.services.bank_events import assign_bank_event
from loans.services.refunds import mark_refund_paid
from loans.services.settlement import settle_ahead_of_turn
from loans.services.staff_overrides import record_money
from peerloans.database.clock import database_now
from peerloans.wording import instant_text

# The acts that may need approval, by the names of their staff actions. `answer_another_payment` is not among them: the bank itself
# reported that payment's amount and reference.
SERVICES: Mapping[str, Callable[..., object]] = {
    "record_money": record_money,
    "assign": assign_bank_event,
    "mark_paid": mark_refund_paid,
    "settle_ahead": settle_ahead_of_turn,
}
# How an argument is read again from JSON. What is not listed is text.
_READ: Mapping[str, Callable[[str], Any]] = {
    "amount": Decimal,
    "occurred_at": parse_datetime,
    "notice_id": UUID,
    "reservation_id": UUID,
    "transfer_id": UUID,
}


def request_approval(
    *, act: str, arguments: Mapping[str, Any], description: str, loan_id: int, actor: Actor, reason: str, now: datetime | None = None
) -> ApprovalRequest:
    """Ask for the approval of an act of SERVICES. A review item shows it to other staff.

    `arguments` are those of the service but for actor and reason, without those that are None. `description` says in words what would be
    done, and for what; the same description again, while its request waits, changes nothing.

    Raises:
        Busy.
        NotPermitted: the actor is no user.
    """
    user_id = user_of(actor)
    with locks.short_transaction():
        locks.lock_loans(loan_ids=[loan_id], now=now)
        waiting = ApprovalRequest.objects.filter(description=description, loan_id=loan_id, state="waiting").first()
        if waiting:
            return waiting
        at = database_now(now)
        open_review_item("approval_requested", description, at=at, loan_id=loan_id)
        return ApprovalRequest.objects.create(
            act=act,
            arguments={name: str(value) if isinstance(value, Decimal) else value for name, value in arguments.items()},
            description=description,
            loan_id=loan_id,
            reason=reason,
            shows_reason=actor.shows_reason,
            requested_by_id=user_id,
            requested_at=at,
            review_item=ReviewItem.objects.get(kind="approval_requested", loan=loan_id, detail=description, resolved_at=None),
        )


def approve(*, request_id: int, actor: Actor, reason: str, now: datetime | None = None) -> ApprovalRequest:
    """Do what was requested, in the name of the person who requested it and approved by the actor.

    Raises:
        NotFound, Busy, and what the act's service raises.
        NotPermitted: the actor requested it.
        IllegalTransition: it is decided already.
    """
    with locks.short_transaction():
        request, at = _lock_waiting(request_id, actor, now)
        arguments = {name: _READ.get(name, str)(value) for name, value in request.arguments.items()}
        requester = Actor("staff", request.requested_by_id, shows_reason=request.shows_reason, approver_id=actor.user_id)
        SERVICES[request.act](**arguments, actor=requester, reason=request.reason, now=now)
        return _decide(request, "approved", actor, reason, at)


def reject(*, request_id: int, actor: Actor, reason: str, now: datetime | None = None) -> ApprovalRequest:
    """Reject what was requested, and do not do it.

    Raises:
        NotFound, Busy.
        NotPermitted: the actor requested it.
        IllegalTransition: it is decided already.
    """
    with locks.short_transaction():
        request, at = _lock_waiting(request_id, actor, now)
        return _decide(request, "rejected", actor, reason, at)


def _lock_waiting(request_id: int, actor: Actor, now: datetime | None) -> tuple[ApprovalRequest, datetime]:
    loan_id = ApprovalRequest.objects.filter(pk=request_id).values_list("loan_id", flat=True).first()
    if loan_id is None:
        raise NotFound(f"There is no request {request_id}.")
    at = locks.lock_loans(loan_ids=[loan_id], now=now).at
    request = ApprovalRequest.objects.select_related("review_item").get(pk=request_id)
    if request.state != "waiting":
        when = f" at {instant_text(request.decided_at)}" if request.decided_at else ""
        raise IllegalTransition(f"It was {request.state}{when}.", state=request.state)
    if request.requested_by_id == actor.user_id:
        raise NotPermitted("You requested it yourself. Another member of staff decides.")
    return request, at


def _decide(request: ApprovalRequest, state: str, actor: Actor, reason: str, at: datetime) -> ApprovalRequest:
    request.state, request.decided_by_id, request.decided_at, request.decision_reason = state, actor.user_id, at, reason
    request.save(update_fields=["state", "decided_by", "decided_at", "decision_reason"])
    mark_resolved(request.review_item, user_id=actor.user_id, note=f"{state.capitalize()}. {reason}", at=at)
    return request
