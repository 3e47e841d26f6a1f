"""Say what overbooking a loan means, from how many reservations lapse: who is turned away, what stays unsold, and which rate fits.

A live reservation is paid with a probability that comes from the shares of reservations that lapsed in the past
(`payment_probability`), independently of the others. What lapses is not reserved again. Dollars have two places; shares,
probabilities and rates are fractions, as 0.20.

How many dollars a rate lets through is decided in loans/domain/loan_limits.py, with the default rate.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from statistics import NormalDist

from loans.domain import loan_limits
from loans.domain.paid_dollars import PaidDollars, binomial, paid_dollars
from loans.domain.states import ReservationEvent, ReservationState

DAYS_COUNTED = 180  # phases that ended longer ago are not counted
PRIOR_COUNT = 20  # as many phases of all loans are counted with a loan's own ones, so that a few of its own decide little
CONFIDENCE = 0.90
DEFAULT_RISK = Decimal("0.05")
DEFAULT_CAP = Decimal("0.50")
RATES = [Decimal(5 * half_percents).scaleb(-3) for half_percents in range(201)]
"""The rates that can be recommended: 0 to 100 % in steps of half a percent."""


class OverbookingPolicy(StrEnum):
    """Who sets a loan's overbooking rate: staff, or a job from the evidence."""

    FIXED = "fixed"
    EVIDENCE = "evidence"


# How a phase ends: as reserved, and as pending until the money is here. Ends of other names are ours, and are not counted.
KEPT = {ReservationEvent.TRANSFER_STARTED, ReservationEvent.FUNDED}
LAPSED = {
    ReservationEvent.EXPIRED,
    ReservationEvent.CANCELED_BY_INVESTOR,
    ReservationEvent.TRANSFER_FAILED,
    ReservationEvent.PAYMENT_RETURNED,
}


@dataclass(frozen=True, slots=True)
class LapseCount:
    """How many phases lapsed, and how many were kept."""

    lapsed: int
    kept: int

    @property
    def counted(self) -> int:
        """Lapsed and kept ones together."""
        return self.lapsed + self.kept


def lapse_share(own: LapseCount, all_loans: LapseCount) -> float:
    """Return a loan's lapse share of a phase: its own phases, and 20 more that lapsed as those of all loans did."""
    share_of_all = (all_loans.lapsed + 1) / (all_loans.counted + 2)
    return (own.lapsed + PRIOR_COUNT * share_of_all) / (own.counted + PRIOR_COUNT)


