"""Who of a waiting list is served, and with how much: examples, and what holds whoever waits."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.domain import loan_limits
from loans.domain.waiting_list import Placement, Waiting, placements

D = Decimal
MUCH = 999_999


@pytest.mark.parametrize(
    ("available", "entries", "served"),
    [
        (0, [(5_000, 5_000, MUCH)], {}),
        (5_000, [(5_000, 5_000, MUCH), (5_000, 5_000, MUCH)], {1: 5_000}),
        (12_000, [(5_000, 5_000, MUCH), (5_000, 5_000, MUCH), (5_000, 5_000, MUCH)], {1: 5_000, 2: 5_000}),
        (12_000, [(5_000, 5_000, MUCH), (5_000, 5_000, MUCH), (5_000, 2_000, MUCH)], {1: 5_000, 2: 5_000, 3: 2_000}),
        # The first takes no less than it wants, and keeps its place; those behind it are served.
        (8_000, [(10_000, 10_000, MUCH), (5_000, 5_000, MUCH), (5_000, 3_000, MUCH)], {2: 5_000, 3: 3_000}),
        (8_000, [(10_000, 4_000, MUCH), (5_000, 5_000, MUCH)], {1: 8_000}),
        # What is left is below the loan's minimum.
        (5_500, [(5_000, 5_000, MUCH), (5_000, 500, MUCH)], {1: 5_000}),
        # The first investor may not reserve, the second no more than 2,000.
        (9_000, [(5_000, 5_000, 0), (5_000, 1_000, 2_000), (5_000, 5_000, MUCH)], {2: 2_000, 3: 5_000}),
    ],
)
def test_who_is_served_of_a_loan_without_overbooking(available: int, entries: list[tuple[int, ...]], served: dict[int, int]) -> None:
    """An entry: the amount, the least that it takes, and what its investor may reserve."""
    line = [Waiting(number, number, *map(D, entry)) for number, entry in enumerate(entries, 1)][::-1]
    loan: dict[str, Any] = {"remaining": D(100_000), "overbooking_rate": D(0), "claimed": D(100_000 - available), "minimum": D(1_000)}
    assert placements(line, **loan) == [Placement(number, D(amount)) for number, amount in served.items()]


def test_the_closing_piece_is_served() -> None:
    """$600 remain, less than the minimum: only exactly that is accepted."""
    line = [Waiting(1, 1, D(1_000), D(1_000), D(MUCH)), Waiting(2, 2, D(1_000), D(500), D(MUCH)), Waiting(3, 3, D(600), D(600), D(MUCH))]
    served = placements(line, remaining=D(600), overbooking_rate=D("0.2"), claimed=D(0), minimum=D(1_000))
    assert served == [Placement(2, D(600))]


dollars = st.integers(1, 40).map(lambda number: D(number * 250))
entries = st.lists(st.tuples(dollars, dollars, st.one_of(st.just(D(MUCH)), st.just(D(0)), dollars)), max_size=8)


@given(entries, dollars, st.sampled_from([D("0"), D("0.2"), D("0.5")]), dollars, dollars)
def test_never_more_than_there_is_in_order_and_nobody_passed_over_who_would_have_fitted(rows, remaining, rate, claimed, minimum) -> None:
    line = [Waiting(number, number, max(one, other), min(one, other), most) for number, (one, other, most) in enumerate(rows)]
    placed = placements(line, remaining=remaining, overbooking_rate=rate, claimed=claimed, minimum=minimum)
    assert [entry for entry, _ in placed] == sorted({entry for entry, _ in placed})
    amounts = dict(placed)
    for each in line:
        most = min(each.amount, loan_limits.available(remaining, rate, claimed), each.may_reserve)
        fits = most >= each.at_least and loan_limits.meets_minimum(most, minimum, remaining)
        assert amounts.get(each.entry) == (most if fits else None)
        claimed += amounts.get(each.entry, D(0))
    if placed:
        assert claimed <= loan_limits.limit(remaining, rate)
