"""List the states of loans, reservations and transfers, and which event leads from one to another.

There is one table of transitions for each. A pair of state and event that its table does not have is refused. The events that
create a loan, a reservation or a transfer are in no table, since no state comes before them. History records each event. The event
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
    OPEN = "open"
    FUNDED = "funded"
    WITHDRAWN = "withdrawn"


class LoanEvent(StrEnum):
    """What happens to a loan."""

    CREATED = "created"
    EDITED = "edited"
    MARKET_FOUND = "market_found"  # The ZIP data in use gave the loan another metropolitan area.
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
    (LoanStatus.DRAFT, LoanEvent.OPENED): LoanStatus.OPEN,
    (LoanStatus.DRAFT, LoanEvent.WITHDRAWN): LoanStatus.WITHDRAWN,
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
    SETTLED = "settled"
    REINSTATED_RESERVED = "reinstated_reserved"
    REINSTATED_PENDING = "reinstated_pending"
    LOST = "lost"  # The bank took back money that had already been refunded.
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
    (ReservationState.PENDING, ReservationEvent.SETTLED): ReservationState.SETTLED,
    (ReservationState.PENDING, ReservationEvent.CANCELED_BY_STAFF): ReservationState.CANCELED,
    (ReservationState.PENDING, ReservationEvent.EXPIRED): ReservationState.CANCELED,
    (ReservationState.PENDING, ReservationEvent.TRANSFER_FAILED): ReservationState.CANCELED,
    (ReservationState.PENDING, ReservationEvent.PAYMENT_RETURNED): ReservationState.CANCELED,
    (ReservationState.PENDING, ReservationEvent.NO_SHARE): ReservationState.CANCELED,
    (ReservationState.PENDING, ReservationEvent.LOAN_FUNDED): ReservationState.CANCELED,
    (ReservationState.PENDING, ReservationEvent.LOAN_WITHDRAWN): ReservationState.CANCELED,
    (ReservationState.SETTLED, ReservationEvent.PAYMENT_RETURNED): ReservationState.CANCELED,
    (ReservationState.SETTLED, ReservationEvent.LOAN_WITHDRAWN): ReservationState.CANCELED,
    (ReservationState.CANCELED, ReservationEvent.REINSTATED_RESERVED): ReservationState.RESERVED,
    (ReservationState.CANCELED, ReservationEvent.REINSTATED_PENDING): ReservationState.PENDING,
    **{(state, ReservationEvent.LOST): state for state in ReservationState},
}

# Why a reservation can be canceled, each once. A loss leaves a canceled reservation canceled, so it is no cause.
CAUSES = list(
    dict.fromkeys(
        event
        for (_, event), state in RESERVATION_TRANSITIONS.items()
        if state == ReservationState.CANCELED and event != ReservationEvent.LOST
    )
)


class Direction(StrEnum):
    """Which way the money of a transfer goes."""

    INBOUND = "inbound"  # From the investor to us.
    REFUND = "refund"  # From us to the investor.


class TransferStatus(StrEnum):
    """The state of a transfer: the first four are for an inbound one, the others for a refund."""

    INITIATED = "initiated"
    CLEARED = "cleared"
    FAILED = "failed"
    RETURNED = "returned"
    DUE = "due"
    PAID = "paid"
    VOID = "void"


INBOUND_STATUSES = (TransferStatus.INITIATED, TransferStatus.CLEARED, TransferStatus.FAILED, TransferStatus.RETURNED)
REFUND_STATUSES = (TransferStatus.DUE, TransferStatus.PAID, TransferStatus.VOID)


class TransferEvent(StrEnum):
    """What happens to a transfer."""

    INITIATED = "initiated"
    CLEARED = "cleared"
    FAILED = "failed"
    RETURNED = "returned"
    DUE = "due"
    PAID = "paid"
    VOIDED = "voided"


TRANSFER_TRANSITIONS = {
    (TransferStatus.INITIATED, TransferEvent.CLEARED): TransferStatus.CLEARED,
    (TransferStatus.INITIATED, TransferEvent.FAILED): TransferStatus.FAILED,
    (TransferStatus.FAILED, TransferEvent.CLEARED): TransferStatus.CLEARED,  # Money that comes late is recorded too.
    (TransferStatus.CLEARED, TransferEvent.RETURNED): TransferStatus.RETURNED,
    (TransferStatus.DUE, TransferEvent.PAID): TransferStatus.PAID,
    (TransferStatus.DUE, TransferEvent.VOIDED): TransferStatus.VOID,
}

# These can happen in every state and change none, so a refusal does not list them as possible.
ANY_STATE_EVENTS: set[StrEnum] = {LoanEvent.MARKET_FOUND, ReservationEvent.LOST}

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
    """Return the events that the table has for `state`, without those of ANY_STATE_EVENTS."""
    return [str(event) for (origin, event) in transitions if origin == state and event not in ANY_STATE_EVENTS]
