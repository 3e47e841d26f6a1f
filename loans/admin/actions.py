"""What can staff do, and what would come of it? One table of actions; each is tried by the service that does it.

An action is tried in a transaction. What it wrote to history is read back, and the transaction is kept only where that is
exactly what its preview showed; otherwise everything is rolled back, hooks for after the commit among it.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Model
from django_celery_beat.models import PeriodicTask

from loans.admin.forms import ActionForm, ClosingForm, DeadlineForm, MoneyForm, NoticeForm, OpeningForm, TransferForm
from loans.domain.actors import Actor
from loans.domain.states import LOAN_MOVES, MOVES, TRANSFER_MOVES, Event, LoanEvent, TransferEvent, possible
from loans.ledger import locks
from loans.models import Loan, Reservation, ReviewItem, Transfer, Transition
from loans.selectors.offers import LoanOffer, loan_offer
from loans.selectors.queue import live_reservations
from loans.services.loans import close_loan_at_settled, extend_loan, open_loan, withdraw_loan
from loans.services.reservations import start_transfer
from loans.services.scheduled_jobs import run_scheduled_job
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
class StaffAction:
    """Something staff can do to a row of `model`, with the permission it needs."""

    name: str
    label: str
    model: type[Model]
    permission: str
    service: Callable[..., object]
    form: type[ActionForm]
    told: str
    event: str = ""  # the step that the tables of moves must allow, where one is needed


ACTIONS = [
    StaffAction(
        "open",
        "Open",
        Loan,
        "loans.open_loan",
        open_loan,
        OpeningForm,
        "The draft takes reservations from now until it closes.",
        LoanEvent.OPENED,
    ),
    StaffAction(
        "extend",
        "Extend closing",
        Loan,
        "loans.extend_loan",
        extend_loan,
        ClosingForm,
        "The open loan takes reservations for longer.",
        LoanEvent.EXTENDED,
    ),
    StaffAction(
        "withdraw",
        "Withdraw",
        Loan,
        "loans.withdraw_loan",
        withdraw_loan,
        ActionForm,
        "Every live or settled reservation is canceled; money that is here is refunded. This is final.",
        LoanEvent.WITHDRAWN,
    ),
    StaffAction(
        "close_at_settled",
        "Close at settled",
        Loan,
        "loans.close_loan",
        close_loan_at_settled,
        ActionForm,
        "What has settled becomes the whole loan, which is funded; live reservations are canceled and refunded.",
        LoanEvent.CLOSED_AT_SETTLED,
    ),
    StaffAction(
        "cancel",
        "Cancel",
        Reservation,
        "loans.cancel_reservation",
        cancel_by_staff,
        ActionForm,
        "The live reservation is canceled; money that is here is refunded.",
        Event.CANCELED_BY_STAFF,
    ),
    StaffAction(
        "reinstate",
        "Reinstate",
        Reservation,
        "loans.reinstate_reservation",
        reinstate_reservation,
        ActionForm,
        "The canceled reservation lives again, at its old place.",
        Event.REINSTATED_RESERVED,
    ),
    StaffAction(
        "extend",
        "Extend time to live",
        Reservation,
        "loans.extend_reservation",
        extend_reservation,
        DeadlineForm,
        "The live reservation has until then to go on.",
        Event.EXTENDED,
    ),
    StaffAction(
        "record_transfer",
        "Record a transfer",
        Reservation,
        "loans.record_transfer",
        start_transfer,
        TransferForm,
        "The reservation becomes pending, as if its investor had started the transfer.",
        Event.TRANSFER_STARTED,
    ),
    StaffAction(
        "record_money",
        "Record cleared money",
        Reservation,
        "loans.record_transfer",
        record_money,
        MoneyForm,
        "The money counts as here, as if the bank had told so.",
    ),
    StaffAction(
        "accept_amount",
        "Accept a smaller amount",
        Reservation,
        "loans.accept_transfer",
        accept_amount,
        ActionForm,
        "The reservation shrinks to the money that came.",
        Event.AMOUNT_ACCEPTED,
    ),
    StaffAction(
        "settle_ahead",
        "Settle ahead of turn",
        Reservation,
        "loans.settle_reservation",
        settle_ahead_of_turn,
        ActionForm,
        "The reservation, whose money is here, is settled now, up to what remains.",
        Event.SETTLED,
    ),
    StaffAction(
        "reverse",
        "Reverse (payment returned)",
        Reservation,
        "loans.reverse_reservation",
        reverse_payment,
        NoticeForm,
        "The bank took the money back: the reservation is canceled without a refund.",
    ),
    StaffAction(
        "mark_paid",
        "Mark refund paid",
        Transfer,
        "loans.pay_refund",
        mark_refund_paid,
        NoticeForm,
        "The refund due has been paid.",
        TransferEvent.PAID,
    ),
    StaffAction(
        "close",
        "Close",
        ReviewItem,
        "loans.resolve_reviewitem",
        resolve_review_item,
        ActionForm,
        "The review_item leaves the list; the reason is its note.",
    ),
    StaffAction(
        "run",
        "Run now",
        PeriodicTask,
        "django_celery_beat.run_periodictask",
        run_scheduled_job,
        ActionForm,
        "The job is handed to the workers at once; its schedule stays as it is.",
    ),
]

# How the services of a model are told which row is meant, which loan's lock it stands under, and what must not have
# moved between a preview and its confirmation.
_KEYS = {
    Loan: ("reference", "reference"),
    Reservation: ("reservation_id", "pk"),
    Transfer: ("transfer_id", "pk"),
    ReviewItem: ("review_item_id", "pk"),
    PeriodicTask: ("job_id", "pk"),
}
_MOVES: dict[type[Model], tuple[Mapping[Any, Any], str]] = {
    Loan: (LOAN_MOVES, "status"),
    Reservation: (MOVES, "state"),
    Transfer: (TRANSFER_MOVES, "status"),
}
_LOAN = {Loan: "pk", Reservation: "loan_id", Transfer: "reservation__loan_id"}
_OWN = {
    Loan: ("status", "amount", "opens_at", "closes_at"),
    Reservation: ("state", "amount", "settled_amount", "expires_at", "funded_at", "received", "refunded", "lost"),
    Transfer: ("status", "amount"),
    ReviewItem: ("resolved_at",),
    PeriodicTask: ("task", "args", "kwargs"),
}


def actions_of(model: type[Model]) -> list[StaffAction]:
    return [action for action in ACTIONS if action.model is model]


def is_conceivable(action: StaffAction, row: Model) -> bool:
    """Whether the row's state allows the action's step at all; the service knows what else it takes."""
    if not action.event:
        return True
    moves, field = _MOVES[action.model]
    return action.event in possible(moves, getattr(row, field))


@dataclass(frozen=True)
class Change:
    """One line of the history that an action writes."""

    subject: str
    event: str
    from_state: str
    to_state: str
    amount: Decimal | None
    deadline: datetime | None
    rule: str


@dataclass(frozen=True)
class Effect:
    """What an action on one row comes to: kept where `done`, refused where `refusal` has the service's words, else a preview."""

    row: Model
    before: LoanOffer | None = None
    after: LoanOffer | None = None
    changes: tuple[Change, ...] = ()
    review_items: tuple[str, ...] = ()
    passed: tuple[Reservation, ...] = ()
    digest: str = ""
    refusal: str = ""
    done: bool = False

    @property
    def sums(self) -> list[tuple[str, int, Decimal]]:
        """Of each kind of change: how many, and how many dollars."""
        counts: Counter[str] = Counter()
        dollars: Counter[str] = Counter()
        for change in self.changes:
            kind = f"{change.event}: {change.from_state or 'new'} → {change.to_state}"
            counts[kind] += 1
            dollars[kind] += change.amount or Decimal(0)  # type: ignore[assignment]
        return [(kind, count, Decimal(dollars[kind])) for kind, count in counts.items()]


