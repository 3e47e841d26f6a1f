"""Compute how many of the reserved dollars are paid: the distribution of a sum of independent payments.

Each reservation is paid in full with its probability, or not at all, independently of the others. The distribution is exact where
few outcomes are possible, or where the amounts are multiples of one unit that is not too small. Otherwise amounts are rounded to a
grid, some up and some down, so that the mean and the variance of the sum stay; `error` bounds what that changes.

Sums of many payments are multiplied as polynomials, and polynomials as whole numbers: each coefficient is a probability in 64 bits
in a slot of 128 bits, so that no slot of a product overflows, since the probabilities of a distribution add up to 1. Python
multiplies large whole numbers fast, without any package.
"""

import math
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate, zip_longest
from operator import mul

MOST_GROUPS = 14
MAX_OUTCOMES = 2**MOST_GROUPS  # of few reservations: each is listed, whatever the amounts are
GRID_POINTS = 2_048  # of many reservations: so many steps cover all sums that are at all probable
DEVIATIONS = 18  # Nine standard deviations to each side: sums beyond have a probability below 2 ** -60.
NEGLIGIBLE = 1e-15  # a probability that counts as none
ONE = 2**64 - 2**16  # The probability 1. The gap keeps sums of rounded probabilities below 2 ** 64.


@dataclass(frozen=True, slots=True)
class Payments:
    """`count` reservations of the same size, of which each is paid with `probability`.

    The size is in cents, but in steps of the grid once `_rounded` has put them on it.
    """

    size: int
    probability: float
    count: int

    @property
    def mean(self) -> float:
        """The average of what they pay, in units of the size."""
        return self.count * self.size * self.probability

    @property
    def variance(self) -> float:
        """The variance of what they pay, in such units squared."""
        return self.count * self.size**2 * self.probability * (1 - self.probability)


class PaidDollars:
    """The distribution of the dollars that are paid. All amounts are cents here; `mean` is exact.

    `error` bounds how far `expected_below`, and the average excess above an amount, are from their true values; 0 where they are
    exact. With a `step`, the sums are a grid's: the probability of each is spread evenly over the step around it.
    """

    def __init__(self, sums: Sequence[int], probabilities: Iterable[float], *, mean: float, step: int = 0, error: float = 0.0) -> None:
        weights = list(probabilities)
        total = math.fsum(weights)
        self.mean, self.error = mean, error
        self._first, self._sums, self._step = sums[0], sums, step  # ascending
        self._at_most = list(accumulate((weight / total for weight in weights), initial=0.0))
        moments = (weight / total * (paid - sums[0]) for paid, weight in zip(sums, weights, strict=True))
        self._first_moments = list(accumulate(moments, initial=0.0))
        # The least that is paid, and the most, with what that lies above the average. Most calls ask for amounts beyond them.
        self._least, self._most = sums[0] - step / 2, sums[-1] + step / 2
        self._most_above_mean = (self._most - self._first) - self._first_moments[-1]

    def chance_above(self, cents: int) -> float:
        """Return the probability that more than `cents` are paid."""
        if not self._least <= cents < self._most:
            return 1.0 if cents < self._least else 0.0
        whole, part = self._whole_and_part(cents)
        at_most = self._at_most[whole]
        if part:
            at_most += part * (self._at_most[whole + 1] - at_most)
        return max(0.0, 1 - at_most) if whole < len(self._sums) else 0.0

    def expected_below(self, cents: int) -> float:
        """Return by how many cents, on average, the sum paid falls short of `cents`; 0 where it is more."""
        if not self._least <= cents < self._most:
            return 0.0 if cents < self._least else self._most_above_mean + cents - self._most
        whole, part = self._whole_and_part(cents)
        below = (cents - self._first) * self._at_most[whole] - self._first_moments[whole]
        if part:
            below += (self._at_most[whole + 1] - self._at_most[whole]) * self._step * part**2 / 2
        return max(0.0, below)

    def averages(self, largest: int, step: int, weights: Sequence[float]) -> tuple[float, float]:
        """Return the averages of `chance_above` and `expected_below` over amounts with these weights.

        Each amount is `step` less than the one before. Most amounts of a large loan lie above all that may be paid, or
        below it. Summed at once, these take a quarter of the time.
        """
        first_within = min(len(weights), max(0, math.floor((largest - self._most) / step) + 1))
        first_below = min(len(weights), max(first_within, math.floor((largest - self._least) / step) + 1))
        chance = sum(weights[first_below:])
        sum_above = sum(weights[:first_within])
        steps_above = sum(map(mul, range(first_within), weights))
        shortfall = (largest + self._most_above_mean - self._most) * sum_above - step * steps_above
        for position in range(first_within, first_below):
            cents, weight = largest - position * step, weights[position]
            chance += weight * self.chance_above(cents)
            shortfall += weight * self.expected_below(cents)
        return chance, shortfall

    def _whole_and_part(self, cents: int) -> tuple[int, float]:
        """Return how many of the sums are at most `cents`, and which part of the next one's step lies below it."""
        if not self._step:
            return bisect_right(self._sums, cents), 0.0
        position = min(max(0.0, (cents - self._first) / self._step + 0.5), len(self._sums))
        whole = int(position)
        return whole, position - whole


