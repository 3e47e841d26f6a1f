"""List the states of loans, reservations, transfers, entries of waiting lists and standing orders, and which event leads where.

There is one table of transitions for each. A pair of state and event that its table does not have is refused. The events that
create one of them are in no table, since no state comes before them. History records each event. The event
that cancels a reservation is also the cause that its investor sees.

Words that are easily confused:

- funded: of a loan, all of it has settled. Of a reservation, its whole amount was received (`funded_at`); it is pending, has no
  deadline any more, and waits for its turn to settle.
- lapsed: the deadline of a live reservation has passed. From that instant it counts nowhere, though it is still stored as live.
- expired: a lapsed reservation that is stored as canceled with the cause `expired`. A job does that each minute, and every unit of
  work for its own loans.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from loans.domain.errors import IllegalTransition


class LoanStatus(StrEnum):
    """The state of a loan."""

    DRAFT = "draft"
    UPCOMING = "upcoming"  # Announced: everybody sees it, and a job opens it at `opens_at`.
    OPEN = "open"
    FUNDED = "funded"
    WITHDRAWN = "withdrawn"


PUBLIC_STATUSES = (LoanStatus.UPCOMING, LoanStatus.OPEN, LoanStatus.FUNDED)
"""A loan in these states is listed for everybody."""
ENDED_LOAN_STATUSES = {LoanStatus.FUNDED, LoanStatus.WITHDRAWN}
"""A loan in these states takes no more reservations, and its waiting list ends. One that reached its closing can be extended."""


class LoanEvent(StrEnum):
    """What happens to a loan."""

    CREATED = "created"
    EDITED = "edited"
    MARKET_FOUND = "market_found"  # The ZIP data in use gave the loan another metropolitan area.
    ANNOUNCED = "announced"  # Again, where another opening is announced.
    OPENED = "opened"
    EXTENDED = "extended"
    OVERBOOKING_SET = "overbooking_set"
    FUNDED = "funded"
    CLOSED_AT_SETTLED = "closed_at_settled"
    WITHDRAWN = "withdrawn"
    REOPENED = "reopened"


LOAN_TRANSITIONS = {
    (LoanStatus.DRAFT, LoanEvent.EDITED): LoanStatus.DRAFT,
    (LoanStatus.DRAFT, LoanEvent.OVERBOOKING_SET): LoanStatus.DRAFT,
    (LoanStatus.DRAFT, LoanEvent.ANNOUNCED): LoanStatus.UPCOMING,
    (LoanStatus.DRAFT, LoanEvent.OPENED): LoanStatus.OPEN,
    (LoanStatus.DRAFT, LoanEvent.WITHDRAWN): LoanStatus.WITHDRAWN,
    (LoanStatus.UPCOMING, LoanEvent.ANNOUNCED): LoanStatus.UPCOMING,
    (LoanStatus.UPCOMING, LoanEvent.OVERBOOKING_SET): LoanStatus.UPCOMING,
    (LoanStatus.UPCOMING, LoanEvent.OPENED): LoanStatus.OPEN,
    (LoanStatus.UPCOMING, LoanEvent.WITHDRAWN): LoanStatus.WITHDRAWN,
    (LoanStatus.OPEN, LoanEvent.EXTENDED): LoanStatus.OPEN,
    (LoanStatus.OPEN, LoanEvent.OVERBOOKING_SET): LoanStatus.OPEN,
    (LoanStatus.OPEN, LoanEvent.FUNDED): LoanStatus.FUNDED,
    (LoanStatus.OPEN, LoanEvent.CLOSED_AT_SETTLED): LoanStatus.FUNDED,
    (LoanStatus.OPEN, LoanEvent.WITHDRAWN): LoanStatus.WITHDRAWN,
    (LoanStatus.FUNDED, LoanEvent.REOPENED): LoanStatus.OPEN,
    **{(status, LoanEvent.MARKET_FOUND): status for status in LoanStatus},
}


class ReservationState(StrEnum):
    """The state of a reservation."""

    RESERVED = "reserved"
    PENDING = "pending"
    SETTLED = "settled"
    CANCELED = "canceled"


LIVE = (ReservationState.RESERVED, ReservationState.PENDING)


class ReservationEvent(StrEnum):
    """What happens to a reservation."""

    RESERVED = "reserved"
    TRANSFER_STARTED = "transfer_started"
    FUNDED = "funded"  # Its whole amount was received.
    EXTENDED = "extended"
    AMOUNT_ACCEPTED = "amount_accepted"  # Staff lowered the amount to the money that was received.
    AMOUNT_FOLLOWED = "amount_followed"  # The bank took back a part of its money, so its amount is what is left.
    UNFUNDED = "unfunded"  # The bank's reports, now in their order, say that its whole amount was not received.
    SETTLED = "settled"
    REINSTATED_RESERVED = "reinstated_reserved"
    REINSTATED_PENDING = "reinstated_pending"
    REVIVED = "revived"  # It was canceled for a failure that the bank's later report overrules.
    LOST = "lost"  # More of its money is gone than was received: taken back after a refund, or refunded twice.
    RECOVERED = "recovered"  # Lost money came back.
    # The causes of a cancellation:
    CANCELED_BY_INVESTOR = "canceled_by_investor"
    CANCELED_BY_STAFF = "canceled_by_staff"
    EXPIRED = "expired"
    TRANSFER_FAILED = "transfer_failed"
    PAYMENT_RETURNED = "payment_returned"
    NO_SHARE = "no_share"  # The settlement rule allocated 0 dollars to it.
    LOAN_FUNDED = "loan_funded"
    LOAN_WITHDRAWN = "loan_withdrawn"


RESERVATION_TRANSITIONS = {
    (ReservationState.RESERVED, ReservationEvent.TRANSFER_STARTED): ReservationState.PENDING,
    (ReservationState.RESERVED, ReservationEvent.EXTENDED): ReservationState.RESERVED,
    (ReservationState.RESERVED, ReservationEvent.CANCELED_BY_INVESTOR): ReservationState.CANCELED,
    (ReservationState.RESERVED, ReservationEvent.CANCELED_BY_STAFF): ReservationState.CANCELED,
    (ReservationState.RESERVED, ReservationEvent.EXPIRED): ReservationState.CANCELED,
    (ReservationState.RESERVED, ReservationEvent.LOAN_FUNDED): ReservationState.CANCELED,
    (ReservationState.RESERVED, ReservationEvent.LOAN_WITHDRAWN): ReservationState.CANCELED,
    (ReservationState.PENDING, ReservationEvent.FUNDED): ReservationState.PENDING,
    (ReservationState.PENDING, ReservationEvent.EXTENDED): ReservationState.PENDING,
    (ReservationState.PENDING, ReservationEvent.AMOUNT_ACCEPTED): ReservationState.PENDING,
    (ReservationState.PENDING, ReservationEvent.AMOUNT_FOLLOWED): ReservationState.PENDING,
    (ReservationState.PENDING, ReservationEvent.UNFUNDED): ReservationState.PENDING,
    (ReservationState.PENDING, ReservationEvent.SETTLED): ReservationState.SETTLED,
    (ReservationState.PENDING, ReservationEvent.CANCELED_BY_STAFF): ReservationState.CANCELED,
    (ReservationState.PENDING, ReservationEvent.EXPIRED): ReservationState.CANCELED,
    (ReservationState.PENDING, ReservationEvent.TRANSFER_FAILED): ReservationState.CANCELED,
    (ReservationState.PENDING, ReservationEvent.PAYMENT_RETURNED): ReservationState.CANCELED,
    (ReservationState.PENDING, ReservationEvent.NO_SHARE): ReservationState.CANCELED,
    (ReservationState.PENDING, ReservationEvent.LOAN_FUNDED): ReservationState.CANCELED,
    (ReservationState.PENDING, ReservationEvent.LOAN_WITHDRAWN): ReservationState.CANCELED,
    (ReservationState.SETTLED, ReservationEvent.AMOUNT_FOLLOWED): ReservationState.SETTLED,
    (ReservationState.SETTLED, ReservationEvent.PAYMENT_RETURNED): ReservationState.CANCELED,
    (ReservationState.SETTLED, ReservationEvent.LOAN_WITHDRAWN): ReservationState.CANCELED,
    (ReservationState.CANCELED, ReservationEvent.REINSTATED_RESERVED): ReservationState.RESERVED,
    (ReservationState.CANCELED, ReservationEvent.REINSTATED_PENDING): ReservationState.PENDING,
    (ReservationState.CANCELED, ReservationEvent.REVIVED): ReservationState.PENDING,
    # Its transfer had failed. A late report says that the money had been received before and was taken back, so the cause changes.
    (ReservationState.CANCELED, ReservationEvent.PAYMENT_RETURNED): ReservationState.CANCELED,
    **{(state, ReservationEvent.LOST): state for state in ReservationState},
    **{(state, ReservationEvent.RECOVERED): state for state in ReservationState},
}

LOSSES = {ReservationEvent.LOST, ReservationEvent.RECOVERED}
"""The events that change no state, and that can happen in each."""

# Why a reservation can be canceled, each once. A loss leaves a canceled reservation canceled, so it is no cause.
CAUSES = list(
    dict.fromkeys(
        event for (_, event), state in RESERVATION_TRANSITIONS.items() if state == ReservationState.CANCELED and event not in LOSSES
    )
)

CANCELED_BY_BANK = {ReservationEvent.TRANSFER_FAILED, ReservationEvent.PAYMENT_RETURNED}
"""The causes that a report of the bank can overrule."""


# The causes for which the investor is responsible: they count in the limit of reservations that are let go.
LETTING_GO = (ReservationEvent.CANCELED_BY_INVESTOR, ReservationEvent.EXPIRED)


class Direction(StrEnum):
    """Which way the money of a transfer goes."""

    INBOUND = "inbound"  # From the investor to us.
    REFUND = "refund"  # From us to the investor.


class TransferStatus(StrEnum):
    """The state of a transfer: the first four are for an inbound one, the others for a refund."""

    INITIATED = "initiated"
    CLEARED = "cleared"  # Some or all of the expected money was received.
    FAILED = "failed"
    RETURNED = "returned"  # All that was received was taken back.
    DUE = "due"
    SENT = "sent"  # Handed to the bank in a payment file.
    PAID = "paid"
    VOID = "void"


INBOUND_STATUSES = (TransferStatus.INITIATED, TransferStatus.CLEARED, TransferStatus.FAILED, TransferStatus.RETURNED)
REFUND_STATUSES = (TransferStatus.DUE, TransferStatus.SENT, TransferStatus.PAID, TransferStatus.VOID)


class TransferEvent(StrEnum):
    """What happens to a transfer."""

    INITIATED = "initiated"
    CLEARED = "cleared"
    FAILED = "failed"
    RETURNED_IN_PART = "returned_in_part"
    RETURNED = "returned"
    ACCEPTED = "accepted"  # Staff accepted what was received as the expected amount.
    DUE = "due"
    SENT = "sent"
    PAID_IN_PART = "paid_in_part"
    PAID = "paid"
    BOUNCED_IN_PART = "bounced_in_part"
    BOUNCED = "bounced"  # The refund came back, so it is due again.
    VOIDED = "voided"
    VOIDED_IN_PART = "voided_in_part"  # What was not paid yet of a refund that was paid in part.


TRANSFER_TRANSITIONS = {
    (TransferStatus.INITIATED, TransferEvent.CLEARED): TransferStatus.CLEARED,
    (TransferStatus.INITIATED, TransferEvent.FAILED): TransferStatus.FAILED,
    # Money that is received late, or after a failed attempt, is recorded too.
    (TransferStatus.FAILED, TransferEvent.CLEARED): TransferStatus.CLEARED,
    (TransferStatus.RETURNED, TransferEvent.CLEARED): TransferStatus.CLEARED,
    (TransferStatus.CLEARED, TransferEvent.CLEARED): TransferStatus.CLEARED,
    (TransferStatus.CLEARED, TransferEvent.RETURNED_IN_PART): TransferStatus.CLEARED,
    (TransferStatus.CLEARED, TransferEvent.RETURNED): TransferStatus.RETURNED,
    (TransferStatus.CLEARED, TransferEvent.ACCEPTED): TransferStatus.CLEARED,
    (TransferStatus.DUE, TransferEvent.SENT): TransferStatus.SENT,
    (TransferStatus.DUE, TransferEvent.VOIDED): TransferStatus.VOID,
    (TransferStatus.DUE, TransferEvent.VOIDED_IN_PART): TransferStatus.PAID,
    # The bank can also pay a refund that was not sent, was voided, or was paid before: whatever it did is recorded.
    **{(status, TransferEvent.PAID): TransferStatus.PAID for status in REFUND_STATUSES},
    **{(status, TransferEvent.PAID_IN_PART): TransferStatus.DUE for status in (TransferStatus.DUE, TransferStatus.SENT)},
    (TransferStatus.PAID, TransferEvent.BOUNCED_IN_PART): TransferStatus.PAID,  # More had been paid than was due.
    **{(status, TransferEvent.BOUNCED): TransferStatus.DUE for status in (TransferStatus.DUE, TransferStatus.SENT, TransferStatus.PAID)},
}


class WaitingListState(StrEnum):
    """The state of an entry of a loan's waiting list."""

    WAITING = "waiting"
    PLACED = "placed"  # It became a reservation.
    LEFT = "left"
    REMOVED = "removed"
    ENDED = "ended"


