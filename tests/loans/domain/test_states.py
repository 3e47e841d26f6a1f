"""Try every pair of state and event: it leads where the diagram says, or is refused with the events that are possible."""

from itertools import product
from typing import Any

import pytest

from loans.domain.errors import IllegalTransition
from loans.domain.states import (
    INBOUND_STATUSES,
    LIVE,
    LOAN_TRANSITIONS,
    REFUND_STATUSES,
    RESERVATION_TRANSITIONS,
    STANDING_ORDER_TRANSITIONS,
    TRANSFER_TRANSITIONS,
    UNLISTED_EVENTS,
    LoanEvent,
    LoanStatus,
    ReservationEvent,
    ReservationState,
    StandingOrderEvent,
    StandingOrderState,
    TransferEvent,
    TransferStatus,
    possible_events,
    state_after,
)

RESERVED, PENDING, SETTLED, CANCELED = ReservationState

# The diagram once more, as a reader of it would write it down: from where, what may happen, to where.
LOSSES = {"lost", "recovered"}
DIAGRAM = {
    RESERVED: {
        PENDING: {"transfer_started"},
        RESERVED: {"extended"} | LOSSES,
        CANCELED: {"canceled_by_investor", "canceled_by_staff", "expired", "loan_funded", "loan_withdrawn"},
    },
    PENDING: {
        PENDING: {"funded", "unfunded", "extended", "amount_accepted", "amount_followed"} | LOSSES,
        SETTLED: {"settled"},
        CANCELED: {"canceled_by_staff", "expired", "transfer_failed", "payment_returned", "no_share", "loan_funded", "loan_withdrawn"},
    },
    SETTLED: {SETTLED: {"amount_followed"} | LOSSES, CANCELED: {"payment_returned", "loan_withdrawn"}},
    CANCELED: {
        RESERVED: {"reinstated_reserved"},
        PENDING: {"reinstated_pending", "revived"},
        CANCELED: {"payment_returned"} | LOSSES,
    },
}
LOANS = {
    "draft": {
        "draft": {"edited", "overbooking_set", "market_found"},
        "upcoming": {"announced"},
        "open": {"opened"},
        "withdrawn": {"withdrawn"},
    },
    "upcoming": {"upcoming": {"announced", "overbooking_set", "market_found"}, "open": {"opened"}, "withdrawn": {"withdrawn"}},
    "open": {
        "open": {"extended", "overbooking_set", "market_found"},
        "funded": {"funded", "closed_at_settled"},
        "withdrawn": {"withdrawn"},
    },
    "funded": {"funded": {"market_found"}, "open": {"reopened"}},
    "withdrawn": {"withdrawn": {"market_found"}},
}
TRANSFERS = {
    "initiated": {"cleared": {"cleared"}, "failed": {"failed"}},
    "failed": {"cleared": {"cleared"}},
    "cleared": {"cleared": {"cleared", "returned_in_part", "accepted"}, "returned": {"returned"}},
    "returned": {"cleared": {"cleared"}},
    "due": {"due": {"paid_in_part", "bounced"}, "sent": {"sent"}, "paid": {"paid", "voided_in_part"}, "void": {"voided"}},
    "sent": {"due": {"paid_in_part", "bounced"}, "paid": {"paid"}},
    "paid": {"paid": {"paid", "bounced_in_part"}, "due": {"bounced"}},
    "void": {"paid": {"paid"}},
}
STANDING_ORDERS = {
    "active": {"active": {"placed", "passed_over"}, "paused": {"paused"}, "ended": {"ended"}},
    "paused": {"active": {"resumed"}, "ended": {"ended"}},
    "ended": {},
}
TABLES: list[Any] = [
    (RESERVATION_TRANSITIONS, DIAGRAM, ReservationState, ReservationEvent),
    (LOAN_TRANSITIONS, LOANS, LoanStatus, LoanEvent),
    (STANDING_ORDER_TRANSITIONS, STANDING_ORDERS, StandingOrderState, StandingOrderEvent),
    (TRANSFER_TRANSITIONS, TRANSFERS, TransferStatus, TransferEvent),
]
PAIRS = [
    (transitions, diagram, state, event) for transitions, diagram, states, events in TABLES for state, event in product(states, events)
]


@pytest.mark.parametrize(("transitions", "diagram", "state", "event"), PAIRS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_pair_of_state_and_event(transitions, diagram, state, event) -> None:
    leads_to = [target for target, events in diagram[state].items() if event in events]
    if leads_to:
        assert [state_after(transitions, state, event)] == leads_to
    else:
        with pytest.raises(IllegalTransition) as refusal:
            state_after(transitions, state, event)
        assert refusal.value.data == {"state": state, "possible": possible_events(transitions, state)}
        listed = {event for target, events in diagram[state].items() if not state == target == CANCELED for event in events}
        assert {*refusal.value.data["possible"]} == listed - UNLISTED_EVENTS


def test_groups_of_states_are_complete_and_do_not_overlap() -> None:
    assert LIVE == (RESERVED, PENDING)
    assert {*INBOUND_STATUSES} | {*REFUND_STATUSES} == {*TransferStatus}
    assert not {*INBOUND_STATUSES} & {*REFUND_STATUSES}