def paid_dollars(reservations: Iterable[tuple[Decimal, float]]) -> PaidDollars:
    """Return the distribution of what the reservations pay; each is an amount in dollars and its probability."""
    certain, uncertain = 0, Counter[tuple[int, float]]()
    for amount, probability in reservations:
        cents = int(amount * 100)
        if probability >= 1:
            certain += cents
        elif probability > NEGLIGIBLE:
            uncertain[cents, probability] += 1
    payments = [Payments(cents, probability, count) for (cents, probability), count in sorted(uncertain.items())]
    mean = certain + math.fsum(group.mean for group in payments)
    # Each group at least doubles the outcomes, so more than log2(MAX_OUTCOMES) groups are always too many.
    if len(payments) <= MOST_GROUPS and math.prod(group.count + 1 for group in payments) <= MAX_OUTCOMES:
        outcomes = _all_outcomes(payments, certain)
        return PaidDollars(list(outcomes), outcomes.values(), mean=mean)
    step = _step(payments)
    rounded, mean_off, error = _rounded(payments, step)
    first, probabilities = _product([_polynomial(group) for group in rounded])
    start = certain + first * step - round(mean_off)
    sums = range(start, start + step * len(probabilities), step)
    if not error:
        return PaidDollars(sums, probabilities, mean=mean)
    return PaidDollars(sums, probabilities, mean=mean, step=step, error=error + step / 4)


def binomial(count: int, probability: float) -> tuple[int, list[float]]:
    """Return the fewest of `count` that may be paid, and the probability of so many, of one more, and so on.

    Only what is within nine standard deviations of the mean is among them.
    """
    if not 0 < probability < 1:
        return (count if probability else 0), [1.0]
    mean, reach = count * probability, DEVIATIONS / 2 * math.sqrt(count * probability * (1 - probability)) + 1
    first, middle, last = max(0, math.floor(mean - reach)), math.floor(mean), min(count, math.ceil(mean + reach))
    log_ways = math.lgamma(count + 1) - math.lgamma(middle + 1) - math.lgamma(count - middle + 1)
    in_middle = math.exp(log_ways + middle * math.log(probability) + (count - middle) * math.log1p(-probability))
    # Each probability follows from its neighbor nearer to the middle, since a logarithm for each takes three times as long.
    odds = probability / (1 - probability)
    below = list(accumulate(range(middle, first, -1), lambda weight, paid: weight * paid / ((count - paid + 1) * odds), initial=in_middle))
    above = accumulate(range(middle + 1, last + 1), lambda weight, paid: weight * (count - paid + 1) * odds / paid, initial=in_middle)
    return first, [*below[:0:-1], *above]


def _all_outcomes(payments: Sequence[Payments], certain: int) -> dict[int, float]:
    """Return the probability of each possible sum, ascending."""
    outcomes = {certain: 1.0}
    for group in payments:
        longer: dict[int, float] = {}
        ways = [
            (k * group.size, math.comb(group.count, k) * group.probability**k * (1 - group.probability) ** (group.count - k))
            for k in range(group.count + 1)
        ]
        for paid, weight in outcomes.items():
            for more, share in ways:
                longer[paid + more] = longer.get(paid + more, 0.0) + weight * share
        outcomes = longer
    return dict(sorted(outcomes.items()))