class WaitingListEvent(StrEnum):
    """What happens to an entry of a loan's waiting list."""

    JOINED = "joined"
    PLACED = "placed"
    LEFT = "left"
    REMOVED = "removed"  # Staff removed it.
    ENDED = "ended"  # The loan was funded or withdrawn.


WAITING_LIST_TRANSITIONS = {
    (WaitingListState.WAITING, WaitingListEvent.PLACED): WaitingListState.PLACED,
    (WaitingListState.WAITING, WaitingListEvent.LEFT): WaitingListState.LEFT,
    (WaitingListState.WAITING, WaitingListEvent.REMOVED): WaitingListState.REMOVED,
    (WaitingListState.WAITING, WaitingListEvent.ENDED): WaitingListState.ENDED,
}


class StandingOrderState(StrEnum):
    """The state of a standing order. Only an active one is served; a paused one keeps its place in the line."""

    ACTIVE = "active"
    PAUSED = "paused"
    ENDED = "ended"


class StandingOrderEvent(StrEnum):
    """What happens to a standing order."""

    CREATED = "created"
    PAUSED = "paused"
    RESUMED = "resumed"
    ENDED = "ended"
    # At the opening of a loan:
    PLACED = "placed"  # It got a reservation.
    PASSED_OVER = "passed_over"


