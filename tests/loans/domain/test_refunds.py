"""Check what money each state of a reservation keeps, and what must be refunded."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.domain.refunds import refund_adjustment, waiting_money
from loans.domain.states import ReservationState

D = Decimal


@pytest.mark.parametrize(
    ("received", "lost", "refunded", "settled_amount", "expected"),
    [
        ("0", "0", "0", "0", "0"),
        ("1000", "0", "0", "0", "1000"),  # here, its turn has not come
        ("1000", "0", "400", "600", "0"),  # a partial fill
        ("1000", "0", "1000", "0", "0"),  # canceled
        ("0", "1000", "1000", "0", "0"),  # refunded, then taken back by the bank
    ],
)
def test_waiting_money_is_what_is_neither_settled_nor_refunded(
    received: str, lost: str, refunded: str, settled_amount: str, expected: str
) -> None:
    assert waiting_money(received=D(received), lost=D(lost), refunded=D(refunded), settled_amount=D(settled_amount)) == D(expected)


@pytest.mark.parametrize(
    ("state", "funded", "amount", "waiting", "expected"),
    [
        (ReservationState.RESERVED, False, "1000", "0", "0"),
        (ReservationState.RESERVED, False, "1000", "1000", "1000"),  # money of a transfer before it was reinstated
        (ReservationState.PENDING, False, "1000", "400", "0"),  # too little waits for staff
        (ReservationState.PENDING, True, "1000", "1000", "0"),
        (ReservationState.PENDING, True, "1000", "1500", "500"),  # too much: the excess is refunded at once
        (ReservationState.PENDING, True, "1000", "-500", "-1500"),  # reinstated: refunds are void
        (ReservationState.SETTLED, True, "1000", "0", "0"),
        (ReservationState.SETTLED, True, "1000", "400", "400"),  # a partial fill
        (ReservationState.CANCELED, False, "1000", "1000", "1000"),
        (ReservationState.CANCELED, False, "1000", "-1000", "-1000"),  # the payment was returned after its refund was made
    ],
)
def test_what_each_state_must_refund(state: ReservationState, funded: bool, amount: str, waiting: str, expected: str) -> None:
    assert refund_adjustment(state, funded=funded, amount=D(amount), waiting=D(waiting)) == D(expected)


dollars = st.decimals(D("0"), D("1000000"), places=2)


@given(state=st.sampled_from(ReservationState), funded=st.booleans(), amount=dollars, here=dollars)
def test_only_a_pending_reservation_keeps_money_that_waits(state: ReservationState, funded: bool, amount, here) -> None:
    stays = here - refund_adjustment(state, funded=funded, amount=amount, waiting=here)
    if state != ReservationState.PENDING:
        assert stays == 0
    else:
        assert stays == (amount if funded else here)
