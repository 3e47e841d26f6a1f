"""Check each settlement rule by a table of examples, and what holds for every rule and every queue."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.domain.settlement_rules import (
    DEFAULT_RULE,
    RULES,
    Allocation,
    LoanToSettle,
    base_then_pro_rata,
    equal_awards,
    fifo,
    first_funded,
    lottery,
    lottery_commitment,
    lottery_ticket,
    pro_rata,
)

CONTRIBUTING = Path(__file__).resolve().parents[3] / "CONTRIBUTING.md"
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


def test_the_rule_that_contributing_shows_works() -> None:
    names: dict[str, Any] = {"fifo": fifo}
    exec(CONTRIBUTING.read_text().split("```python\n")[1].split("```")[0], names)  # noqa: S102
    reservations = queue(("50", 1), ("90", 2), ("90", None), ("90", 3))
    assert settled(names["largest_first"](reservations, LoanToSettle(D(150)))) == {2: "90", 4: "60"}


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
    ("published: half of what is asked", "300", [("100", 1), ("200", 1), ("300", 1)], {1: "50.00", 2: "100.00", 3: "150.00"}),
    (
        "published: ten seats by largest remainders",
        "0.10",
        [("47000", 1), ("16000", 1), ("15900", 1), ("12000", 1), ("6000", 1), ("3100", 1)],
        {1: "0.05", 2: "0.02", 3: "0.01", 4: "0.01", 5: "0.01", 6: "0.00"},
    ),
]
EQUAL_AWARDS = [
    ("waits until the money reaches what remains", "100", [("60", 1), ("39.99", 2), ("50", None)], {}),
    ("published: the same for each", "200", [("100", 1), ("200", 1), ("300", 1)], {1: "66.67", 2: "66.67", 3: "66.66"}),
    ("small ones are settled whole", "200", [("300", 1), ("20", 1), ("200", 1)], {1: "90.00", 2: "20.00", 3: "90.00"}),
    ("all get all", "600", [("100", 1), ("200", 1), ("300", 1)], {1: "100.00", 2: "200.00", 3: "300.00"}),
    ("a share of nothing ends the reservation", "0.01", [("1000", 1), ("1000", 1)], {1: "0.01", 2: "0.00"}),
]
# Of the minimum of 1,000, unless an example names another one.
BASE_THEN_PRO_RATA = [
    ("waits until the money reaches what remains", "2100", [("2000", 1), ("50", 2), ("50", None)], {}),
    ("the minimum, then half of the rest", "3500", [("3000", 1), ("2000", 1)], {1: "2000.00", 2: "1500.00"}),
    (
        "a closing piece below the minimum gets all of it",
        "3500",
        [("3000", 1), ("500", 1), ("2000", 1)],
        {1: "1666.67", 2: "500.00", 3: "1333.33"},
    ),
    ("the minimum is divided equally where it is not there for all", "1500", [("9000", 1), ("2000", 1)], {1: "750.00", 2: "750.00"}),
]


@pytest.mark.parametrize(
    ("rule", "remaining", "reservations", "expected"),
    [
        pytest.param(rule, remaining, reservations, expected, id=f"{rule.__name__}: {why}")
        for rule, table in (
            (fifo, FIFO),
            (first_funded, FIRST_FUNDED),
            (pro_rata, PRO_RATA),
            (equal_awards, EQUAL_AWARDS),
            (base_then_pro_rata, BASE_THEN_PRO_RATA),
        )
        for why, remaining, reservations, expected in table
    ],
)
def test_the_examples_of_each_rule(rule, remaining: str, reservations, expected: dict[int, str]) -> None:
    assert settled(rule(queue(*reservations), LoanToSettle(D(remaining)))) == expected


def test_the_shares_of_vallibel_one_in_2011() -> None:
    """Everybody got 100, and 34.21053 % of what they asked beyond that: 1,026 more of 3,000, before rounding to lots."""
    loan = LoanToSettle(D("1500"), minimum=D("100"))
    allocations = settled(base_then_pro_rata(queue(("3100", 1), ("900", 2)), loan))
    assert allocations == {1: "1126.32", 2: "373.68"}
    assert (D(allocations[1]) - 100) / 3000 == pytest.approx(D("0.3421053"), abs=D("0.000002"))


def test_a_lottery_settles_in_the_order_of_its_tickets() -> None:
    seed = "5e"
    order = sorted(range(1, 5), key=lambda number: lottery_ticket(seed, number))
    allocations = lottery(queue(("40", 1), ("40", 1), ("40", 1), ("40", 1)), LoanToSettle(D(100), lottery_seed=seed))
    assert [(allocation.reservation.number, allocation.amount) for allocation in allocations] == [
        (order[0], 40),
        (order[1], 40),
        (order[2], 20),
    ]
    assert order != [1, 2, 3, 4]


def test_the_known_digests_of_sha256() -> None:
    """Of the texts "abc", in FIPS 180-2, and "abc:1"."""
    assert lottery_commitment("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert lottery_ticket("abc", 1) == lottery_commitment("abc:1")


@pytest.mark.parametrize(
    ("closed", "reservations", "expected"),
    [
        (False, [("30", 1), ("30", 2)], {}),
        (True, [("30", 1), ("30", 2)], {1: "30.00", 2: "30.00"}),
        (True, [("30", 1), ("30", None)], {}),
    ],
)
@pytest.mark.parametrize("rule", [pro_rata, equal_awards, base_then_pro_rata, lottery])
def test_the_rules_that_wait_settle_whole_amounts_past_the_closing_once_all_money_is_here(
    rule, closed: bool, reservations, expected: dict[int, str]
) -> None:
    allocations = rule(queue(*reservations), LoanToSettle(D("100"), closed))
    assert {number: D(amount) for number, amount in settled(allocations).items()} == {
        number: D(amount) for number, amount in expected.items()
    }


def test_a_loan_can_name_one_of_six_rules_and_has_fifo_by_default() -> None:
    assert {rule.__name__: rule for rule in (fifo, first_funded, pro_rata, equal_awards, base_then_pro_rata, lottery)} == RULES
    assert DEFAULT_RULE == "fifo"


# --- What holds for every queue ---------------------------------------------------------------------------------------
amounts = st.one_of(st.integers(1, 12), st.integers(1, 10_000_000)).map(lambda cents: D(cents).scaleb(-2))
queues = st.lists(st.tuples(amounts, st.none() | st.integers(0, 5)), max_size=9).map(lambda reservations: queue(*reservations))
every_rule = pytest.mark.parametrize("rule", RULES.values())
loans = st.builds(LoanToSettle, amounts, st.booleans(), amounts, st.sampled_from(["7f", "a0", "c4"]))


@every_rule
@given(reservations=queues, loan=loans)
def test_every_rule_settles_only_funded_reservations_in_whole_cents_within_what_remains(
    rule, reservations: list[Reservation], loan: LoanToSettle
) -> None:
    allocations = rule(reservations, loan)
    by_number = {reservation.number: reservation for reservation in reservations}
    assert len({allocation.reservation.number for allocation in allocations}) == len(allocations), "one allocation for each reservation"
    for allocation in allocations:
        assert by_number[allocation.reservation.number].funded_at, "only money that is here settles"
        assert 0 <= allocation.amount <= by_number[allocation.reservation.number].amount
        assert allocation.amount == allocation.amount.quantize(D("0.01")), "whole cents"
    assert sum(allocation.amount for allocation in allocations) <= loan.remaining
    assert rule(reservations, loan) == allocations, "the same answer again"


@every_rule
@given(reservations=queues, loan=loans)
def test_no_rule_settles_more_when_it_runs_again_on_its_own_outcome(rule, reservations: list[Reservation], loan: LoanToSettle) -> None:
    allocations = settled(rule(reservations, loan))
    left = [reservation for reservation in reservations if reservation.number not in allocations]
    remaining = loan.remaining - sum(map(D, allocations.values()), D(0))
    assert remaining == 0 or rule(left, replace(loan, remaining=remaining)) == []


@every_rule
@given(reservations=queues, loan=loans)
def test_every_rule_fills_the_loan_or_settles_all_once_all_money_is_here(rule, reservations: list[Reservation], loan: LoanToSettle) -> None:
    funded = [replace(reservation, funded_at=START) for reservation in reservations]
    allocations = rule(funded, replace(loan, closed=True))
    wanted = sum(reservation.amount for reservation in funded)
    assert sum(allocation.amount for allocation in allocations) == min(loan.remaining, wanted)


@given(reservations=queues, remaining=amounts)
def test_fifo_gives_no_later_reservation_what_a_live_earlier_one_is_entitled_to(
    reservations: list[Reservation], remaining: Decimal
) -> None:
    allocations = {allocation.reservation.number: allocation.amount for allocation in fifo(reservations, LoanToSettle(remaining))}
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
    allocations = fifo(funded, LoanToSettle(remaining))
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
                amounts |= {allocation.reservation.number: allocation.amount for allocation in fifo(live, LoanToSettle(rest))}
        return amounts

    numbers = [reservation.number for reservation in reservations]
    assert outcome(data.draw(st.permutations(numbers))) == outcome(numbers)


@given(queues, amounts)
def test_pro_rata_is_fair_to_the_cent(reservations: list[Reservation], remaining: Decimal) -> None:
    allocations = settled(pro_rata(reservations, LoanToSettle(remaining)))
    wanted = sum(reservation.amount for reservation in reservations if reservation.funded_at)
    if not allocations:
        assert wanted < remaining
        return
    assert sum(map(D, allocations.values())) == remaining
    for reservation in reservations:
        if reservation.funded_at:
            exact = reservation.amount * remaining / wanted
            assert abs(D(allocations[reservation.number]) - exact) < D("0.01")


@given(queues, amounts)
def test_equal_awards_give_each_the_same_or_all_that_it_asks(reservations: list[Reservation], remaining: Decimal) -> None:
    """A reservation that is cut gets as much as any other, but for the last cent, which the earlier one gets."""
    allocations = {number: D(amount) for number, amount in settled(equal_awards(reservations, LoanToSettle(remaining))).items()}
    amounts_by_number = {reservation.number: reservation.amount for reservation in reservations}
    cut = {number: amount for number, amount in allocations.items() if amount < amounts_by_number[number]}
    for number, amount in cut.items():
        assert all(other - amount <= D("0.01") for other in allocations.values())
        assert all(later <= amount for later_number, later in cut.items() if later_number > number)


@given(queues, amounts, amounts)
def test_base_then_pro_rata_gives_the_minimum_first(reservations: list[Reservation], remaining: Decimal, minimum: Decimal) -> None:
    allocations = settled(base_then_pro_rata(reservations, LoanToSettle(remaining, minimum=minimum)))
    amounts_by_number = {reservation.number: reservation.amount for reservation in reservations}
    bases = sum(min(amounts_by_number[number], minimum) for number in allocations)
    beyond = {number: D(amount) - min(amounts_by_number[number], minimum) for number, amount in allocations.items()}
    if bases <= remaining:
        wanted = sum(max(D(0), amounts_by_number[number] - minimum) for number in allocations)
        for number, amount in beyond.items():
            exact = max(D(0), amounts_by_number[number] - minimum) * min(wanted, remaining - bases) / (wanted or 1)
            assert abs(amount - exact) < D("0.01")
    else:
        assert all(amount <= 0 for amount in beyond.values())


@given(queues, amounts, st.permutations(range(9)))
def test_a_lottery_does_not_care_about_places_and_instants(
    reservations: list[Reservation], remaining: Decimal, order: Sequence[int]
) -> None:
    loan = LoanToSettle(remaining, lottery_seed="5e")
    elsewhere = [
        replace(reservations[index], funded_at=reservations[index].funded_at and START) for index in order if index < len(reservations)
    ]
    assert settled(lottery(elsewhere, loan)) == settled(lottery(reservations, loan))
