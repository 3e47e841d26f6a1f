"""Compare outlooks with published answers, with every possible outcome, and with a finer grid."""

import itertools
import math
import random
import tracemalloc
from collections.abc import Iterator, Sequence
from decimal import Decimal
from statistics import NormalDist

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from loans.domain import paid_dollars
from loans.domain.overbooking import (
    RATES,
    FilledLoan,
    LapseCount,
    critical_ratio,
    lapse_share,
    loan_outlook,
    payment_probability,
    recommended_rate,
    units_to_overbook,
    wilson_interval,
)

LOAN = Decimal("100000.00")
PIECE = Decimal("5000.00")
Reservations = Sequence[tuple[Decimal, float]]


@pytest.mark.parametrize(
    ("count", "chance", "over", "unfilled"), [(22, "0.0480", "276.70", "12276.70"), (24, "0.2639", "2080.79", "6080.79")]
)
def test_the_known_answers_for_reservations_of_5_000_dollars(count, chance, over, unfilled):
    expected = loan_outlook([(PIECE, 0.8)] * count, LOAN)
    assert (f"{expected.chance_over:.4f}", f"{expected.expected_over:.2f}", f"{expected.expected_unfilled:.2f}") == (chance, over, unfilled)
    assert expected.error == 0


@pytest.mark.parametrize(("probability", "rate"), [(0.7, "0.20"), (0.8, "0.10"), (0.9, "0")])
def test_the_known_recommended_rates_of_an_empty_loan(probability, rate):
    assert recommended_rate([], LOAN, typical=PIECE, probability=probability, risk=0.05) == Decimal(rate)


def test_the_textbooks_critical_ratios():
    assert critical_ratio(80, 200) == pytest.approx(0.2857, abs=1e-4)
    assert units_to_overbook(NormalDist(5, 3), 80, 200) == pytest.approx(3.302, abs=1e-3)
    assert units_to_overbook([0.05, 0.10, 0.20, 0.15, 0.15, 0.10, 0.05, 0.05, 0.05, 0.05, 0.05], 50, 120) == 2


# --- Exact --------------------------------------------------------------------------------------------------------------
cents = st.integers(100_000, 9_999_999).map(lambda number: Decimal(number) / 100)
some_reservations = st.lists(st.tuples(cents, st.floats(0, 1)), max_size=14)


def by_brute_force(reservations: Reservations, remaining: Decimal) -> tuple[float, float, float]:
    """Return the chance and the dollars over, and those unfilled, by adding up every outcome."""
    chance = over = unfilled = 0.0
    for outcome in itertools.product([False, True], repeat=len(reservations)):
        paid = sum((amount for (amount, _), is_paid in zip(reservations, outcome, strict=True) if is_paid), Decimal(0))
        weight = math.prod(p if is_paid else 1 - p for (_, p), is_paid in zip(reservations, outcome, strict=True))
        chance += weight * (paid > remaining)
        over += weight * float(max(0, paid - remaining))
        unfilled += weight * float(max(0, remaining - paid))
    return chance, over, unfilled


@given(st.lists(st.tuples(cents, st.floats(0, 1)), max_size=9), st.data())
def test_few_reservations_of_odd_amounts_are_exact(reservations, data):
    remaining = data.draw(st.one_of(cents, st.just(sum((amount for amount, _ in reservations), Decimal(0)) / 2).map(lambda x: round(x, 2))))
    expected = loan_outlook(reservations, remaining)
    chance, over, unfilled = by_brute_force(reservations, remaining)
    assert expected.chance_over == pytest.approx(chance, abs=1e-9)
    assert expected.expected_over == pytest.approx(over, abs=1e-4)
    assert expected.expected_unfilled == pytest.approx(unfilled, abs=1e-4)
    assert expected.error == 0


def test_fourteen_reservations_of_odd_amounts_are_exact():
    chances = random.Random(14)
    reservations = [(Decimal(chances.randint(100_000, 999_999)) / 100, chances.random()) for _ in range(14)]
    remaining = Decimal("40123.45")
    expected = loan_outlook(reservations, remaining)
    assert (expected.chance_over, expected.expected_over, expected.expected_unfilled) == pytest.approx(
        by_brute_force(reservations, remaining), abs=1e-6
    )


def test_many_reservations_of_one_size_follow_the_binomial_distribution():
    reservations = [(PIECE, 0.8)] * 500
    remaining = 405 * PIECE
    paid = {k: math.comb(500, k) * 0.8**k * 0.2 ** (500 - k) for k in range(501)}
    expected = loan_outlook(reservations, remaining)
    assert expected.chance_over == pytest.approx(sum(weight for k, weight in paid.items() if k > 405), abs=1e-9)
    assert expected.expected_over == pytest.approx(sum(weight * max(0, k - 405) for k, weight in paid.items()) * 5000, abs=1e-3)


