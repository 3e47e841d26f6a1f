"""Compute how a loan filled over time, as a fixed number of points.

Amounts are dollars with two places. A reservation counts with the state that history records, so a lapsed one counts until it
is stored as expired.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import chain
from typing import NamedTuple
from uuid import UUID

from loans.domain import loan_limits
from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.states import ReservationState

POINTS = 120
SETTLED, PENDING, RESERVED = ReservationState.SETTLED, ReservationState.PENDING, ReservationState.RESERVED


class FillChange(NamedTuple):
    """From `at` on, the reservation has this state and amount. Without a reservation it is the loan itself that has them.

    `overbooking_rate` is the loan's new rate as text, None where it stays.
    """

    at: datetime
    reservation: UUID | None
    state: str
    amount: Decimal
    overbooking_rate: str | None = None


class FillTotals(NamedTuple):
    """From `at` on, the loan has this amount and overbooking rate, and its reservations in each state have these dollars together."""

    at: datetime
    amount: Decimal
    settled: Decimal
    pending: Decimal
    reserved: Decimal
    overbooking_rate: Decimal | None = None


@dataclass(frozen=True, slots=True)
class FillPoint:
    """The dollars of a loan at one instant: settled, pending and reserved ones, its amount, and its limit of what may be claimed."""

    at: datetime
    settled: Decimal
    pending: Decimal
    reserved: Decimal
    amount: Decimal
    limit: Decimal


Reservations = Mapping[UUID, tuple[str, Decimal]]
"""The state and the amount of reservations."""


def fill_curve(
    changes: Iterable[FillChange],
    instants: Sequence[datetime],
    overbooking_rate: Decimal,
    *,
    totals: Sequence[FillTotals] = (),
    before: Reservations | None = None,
) -> list[FillPoint]:
    """Return the loan at each of the instants, which are in order.

    `changes` are its history, oldest first: all of it, or what follows the last of the `totals`. `before` has the state and amount at the
    last of the `totals` of each reservation that `changes` mentions.

    `overbooking_rate` is a fraction, as 0.20, and holds until a step has another.
    """
    reservations = dict(before or {})
    sums: defaultdict[str, Decimal] = defaultdict(lambda: ZERO_DOLLARS)
    amount = ZERO_DOLLARS
    steps: Iterator[FillTotals | FillChange] = chain(totals, changes)
    step = next(steps, None)
    curve = []
    for instant in instants:
        while step and step.at <= instant:
            if isinstance(step, FillTotals):
                amount = step.amount
                overbooking_rate = overbooking_rate if step.overbooking_rate is None else step.overbooking_rate
                sums |= {SETTLED: step.settled, PENDING: step.pending, RESERVED: step.reserved}
            elif step.reservation is None:
                amount = step.amount
                overbooking_rate = Decimal(step.overbooking_rate or overbooking_rate)
            else:
                former_state, former_amount = reservations.get(step.reservation, (step.state, ZERO_DOLLARS))
                sums[former_state] -= former_amount
                sums[step.state] += step.amount
                reservations[step.reservation] = step.state, step.amount
            step = next(steps, None)
        limit = loan_limits.limit(amount - sums[SETTLED], overbooking_rate)
        curve.append(FillPoint(instant, sums[SETTLED], sums[PENDING], sums[RESERVED], amount, limit))
    return curve


def evenly_spaced(start: datetime, end: datetime, points: int = POINTS) -> list[datetime]:
    """Return so many instants from `start` to `end`, both among them."""
    return [start + (end - start) * number / (points - 1) for number in range(points - 1)] + [end]
