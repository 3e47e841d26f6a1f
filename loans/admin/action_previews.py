"""Preview what a staff action would do to a row, and do exactly what a confirmed preview showed.

A preview calls the action's service in a transaction for one row after the other, reads the history that the service wrote for
each, and rolls all of it back. So each row is shown as it would be after the rows before it. A confirmation does the same with a
transaction for each row, which commits if the outcome is the confirmed one. Hooks that run after a commit, such as e-mails and the
cache, do not run when the transaction is rolled back.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Model

from loans.admin.actions import StaffAction
from loans.domain.actors import Actor
from loans.domain.errors import ApprovalNeeded
from loans.domain.payment_reference import reference_in
from loans.domain.states import ReservationEvent
from loans.ledger import locks
from loans.models import Reservation, ReviewItem, Transfer, Transition
from loans.selectors.offers import LoanOffer, loan_offer
from loans.selectors.queue import reservations_in_queue
from loans.services.approvals import request_approval
from peerloans.errors import Problem
from peerloans.wording import dollars_text

_DESCRIBED = ("amount", "reference")


@dataclass(frozen=True)
class Preview:
    """What an action does to one row.

    It is only a preview unless `done`. If the service refuses the action, `refusal` is the service's message and the
    rest is empty. With `needs_approval`, a confirmation only requests it, and another member of staff approves or rejects that. Offers,
    transitions and review items are those of the row's loan.
    """

    row: Model
    offer_before: LoanOffer | None = None
    offer_after: LoanOffer | None = None
    transitions: Sequence[Transition] = ()
    review_items: Sequence[ReviewItem] = ()
    overtaken: Sequence[Reservation] = ()
    digest: str = ""
    refusal: str = ""
    needs_approval: bool = False
    follows: bool = False  # an earlier row of the same preview changes the same loan
    done: bool = False

    @property
    def happens(self) -> bool:
        """Return whether the action changes the row at once, neither refused nor only requested."""
        return not self.refusal and not self.needs_approval

    @property
    def totals(self) -> list[tuple[str, int, Decimal]]:
        """Return each kind of transition with its number of rows and its dollars."""
        amounts: dict[str, list[Decimal]] = {}
        for transition in self.transitions:
            kind = f"{transition.event.replace('_', ' ')}: {transition.from_state or 'new'} → {transition.to_state}"
            amounts.setdefault(kind, []).append(transition.amount or Decimal(0))
        return [(kind, len(values), sum(values, Decimal(0))) for kind, values in amounts.items()]


def preview(action: StaffAction, rows: Sequence[Model], arguments: Mapping[str, Any], *, actor: Actor) -> list[Preview]:
    """Return what the action would do to each of the rows, one after the other. Changes nothing.

    A row that is refused, or would only be requested, changes nothing for the rows after it.
    """
    previews: list[Preview] = []
    try:
        with locks.short_transaction():
            # All at once and in the order of their ids, as everywhere: locked row by row, two previews could wait for each other.
            loan_ids = {loan_id for row in rows if (loan_id := _loan_id(action, row, arguments))}
            if loan_ids:
                locks.lock_loans(loan_ids=sorted(loan_ids))
            for row in rows:
                outcome = _run(action, row, arguments, actor=actor, reason="", keep=lambda _: True)
                previews.append(replace(outcome, follows=_follows(outcome, previews)))
            transaction.set_rollback(True)
    except Problem as problem:
        return [Preview(row, refusal=problem.detail) for row in rows]
    return previews


def confirm(action: StaffAction, row: Model, arguments: Mapping[str, Any], *, actor: Actor, reason: str, confirmed_digest: str) -> Preview:
    """Do the action if that is exactly what was confirmed; otherwise change nothing.

    `confirmed_digest` is the digest of the preview that staff saw.
    """
    outcome = _run(action, row, arguments, actor=actor, reason=reason, keep=lambda outcome: outcome.digest == confirmed_digest)
    is_confirmed = not outcome.refusal and outcome.digest == confirmed_digest
    if not (is_confirmed and outcome.needs_approval and outcome.offer_before):
        return replace(outcome, done=is_confirmed)
    shown = [dollars_text(value) if isinstance(value, Decimal) else str(value) for name, value in arguments.items() if name in _DESCRIBED]
    try:
        request_approval(
            act=action.name,
            arguments={action.target.argument: getattr(row, action.target.argument_field), **arguments},
            description=f"{action.label}: {', '.join([str(row), *shown])}",
            loan_id=outcome.offer_before.loan.pk,
            actor=actor,
            reason=reason,
        )
    except Problem as problem:
        return Preview(row, refusal=problem.detail)
    return replace(outcome, done=True)


def _follows(outcome: Preview, earlier: Sequence[Preview]) -> bool:
    """Return whether one of the earlier rows changes the same loan."""
    return any(
        each.offer_after.loan.pk == outcome.offer_after.loan.pk
        for each in earlier
        if each.happens and outcome.offer_after and each.offer_after
    )


def _run(
    action: StaffAction, row: Model, arguments: Mapping[str, Any], *, actor: Actor, reason: str, keep: Callable[[Preview], bool]
) -> Preview:
    """Do the action to one row, and undo it unless `keep` says to keep it. What needs an approval is undone in any case."""
    try:
        with locks.short_transaction():
            outcome = _call_service(action, row, arguments, actor, reason)
            if not keep(outcome):
                transaction.set_rollback(True)
            return outcome
    except ApprovalNeeded:
        pass
    except Problem as problem:  # raised by the service, or by a hook after the commit
        return Preview(row, refusal=problem.detail)
    try:
        with locks.short_transaction():
            outcome = _call_service(action, row, arguments, replace(actor, approver_id=actor.user_id), reason)
            transaction.set_rollback(True)
            return replace(outcome, needs_approval=True)
    except Problem as problem:
        return Preview(row, refusal=problem.detail)


def _call_service(action: StaffAction, row: Model, arguments: Mapping[str, Any], actor: Actor, reason: str) -> Preview:
    """Call the action's service within the transaction, and describe what it did."""
    target = action.target
    all_arguments = {target.argument: getattr(row, target.argument_field), **arguments, "actor": actor, "reason": reason}
    rows = target.model._default_manager.filter(pk=row.pk)
    loan_id = _loan_id(action, row, arguments)
    if loan_id is None:
        row_values = rows.values(*target.compared_fields).first()
        action.service(**all_arguments)
        return Preview(row, digest=_digest(action, arguments, row_values, []))

    (loan,) = locks.lock_loans(loan_ids=[loan_id]).loans
    row_values = rows.values(*target.compared_fields).first()
    offer_before = loan_offer(loan.reference)
    queue = list(reservations_in_queue([loan.pk]).exclude(expires_at__lte=offer_before.at).values_list("number", flat=True))
    history, review_items = Transition.objects.filter(loan=loan).order_by("id"), ReviewItem.objects.filter(loan=loan).order_by("id")
    last_transition, last_review_item = history.last(), review_items.last()

    action.service(**all_arguments)

    transitions = list(
        history.filter(id__gt=last_transition.pk if last_transition else 0).select_related(
            "reservation__investor", "waiting_entry__investor", "transfer"
        )
    )
    return Preview(
        row,
        offer_before=offer_before,
        offer_after=loan_offer(loan.reference),
        transitions=transitions,
        review_items=list(review_items.filter(id__gt=last_review_item.pk if last_review_item else 0)),
        overtaken=_overtaken(loan.pk, transitions, queue),
        digest=_digest(action, arguments, row_values, transitions),
    )


