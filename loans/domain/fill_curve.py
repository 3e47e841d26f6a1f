"""How did a loan fill over time? Its history folded into a bounded number of points.

Dollars with two places, instants with their offset. A reservation counts as what history says it is, so one that has lapsed
counts until it is swept.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from loans.domain import limits
from loans.domain.money import NOTHING
from loans.domain.states import State

POINTS = 120


class FillChange(NamedTuple):
    """From `at` on the reservation, or the loan itself where `reservation` is None, has this state and these dollars."""

    at: datetime
    reservation: UUID | None
    state: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class FillPoint:
    """What of a loan was settled, pending and reserved at one instant, and how much could be claimed at once."""

    at: datetime
    settled: Decimal
    pending: Decimal
    reserved: Decimal
    amount: Decimal
    limit: Decimal


def fill_curve(
    changes: Iterable[FillChange], start: datetime, end: datetime, overbooking_rate: Decimal, points: int = POINTS
) -> list[FillPoint]:
    """The loan at `points` instants, evenly spaced from `start` to `end`. `changes` are all of its history, oldest first."""
    coming = iter(changes)
    change = next(coming, None)
    held: dict[UUID, tuple[str, Decimal]] = {}
    sums: defaultdict[str, Decimal] = defaultdict(lambda: NOTHING)
    amount = NOTHING
    found = []
    for instant in _instants(start, end, points):
        while change and change.at <= instant:
            if change.reservation is None:
                amount = change.amount
            else:
                state, dollars = held.get(change.reservation, (change.state, NOTHING))
                sums[state] -= dollars
                sums[change.state] += change.amount
                held[change.reservation] = change.state, change.amount
            change = next(coming, None)
        settled, pending, reserved = (sums[state] for state in (State.SETTLED, State.PENDING, State.RESERVED))
        found.append(FillPoint(instant, settled, pending, reserved, amount, limits.limit(amount - settled, overbooking_rate)))
    return found


def _instants(start: datetime, end: datetime, points: int) -> Iterator[datetime]:
    for number in range(points - 1):
        yield start + (end - start) * number / (points - 1)
    yield end