def attempt(
    action: StaffAction, row: Model, given: Mapping[str, Any], *, actor: Actor, reason: str = "", previewed: str | None = None
) -> Effect:
    """Do it if it comes to exactly what was `previewed`, which is an Effect's digest; otherwise show what it would come to."""
    try:
        with locks.short_transaction():
            effect = _effect(action, row, given, actor, reason)
            if effect.digest != previewed:
                transaction.set_rollback(True)
    except Problem as refusal:
        return Effect(row, refusal=refusal.detail)
    return replace(effect, done=effect.digest == previewed)


def _effect(action: StaffAction, row: Model, given: Mapping[str, Any], actor: Actor, reason: str) -> Effect:
    model = action.model
    key, attribute = _KEYS[model]
    what = {key: getattr(row, attribute), **given, "actor": actor, "reason": reason}
    if model not in _LOAN:
        own = _own(row)
        action.service(**what)
        return Effect(row, digest=_digest(action, given, own, ()))
    loan_id = model._default_manager.filter(pk=row.pk).values_list(_LOAN[model], flat=True).get()
    (loan,) = locks.by_id([loan_id]).loans
    own, before = _own(row), loan_offer(loan.reference)
    history, review_items = Transition.objects.filter(loan=loan).order_by("id"), ReviewItem.objects.filter(loan=loan).order_by("id")
    last = history.values_list("id", flat=True).last() or 0
    last_review_item = review_items.values_list("id", flat=True).last() or 0
    live = list(live_reservations([loan.pk]).exclude(expires_at__lte=before.at).select_related("loan", "investor"))
    action.service(**what)
    written = list(history.filter(id__gt=last).select_related("reservation__investor", "transfer"))
    return Effect(
        row,
        before,
        loan_offer(loan.reference),
        tuple(map(_change, written)),
        tuple(f"{review_item.get_kind_display()}: {review_item.detail}" for review_item in review_items.filter(id__gt=last_review_item)),
        tuple(_passed(written, live)),
        _digest(action, given, own, written),
    )


