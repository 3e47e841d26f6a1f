"""Check how much one reservation may take, by the examples of the rules."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.domain.loan_limits import available, limit, meets_minimum

D = Decimal


@pytest.mark.parametrize(
    ("remaining", "rate", "claimed", "expected_limit", "expected_available"),
    [
        ("100000", "0.20", "0", "120000.00", "100000.00"),  # no reservation takes more than the loan
        ("100000", "0.20", "100000", "120000.00", "20000.00"),
        ("100000", "0.20", "120000", "120000.00", "0.00"),
        ("10000", "0.20", "0", "12000.00", "10000.00"),  # $90,000 of $100,000 settled
        ("10000", "0.20", "30000", "12000.00", "0.00"),  # reservations made before the limit shrank stay
        ("10000", "0", "9999.99", "10000.00", "0.01"),  # no overbooking
        ("1000.01", "0.20", "0", "1200.01", "1000.01"),  # 1,200.012 rounded down
        ("0.04", "0.20", "0", "0.04", "0.04"),
        ("0.05", "0.20", "0.05", "0.06", "0.01"),
        ("0", "0.20", "0", "0.00", "0.00"),
    ],
)
def test_the_limit_is_rounded_down_and_what_is_claimed_is_not_available(
    remaining: str, rate: str, claimed: str, expected_limit: str, expected_available: str
) -> None:
    assert limit(D(remaining), D(rate)) == D(expected_limit)
    assert available(D(remaining), D(rate), D(claimed)) == D(expected_available)


@pytest.mark.parametrize(
    ("amount", "minimum", "remaining", "meets"),
    [
        ("1000.00", "1000", "100000", True),
        ("999.99", "1000", "100000", False),
        ("4999.99", "5000", "100000", False),
        ("999.99", "1000", "999.99", True),  # the closing piece
        ("999.98", "1000", "999.99", False),  # less than the closing piece
        ("1000.00", "1000", "999.99", True),  # not below the minimum; it is too large, which `available` decides
        ("1000.00", "1000", "1000.00", True),
        ("0.01", "1000", "0.01", True),
    ],
)
def test_an_amount_meets_the_minimum_or_is_the_closing_piece(amount: str, minimum: str, remaining: str, meets: bool) -> None:
    assert meets_minimum(D(amount), D(minimum), D(remaining)) is meets


cents = st.decimals(D("0"), D("999999999999.99"), places=2)


@given(remaining=cents, rate=st.decimals(D("0"), D("9.9999"), places=4), claimed=cents)
def test_what_is_available_fits_and_a_cent_more_does_not(remaining, rate, claimed) -> None:
    free = available(remaining, rate, claimed)
    assert D(0) <= free <= remaining
    assert free == 0 or claimed + free <= limit(remaining, rate)
    assert free == remaining or claimed + free + D("0.01") > limit(remaining, rate)
