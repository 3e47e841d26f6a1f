"""List the staff actions, preview what one would do to a row, and do exactly what a confirmed preview showed.

A preview calls the action's service in a transaction, reads the history that the service wrote, and rolls back. A
confirmation does the same, but commits if the outcome is the confirmed one. Hooks that run after a commit, such as
e-mails and the cache, do not run when the transaction is rolled back.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Model
from django_celery_beat.models import PeriodicTask

from loans.admin.action_forms import ActionForm, BankNoticeForm, ClosingForm, DeadlineForm, MoneyForm, OpeningForm, TransferForm
from loans.domain.actors import Actor
from loans.domain.states import (
    LOAN_TRANSITIONS,
    RESERVATION_TRANSITIONS,
    TRANSFER_TRANSITIONS,
    LoanEvent,
    ReservationEvent,
    TransferEvent,
    possible_events,
)
from loans.ledger import locks
from loans.models import Loan, Reservation, ReviewItem, Transfer, Transition
from loans.selectors.offers import LoanOffer, loan_offer
from loans.selectors.queue import live_reservations
from loans.services.loans import close_loan_at_settled, extend_loan, open_loan, withdraw_loan
from loans.services.reservations import start_transfer
from loans.services.run_job_now import run_scheduled_job
from loans.services.settlement import settle_ahead_of_turn
from loans.services.staff_overrides import (
    accept_amount,
    cancel_by_staff,
    extend_reservation,
    mark_refund_paid,
    record_money,
    reinstate_reservation,
    resolve_review_item,
    reverse_payment,
)
from peerloans.errors import Problem


@dataclass(frozen=True)
class Target:
    """A model that staff act on."""

    model: type[Model]
    argument: str  # the keyword argument by which the services take the row
    compared_fields: tuple[str, ...]  # a confirmation is refused if one of these changed after the preview
    argument_field: str = "pk"  # the row's field that is passed as this argument
    loan_field: str = ""  # leads from a row to its loan; empty for rows that the lock of a loan does not guard
    state_field: str = ""
    state_table: Mapping[Any, Any] = field(default_factory=dict)  # which event is possible in which state


LOAN = Target(
    Loan,
    argument="reference",
    argument_field="reference",
    compared_fields=("status", "amount", "opens_at", "closes_at"),
    loan_field="pk",
    state_field="status",
    state_table=LOAN_TRANSITIONS,
)
RESERVATION = Target(
    Reservation,
    argument="reservation_id",
    compared_fields=("state", "amount", "settled_amount", "expires_at", "funded_at", "received", "refunded", "lost"),
    loan_field="loan_id",
    state_field="state",
    state_table=RESERVATION_TRANSITIONS,
)
TRANSFER = Target(
    Transfer,
    argument="transfer_id",
    compared_fields=("status", "amount"),
    loan_field="reservation__loan_id",
    state_field="status",
    state_table=TRANSFER_TRANSITIONS,
)
REVIEW_ITEM = Target(ReviewItem, argument="review_item_id", compared_fields=("resolved_at",))
JOB = Target(PeriodicTask, argument="job_id", compared_fields=("task", "args", "kwargs"))


@dataclass(frozen=True)
class StaffAction:
    """Something that staff who have the permission can do to a row."""

    name: str
    label: str
    target: Target
    permission: str
    service: Callable[..., object]
    form: type[ActionForm]
    description: str
    event: str = ""  # which the row's state must allow; empty if only the service can tell

    @property
    def model(self) -> type[Model]:
        return self.target.model

    def is_possible_for(self, row: Model) -> bool:
        """Return whether the row's state allows the action. The service may still refuse it for another reason."""
        return not self.event or self.event in possible_events(self.target.state_table, getattr(row, self.target.state_field))