def _step(payments: Sequence[Payments]) -> int:
    """Return the step of the grid in cents: the unit that the amounts share, or a larger one if that makes too many points."""
    unit = math.gcd(*(group.size for group in payments))
    deviation = math.sqrt(math.fsum(group.variance for group in payments))
    span = min(sum(group.size * group.count for group in payments), DEVIATIONS * deviation)
    return max(unit, math.ceil(span / GRID_POINTS))


def _rounded(payments: Sequence[Payments], step: int) -> tuple[list[Payments], float, float]:
    """Return the payments in steps of the grid, by how much that raises the mean of their sum, and the standard deviation of that.

    The last two are in cents.

    Each amount goes up or down by less than a step, the way that keeps the sum's mean and variance nearest to the true ones. The standard
    deviation bounds how far the two sums are apart on average, once their means are made equal.
    """
    rounded = Counter[tuple[int, float]]()
    mean_off = variance_off = square_off = 0.0
    variance = math.fsum(group.variance for group in payments)
    for group in payments:
        probability, spread = group.probability, group.probability * (1 - group.probability)
        steps, rest = divmod(group.size, step)
        least_up = group.count * rest // step
        choices = []
        for up in (least_up, least_up + 1) if rest else (0,):
            mean = mean_off + (up * step - group.count * rest) * probability
            squares = up * ((steps + 1) * step) ** 2 + (group.count - up) * (steps * step) ** 2 - group.count * group.size**2
            off = variance_off + squares * spread
            choices.append((mean**2 / variance + (off / variance) ** 2, up, mean, off))
        _, up, mean_off, variance_off = min(choices)
        square_off += (up * (step - rest) ** 2 + (group.count - up) * rest**2) * spread
        rounded[steps + 1, probability] += up
        rounded[steps, probability] += group.count - up
    groups = [Payments(steps, probability, count) for (steps, probability), count in rounded.items() if steps and count]
    return groups, mean_off, math.sqrt(square_off)


Polynomial = tuple[int, "array[int]"]
"""A distribution of steps: the first power, and the coefficients from there on, which are probabilities times 2 ** 64."""


def _polynomial(group: Payments) -> Polynomial:
    """Return the distribution of what a group pays, in steps."""
    if group.count == 1:
        coefficients = array("Q", bytes(8 * (group.size + 1)))
        coefficients[0], coefficients[group.size] = int((1 - group.probability) * ONE), int(group.probability * ONE)
        return 0, coefficients
    first, weights = binomial(group.count, group.probability)
    coefficients = array("Q", bytes(8 * ((len(weights) - 1) * group.size + 1)))
    coefficients[:: group.size] = array("Q", [int(min(weight, 1) * ONE) for weight in weights])
    return first * group.size, coefficients


def _product(polynomials: list[Polynomial]) -> Polynomial:
    """Return the distribution of the sum: the shortest are multiplied first, in pairs."""
    polynomials = sorted(polynomials, key=lambda polynomial: len(polynomial[1]))
    while len(polynomials) > 1:
        pairs = zip_longest(polynomials[::2], polynomials[1::2])
        polynomials = [_times(one, other) if other else one for one, other in pairs]
    return polynomials[0]


def _times(one: Polynomial, other: Polynomial) -> Polynomial:
    product = _as_number(one[1]) * _as_number(other[1])
    slots = array("Q")
    slots.frombytes(product.to_bytes(16 * (len(one[1]) + len(other[1]) - 1), "little"))
    # The upper half of each slot is the probability again. Zeros at both ends are improbable sums.
    probabilities = slots[1::2].tobytes()
    end = len(probabilities.rstrip(b"\0"))
    start = (len(probabilities) - len(probabilities.lstrip(b"\0"))) // 8
    trimmed = array("Q")
    trimmed.frombytes(probabilities[8 * start : 8 * -(-end // 8)])
    return one[0] + other[0] + start, trimmed


def _as_number(coefficients: "array[int]") -> int:
    slots = array("Q", bytes(16 * len(coefficients)))
    slots[::2] = coefficients
    return int.from_bytes(slots.tobytes(), "little")