def test_amounts_that_share_a_unit_are_exact_however_many_they_are():
    reservations = [(Decimal(1000), 0.5), (Decimal(2500), 0.7), (Decimal(2500), 0.9)] * 100
    expected = loan_outlook(reservations, Decimal(400_000))
    # By hand: all sums of the three groups, in units of 500 dollars.
    groups = [(2, 0.5), (5, 0.7), (5, 0.9)]
    sums = {0: 1.0}
    for units, probability in groups:
        ways = [math.comb(100, k) * probability**k * (1 - probability) ** (100 - k) for k in range(101)]
        longer: dict[int, float] = {}
        for paid, weight in sums.items():
            for k, way in enumerate(ways):
                longer[paid + k * units] = longer.get(paid + k * units, 0.0) + weight * way
        sums = longer
    assert expected.error == 0
    assert expected.chance_over == pytest.approx(sum(weight for paid, weight in sums.items() if paid > 800), abs=1e-9)
    assert expected.expected_unfilled == pytest.approx(sum(weight * max(0, 800 - paid) for paid, weight in sums.items()) * 500, abs=1e-3)


@given(some_reservations.flatmap(lambda some: st.tuples(st.just(some), st.integers(1, 6))), cents)
def test_over_less_unfilled_is_what_is_paid_less_what_remains(some, remaining):
    reservations = some[0] * some[1]
    expected = loan_outlook(reservations, remaining)
    mean = sum(float(amount) * probability for amount, probability in reservations)
    assert expected.expected_paid == pytest.approx(mean, rel=1e-9, abs=1e-6)
    assert expected.expected_over - expected.expected_unfilled == pytest.approx(mean - float(remaining), abs=1e-2)
    assert 0 <= expected.chance_over <= 1
    assert expected.expected_over >= 0
    assert expected.expected_unfilled >= 0


def test_what_is_certain_needs_no_grid():
    assert loan_outlook([(Decimal("1234.56"), 1.0)] * 3, Decimal("3000.00")).expected_over == pytest.approx(703.68)
    assert loan_outlook([], LOAN).expected_unfilled == 100_000
    assert loan_outlook([(PIECE, 0.0)], LOAN).chance_over == 0
    assert loan_outlook([(PIECE + number, 1e-300) for number in range(20)], LOAN).expected_paid == 0


# --- The grid -----------------------------------------------------------------------------------------------------------
def half_sums(reservations: Reservations) -> Iterator[tuple[Decimal, float]]:
    for outcome in itertools.product([False, True], repeat=len(reservations)):
        paid = sum((amount for (amount, _), is_paid in zip(reservations, outcome, strict=True) if is_paid), Decimal(0))
        yield paid, math.prod(p if is_paid else 1 - p for (_, p), is_paid in zip(reservations, outcome, strict=True))


def exact_chance_over(reservations: Reservations, remaining: Decimal) -> float:
    """Return the chance by all sums of each half: for each of the first, which of the second are large enough."""
    middle = len(reservations) // 2
    second = sorted(half_sums(reservations[middle:]), reverse=True)
    chance, taken, weight_taken = 0.0, 0, 0.0
    for paid, weight in sorted(half_sums(reservations[:middle])):
        while taken < len(second) and paid + second[taken][0] > remaining:
            weight_taken += second[taken][1]
            taken += 1
        chance += weight * weight_taken
    return chance


@pytest.mark.parametrize("seed", range(8))
def test_the_grid_is_near_the_exact_chance_for_twenty_reservations_in_cents(seed):
    chances = random.Random(seed)
    reservations = [(Decimal(chances.randint(100_000, 1_500_000)) / 100, chances.choice([0.6, 0.85])) for _ in range(20)]
    mean = sum(float(amount) * probability for amount, probability in reservations)
    for share in (0.9, 1.0, 1.1, 1.25):
        remaining = round(Decimal(mean * share), 2)
        expected = loan_outlook(reservations, remaining)
        assert 0 < expected.error < mean / 1000
        assert expected.chance_over == pytest.approx(exact_chance_over(reservations, remaining), abs=0.002)


@pytest.mark.parametrize(("count", "largest"), [(60, 1_000_000), (60, 10_000_000), (400, 10_000_000), (2_000, 1_000_000)])
def test_an_eightfold_finer_grid_gives_the_same_within_the_stated_error(monkeypatch, count, largest):
    chances = random.Random(count)
    reservations = [(Decimal(chances.randint(100_000, largest)) / 100, chances.choice([1.0, 0.8, 0.65])) for _ in range(count)]
    mean = sum(float(amount) * probability for amount, probability in reservations)
    remaining = [round(Decimal(mean * share), 2) for share in (0.97, 1.0, 1.02)]
    coarse = [loan_outlook(reservations, each) for each in remaining]
    monkeypatch.setattr(paid_dollars, "GRID_POINTS", 8 * paid_dollars.GRID_POINTS)
    for one, other in zip(coarse, [loan_outlook(reservations, each) for each in remaining], strict=True):
        assert other.error < one.error / 4
        assert one.chance_over == pytest.approx(other.chance_over, abs=0.001)
        assert one.expected_over == pytest.approx(other.expected_over, abs=one.error + other.error)
        assert one.expected_over == pytest.approx(other.expected_over, abs=mean / 10_000)  # in truth it is far nearer