ACTIONS = [
    StaffAction(
        "open",
        "Open",
        LOAN,
        "loans.open_loan",
        open_loan,
        OpeningForm,
        "The draft opens and takes reservations until it closes.",
        LoanEvent.OPENED,
    ),
    StaffAction(
        "extend",
        "Extend closing",
        LOAN,
        "loans.extend_loan",
        extend_loan,
        ClosingForm,
        "The open loan takes reservations until the new closing.",
        LoanEvent.EXTENDED,
    ),
    StaffAction(
        "withdraw",
        "Withdraw",
        LOAN,
        "loans.withdraw_loan",
        withdraw_loan,
        ActionForm,
        "Every live or settled reservation is canceled, and the money received for it is refunded. This is final.",
        LoanEvent.WITHDRAWN,
    ),
    StaffAction(
        "close_at_settled",
        "Close at settled",
        LOAN,
        "loans.close_loan",
        close_loan_at_settled,
        ActionForm,
        "The settled dollars become the loan's amount, and the loan is funded. Live reservations are canceled and refunded.",
        LoanEvent.CLOSED_AT_SETTLED,
    ),
    StaffAction(
        "cancel",
        "Cancel",
        RESERVATION,
        "loans.cancel_reservation",
        cancel_by_staff,
        ActionForm,
        "The live reservation is canceled, and the money received for it is refunded.",
        ReservationEvent.CANCELED_BY_STAFF,
    ),
    StaffAction(
        "reinstate",
        "Reinstate",
        RESERVATION,
        "loans.reinstate_reservation",
        reinstate_reservation,
        ActionForm,
        "The canceled reservation becomes live again, with its old position in the queue.",
        ReservationEvent.REINSTATED_RESERVED,
    ),
    StaffAction(
        "extend",
        "Extend time to live",
        RESERVATION,
        "loans.extend_reservation",
        extend_reservation,
        DeadlineForm,
        "The live reservation gets a later deadline.",
        ReservationEvent.EXTENDED,
    ),
    StaffAction(
        "record_transfer",
        "Record a transfer",
        RESERVATION,
        "loans.record_transfer",
        start_transfer,
        TransferForm,
        "The reservation becomes pending, as if its investor had started the transfer.",
        ReservationEvent.TRANSFER_STARTED,
    ),
    StaffAction(
        "record_money",
        "Record cleared money",
        RESERVATION,
        "loans.record_transfer",
        record_money,
        MoneyForm,
        "The money is recorded as received, as if the bank had reported it.",
    ),
    StaffAction(
        "accept_amount",
        "Accept a smaller amount",
        RESERVATION,
        "loans.accept_transfer",
        accept_amount,
        ActionForm,
        "The reservation's amount becomes the amount that was received.",
        ReservationEvent.AMOUNT_ACCEPTED,
    ),
    StaffAction(
        "settle_ahead",
        "Settle ahead of turn",
        RESERVATION,
        "loans.settle_reservation",
        settle_ahead_of_turn,
        ActionForm,
        "The funded reservation is settled now, up to what remains of the loan.",
        ReservationEvent.SETTLED,
    ),
    StaffAction(
        "reverse",
        "Reverse (payment returned)",
        RESERVATION,
        "loans.reverse_reservation",
        reverse_payment,
        BankNoticeForm,
        "The bank took the payment back: the reservation is canceled without a refund.",
    ),
    StaffAction(
        "mark_paid",
        "Mark refund paid",
        TRANSFER,
        "loans.pay_refund",
        mark_refund_paid,
        BankNoticeForm,
        "The refund that was due is recorded as paid.",
        TransferEvent.PAID,
    ),
    StaffAction(
        "resolve",
        "Resolve",
        REVIEW_ITEM,
        "loans.resolve_reviewitem",
        resolve_review_item,
        ActionForm,
        "The review item is resolved. The reason is stored as its note.",
    ),
    StaffAction(
        "run",
        "Run now",
        JOB,
        "django_celery_beat.run_periodictask",
        run_scheduled_job,
        ActionForm,
        "The job is sent to the workers at once. Its schedule does not change.",
    ),
]


def actions_on(model: type[Model]) -> list[StaffAction]:
    return [action for action in ACTIONS if action.model is model]


@dataclass(frozen=True)
class Preview:
    """What an action does to one row.

    It is only a preview unless `done`. If the service refuses the action, `refusal` is the service's message and the
    rest is empty. Offers, transitions and review items are those of the row's loan.
    """

    row: Model
    offer_before: LoanOffer | None = None
    offer_after: LoanOffer | None = None
    transitions: Sequence[Transition] = ()
    review_items: Sequence[ReviewItem] = ()
    overtaken: Sequence[Reservation] = ()
    digest: str = ""
    refusal: str = ""
    done: bool = False

    @property
    def totals(self) -> list[tuple[str, int, Decimal]]:
        """Return each kind of transition with its number of rows and its dollars."""
        amounts: dict[str, list[Decimal]] = {}
        for transition in self.transitions:
            kind = f"{transition.event.replace('_', ' ')}: {transition.from_state or 'new'} → {transition.to_state}"
            amounts.setdefault(kind, []).append(transition.amount or Decimal(0))
        return [(kind, len(values), sum(values, Decimal(0))) for kind, values in amounts.items()]


