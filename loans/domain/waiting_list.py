"""Decide which entries of a loan's waiting list become reservations, and of how many dollars.

What frees dollars serves the list before anybody else may reserve. The entries come in the order of joining, by their numbers
(loans/selectors/waiting_list.py). How many dollars are available is decided in loans/domain/limits.py. loans/ledger/unit_of_work.py
serves the list; it serves standing orders only when a loan opens (loans/domain/standing_orders.py). Amounts are dollars with two places.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, NamedTuple, TypeVar

from loans.domain import limits

AnyEntry = TypeVar("AnyEntry")


@dataclass(frozen=True, slots=True)
class Waiting(Generic[AnyEntry]):
    """An entry that waits for `amount` dollars, and takes no fewer than `at_least`.

    `may_reserve` is the most that its investor may reserve of the loan now: 0 if not accredited or at a limit.
    """

    entry: AnyEntry
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
    """Return which entries of a loan that takes reservations are served now. `waiting` and the result are in the order of joining.

    An entry gets the least of its amount, what is available when its turn comes, and what its investor may reserve. Where that is
    below its `at_least`, or the loan does not accept it as a reservation, the entry is passed over and keeps its place.
    """
    placed = []
    for each in waiting:
        available = limits.available(remaining, overbooking_rate, claimed)
        if not available:
            break
        amount = min(each.amount, available, each.may_reserve)
        if amount >= each.at_least and limits.meets_minimum(amount, minimum, remaining):
            placed.append(Placement(each.entry, amount))
            claimed += amount
    return placed