def _loan_id(action: StaffAction, row: Model, arguments: Mapping[str, Any]) -> int | None:
    """Return the id of the loan that the action changes; None where it changes none."""
    if not action.target.loan_field:
        return None
    if reference := arguments.get("reference"):  # of the transfer that a report is assigned to
        transfers = Transfer.objects.filter(reference=reference_in(reference) or reference)
        return transfers.values_list("reservation__loan_id", flat=True).first()
    loan_id: int | None = type(row)._default_manager.filter(pk=row.pk).values_list(action.target.loan_field, flat=True).get()
    return loan_id


def _overtaken(loan_id: int, transitions: Sequence[Transition], queue: Sequence[int]) -> list[Reservation]:
    """Return the reservations of the queue that come later because another is reinstated or settled ahead of them.

    `queue` are the numbers of the live reservations before the action.
    """
    numbers: set[int] = set()
    for transition in transitions:
        if transition.reservation is None or transition.transfer is not None:
            continue
        own = transition.reservation.number
        if transition.event in {ReservationEvent.REINSTATED_RESERVED, ReservationEvent.REINSTATED_PENDING}:
            numbers.update(number for number in queue if number > own)
        elif transition.rule == "staff":
            numbers.update(number for number in queue if number < own)
    if not numbers:
        return []
    return list(Reservation.objects.filter(loan=loan_id, number__in=numbers).select_related("loan", "investor").order_by("number"))


def _digest(
    action: StaffAction, arguments: Mapping[str, Any], row_values: Mapping[str, Any] | None, transitions: Sequence[Transition]
) -> str:
    """Return a digest of what staff confirm: equal as long as the action would do the same.

    Transitions of reservations that expire are left out, since these expire with or without the action. The ids
    of transfers and reservations that the action creates are left out, since each run creates others.
    """
    outcome = {
        "action": action.name,
        "arguments": arguments,
        "row": row_values,
        "transitions": [
            {
                "reservation": transition.reservation_id if transition.event != ReservationEvent.RESERVED else None,
                "waiting_entry": transition.waiting_entry_id,
                "transfer": transition.transfer_id if transition.from_state else None,
                "event": transition.event,
                "from_state": transition.from_state,
                "to_state": transition.to_state,
                "amount": transition.amount,
                "rule": transition.rule,
            }
            for transition in transitions
            if transition.event != ReservationEvent.EXPIRED
        ],
    }
    return hashlib.sha256(json.dumps(outcome, default=str, sort_keys=True).encode()).hexdigest()