def preview(action: StaffAction, row: Model, arguments: Mapping[str, Any], *, actor: Actor) -> Preview:
    """Return what the action would do to the row. Changes nothing."""
    return _run(action, row, arguments, actor=actor, reason="", confirmed_digest=None)


def confirm(action: StaffAction, row: Model, arguments: Mapping[str, Any], *, actor: Actor, reason: str, confirmed_digest: str) -> Preview:
    """Do the action if that is exactly what was confirmed; otherwise change nothing and return the new preview.

    `confirmed_digest` is the digest of the preview that staff saw.
    """
    return _run(action, row, arguments, actor=actor, reason=reason, confirmed_digest=confirmed_digest)


def _run(
    action: StaffAction, row: Model, arguments: Mapping[str, Any], *, actor: Actor, reason: str, confirmed_digest: str | None
) -> Preview:
    try:
        with locks.short_transaction():
            outcome = _call_service(action, row, arguments, actor, reason)
            if outcome.digest != confirmed_digest:
                transaction.set_rollback(True)
    except Problem as problem:  # raised by the service, or by a hook after the commit
        return Preview(row, refusal=problem.detail)
    return replace(outcome, done=outcome.digest == confirmed_digest)


def _call_service(action: StaffAction, row: Model, arguments: Mapping[str, Any], actor: Actor, reason: str) -> Preview:
    """Call the action's service within the transaction, and describe what it did."""
    target = action.target
    all_arguments = {target.argument: getattr(row, target.argument_field), **arguments, "actor": actor, "reason": reason}
    rows = target.model._default_manager.filter(pk=row.pk)
    if not target.loan_field:
        row_values = rows.values(*target.compared_fields).first()
        action.service(**all_arguments)
        return Preview(row, digest=_digest(action, arguments, row_values, []))

    (loan,) = locks.lock_loans(loan_ids=[rows.values_list(target.loan_field, flat=True).get()]).loans
    row_values = rows.values(*target.compared_fields).first()
    offer_before = loan_offer(loan.reference)
    queue = list(live_reservations([loan.pk]).exclude(expires_at__lte=offer_before.at).select_related("loan", "investor"))
    history, review_items = Transition.objects.filter(loan=loan).order_by("id"), ReviewItem.objects.filter(loan=loan).order_by("id")
    last_transition, last_review_item = history.last(), review_items.last()

    action.service(**all_arguments)

    transitions = list(
        history.filter(id__gt=last_transition.pk if last_transition else 0).select_related("reservation__investor", "transfer")
    )
    return Preview(
        row,
        offer_before=offer_before,
        offer_after=loan_offer(loan.reference),
        transitions=transitions,
        review_items=list(review_items.filter(id__gt=last_review_item.pk if last_review_item else 0)),
        overtaken=_overtaken(transitions, queue),
        digest=_digest(action, arguments, row_values, transitions),
    )


def _overtaken(transitions: Sequence[Transition], queue: Sequence[Reservation]) -> list[Reservation]:
    """Return the reservations of the queue that come later because another is reinstated or settled ahead of them."""
    overtaken = []
    for transition in transitions:
        if transition.reservation is None or transition.transfer is not None:
            continue
        number = transition.reservation.number
        if transition.event in {ReservationEvent.REINSTATED_RESERVED, ReservationEvent.REINSTATED_PENDING}:
            overtaken += [reservation for reservation in queue if reservation.number > number]
        elif transition.rule == "staff":
            overtaken += [reservation for reservation in queue if reservation.number < number]
    return overtaken


def _digest(
    action: StaffAction, arguments: Mapping[str, Any], row_values: Mapping[str, Any] | None, transitions: Sequence[Transition]
) -> str:
    """Return a digest of what staff confirm: equal as long as the action would do the same.

    Transitions of reservations that expire are left out, since these expire with or without the action. The id of a
    transfer that the action creates is left out, since each run creates another.
    """
    outcome = {
        "action": action.name,
        "arguments": arguments,
        "row": row_values,
        "transitions": [
            {
                "reservation": transition.reservation_id,
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