def test_the_memory_is_bounded_whatever_the_amounts_are():
    """Of two thousand in cents, and of one that is a billion times as large as the others."""
    many = [(Decimal(100_000 + 7 * number) / 100, 0.8) for number in range(2_000)]
    uneven = [(Decimal("999999999999.99"), 0.5), *((Decimal(100_000 + number) / 100, 0.8) for number in range(200))]
    for reservations in (many, uneven):
        tracemalloc.start()
        loan_outlook(reservations, Decimal("2000000.00"))
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < 5_000_000


def test_rounding_every_amount_down_would_be_outside_the_stated_error():
    """The bound is tight enough to notice less careful rounding."""
    reservations = [(Decimal("1999.99") + Decimal(number) / 100, 0.8) for number in range(2_000)]
    mean = sum(float(amount) * probability for amount, probability in reservations)
    expected = loan_outlook(reservations, round(Decimal(mean), 2))
    step_dollars = paid_dollars._step([paid_dollars.Payments(int(amount * 100), p, 1) for amount, p in reservations]) / 100
    lost_by_rounding_down = sum(float(amount) % step_dollars * probability for amount, probability in reservations)
    assert expected.error < lost_by_rounding_down / 2


# --- The rate -----------------------------------------------------------------------------------------------------------
@given(some_reservations, st.floats(0.05, 0.95), st.floats(0.01, 0.5), st.integers(1_000, 20_000).map(Decimal))
def test_the_recommended_rate_is_the_largest_that_keeps_the_risk(reservations, probability, risk, typical):
    filling = FilledLoan(reservations, LOAN, typical=typical, probability=probability)
    rate = filling.recommended_rate(risk)
    chances = {each: filling.outlook(each).chance_over for each in RATES}
    assume(all(abs(chance - risk) > 1e-9 for chance in chances.values()))  # Where they are equal, the rounding of floats decides.
    accepted = [each for each, chance in chances.items() if chance <= risk]
    assert rate == max(accepted, default=0)


def test_a_loan_filled_at_its_rate_is_one_with_these_reservations():
    filling = FilledLoan([(PIECE, 0.8)] * 10, LOAN, typical=PIECE, probability=0.8)
    expected = loan_outlook([(PIECE, 0.8)] * 24, LOAN)
    filled = filling.outlook(Decimal("0.20"))
    assert (filled.chance_over, filled.expected_over) == pytest.approx((expected.chance_over, expected.expected_over))


def test_the_last_reservation_takes_what_is_left_below_the_limit():
    filling = FilledLoan([], LOAN, typical=Decimal(30_000), probability=0.8)
    expected = loan_outlook([(Decimal(30_000), 0.8)] * 3 + [(Decimal(20_000), 0.8)], LOAN)
    filled = filling.outlook(Decimal("0.10"))
    assert (filled.chance_over, filled.expected_over) == pytest.approx((expected.chance_over, expected.expected_over))


def test_a_loan_that_is_reserved_beyond_the_limit_stays_as_it_is():
    reservations = [(PIECE, 0.8)] * 30
    filling = FilledLoan(reservations, LOAN, typical=PIECE, probability=0.8)
    assert filling.outlook(Decimal("0.20")) == loan_outlook(reservations, LOAN)
    assert filling.recommended_rate(0.05) == 0


# --- Shares -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("own", "all_loans", "share"),
    [
        ((0, 0), (0, 0), 0.5),  # nothing is known
        ((0, 0), (199, 799), 0.2),
        ((10, 10), (199, 799), (10 + 4) / 40),
        ((200, 0), (199, 799), 204 / 220),
    ],
)
def test_a_lapse_share_lies_between_the_loans_own_and_that_of_all(own, all_loans, share):
    assert lapse_share(LapseCount(*own), LapseCount(*all_loans)) == pytest.approx(share)


@pytest.mark.parametrize(
    ("lapsed", "counted", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (0, 10, 0.0, 0.2130),  # z² / (n + z²)
        (5, 10, 0.2693, 0.7307),
        (200, 1_000, 0.1801, 0.2216),
    ],
)
def test_the_wilson_interval(lapsed, counted, low, high):
    assert wilson_interval(lapsed, counted) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("state", "is_funded", "probability"), [("reserved", False, 0.9 * 0.8), ("pending", False, 0.8), ("pending", True, 1.0)]
)
def test_how_probably_a_reservation_is_paid(state, is_funded, probability):
    assert payment_probability(state=state, funded=is_funded, reserved_lapse=0.1, pending_lapse=0.2) == pytest.approx(probability)
