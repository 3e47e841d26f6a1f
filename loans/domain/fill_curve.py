"""Compute how a loan filled over time, as a fixed number of points.

Amounts are dollars with two places. A reservation counts with the state that history records, so a lapsed one counts until it
is stored as expired.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from loans.domain import limits
from loans.domain.reservation_money import ZERO_DOLLARS
from loans.domain.states import ReservationState

POINTS = 120


class FillChange(NamedTuple):
    """From `at` on, the reservation has this state and amount. Without a reservation it is the loan itself that has them.

    `overbooking_rate` is the loan's new rate as text, None where it stays.
    """

    at: datetime
    reservation: UUID | None
    state: str
    amount: Decimal
    overbooking_rate: str | None = None


@dataclass(frozen=True, slots=True)
class FillPoint:
    """The dollars of a loan at one instant: settled, pending and reserved ones, its amount, and its limit of what may be claimed."""

    at: datetime
    settled: Decimal
    pending: Decimal
    reserved: Decimal
    amount: Decimal
    limit: Decimal


def fill_curve(
    changes: Iterable[FillChange], start: datetime, end: datetime, overbooking_rate: Decimal, points: int = POINTS
) -> list[FillPoint]:
    """Return the loan at `points` instants, evenly spaced from `start` to `end`.

    `changes` are all of its history, oldest first; `overbooking_rate` is a fraction, as 0.20, and holds until a change has another.
    """
    remaining_changes = iter(changes)
    change = next(remaining_changes, None)
    reservations: dict[UUID, tuple[str, Decimal]] = {}
    sums: defaultdict[str, Decimal] = defaultdict(lambda: ZERO_DOLLARS)
    amount = ZERO_DOLLARS
    curve = []
    for instant in _instants(start, end, points):
        while change and change.at <= instant:
            if change.reservation is None:
                amount = change.amount
                overbooking_rate = Decimal(change.overbooking_rate or overbooking_rate)
            else:
                former_state, former_amount = reservations.get(change.reservation, (change.state, ZERO_DOLLARS))
                sums[former_state] -= former_amount
                sums[change.state] += change.amount
                reservations[change.reservation] = change.state, change.amount
            change = next(remaining_changes, None)
        settled, pending, reserved = (
            sums[state] for state in (ReservationState.SETTLED, ReservationState.PENDING, ReservationState.RESERVED)
        )
        limit = limits.limit(amount - settled, overbooking_rate)
        curve.append(FillPoint(instant, settled, pending, reserved, amount, limit))
    return curve


def _instants(start: datetime, end: datetime, points: int) -> Iterator[datetime]:
    for number in range(points - 1):
        yield start + (end - start) * number / (points - 1)
    yield end