def wilson_interval(lapsed: int, counted: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the Wilson score interval of a share; 0 to 1 where nothing was counted."""
    if not counted:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, width = lapsed / counted, z * z / counted
    middle = (share + width / 2) / (1 + width)
    half = math.sqrt(width * (share * (1 - share) + width / 4)) / (1 + width)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class LapseShare:
    """How a phase of a loan's reservations ended, and that of all loans."""

    own: LapseCount
    all_loans: LapseCount

    @property
    def share(self) -> float:
        """The loan's lapse share."""
        return lapse_share(self.own, self.all_loans)

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson interval of the loan's own share."""
        return wilson_interval(self.own.lapsed, self.own.counted)


@dataclass(frozen=True, slots=True)
class LoanLapses:
    """The lapse shares of a loan: of reservations as reserved, and as pending until their money is here."""

    reserved: LapseShare
    pending: LapseShare

    def payment_probability(self, *, state: str, funded: bool) -> float:
        """Return the probability that a live reservation of the loan is paid in the end."""
        return payment_probability(state=state, funded=funded, reserved_lapse=self.reserved.share, pending_lapse=self.pending.share)


def payment_probability(*, state: str, funded: bool, reserved_lapse: float, pending_lapse: float) -> float:
    """Return the probability that a live reservation is paid in the end; `funded` says that its money is here."""
    if funded:
        return 1.0
    if state == ReservationState.PENDING:
        return 1 - pending_lapse
    return (1 - reserved_lapse) * (1 - pending_lapse)


@dataclass(frozen=True, slots=True)
class LoanOutlook:
    """What is to be expected of a loan. Dollars are averages, as floats.

    `chance_over` is the probability that somebody whose money came is cut or turned away; `expected_over` the dollars of that. The
    three dollars agree: over - unfilled = paid - remaining. `error` bounds how far over and unfilled are off, 0 where they are exact.
    """

    chance_over: float
    expected_over: float
    expected_unfilled: float
    expected_paid: float
    error: float = 0.0


def loan_outlook(reservations: Iterable[tuple[Decimal, float]], remaining: Decimal) -> LoanOutlook:
    """Return the outlook of a loan with these live reservations: the amount of each, and its probability of being paid."""
    return _outlook_from(paid_dollars(reservations), int(remaining * 100))


def _outlook_from(paid: PaidDollars, cents: int) -> LoanOutlook:
    return _in_dollars(paid.chance_above(cents), paid.expected_below(cents), paid.mean, cents, paid.error)


def _in_dollars(chance_over: float, unfilled_cents: float, paid_cents: float, remaining_cents: int, error_cents: float) -> LoanOutlook:
    over_cents = max(0.0, paid_cents - remaining_cents + unfilled_cents)
    return LoanOutlook(chance_over, over_cents / 100, unfilled_cents / 100, paid_cents / 100, error_cents / 100)


class FilledLoan:
    """A loan that is thought to be filled up to its limit by further reservations of `typical` dollars, each paid with `probability`.

    The last of them takes what is left below the limit, so it may be smaller. Where the limit is reached already, none is added.
    """

    def __init__(self, reservations: Sequence[tuple[Decimal, float]], remaining: Decimal, *, typical: Decimal, probability: float) -> None:
        self._paid: PaidDollars = paid_dollars(reservations)
        self._claimed = sum((amount for amount, _ in reservations), Decimal(0))
        self._remaining, self._typical_cents, self._probability = remaining, int(typical * 100), probability

    @property
    def present(self) -> LoanOutlook:
        """The outlook of the loan as it is, without further reservations."""
        return _outlook_from(self._paid, int(self._remaining * 100))

    def outlook(self, rate: Decimal) -> LoanOutlook:
        """Return the outlook of the loan filled up to its limit at this overbooking rate."""
        cents = int(self._remaining * 100)
        room_cents = max(0, int((loan_limits.limit(self._remaining, rate) - self._claimed) * 100))
        count, rest_cents = divmod(room_cents, self._typical_cents)
        fewest, weights = binomial(count, self._probability)
        chance_over = unfilled_cents = 0.0
        for more_cents, share in ((0, 1 - self._probability), (rest_cents, self._probability)) if rest_cents else ((0, 1.0),):
            most_left_cents = cents - more_cents - fewest * self._typical_cents
            over, unfilled = self._paid.averages(most_left_cents, self._typical_cents, weights)
            chance_over += share * over
            unfilled_cents += share * unfilled
        paid_cents = self._paid.mean + room_cents * self._probability
        return _in_dollars(min(1.0, chance_over), unfilled_cents, paid_cents, cents, self._paid.error)

    def recommended_rate(self, risk: float) -> Decimal:
        """Return the largest rate at which the chance that somebody is turned away is at most `risk`; 0 where there is none."""
        low, high = 0, len(RATES)  # The chance grows with the rate: RATES[low] is accepted or 0, RATES[high] is not.
        while high - low > 1:
            middle = (low + high) // 2
            if self.outlook(RATES[middle]).chance_over <= risk:
                low = middle
            else:
                high = middle
        return RATES[low]


def recommended_rate(
    reservations: Sequence[tuple[Decimal, float]], remaining: Decimal, *, typical: Decimal, probability: float, risk: float
) -> Decimal:
    """Return the largest rate, in steps of half a percent, that keeps the chance of turning somebody away at most `risk`.

    The loan is thought to be filled up to its limit by further reservations of `typical` dollars, each paid with `probability`.
    """
    return FilledLoan(reservations, remaining, typical=typical, probability=probability).recommended_rate(risk)


def critical_ratio(cost_unfilled: float, cost_turned_away: float) -> float:
    """Return the risk at which one more unit of overbooking costs as much as it saves.

    The costs are those of one unit that stays unsold, and of one that is turned away. As the `risk` of `recommended_rate` it gives the
    rate at which both together cost least.
    """
    return cost_unfilled / (cost_unfilled + cost_turned_away)


def units_to_overbook(distribution: NormalDist | Sequence[float], cost_unfilled: float, cost_turned_away: float) -> float:
    """Return by how many units to overbook, from the distribution of the units that do not show up.

    It is the least number that is not exceeded with a probability of at least the critical ratio. `distribution` is normal, or lists
    the probabilities of 0, 1, 2, … units.
    """
    ratio = critical_ratio(cost_unfilled, cost_turned_away)
    if isinstance(distribution, NormalDist):
        return distribution.inv_cdf(ratio)
    at_most = 0.0
    for units, probability in enumerate(distribution):
        at_most += probability
        if at_most >= ratio:
            return units
    return len(distribution) - 1
