"""Say what a live reservation can expect to get, given that its investor pays.

Each other reservation is paid with a probability that comes from the shares that lapsed in the past
(loans/domain/overbooking.py), independently of the others; no new reservation takes the place of one that lapses. By `fifo` the
outlook is computed exactly. By any other rule, that rule runs over scenarios drawn at random from a seed, so the same seed gives the
same outlook. Dollars are averages, as floats.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import NamedTuple

from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.paid_dollars import paid_dollars
from loans.domain.settlement_rules import RULES, LoanToSettle, Rule, fifo

WORK = 20_000  # Scenarios times reservations: what fits in some hundredths of a second.
FEWEST_SCENARIOS, MOST_SCENARIOS = 20, 2_000
AFTER_ALL_PAYMENTS = datetime(2300, 1, 1, tzinfo=UTC)  # when the payments of scenarios come, one second after the other


class ExpectedReservation(NamedTuple):
    """A live reservation, and the probability that it is paid; 1 if its money is here, since `funded_at`."""

    number: int
    amount: Decimal
    probability: float
    funded_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReservationOutlook:
    """What a reservation gets if it is paid: the dollars on average, and the chances of all and of nothing.

    The errors are standard errors where `scenarios` were drawn. Otherwise the outlook is exact, and `amount_error` is 0; but where the
    amounts share no unit, the outlook is computed on a grid, and `amount_error` bounds how far the dollars are off.
    """

    expected_amount: float
    chance_full: float
    chance_nothing: float
    scenarios: int = 0
    amount_error: float = 0.0
    full_error: float = 0.0
    nothing_error: float = 0.0


Queue = Sequence[ExpectedReservation]


def outlook_of(number: int, queue: Queue, loan: LoanToSettle, rule: str, seed: str) -> ReservationOutlook:
    """Return the outlook of the reservation with this number in the loan's queue, by the loan's rule."""
    if rule == fifo.__name__:
        return exact_outlook(number, queue, loan.remaining)
    certain = [reservation._replace(probability=1.0) if reservation.number == number else reservation for reservation in queue]
    return sampled_outlooks(certain, loan, RULES[rule], seed, [number])[number]


def outlooks(queue: Queue, loan: LoanToSettle, rule: str, seed: str, first: int) -> dict[int, ReservationOutlook]:
    """Return the outlooks of the `first` reservations of the queue, by their numbers.

    Scenarios are drawn once for all. Each reservation's outlook is of those in which it is paid; one that is paid in none has no outlook.
    """
    numbers = [reservation.number for reservation in queue[:first]]
    if rule == fifo.__name__:
        return {number: exact_outlook(number, queue, loan.remaining) for number in numbers}
    return sampled_outlooks(queue, loan, RULES[rule], seed, numbers)


def if_all_ahead_settle(number: int, queue: Queue, remaining: Decimal) -> Decimal:
    """Return the dollars that are left for a reservation if every reservation before it in the queue settles whole."""
    ahead = sum((reservation.amount for reservation in queue if reservation.number < number), Decimal(0))
    own = next(reservation.amount for reservation in queue if reservation.number == number)
    return max(Decimal(0), min(own, remaining - ahead))


def exact_outlook(number: int, queue: Queue, remaining: Decimal) -> ReservationOutlook:
    """Return the outlook of a reservation by `fifo`, from the distribution of what those before it in the queue pay."""
    own = next(reservation.amount for reservation in queue if reservation.number == number)
    before = [reservation for reservation in queue if reservation.number < number]
    if sum([reservation.amount for reservation in before]) + own <= remaining:
        return ReservationOutlook(float(own), chance_full=1, chance_nothing=0)
    if sum([reservation.amount for reservation in before if reservation.probability >= 1]) >= remaining:
        return ReservationOutlook(0, chance_full=0, chance_nothing=1)
    ahead = paid_dollars((reservation.amount, reservation.probability) for reservation in before)
    remaining_cents, own_cents = int(remaining * 100), int(own * 100)
    return ReservationOutlook(
        expected_amount=(ahead.expected_below(remaining_cents) - ahead.expected_below(remaining_cents - own_cents)) / 100,
        chance_full=1 - ahead.chance_above(remaining_cents - own_cents),
        chance_nothing=ahead.chance_above(remaining_cents - 1),
        amount_error=min(float(own), ahead.error / 100),
    )


# --- Scenarios --------------------------------------------------------------------------------------------------------
class _Drawn:
    """A reservation in a scenario. One object serves all scenarios, since making a thousand anew takes as long as the rule."""

    __slots__ = ("amount", "funded_at", "number")

    def __init__(self, number: int, amount: Decimal) -> None:
        self.number, self.amount = number, amount
        self.funded_at: datetime | None = None


@dataclass(slots=True)
class _Sums:
    """What a reservation got in the scenarios in which it was paid."""

    paid: int = 0
    got: float = 0.0
    squares: float = 0.0
    full: int = 0
    nothing: int = 0

    def add(self, got: float, amount: float) -> None:
        """Count a scenario in which the reservation, of `amount` dollars, got so many."""
        self.paid += 1
        self.got += got
        self.squares += got * got
        self.full += got == amount
        self.nothing += not got

    def outlook(self) -> ReservationOutlook:
        """Return the averages, with their standard errors."""
        count = self.paid
        variance = max(0.0, self.squares / count - (self.got / count) ** 2) * count / max(1, count - 1)
        return ReservationOutlook(
            expected_amount=self.got / count,
            chance_full=self.full / count,
            chance_nothing=self.nothing / count,
            scenarios=count,
            amount_error=math.sqrt(variance / count),
            full_error=_chance_error(self.full, count),
            nothing_error=_chance_error(self.nothing, count),
        )


def _chance_error(successes: int, count: int) -> float:
    """Return the standard error of a chance, with one success and one failure more, so that no chance seems certain."""
    chance = (successes + 1) / (count + 2)
    return math.sqrt(chance * (1 - chance) / count)


def sampled_outlooks(
    queue: Queue, loan: LoanToSettle, rule: Rule, seed: str, numbers: Sequence[int], scenarios: int | None = None
) -> dict[int, ReservationOutlook]:
    """Return the outlook of each of these reservations that is paid in at least one scenario, by number.

    In a scenario the payments that are to come arrive in random order. The rule runs when the money that is here first reaches
    what remains, and once more when all has come and the rest has lapsed.
    """
    count = scenarios or max(FEWEST_SCENARIOS, min(MOST_SCENARIOS, WORK // max(1, len(queue))))
    amounts = {reservation.number: reservation.amount for reservation in queue}
    sums = {number: _Sums() for number in numbers}
    for got in _scenarios(queue, loan, rule, Random(seed), count):  # noqa: S311 - an estimate, which anybody may repeat
        for number, sum_of_number in sums.items():
            if number in got:
                sum_of_number.add(float(got[number]), float(amounts[number]))
    return {number: sum_of_number.outlook() for number, sum_of_number in sums.items() if sum_of_number.paid}


def _scenarios(queue: Queue, loan: LoanToSettle, rule: Rule, random: Random, count: int) -> Iterator[dict[int, Decimal]]:
    """Yield for each scenario the dollars that each reservation gets which is paid in it, by number."""
    drawn = [_Drawn(reservation.number, reservation.amount) for reservation in queue]
    here = [(reservation.funded_at, each) for each, reservation in zip(drawn, queue, strict=True) if reservation.funded_at]
    to_come = [(reservation.probability, each) for each, reservation in zip(drawn, queue, strict=True) if not reservation.funded_at]
    instants = [AFTER_ALL_PAYMENTS + timedelta(seconds=second) for second in range(len(to_come))]
    for funded_at, reservation in here:
        reservation.funded_at = funded_at
    paid_already = [reservation for _, reservation in here]
    for scenario in range(count):
        # A draw below the probability is a payment. Divided by the probability, the draws of payments are uniform between 0 and 1
        # whatever the probability was, so they also give a random order of arrival.
        draws = [(random.random() / probability, each.number, each) for probability, each in to_come if probability]
        coming = [each for draw, _, each in sorted(draw for draw in draws if draw[0] < 1)]
        for _, each in to_come:
            each.funded_at = None
        got = dict.fromkeys([each.number for each in (*paid_already, *coming)], ZERO_DOLLARS)
        seeded = replace(loan, lottery_seed=f"{loan.lottery_seed}:{scenario}")
        yield got | _settle(drawn, paid_already, coming, instants, rule, seeded)


def _settle(
    queue: Sequence[_Drawn], here: Sequence[_Drawn], coming: Sequence[_Drawn], instants: Sequence[datetime], rule: Rule, loan: LoanToSettle
) -> dict[int, Decimal]:
    """Return what each reservation gets, by number, when these payments are here and those come in this order."""
    received = sum([reservation.amount for reservation in here], ZERO_DOLLARS)
    for reservation, instant in zip(coming, instants, strict=False):
        if received >= loan.remaining:
            break
        reservation.funded_at = instant
        received += reservation.amount
    got: dict[int, Decimal] = {}
    remaining = loan.remaining
    if received >= remaining:
        got = {allocation.reservation.number: allocation.amount for allocation in rule(queue, replace(loan, closed=False))}
        remaining -= sum(got.values())
    if remaining:
        for reservation, instant in zip(coming, instants, strict=False):
            reservation.funded_at = instant
        left = [reservation for reservation in queue if reservation.funded_at and reservation.number not in got]
        last = rule(left, replace(loan, remaining=remaining, closed=True))
        got |= {allocation.reservation.number: allocation.amount for allocation in last}
    return got
