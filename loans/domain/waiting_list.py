"""Decide which entries of a loan's waiting list become reservations, and of how many dollars.

What frees dollars serves the list before anybody else may reserve, in the order of joining. The query that reads the first entries has the
same order (loans/selectors/waiting_list.py). How many dollars are available is decided in loans/domain/loan_limits.py.

loans/ledger/unit_of_work.py serves the list; it serves standing orders only when a loan opens (loans/domain/standing_orders.py). Amounts
are dollars with two places.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

from loans.domain import loan_limits

AnyEntry = TypeVar("AnyEntry")


@dataclass(frozen=True, slots=True)
class Waiting(Generic[AnyEntry]):
    """An entry that waits for `amount` dollars, and takes no fewer than `at_least`. `number` counts the entries of its loan as they join.

    `may_reserve` is the most that its investor may reserve of the loan now: 0 if not accredited or at a limit.
    """

    entry: AnyEntry
    number: int
    amount: Decimal
    at_least: Decimal
    may_reserve: Decimal


class Placement(NamedTuple, Generic[AnyEntry]):
    """An entry that becomes a reservation of `amount` dollars."""

    entry: AnyEntry
    amount: Decimal


def placements(
    waiting: Iterable[Waiting[AnyEntry]], *, remaining: Decimal, overbooking_rate: Decimal, claimed: Decimal, minimum: Decimal
) -> list[Placement[AnyEntry]]:
    """Return which entries of a loan that takes reservations are served now, those that joined first before the others.

    An entry gets the least of its amount, what is available when its turn comes, and what its investor may reserve. Where that is
    below its `at_least`, or the loan does not accept it as a reservation, the entry is passed over and keeps its place.
    """
    placed = []
    for each in sorted(waiting, key=attrgetter("number")):
        available = loan_limits.available(remaining, overbooking_rate, claimed)
        if not available:
            break
        amount = min(each.amount, available, each.may_reserve)
        if amount >= each.at_least and loan_limits.meets_minimum(amount, minimum, remaining):
            placed.append(Placement(each.entry, amount))
            claimed += amount
    return placed
