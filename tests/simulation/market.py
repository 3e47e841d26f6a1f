"""Play a year of a market whose true lapse shares are known, under one way of setting overbooking rates.

Each loan fills in two waves. At its opening, investors reserve half of its limit. A week later most of these reservations have been
paid or have lapsed, and some still wait for their money. The rate is set anew, and investors reserve up to the limit. What lapses of
this second wave is not replaced. At the end somebody is turned away if more was paid than the loan has.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from statistics import median
from typing import NamedTuple

from loans.domain import loan_limits
from loans.domain.overbooking import DAYS_COUNTED, DEFAULT_CAP, LapseCount, LapseShare, LoanLapses, recommended_rate
from loans.domain.states import ReservationState

YEAR_DAYS = 360
WEEK_DAYS = 7
AMOUNTS = [60_000, 100_000, 150_000, 250_000, 400_000]  # of loans, dollars, equally probable
SIZES = [2_500, 5_000, 5_000, 5_000, 5_000, 5_000, 10_000]  # of reservations, dollars, equally probable
MINIMUM = 1_000
PAID_LATE = 0.25  # of the first wave's payments come after more than a week
FORMER_RATE = Decimal("0.20")  # of all loans before the year

KINDS = {"like the market": (0.8, 1.0), "lapsing more": (0.1, 1.5), "lapsing less": (0.1, 0.6)}
"""How probable each kind of loan is, and the factor between its lapse shares and the market's."""


class Shares(NamedTuple):
    """True lapse shares: as reserved, and as pending."""

    reserved: float
    pending: float


def true_shares(day: int) -> Shares:
    """Return the lapse shares of the loans that open on a day. In mid-year they change."""
    return Shares(0.12, 0.08) if day < YEAR_DAYS // 2 else Shares(0.16, 0.08)


class Investor(NamedTuple):
    """How many dollars an investor would reserve, and the chances that decide what becomes of them."""

    dollars: int
    starts: float
    pays: float
    pays_late: bool


@dataclass(slots=True)
class Phases:
    """How many phases lapsed and were kept."""

    lapsed: int = 0
    kept: int = 0

    def add(self, lapsed: bool) -> None:
        self.lapsed += lapsed
        self.kept += not lapsed

    @property
    def count(self) -> LapseCount:
        return LapseCount(self.lapsed, self.kept)


@dataclass(slots=True)
class Ended:
    """The phases that ended, as reserved and as pending."""

    reserved: Phases = field(default_factory=Phases)
    pending: Phases = field(default_factory=Phases)


@dataclass(slots=True)
class SimulatedLoan:
    """A loan with its true lapse shares and its investors. `late` are reservations whose payment or lapse is still to come."""

    day: int
    kind: str
    dollars: int
    shares: Shares
    investors: Iterator[Investor]
    paid: int = 0
    late: list[Investor] = field(default_factory=list)
    own: Ended = field(default_factory=Ended)


class Outcome(NamedTuple):
    """What became of a loan, and the dollars that were paid for it."""

    day: int
    kind: str
    dollars: int
    paid: int

    @property
    def sold(self) -> int:
        return min(self.dollars, self.paid)


class Policy(NamedTuple):
    """How overbooking rates are set, and what differs from the usual market.

    Without a fixed rate the evidence sets them. `typical` is the size that it assumes of further reservations, by default the median.
    `refills` is how often investors take the room of what has lapsed of the second wave.
    """

    fixed_rate: Decimal | None = None
    risk: float = 0.05
    sizes: Sequence[int] = SIZES
    typical: Decimal | None = None
    refills: int = 0


