"""Check each settlement rule by a table of examples, and what holds for every rule and every queue."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.domain.settlement_rules import DEFAULT_RULE, RULES, Allocation, fifo, first_funded, pro_rata

START = datetime(2026, 7, 1, tzinfo=UTC)
D = Decimal


@dataclass(frozen=True)
class Reservation:
    """What a rule reads of a reservation."""

    number: int
    amount: Decimal
    funded_at: datetime | None


def queue(*reservations: tuple[str | Decimal, int | None]) -> list[Reservation]:
    """Make a queue from pairs of an amount and the minute at which its money came, None where it has not come."""
    return [
        Reservation(number, D(amount), None if minute is None else START + timedelta(minutes=minute))
        for number, (amount, minute) in enumerate(reservations, start=1)
    ]


def settled(allocations: list[Allocation]) -> dict[int, str]:
    """Return the dollars of each allocation by the reservation's number."""
    return {allocation.reservation.number: str(allocation.amount) for allocation in allocations}


FIFO = [
    ("no money is here", "100", [("60", None), ("40", None)], {}),
    ("a whole amount settles at once", "100", [("60", None), ("40", 1)], {2: "40"}),
    ("an earlier reservation's part is kept free", "100", [("60", None), ("60", 1)], {}),
    ("the rest of the loan once all before are decided", "100", [("60", 2), ("60", 1)], {1: "60", 2: "40"}),
    ("a third gets nothing where two take all", "100", [("60", 2), ("60", 1), ("10", 0)], {1: "60", 2: "40"}),
    ("a partial allocation waits behind an undecided reservation", "100", [("30", None), ("60", 1), ("60", 1)], {2: "60"}),
    ("nothing remains", "0", [("60", 1)], {}),
]
FIRST_FUNDED = [
    ("the first money settles first", "100", [("60", None), ("60", 2), ("60", 1)], {3: "60", 2: "40"}),
    ("ties by queue order", "100", [("60", 1), ("60", 1)], {1: "60", 2: "40"}),
    ("no money is here", "100", [("60", None)], {}),
]
PRO_RATA = [
    ("waits until the money reaches what remains", "100", [("60", 1), ("39.99", 2), ("50", None)], {}),
    ("shares by what was asked", "100", [("60", 1), ("60", 2), ("30", 3)], {1: "40.00", 2: "40.00", 3: "20.00"}),
    ("cents to the largest remainders", "100", [("50", 1), ("100", 1), ("50.01", 1)], {1: "25.00", 2: "50.00", 3: "25.00"}),
    ("ties by queue order", "100", [("100", 1), ("100", 1), ("100", 1)], {1: "33.34", 2: "33.33", 3: "33.33"}),
    ("a share of nothing ends the reservation", "0.01", [("1000", 1), ("1000", 1)], {1: "0.01", 2: "0.00"}),
]


@pytest.mark.parametrize(
    ("rule", "remaining", "reservations", "expected"),
    [
        pytest.param(rule, remaining, reservations, expected, id=f"{rule.__name__}: {why}")
        for rule, table in ((fifo, FIFO), (first_funded, FIRST_FUNDED), (pro_rata, PRO_RATA))
        for why, remaining, reservations, expected in table
    ],
)
def test_the_examples_of_each_rule(rule, remaining: str, reservations, expected: dict[int, str]) -> None:
    assert settled(rule(queue(*reservations), D(remaining), False)) == expected


@pytest.mark.parametrize(
    ("closed", "reservations", "expected"),
    [
        (False, [("30", 1), ("30", 2)], {}),
        (True, [("30", 1), ("30", 2)], {1: "30.00", 2: "30.00"}),
        (True, [("30", 1), ("30", None)], {}),
    ],
)
def test_pro_rata_settles_whole_amounts_past_the_closing_once_all_money_is_here(
    closed: bool, reservations, expected: dict[int, str]
) -> None:
    assert settled(pro_rata(queue(*reservations), D("100"), closed)) == expected


def test_a_loan_can_name_one_of_three_rules_and_has_fifo_by_default() -> None:
    assert {"fifo": fifo, "first_funded": first_funded, "pro_rata": pro_rata} == RULES
    assert DEFAULT_RULE == "fifo"


