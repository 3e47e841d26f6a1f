"""How a funded loan was shared out: the bands, and the figures that explain each rule."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.domain.allotment import AllottedLoan, AllottedReservation, basis_of_allotment
from loans.domain.settlement_rules import RULES, LoanToSettle, lottery_ticket
from tests.loans.domain.test_settlement_rules import Reservation

D = Decimal
START = datetime(2026, 7, 1, tzinfo=UTC)
SEED = "5e"


def allotted(rule: str, remaining: Decimal, amounts: list[Decimal]) -> list[AllottedReservation]:
    """Settle reservations of these amounts, whose payments came in the reverse of their order."""
    queue = [Reservation(number, amount, START - timedelta(hours=number)) for number, amount in enumerate(amounts, start=1)]
    loan = LoanToSettle(remaining, closed=True, lottery_seed=SEED)
    settled = {allocation.reservation.number: allocation.amount for allocation in RULES[rule](queue, loan)}
    return [
        AllottedReservation(row.number, row.amount, settled.get(row.number, D(0)), row.funded_at, paid=True, by_staff=False)
        for row in queue
    ]


def test_the_bands_count_who_got_all_part_and_nothing() -> None:
    rows = [
        *allotted("fifo", D(20_000), [D(9_000), D(5_000), D(10_000), D(4_000)]),
        AllottedReservation(5, D(12_000), D(0), None, paid=False, by_staff=False),
    ]
    basis = basis_of_allotment(AllottedLoan(D(20_000), D(1_000), "fifo"), rows)
    summary = [
        (int(band.from_amount), int(band.to_amount or 0), band.count, band.whole, band.part, band.nothing, band.unpaid)
        for band in basis.bands
    ]
    assert summary == [(0, 5_000, 1, 0, 0, 1, 0), (5_000, 10_000, 2, 2, 0, 0, 0), (10_000, 25_000, 2, 0, 1, 0, 1)]
    assert [(band.demand, band.settled) for band in basis.bands] == [(4_000, 0), (14_000, 14_000), (22_000, 6_000)]
    assert (basis.total.demand, basis.cover_ratio, basis.figures.last_number) == (40_000, 2, 3)


AMOUNTS = [D(30_000), D(1_000), D(60_000), D(29_000)]


@pytest.mark.parametrize(
    ("rule", "figures"),
    [
        ("fifo", {"last_number": 4}),
        ("first_funded", {"last_payment_at": START - timedelta(hours=1)}),
        ("pro_rata", {"percent": D("83.3333")}),
        ("equal_awards", {"largest_award": D("40000.00")}),
        ("base_then_pro_rata", {"base": D(1_000), "percent": D("82.7586")}),
        ("lottery", {"last_ticket": max(lottery_ticket(SEED, number) for number in range(1, 5))}),
    ],
)
def test_the_figures_of_each_rule(rule: str, figures: dict[str, object]) -> None:
    loan = AllottedLoan(D(100_000), D(1_000), rule, SEED)
    basis = basis_of_allotment(loan, allotted(rule, D(100_000), AMOUNTS))
    assert {name: value for name, value in asdict(basis.figures).items() if value is not None} == figures


def test_every_rule_has_a_figure() -> None:
    for rule in RULES:
        basis = basis_of_allotment(AllottedLoan(D(100_000), D(1_000), rule, SEED), allotted(rule, D(100_000), AMOUNTS))
        assert any(asdict(basis.figures).values()), rule


def test_what_staff_settled_ahead_is_counted_apart() -> None:
    ahead = AllottedReservation(9, D(5_000), D(5_000), START, paid=True, by_staff=True)
    basis = basis_of_allotment(AllottedLoan(D(7_000), D(1_000), "fifo"), [*allotted("fifo", D(2_000), [D(2_000)]), ahead])
    assert (basis.settled_ahead_count, basis.settled_ahead, basis.figures.last_number) == (1, 5_000, 1)


@given(
    st.sampled_from(sorted(RULES)), st.lists(st.integers(1, 200_000_000).map(lambda cents: D(cents).scaleb(-2)), min_size=1, max_size=30)
)
def test_the_bands_add_up_to_the_total(rule: str, amounts: list[Decimal]) -> None:
    rows = allotted(rule, D(100_000), amounts)
    basis = basis_of_allotment(AllottedLoan(D(100_000), D(1_000), rule, SEED), rows)
    for name in ("count", "demand", "settled", "whole", "part", "nothing", "unpaid"):
        assert sum(getattr(band, name) for band in basis.bands) == getattr(basis.total, name)
    assert basis.total.count == basis.total.whole + basis.total.part + basis.total.nothing + basis.total.unpaid
    assert all(band.from_amount <= band.demand / band.count < (band.to_amount or D("inf")) for band in basis.bands)
