"""Choose and write the message that announces each transition to its investor.

Three tables map the events of history to messages. A transition whose event is in none is not announced: investors learn of
a loan's own transitions through what these do to their reservations. A fourth table has the e-mails to those who watch a loan,
which are about notices in place of transitions. A message is made from its transition or notice and from values that never change,
so that every attempt says the same.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from typing import Any

from loans.domain.states import ReservationEvent, TransferEvent, WaitingListEvent
from loans.models import Reservation, Transition, WaitingListEntry, WatchNotice
from loans.models.watch import AVAILABLE, OPENED


@dataclass(frozen=True)
class Message:
    """`type` is for webhooks; `subject` (with `{loan}`) and `template` are for e-mails. `why` gives the reason of a cancellation."""

    type: str
    subject: str
    template: str
    why: str = ""


def _canceled(why: str) -> Message:
    return Message("reservation.canceled", "Your reservation of loan {loan} is canceled", "canceled", why)


def _no_longer_waiting(why: str) -> Message:
    return Message("waiting_list.ended", "You no longer wait for loan {loan}", "waiting_ended", why)


_REINSTATED = Message("reservation.reinstated", "Your reservation of loan {loan} is active again", "reinstated")

OF_RESERVATION = {
    ReservationEvent.RESERVED: Message("reservation.reserved", "You reserved part of loan {loan}", "reserved"),
    ReservationEvent.TRANSFER_STARTED: Message("reservation.transfer_started", "Send your payment for loan {loan}", "transfer_started"),
    ReservationEvent.FUNDED: Message("reservation.funded", "We received your payment for loan {loan}", "funded"),
    ReservationEvent.EXTENDED: Message("reservation.extended", "You have more time for loan {loan}", "extended"),
    ReservationEvent.AMOUNT_ACCEPTED: Message(
        "reservation.amount_accepted", "Your reservation of loan {loan} has a new amount", "amount_accepted"
    ),
    ReservationEvent.AMOUNT_FOLLOWED: Message(
        "reservation.amount_followed", "A part of your payment for loan {loan} was returned", "amount_followed"
    ),
    ReservationEvent.UNFUNDED: Message("reservation.unfunded", "We still wait for your payment for loan {loan}", "unfunded"),
    ReservationEvent.REVIVED: _REINSTATED,
    ReservationEvent.SETTLED: Message("reservation.settled", "You bought part of loan {loan}", "settled"),
    ReservationEvent.REINSTATED_RESERVED: _REINSTATED,
    ReservationEvent.REINSTATED_PENDING: _REINSTATED,
    ReservationEvent.CANCELED_BY_INVESTOR: _canceled("You canceled it."),
    ReservationEvent.CANCELED_BY_STAFF: _canceled("Our staff canceled it."),
    ReservationEvent.EXPIRED: _canceled("Its deadline passed."),
    ReservationEvent.TRANSFER_FAILED: _canceled("Your bank reported that the transfer failed."),
    ReservationEvent.PAYMENT_RETURNED: _canceled("Your payment was returned to your bank."),
    ReservationEvent.NO_SHARE: _canceled("The loan was sold to other investors, and nothing was left for this reservation."),
    ReservationEvent.LOAN_FUNDED: _canceled("The loan is fully sold."),
    ReservationEvent.LOAN_WITHDRAWN: _canceled("The loan was withdrawn."),
}
RESERVED_BY_ORDER = Message("reservation.reserved", "Your standing order reserved part of loan {loan}", "reserved_by_order")
OF_TRANSFER = {
    TransferEvent.DUE: Message("refund.due", "You will get a refund for loan {loan}", "refund_due"),
    TransferEvent.PAID: Message("refund.paid", "We paid your refund for loan {loan}", "refund_paid"),
    TransferEvent.BOUNCED: Message("refund.bounced", "Your refund for loan {loan} came back to us", "refund_bounced"),
    TransferEvent.VOIDED: Message("refund.void", "Your refund for loan {loan} will not be paid", "refund_void"),
}

OF_WAITING_ENTRY = {
    WaitingListEvent.JOINED: Message("waiting_list.joined", "You wait for loan {loan}", "waiting_joined"),
    WaitingListEvent.PLACED: Message("waiting_list.placed", "Loan {loan}: your turn has come", "waiting_placed"),
    WaitingListEvent.LEFT: _no_longer_waiting("You left the list."),
    WaitingListEvent.REMOVED: _no_longer_waiting("Our staff removed you from the list."),
    WaitingListEvent.ENDED: _no_longer_waiting("The loan takes no more reservations."),
}

OF_WATCH = {
    OPENED: Message("watch.opened", "Loan {loan} has opened", "watch_opened"),
    AVAILABLE: Message("watch.available", "Dollars of loan {loan} are available", "watch_available"),
}

# Of webhooks and the event feed, which do not carry the notices to watchers.
TYPES = list(dict.fromkeys(message.type for table in (OF_RESERVATION, OF_TRANSFER, OF_WAITING_ENTRY) for message in table.values()))

STANDING_ORDER = "standing_order"  # Among the facts of a reservation's first transition: the order that made it.
_NAMESPACE = uuid.UUID("6a4c1a7e-0d7e-4a57-9b53-6d2c1b1a4a0f")


def message_of(transition: Transition | WatchNotice) -> Message:
    """Return the message about the transition or notice. Raises KeyError or ValueError where its event is not announced."""
    if isinstance(transition, WatchNotice):
        return OF_WATCH[transition.event]
    if transition.waiting_entry_id:
        return OF_WAITING_ENTRY[WaitingListEvent(transition.event)]
    if transition.transfer_id:
        return OF_TRANSFER[TransferEvent(transition.event)]
    if STANDING_ORDER in (transition.facts or {}):
        return RESERVED_BY_ORDER
    return OF_RESERVATION[ReservationEvent(transition.event)]


def message_id(transition: Transition | WatchNotice) -> str:
    """Return the message's own id, the same on every attempt and for every target.

    Row numbers alone come again after a restore to an earlier moment. Their instant, and the random id of the reservation or the entry, do
    not.
    """
    if isinstance(transition, WatchNotice):
        return f"msg_{transition.pk.hex}"
    subject_id = transition.reservation_id or transition.waiting_entry_id
    name = f"{transition.pk} {subject_id} {transition.event} {transition.at.astimezone(UTC).isoformat()}"
    return f"msg_{uuid.uuid5(_NAMESPACE, name).hex}"


def message_data(transition: Transition | WatchNotice, subject: Reservation | WaitingListEntry | WatchNotice) -> dict[str, Any]:
    """Return what the message says of the transition of this reservation, or entry of a waiting list; or of the notice, which is both.

    `reference` is the reference of the payment or refund that it is about, if any. Amounts are dollars.
    """
    if isinstance(transition, WatchNotice):
        return {"loan": transition.loan.reference, "available": transition.available, "at": transition.at}
    assert not isinstance(subject, WatchNotice)  # noqa: S101 - for mypy: a constraint of Delivery
    if isinstance(subject, WaitingListEntry):
        return _waiting_data(transition, subject)
    reservation = subject
    transfer = transition.transfer
    if transition.event == ReservationEvent.TRANSFER_STARTED:
        transfer = next((inbound for inbound in reservation.transfers.all() if inbound.created_at == transition.at), None)
    return {
        "reservation": reservation.pk,
        "standing_order": (transition.facts or {}).get(STANDING_ORDER),
        "waiting_entry": None,
        "list_position": None,
        "dollars_before": None,
        "loan": reservation.loan.reference,
        "event": transition.event,
        "from": transition.from_state or None,
        "to": transition.to_state,
        "amount": transition.amount,
        "expires_at": transition.deadline,
        "reference": transfer.reference if transfer else None,
        "method": (transfer.method or None) if transfer else None,
        "at": transition.at,
    }


def _waiting_data(transition: Transition, entry: WaitingListEntry) -> dict[str, Any]:
    facts = transition.facts or {}
    return {
        "reservation": facts.get("reservation"),
        "standing_order": None,
        "waiting_entry": entry.pk,
        "list_position": facts.get("list_position"),
        "dollars_before": Decimal(facts["dollars_before"]) if "dollars_before" in facts else None,
        "loan": entry.loan.reference,
        "event": transition.event,
        "from": transition.from_state or None,
        "to": transition.to_state,
        "amount": transition.amount,
        "expires_at": None,
        "reference": None,
        "method": None,
        "at": transition.at,
    }


def message_body(transition: Transition | WatchNotice, subject: Reservation | WaitingListEntry | WatchNotice) -> dict[str, Any]:
    """Return what webhooks send and the event feed lists of a transition of this reservation or entry."""
    data = message_data(transition, subject)
    return {"type": message_of(transition).type, "timestamp": transition.at, "data": data}