# --- What holds for every queue ---------------------------------------------------------------------------------------
amounts = st.one_of(st.integers(1, 12), st.integers(1, 10_000_000)).map(lambda cents: D(cents).scaleb(-2))
queues = st.lists(st.tuples(amounts, st.none() | st.integers(0, 5)), max_size=9).map(lambda reservations: queue(*reservations))
every_rule = pytest.mark.parametrize("rule", RULES.values())


@every_rule
@given(reservations=queues, remaining=amounts, closed=st.booleans())
def test_every_rule_settles_only_funded_reservations_in_whole_cents_within_what_remains(
    rule, reservations: list[Reservation], remaining: Decimal, closed: bool
) -> None:
    allocations = rule(reservations, remaining, closed)
    by_number = {reservation.number: reservation for reservation in reservations}
    assert len({allocation.reservation.number for allocation in allocations}) == len(allocations), "one allocation for each reservation"
    for allocation in allocations:
        assert by_number[allocation.reservation.number].funded_at, "only money that is here settles"
        assert 0 <= allocation.amount <= by_number[allocation.reservation.number].amount
        assert allocation.amount == allocation.amount.quantize(D("0.01")), "whole cents"
    assert sum(allocation.amount for allocation in allocations) <= remaining
    assert rule(reservations, remaining, closed) == allocations, "the same answer again"


@every_rule
@given(reservations=queues, remaining=amounts, closed=st.booleans())
def test_no_rule_settles_more_when_it_runs_again_on_its_own_outcome(
    rule, reservations: list[Reservation], remaining: Decimal, closed: bool
) -> None:
    allocations = settled(rule(reservations, remaining, closed))
    left = [reservation for reservation in reservations if reservation.number not in allocations]
    remaining -= sum(map(D, allocations.values()), D(0))
    assert remaining == 0 or rule(left, remaining, closed) == []


@given(reservations=queues, remaining=amounts)
def test_fifo_gives_no_later_reservation_what_a_live_earlier_one_is_entitled_to(
    reservations: list[Reservation], remaining: Decimal
) -> None:
    allocations = {allocation.reservation.number: allocation.amount for allocation in fifo(reservations, remaining, False)}
    left = remaining
    for reservation in reservations:
        entitled = min(reservation.amount, left)
        left -= entitled
        assert allocations.get(reservation.number, entitled) == entitled, "all it is entitled to, or nothing yet"
        if reservation.funded_at and reservation.amount == entitled:
            assert reservation.number in allocations, "a whole amount never waits"


@given(reservations=queues, remaining=amounts)
def test_fifo_leaves_no_gap(reservations: list[Reservation], remaining: Decimal) -> None:
    """When all reservations are funded, the loan is filled, or all of them settle whole."""
    funded = [replace(reservation, funded_at=START) for reservation in reservations]
    allocations = fifo(funded, remaining, False)
    assert sum(allocation.amount for allocation in allocations) == min(remaining, sum(reservation.amount for reservation in reservations))


@given(st.data(), queues, amounts)
def test_fifo_gives_the_same_in_whatever_order_the_money_comes(
    data: st.DataObject, reservations: list[Reservation], remaining: Decimal
) -> None:
    def outcome(arrivals: list[int]) -> dict[int, Decimal]:
        money_is_here: set[int] = set()
        amounts: dict[int, Decimal] = {}
        for number in arrivals:
            money_is_here.add(number)
            live = [
                replace(reservation, funded_at=START if reservation.number in money_is_here else None)
                for reservation in reservations
                if reservation.number not in amounts
            ]
            rest = remaining - sum(amounts.values(), D(0))
            if rest:
                amounts |= {allocation.reservation.number: allocation.amount for allocation in fifo(live, rest, False)}
        return amounts

    numbers = [reservation.number for reservation in reservations]
    assert outcome(data.draw(st.permutations(numbers))) == outcome(numbers)


@given(queues, amounts)
def test_pro_rata_is_fair_to_the_cent(reservations: list[Reservation], remaining: Decimal) -> None:
    allocations = settled(pro_rata(reservations, remaining, False))
    wanted = sum(reservation.amount for reservation in reservations if reservation.funded_at)
    if not allocations:
        assert wanted < remaining
        return
    assert sum(map(D, allocations.values())) == remaining
    for reservation in reservations:
        if reservation.funded_at:
            exact = reservation.amount * remaining / wanted
            assert abs(D(allocations[reservation.number]) - exact) < D("0.01")
