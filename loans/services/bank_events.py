"""Record what the bank reports about money, from notices, statements and staff, and let the books follow.

A `Notice` is what was received; a `BankEvent` is the row that stores it. To record a notice is to store it and, where it names a transfer
of ours, to book it: to note the transfer in the row, and to let the money follow. Notices may arrive late, twice and in any order. So each
time the position of the transfer is computed anew from all its reports (loans/domain/payments.py), and loans/services/transfers.py
changes the transfer and its reservation by the difference.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from django.conf import settings

from loans.domain.actors import BANK, Actor
from loans.domain.approval_limit import refuse_without_approval
from loans.domain.dollars import MAX_DOLLARS
from loans.domain.errors import IllegalTransition, Invalid, NotFound
from loans.domain.payment_reference import reference_in
from loans.domain.payments import Answer, Effect, InboundPosition, RefundPosition
from loans.domain.states import Direction
from loans.ledger import locks
from loans.ledger.review_items import open_review_item, resolve_items_about
from loans.ledger.unit_of_work import UnitOfWork, unit_of_work
from loans.models import BankEvent, Transfer
from loans.selectors.bank_events import candidates_for, confirmed_report, position_of_inbound, position_of_refund
from loans.services.transfers import apply_inbound_position, apply_refund_position
from peerloans.database.clock import database_now
from peerloans.wording import dollars_text, instant_text

OUTCOMES = (
    "funded",  # The whole amount of the reservation was received.
    "too_little",  # Less was received so far. It waits for more, or until staff accept it.
    "late_money",  # Money was received that the reservation no longer expects; it is refunded.
    "second_payment",  # Money was received after the reservation had been funded; it is refunded.
    "confirmation",  # Another source has reported the same money before.
    "possible_duplicate",  # It looks like a payment that is recorded already; staff decide, and nothing moves until then.
    "failed",  # The transfer failed before money was received.
    "superseded",  # A failed attempt; a later attempt succeeded. It changes nothing.
    "already_failed",  # A failure where no money is left that could be returned. It changes nothing.
    "returned",  # The bank took back money that was received.
    "return_differs",  # A return of more than was received. It changes nothing; staff decide.
    "paid",  # A refund was paid.
    "bounced",  # A refund came back, and is due again.
    # A void refund was paid, or another amount than was due: that counts. Or more came back than had been paid: that changes nothing.
    "refund_differs",
    "unknown_reference",  # No transfer has the reference; staff assign it.
)
AWAITING_STAFF = {"possible_duplicate", "unknown_reference"}
_ANSWERS = {Answer.SAME: "the same payment", Answer.ANOTHER: "another payment"}

NoticeType = Literal["transfer.cleared", "transfer.failed", "refund.paid", "refund.failed"]
Source = Literal["notice", "statement", "staff"]


@dataclass(frozen=True)
class Notice:
    """A report about `amount` dollars for the transfer or refund `reference`. It happened at `occurred_at`, by the bank's clock.

    - `transfer.cleared`: the money was received.
    - `transfer.failed`: the money will not be received; or, after it was received, the bank took it back.
    - `refund.paid`: the money was paid to the investor.
    - `refund.failed`: the refund could not be delivered, or came back.

    A notice with the same id is a repetition. `source` is the bank's notice, its statement, or staff who record it by hand.
    """

    id: str
    type: NoticeType
    reference: str
    amount: Decimal
    occurred_at: datetime
    source: Source = "notice"


def record_bank_event(notice: Notice, *, actor: Actor = BANK, reason: str = "", now: datetime | None = None) -> str:
    """Record the notice, let the books follow, and return the outcome, one of OUTCOMES.

    A repeated notice gets the outcome that the first one has by now, and moves no money; if it differs, it opens a review item. Its
    reference may have text around it; one that no transfer has opens a review item too.

    Raises:
        Invalid: with it, the money of one reservation would exceed MAX_DOLLARS. The event is not recorded.
        Busy.
    """
    transfer = _transfer_named(notice.reference, notice.type)
    if transfer is None:
        with locks.short_transaction():
            at = database_now(now)
            bank_event, is_new = _store(notice, at)
            if is_new:
                bank_event.outcome = "unknown_reference"
                bank_event.save(update_fields=["outcome"])
                _open_unknown_reference_item(bank_event, at)
            return bank_event.outcome
    with unit_of_work(reservation_id=transfer.reservation_id, actor=actor, reason=reason, now=now) as work:
        bank_event, is_new = _store(notice, work.at)
        if is_new:
            _book(work, bank_event, transfer.pk)
        return bank_event.outcome


def is_bank_event_recorded(notice: Notice) -> bool:
    """Return whether a notice with this id has been recorded."""
    return BankEvent.objects.filter(pk=notice.id).exists()


def assign_bank_event(*, bank_event_id: str, reference: str, actor: Actor, reason: str, now: datetime | None = None) -> BankEvent:
    """Book an event that names no known transfer under the transfer or refund `reference`. A repeat changes nothing.

    Raises:
        NotFound: there is no such event, or no transfer of the event's direction with the reference.
        IllegalTransition: the event is booked under another transfer.
        Invalid: the money of the reservation would exceed MAX_DOLLARS.
        Busy, ApprovalNeeded.
    """
    type_ = _bank_event(bank_event_id).type
    transfer = _transfer_named(reference, type_)
    if not transfer:
        raise NotFound(f"There is no {_direction(type_)} transfer {reference}.")
    with unit_of_work(reservation_id=transfer.reservation_id, actor=actor, reason=reason, now=now) as work:
        bank_event = _bank_event(bank_event_id, lock=True)
        if bank_event.transfer_id == transfer.pk:
            return bank_event
        if bank_event.transfer_id:
            raise IllegalTransition("It is booked under another transfer already.", state=bank_event.outcome)
        refuse_without_approval(actor, bank_event.amount, settings.APPROVAL_ABOVE_DOLLARS)
        _book(work, bank_event, transfer.pk)
        resolve_items_about(bank_event, user_id=actor.user_id, note=f"Assigned to {transfer.reference}. {reason}".strip(), at=work.at)
        return bank_event


def answer_same_payment(*, bank_event_id: str, actor: Actor, reason: str, now: datetime | None = None) -> BankEvent:
    """Answer that a possible duplicate is a payment that is recorded already; it moves no money. A repeat changes nothing.

    Raises:
        NotFound, Busy.
        IllegalTransition: the event is no possible duplicate.
    """
    return _answer(bank_event_id, Answer.SAME, actor=actor, reason=reason, now=now)


def answer_another_payment(*, bank_event_id: str, actor: Actor, reason: str, now: datetime | None = None) -> BankEvent:
    """Answer that a possible duplicate is a payment of its own, and book it. A repeat changes nothing.

    Raises:
        NotFound, Busy.
        IllegalTransition: the event is no possible duplicate.
        Invalid: the money of the reservation would exceed MAX_DOLLARS.
    """
    return _answer(bank_event_id, Answer.ANOTHER, actor=actor, reason=reason, now=now)


def _answer(bank_event_id: str, answer: Answer, *, actor: Actor, reason: str, now: datetime | None) -> BankEvent:
    transfer = _bank_event(bank_event_id).transfer
    if not transfer:
        raise IllegalTransition("It is no possible duplicate: it names no known transfer.", state="unknown_reference")
    with unit_of_work(reservation_id=transfer.reservation_id, actor=actor, reason=reason, now=now) as work:
        bank_event = _bank_event(bank_event_id, lock=True)
        if bank_event.answer == answer:
            return bank_event
        if bank_event.answer:
            raise IllegalTransition(f"It has been answered already: it is {_ANSWERS[Answer(bank_event.answer)]}.", state=bank_event.outcome)
        with _money_following(work, bank_event, transfer.pk) as effect_before:
            if effect_before != Effect.DOUBTFUL:
                raise IllegalTransition("It is no possible duplicate.", state=bank_event.outcome)
            bank_event.answer = answer
            bank_event.save(update_fields=["answer"])
        resolve_items_about(bank_event, user_id=actor.user_id, note=f"It is {_ANSWERS[answer]}. {reason}".strip(), at=work.at)
        return bank_event


# --- Store ---------------------------------------------------------------------------------------------------------------
def _bank_event(bank_event_id: str, *, lock: bool = False) -> BankEvent:
    events = BankEvent.objects.select_for_update(of=("self",)) if lock else BankEvent.objects
    bank_event = events.select_related("transfer").filter(pk=bank_event_id).first()
    if not bank_event:
        raise NotFound(f"There is no bank event {bank_event_id}.")
    return bank_event


def _direction(type_: str) -> Direction:
    return Direction.REFUND if type_.startswith("refund") else Direction.INBOUND


def _transfer_named(reference: str, type_: str) -> Transfer | None:
    return Transfer.objects.filter(reference=reference_in(reference) or reference, direction=_direction(type_)).first()


def _store(notice: Notice, at: datetime) -> tuple[BankEvent, bool]:
    """Store the notice unless its id is stored already. Return the bank event, and whether it is new.

    A repeat that differs opens a review item.
    """
    bank_event, is_new = BankEvent.objects.get_or_create(pk=notice.id, defaults=vars(notice) | {"recorded_at": at, "outcome": ""})
    stored = bank_event.type, bank_event.reference, bank_event.amount, bank_event.occurred_at
    if stored != (notice.type, notice.reference, notice.amount, notice.occurred_at):
        repetition = f"{notice.type} of {dollars_text(notice.amount)} for {notice.reference}, at {instant_text(notice.occurred_at)}"
        detail = f"The bank's event {notice.id} was received again as {repetition}; what was received first stands."
        open_review_item("event_differs", detail, at=at)
    return bank_event, is_new


def _open_unknown_reference_item(bank_event: BankEvent, at: datetime) -> None:
    meant = "; ".join(
        f"{each.reference} ({dollars_text(each.amount)}, {each.reservation.investor.name}, {each.reservation.loan.reference})"
        for each in candidates_for(bank_event)
    )
    detail = (
        f"{bank_event.type} of {dollars_text(bank_event.amount)} names {bank_event.reference}, which is none of our transfers "
        f"(event {bank_event.pk}). It may mean {meant or 'none that we expect'}."
    )
    open_review_item("unknown_reference", detail, at=at, bank_event=bank_event)


# --- Book ----------------------------------------------------------------------------------------------------------------
def _book(work: UnitOfWork, bank_event: BankEvent, transfer_id: UUID) -> None:
    """Book an event for the first time, under this transfer."""
    with _money_following(work, bank_event, transfer_id):
        bank_event.transfer_id = transfer_id
        bank_event.number = BankEvent.objects.filter(transfer=transfer_id).count() + 1
        bank_event.confirms = confirmed_report(bank_event)
        bank_event.save(update_fields=["transfer", "number", "confirms"])


@contextmanager
def _money_following(work: UnitOfWork, bank_event: BankEvent, transfer_id: UUID) -> Iterator[Effect | None]:
    """Let the block change the event's row; then bring the transfer and its reservation from the position before to that after.

    The block gets the effect that the event had before; None where it was not booked. The event's outcome is stored.
    """
    transfer = Transfer.objects.select_related("reservation__loan").get(pk=transfer_id)  # anew, since its loan is locked now
    before = _position(transfer, work)
    yield before.effects.get(bank_event.pk)
    after = _position(transfer, work)
    if isinstance(before, InboundPosition) and isinstance(after, InboundPosition):
        bank_event.outcome = apply_inbound_position(work, transfer, before, after, bank_event)
    elif isinstance(before, RefundPosition) and isinstance(after, RefundPosition):
        bank_event.outcome = apply_refund_position(work, transfer, before, after, bank_event)
    _resolve_explained(work, bank_event, before.effects, after.effects)
    reservation = transfer.reservation
    if max(reservation.received, reservation.refunded, reservation.lost) > MAX_DOLLARS:
        raise Invalid(
            f"With this {dollars_text(bank_event.amount)}, more would have moved for one reservation than {dollars_text(MAX_DOLLARS)}."
        )
    bank_event.save(update_fields=["outcome"])


def _position(transfer: Transfer, work: UnitOfWork) -> InboundPosition | RefundPosition:
    if transfer.direction == Direction.INBOUND:
        return position_of_inbound(transfer, minimum=work.loan.minimum)
    return position_of_refund(transfer)


def _resolve_explained(work: UnitOfWork, bank_event: BankEvent, before: Mapping[str, Effect], after: Mapping[str, Effect]) -> None:
    """Resolve the review items of events that were doubtful and are not any more, since this event explains them."""
    explained = [event_id for event_id, effect in before.items() if effect == Effect.DOUBTFUL and after.get(event_id, effect) != effect]
    for event in BankEvent.objects.filter(pk__in=explained).exclude(pk=bank_event.pk).order_by("pk"):
        resolve_items_about(event, user_id=None, note=f"The event {bank_event.pk} explains it.", at=work.at)
