"""What a reservation can expect: known answers, all outcomes listed, and the scenarios against the exact figures."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.domain.reservation_outlook import ExpectedReservation, exact_outlook, if_all_ahead_settle, outlook_of, outlooks, sampled_outlooks
from loans.domain.settlement_rules import RULES, LoanToSettle, fifo

D = Decimal
START = datetime(2026, 7, 1, tzinfo=UTC)


def queue(*reservations: tuple[str, float]) -> list[ExpectedReservation]:
    """Make a queue from pairs of an amount and the probability that it is paid; 1 if its money is here."""
    return [
        ExpectedReservation(number, D(amount), probability, START + timedelta(minutes=number) if probability == 1 else None)
        for number, (amount, probability) in enumerate(reservations, start=1)
    ]


def test_by_fifo_only_those_before_it_count() -> None:
    reservations = queue(("60000", 0.5), ("30000", 0.8), ("20000", 0.7), ("90000", 1))
    outlook = exact_outlook(3, reservations, D(100_000))
    # Both before it pay with 0.4: then 10,000 are left for it. Otherwise it gets all.
    assert (outlook.expected_amount, outlook.chance_full, outlook.chance_nothing) == pytest.approx((16_000, 0.6, 0))
    assert if_all_ahead_settle(3, reservations, D(100_000)) == 10_000
    fourth = exact_outlook(4, reservations, D(100_000))
    # The dollars taken before it, with their probability: 110,000 0.28, 90,000 0.12, 80,000 0.07, 60,000 0.03, 50,000 0.28, …
    assert fourth.chance_nothing == pytest.approx(0.28)
    assert fourth.chance_full == pytest.approx(0.03)
    assert if_all_ahead_settle(4, reservations, D(100_000)) == 0


def test_the_first_in_the_queue_gets_all_by_fifo() -> None:
    outlook = exact_outlook(1, queue(("60000", 0.5), ("60000", 1)), D(100_000))
    assert (outlook.expected_amount, outlook.chance_full, outlook.chance_nothing, outlook.amount_error) == (60_000, 1, 0, 0)


small_queues = st.lists(
    st.tuples(st.integers(100_000, 3_000_000).map(lambda cents: str(D(cents).scaleb(-2))), st.sampled_from([0.1, 0.5, 0.8, 1])),
    min_size=1,
    max_size=7,
).map(lambda reservations: queue(*reservations))


def by_listing(number: int, reservations: list[ExpectedReservation], remaining: Decimal) -> tuple[float, float, float]:
    """Return the average, and the chances of all and of nothing, over all outcomes, each settled by the rule fifo itself."""
    average = full = nothing = 0.0
    for paid in product([True, False], repeat=len(reservations)):
        probability, live = 1.0, []
        for reservation, is_paid in zip(reservations, paid, strict=True):
            chance = 1.0 if reservation.number == number else reservation.probability
            probability *= chance if is_paid else 1 - chance
            if is_paid:
                live.append(reservation._replace(funded_at=START))
        if probability:
            got = {row.reservation.number: row.amount for row in fifo(live, LoanToSettle(remaining, closed=True))}.get(number, D(0))
            average += probability * float(got)
            full += probability * (got == reservations[number - 1].amount)
            nothing += probability * (not got)
    return average, full, nothing


@given(small_queues, st.integers(100_000, 6_000_000).map(lambda cents: D(cents).scaleb(-2)), st.data())
def test_the_exact_outlook_is_that_of_all_outcomes(
    reservations: list[ExpectedReservation], remaining: Decimal, data: st.DataObject
) -> None:
    number = data.draw(st.integers(1, len(reservations)))
    outlook = exact_outlook(number, reservations, remaining)
    figures = (outlook.expected_amount, outlook.chance_full, outlook.chance_nothing)
    assert figures == pytest.approx(by_listing(number, reservations, remaining), abs=1e-6)


LOANS = [
    queue(("60000", 0.5), ("30000", 0.8), ("20000", 0.7), ("90000", 1), ("5000", 0.9)),
    queue(*[("5000", 0.8)] * 24),
    queue(*[("10000.01", 1), ("7500", 0.6), ("2500.50", 0.9)] * 5),
]


@pytest.mark.parametrize("reservations", LOANS, ids=["five", "known answer", "cents"])
def test_scenarios_agree_with_the_exact_outlook_within_their_error(reservations: list[ExpectedReservation]) -> None:
    remaining = sum((reservation.amount for reservation in reservations), D(0)) * D("0.8")
    for number in range(1, len(reservations) + 1):
        certain = [row._replace(probability=1.0) if row.number == number else row for row in reservations]
        sampled = sampled_outlooks(certain, LoanToSettle(remaining), fifo, f"seed {number}", [number], 2_000)[number]
        exact = exact_outlook(number, reservations, remaining)
        assert sampled.scenarios == 2_000
        assert abs(sampled.expected_amount - exact.expected_amount) <= 4 * sampled.amount_error + exact.amount_error + 1e-6
        assert abs(sampled.chance_full - exact.chance_full) <= 4 * sampled.full_error
        assert abs(sampled.chance_nothing - exact.chance_nothing) <= 4 * sampled.nothing_error


def test_the_last_of_22_reservations_in_the_known_answer() -> None:
    """22 reservations of $5,000, paid with 0.8, on $100,000: with itself paid, it gets nothing if 20 or 21 of the others are paid."""
    outlook = exact_outlook(22, queue(*[("5000", 0.8)] * 22), D(100_000))
    assert outlook.chance_nothing == pytest.approx(0.8**21 + 21 * 0.2 * 0.8**20)
    assert outlook.chance_full == pytest.approx(1 - outlook.chance_nothing)


@pytest.mark.parametrize(
    ("rule", "expected"),
    # Each of four is paid with 1, and 100 are left for 60 each. By pro_rata each gets 25; by lottery one gets 60, one 40.
    [("pro_rata", (25, 0, 0)), ("equal_awards", (25, 0, 0)), ("lottery", (25, 0.25, 0.5)), ("first_funded", (40, 0, 0))],
)
def test_another_rule_runs_itself(rule: str, expected: tuple[float, float, float]) -> None:
    reservations = queue(*[("60", 1)] * 4)
    outlook = outlook_of(2, reservations, LoanToSettle(D(100), minimum=D(1)), rule, "a seed")
    assert outlook.scenarios == 2_000
    assert outlook.expected_amount == pytest.approx(expected[0], abs=4 * outlook.amount_error + 0.02)
    assert outlook.chance_full == pytest.approx(expected[1], abs=4 * outlook.full_error)
    assert outlook.chance_nothing == pytest.approx(expected[2], abs=4 * outlook.nothing_error)


def test_who_pays_after_the_loan_is_full_gets_nothing_from_a_rule_that_waits() -> None:
    """The money that is here reaches what remains, so the rule runs before the next payment comes."""
    outlook = outlook_of(2, queue(("100", 1), ("50", 0.5)), LoanToSettle(D(100)), "pro_rata", "a seed")
    assert (outlook.expected_amount, outlook.chance_nothing) == (0, 1)


@pytest.mark.parametrize("rule", RULES)
def test_the_same_seed_gives_the_same_outlook(rule: str) -> None:
    loan = LoanToSettle(D(100_000))
    first, again = (outlook_of(3, LOANS[0], loan, rule, "a seed") for _ in range(2))
    assert first == again
    assert (first == outlook_of(3, LOANS[0], loan, rule, "another seed")) == (rule == "fifo")


@pytest.mark.parametrize("rule", RULES)
def test_the_outlooks_of_the_whole_queue_agree_with_each_alone(rule: str) -> None:
    loan = LoanToSettle(D(150_000))
    together = outlooks(LOANS[0], loan, rule, "a seed", first=3)
    assert list(together) == [1, 2, 3]
    for number, outlook in together.items():
        alone = outlook_of(number, LOANS[0], loan, rule, "another seed")
        assert abs(outlook.expected_amount - alone.expected_amount) <= 4 * (outlook.amount_error + alone.amount_error) + 1e-6
        assert abs(outlook.chance_full - alone.chance_full) <= 4 * (outlook.full_error + alone.full_error)


def test_chances_add_up_for_a_thousand_reservations() -> None:
    reservations = queue(*[(str(1_000 + number % 37 * 100), (0.6, 0.9, 1)[number % 3]) for number in range(1_000)])
    remaining = sum((reservation.amount for reservation in reservations), D(0)) * D("0.8")
    for rule in RULES:
        outlook = outlook_of(950, reservations, LoanToSettle(remaining), rule, "a seed")
        assert outlook.scenarios == (0 if rule == "fifo" else 20)
        assert 0 <= outlook.chance_full + outlook.chance_nothing <= 1 + 1e-9
        assert 0 <= outlook.expected_amount <= float(reservations[949].amount)
