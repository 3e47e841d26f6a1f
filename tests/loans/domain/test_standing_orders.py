"""Which standing orders an opening serves, with how much, and who moves back in the line: examples, and what holds for every line."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.domain import loan_limits
from loans.domain.standing_orders import Obstacle, OrderInLine, automated_dollars, outcomes, unmet_criterion

D = Decimal
MUCH = D(999_999)

LOAN = SimpleNamespace(state="CA", market_cbsa="31080", annual_rate=D("8.50"), ltv=D("65.00"), term_months=24)
ANY_LOAN: dict[str, Any] = {"states": [], "metros": [], "least_rate": None, "greatest_ltv": None, "longest_term_months": None}


@pytest.mark.parametrize(
    ("criteria", "unmet"),
    [
        ({}, None),
        ({"states": ["CA", "WA"]}, None),
        ({"states": ["WA"]}, Obstacle.STATE),
        ({"metros": ["31080"]}, None),
        ({"metros": ["35620"]}, Obstacle.METRO),
        ({"least_rate": D("8.50")}, None),
        ({"least_rate": D("8.51")}, Obstacle.RATE),
        ({"greatest_ltv": D("65.00")}, None),
        ({"greatest_ltv": D("64.99")}, Obstacle.LTV),
        ({"longest_term_months": 24}, None),
        ({"longest_term_months": 23}, Obstacle.TERM),
        # Several are unmet: the first is named.
        ({"states": ["WA"], "least_rate": D(9), "longest_term_months": 1}, Obstacle.STATE),
        ({"least_rate": D(9), "longest_term_months": 1}, Obstacle.RATE),
    ],
)
def test_a_loan_meets_the_criteria_or_the_first_that_it_does_not_is_named(criteria: dict[str, Any], unmet: Obstacle | None) -> None:
    assert unmet_criterion(SimpleNamespace(**ANY_LOAN | criteria), LOAN) == unmet


def order(number: int, amount: int, at_least: int, **more: Any) -> OrderInLine[int]:
    values: dict[str, Any] = {"investor_id": number, "under_cap": MUCH} | more
    return OrderInLine(number, amount=D(amount), at_least=D(at_least), **values)


def served(line: list[OrderInLine[int]], share: int, amount: int = 100_000, may_reserve: dict[int, Decimal] | None = None) -> list[Any]:
    reservable = {each.investor_id: MUCH for each in line} if may_reserve is None else may_reserve
    results = outcomes(line, automated=D(share), amount=D(amount), minimum=D(1_000), may_reserve=reservable)
    return [(int(result.amount) or result.obstacle, result.to_the_end) for result in results]


@pytest.mark.parametrize(
    ("line", "share", "results"),
    [
        ([], 50_000, []),
        # All fits, so all keep their places.
        ([order(1, 20_000, 5_000), order(2, 30_000, 5_000)], 50_000, [(20_000, False), (30_000, False)]),
        # More is wanted than there is: the last gets the rest, and all that were served move to the end.
        ([order(1, 20_000, 5_000), order(2, 40_000, 5_000)], 50_000, [(20_000, True), (30_000, True)]),
        # The third takes no less than it wants, and keeps its place; the fourth is served.
        (
            [order(1, 20_000, 5_000), order(2, 20_000, 5_000), order(3, 20_000, 20_000), order(4, 20_000, 5_000)],
            50_000,
            [(20_000, True), (20_000, True), (Obstacle.LINE, False), (10_000, True)],
        ),
        # Its cap lowers what it gets, and then stands against it. One that could get nothing anyway wants nothing.
        (
            [order(1, 20_000, 5_000, under_cap=D(6_000)), order(2, 20_000, 5_000, under_cap=D(4_999)), order(3, 44_000, 5_000)],
            50_000,
            [(6_000, False), (Obstacle.CAP, False), (44_000, False)],
        ),
        ([order(1, 20_000, 5_000, unmet=Obstacle.RATE), order(2, 20_000, 5_000)], 50_000, [(Obstacle.RATE, False), (20_000, False)]),
        # What is left is below the loan's minimum, which is not the order's fault.
        ([order(1, 4_500, 1_000), order(2, 5_000, 1_000)], 5_000, [(4_500, True), (Obstacle.LINE, False)]),
        # The order wants less than the loan's minimum of 1,000.
        ([order(1, 900, 500)], 50_000, [(Obstacle.MINIMUM, False)]),
        # No share is kept for standing orders.
        ([order(1, 5_000, 1_000)], 0, [(Obstacle.LINE, False)]),
    ],
)
def test_who_is_served_with_how_much_and_who_moves_to_the_end(line: list[OrderInLine[int]], share: int, results: list[Any]) -> None:
    assert served(line, share) == results


def test_two_orders_of_one_investor_share_what_the_investor_may_reserve() -> None:
    line = [order(1, 8_000, 1_000, investor_id=7), order(2, 8_000, 1_000, investor_id=7), order(3, 8_000, 1_000, investor_id=7)]
    assert served(line, 50_000, may_reserve={7: D(10_000)}) == [(8_000, False), (2_000, False), (Obstacle.INVESTOR, False)]
    assert served(line, 50_000, may_reserve={}) == [(Obstacle.INVESTOR, False)] * 3


def test_the_share_is_rounded_down_to_the_cent() -> None:
    assert automated_dollars(D("100000.01"), D("0.5000")) == D("50000.00")
    assert automated_dollars(D("100000.03"), D("0.3333")) == D("33330.00")


dollars = st.integers(1, 40).map(lambda number: D(number * 250))
rows = st.lists(
    st.tuples(st.integers(1, 3), dollars, dollars, dollars, st.sampled_from([None, None, None, Obstacle.STATE, Obstacle.TERM])), max_size=8
)


@given(rows, dollars, dollars, st.dictionaries(st.integers(1, 3), dollars))
def test_what_holds_for_every_line(rows, share, minimum, may_reserve) -> None:
    """Never more than there is, in order, nobody passed over who would have fitted, and nobody beyond a cap or a limit."""
    line = [
        OrderInLine(number, investor, max(one, other), min(one, other), cap, unmet)
        for number, (investor, one, other, cap, unmet) in enumerate(rows)
    ]
    results = outcomes(line, automated=share, amount=D(20_000), minimum=minimum, may_reserve=may_reserve)
    assert [result.order for result in results] == [each.order for each in line]
    left, reservable = share, dict(may_reserve)
    for each, result in zip(line, results, strict=True):
        most = min(each.amount, each.under_cap, reservable.get(each.investor_id, D(0)), left)
        fits = not each.unmet and most >= each.at_least and loan_limits.meets_minimum(most, minimum, D(20_000))
        assert result.amount == (most if fits else 0)
        assert (result.obstacle is None) == fits
        assert result.obstacle == each.unmet or not each.unmet
        if fits:
            left -= most
            reservable[each.investor_id] -= most
    assert left >= 0
    moved = [result for result in results if result.to_the_end]
    assert moved in ([], [result for result in results if result.amount])
    if any(result.obstacle == Obstacle.LINE for result in results):
        assert moved == [result for result in results if result.amount]