STANDING_ORDER_TRANSITIONS = {
    (StandingOrderState.ACTIVE, StandingOrderEvent.PAUSED): StandingOrderState.PAUSED,
    (StandingOrderState.ACTIVE, StandingOrderEvent.ENDED): StandingOrderState.ENDED,
    (StandingOrderState.ACTIVE, StandingOrderEvent.PLACED): StandingOrderState.ACTIVE,
    (StandingOrderState.ACTIVE, StandingOrderEvent.PASSED_OVER): StandingOrderState.ACTIVE,
    (StandingOrderState.PAUSED, StandingOrderEvent.RESUMED): StandingOrderState.ACTIVE,
    (StandingOrderState.PAUSED, StandingOrderEvent.ENDED): StandingOrderState.ENDED,
}

# A refusal does not list these as possible: they change no state, or only follow from what the bank reports in another order.
UNLISTED_EVENTS: set[StrEnum] = {
    LoanEvent.MARKET_FOUND,
    *LOSSES,
    StandingOrderEvent.PLACED,  # It equals WaitingListEvent.PLACED, which is not listed either.
    StandingOrderEvent.PASSED_OVER,
    ReservationEvent.AMOUNT_FOLLOWED,
    ReservationEvent.UNFUNDED,
    ReservationEvent.REVIVED,
}

AnyState = TypeVar("AnyState", bound=StrEnum)
AnyEvent = TypeVar("AnyEvent", bound=StrEnum)


def state_after(transitions: Mapping[tuple[AnyState, AnyEvent], AnyState], state: AnyState, event: AnyEvent) -> AnyState:
    """Return the state to which `event` leads from `state`.

    Raises:
        IllegalTransition: the table has no such transition.
    """
    try:
        return transitions[state, event]
    except KeyError:
        raise IllegalTransition(
            f"This is {state}; {str(event).replace('_', ' ')} is not possible from there.",
            state=str(state),
            possible=possible_events(transitions, state),
        ) from None


def possible_events(transitions: Mapping[tuple[AnyState, AnyEvent], AnyState], state: AnyState) -> list[str]:
    """Return the events that the table has for `state`, but for UNLISTED_EVENTS and those that only give a cancellation another cause."""
    return [
        str(event)
        for (origin, event), target in transitions.items()
        if origin == state and event not in UNLISTED_EVENTS and not origin == target == ReservationState.CANCELED
    ]