def loans(seed: int, count: int, sizes: Sequence[int] = SIZES) -> list[SimulatedLoan]:
    """Return `count` loans of the year, and half as many of the half-year before, which leave the first evidence."""
    chances = random.Random(seed)
    made = []
    for number in range(count + count // 2):
        day = chances.randrange(YEAR_DAYS) if number < count else -1 - chances.randrange(DAYS_COUNTED)
        kind = chances.choices(list(KINDS), [probability for probability, _ in KINDS.values()])[0]
        shares = Shares(*(share * KINDS[kind][1] for share in true_shares(day)))
        made.append(SimulatedLoan(day, kind, chances.choice(AMOUNTS), shares, investors(seed, number, sizes)))
    return made


def investors(seed: int, number: int, sizes: Sequence[int]) -> Iterator[Investor]:
    """Yield the investors of a loan in their order: the same ones, however far it is overbooked."""
    chances = random.Random(f"{seed}, {number}").random
    while True:
        yield Investor(sizes[int(len(sizes) * chances())], chances(), chances(), chances() < PAID_LATE)


def play(seed: int, count: int, policy: Policy) -> list[Outcome]:
    """Return what became of each loan of the year under the policy."""
    market = Market(policy)
    openings = sorted(loans(seed, count, policy.sizes), key=lambda loan: loan.day)
    closings = iter(openings)
    closing = next(closings)
    outcomes = []
    for loan in openings:
        while closing.day + WEEK_DAYS <= loan.day:
            outcomes.append(market.close(closing))
            closing = next(closings)
        market.open(loan)
    outcomes += [market.close(loan) for loan in (closing, *closings)]
    return [outcome for outcome in outcomes if outcome.day >= 0]


class Market:
    """Loans that open and close, and the evidence of their reservations."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.typical = policy.typical or Decimal(median(policy.sizes))
        self._ended: defaultdict[int, Ended] = defaultdict(Ended)
        self.count_until = cache(self._count_until)
        self.opening_rate = cache(self._opening_rate)

    def open(self, loan: SimulatedLoan) -> None:
        """Set the rate and let investors reserve half of the limit. The phases that end within the week become evidence."""
        rate = FORMER_RATE if loan.day < 0 else self.opening_rate(loan.day, loan.dollars)
        ended = self._ended[loan.day + WEEK_DAYS - 1]
        for investor in _reserve(loan, int(loan_limits.limit(Decimal(loan.dollars), rate) / 2)):
            started = investor.starts >= loan.shares.reserved
            for counts in (ended, loan.own):
                counts.reserved.add(not started)
            if started and investor.pays_late:
                loan.late.append(investor)
            elif started:
                self._pay(loan, investor, ended)

    def close(self, loan: SimulatedLoan) -> Outcome:
        """A week after the opening, set the rate anew and let investors reserve up to the limit; then let all phases end."""
        for _ in range(1 + self.policy.refills):
            if loan.dollars - loan.paid >= MINIMUM:
                self._fill(loan)
        return Outcome(loan.day, loan.kind, loan.dollars, loan.paid)

    def _fill(self, loan: SimulatedLoan) -> None:
        remaining, late = Decimal(loan.dollars - loan.paid), sum(investor.dollars for investor in loan.late)
        rate = FORMER_RATE if loan.day < 0 else self._closing_rate(loan, remaining)
        ended = self._ended[loan.day + 2 * WEEK_DAYS - 1]
        for investor in _reserve(loan, int(loan_limits.limit(remaining, rate)) - late):
            started = investor.starts >= loan.shares.reserved
            ended.reserved.add(not started)
            if started:
                loan.late.append(investor)
        for investor in loan.late:
            self._pay(loan, investor, ended)
        loan.late.clear()

    def _pay(self, loan: SimulatedLoan, investor: Investor, ended: Ended) -> None:
        is_paid = investor.pays >= loan.shares.pending
        for counts in (ended, loan.own):
            counts.pending.add(not is_paid)
        loan.paid += investor.dollars if is_paid else 0

    # --- The evidence -----------------------------------------------------------------------------------------------------
    def _count_until(self, day: int) -> tuple[LapseCount, LapseCount]:
        """Return the phases of all loans that ended in the 180 days before a day, as reserved and as pending."""
        reserved, pending = Phases(), Phases()
        for ended_day in range(day - DAYS_COUNTED, day):
            if ended := self._ended.get(ended_day):
                reserved = Phases(reserved.lapsed + ended.reserved.lapsed, reserved.kept + ended.reserved.kept)
                pending = Phases(pending.lapsed + ended.pending.lapsed, pending.kept + ended.pending.kept)
        return reserved.count, pending.count

    def _lapses(self, day: int, own: Ended) -> LoanLapses:
        reserved, pending = self.count_until(day)
        return LoanLapses(LapseShare(own.reserved.count, reserved), LapseShare(own.pending.count, pending))

    def _opening_rate(self, day: int, dollars: int) -> Decimal:
        if self.policy.fixed_rate is not None:
            return self.policy.fixed_rate
        return self._rate([], Decimal(dollars), self._lapses(day, Ended()))

    def _closing_rate(self, loan: SimulatedLoan, remaining: Decimal) -> Decimal:
        if self.policy.fixed_rate is not None:
            return self.policy.fixed_rate
        lapses = self._lapses(loan.day + WEEK_DAYS, loan.own)
        probability = lapses.payment_probability(state=ReservationState.PENDING, funded=False)
        return self._rate([(Decimal(investor.dollars), probability) for investor in loan.late], remaining, lapses)

    def _rate(self, reservations: list[tuple[Decimal, float]], remaining: Decimal, lapses: LoanLapses) -> Decimal:
        probability = lapses.payment_probability(state=ReservationState.RESERVED, funded=False)
        rate = recommended_rate(reservations, remaining, typical=self.typical, probability=probability, risk=self.policy.risk)
        return min(rate, DEFAULT_CAP)


def _reserve(loan: SimulatedLoan, dollars: int) -> Iterator[Investor]:
    """Yield the next investors of a loan until less than its minimum is left of so many dollars."""
    while dollars >= MINIMUM:
        investor = next(loan.investors)
        investor = investor._replace(dollars=min(investor.dollars, dollars))
        dollars -= investor.dollars
        yield investor