def _own(row: Model) -> object:
    return type(row)._default_manager.filter(pk=row.pk).values_list(*_OWN[type(row)]).first()


def _change(row: Transition) -> Change:
    subject = "The loan"
    if row.reservation:
        subject = f"#{row.reservation.number} {row.reservation.investor}"
    if row.transfer:
        subject = f"{row.transfer.get_direction_display()}{f' {row.transfer.reference}' if row.from_state else ''} for {subject}"
    return Change(subject, row.event.replace("_", " "), row.from_state, row.to_state, row.amount, row.deadline, row.rule)


def _passed(written: list[Transition], live: list[Reservation]) -> list[Reservation]:
    """The live reservations that lose their turn to another: to one that is back at its old place, or settled ahead."""
    passed = []
    for row in written:
        if row.reservation and not row.transfer and row.event in {Event.REINSTATED_RESERVED, Event.REINSTATED_PENDING}:
            passed += [reservation for reservation in live if reservation.number > row.reservation.number]
        elif row.reservation and not row.transfer and row.rule == "staff":
            passed += [reservation for reservation in live if reservation.number < row.reservation.number]
    return passed


def _digest(action: StaffAction, given: Mapping[str, Any], own: object, written: "list[Transition] | tuple[()]") -> str:
    """Names what an action comes to. Reservations that lapse are left out: they do so with or without it."""
    changes = [
        (row.reservation_id, row.transfer_id if row.from_state else None, row.event, row.from_state, row.to_state, row.amount, row.rule)
        for row in written
        if row.event != Event.EXPIRED
    ]
    return hashlib.sha256(repr((action.name, sorted(given.items()), own, changes)).encode()).hexdigest()
