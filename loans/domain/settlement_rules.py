"""Divide what remains of a loan among its live reservations.

A rule is a pure function from a loan's live reservations, in queue order, to the allocations that are due now. Each loan
names its rule. To add one, write the function and list it in RULES.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from loans.domain.limits import CENT


class QueuedReservation(Protocol):
    """What a rule reads of a reservation. `funded_at` is when its money was here, None before that."""

    number: int
    amount: Decimal
    funded_at: datetime | None


@dataclass(frozen=True, slots=True)
class Allocation:
    """Settle `amount` dollars of a reservation of the queue. With 0 dollars it ends with nothing."""

    reservation: Any  # the very object from the queue; typed Any so that a caller gets back its own type
    amount: Decimal


Queue = Sequence[QueuedReservation]
Rule = Callable[[Queue, Decimal, bool], list[Allocation]]
"""Takes the queue, the dollars that remain, and whether the loan's closing has passed."""


def fifo(queue: Queue, remaining: Decimal, closed: bool) -> list[Allocation]:
    """Settle first in, first out: no reservation takes what a live one before it is entitled to.

    Walk the queue and set aside for each reservation what it asks for, until nothing remains. A funded reservation settles if
    that is its whole amount, or if it is the rest of the loan and every reservation before it is decided.
    """
    allocations: list[Allocation] = []
    all_before_decided = True
    for reservation in queue:
        share = min(reservation.amount, remaining)
        if share == 0:
            break
        if reservation.funded_at and (share == reservation.amount or all_before_decided):
            allocations.append(Allocation(reservation, share))
        else:
            all_before_decided = False
        remaining -= share
    return allocations


def first_funded(queue: Queue, remaining: Decimal, closed: bool) -> list[Allocation]:
    """Settle as `fifo` does, but only the funded reservations, in the order in which their money came; ties by queue order."""
    funded = [(reservation.funded_at, reservation.number, reservation) for reservation in queue if reservation.funded_at]
    return fifo([reservation for _, _, reservation in sorted(funded, key=lambda entry: entry[:2])], remaining, closed)


def pro_rata(queue: Queue, remaining: Decimal, closed: bool) -> list[Allocation]:
    """Settle the same fraction of each funded reservation, to the cent, at most all of it.

    Wait until the funded reservations reach what remains; or until the closing has passed and every live reservation is
    funded. The cents that rounding leaves over go to the largest remainders, ties by queue order.

    Source of the rounding: the largest remainder method, also named after Hamilton.
    """
    funded = [reservation for reservation in queue if reservation.funded_at]
    wanted = sum(_cents(reservation.amount) for reservation in funded)
    all_money_is_here = len(funded) == len(queue)
    if not funded or (wanted < _cents(remaining) and not (closed and all_money_is_here)):
        return []
    to_give = min(wanted, _cents(remaining))
    # For each reservation, by its number: whole cents, and the remainder of the division.
    shares = {reservation.number: divmod(_cents(reservation.amount) * to_give, wanted) for reservation in funded}
    cents_left = to_give - sum(cents for cents, _ in shares.values())
    largest_remainders_first = sorted(shares, key=lambda number: (-shares[number][1], number))
    get_one_more = set(largest_remainders_first[:cents_left])
    return [
        Allocation(reservation, (shares[reservation.number][0] + (reservation.number in get_one_more)) * CENT) for reservation in funded
    ]


def _cents(amount: Decimal) -> int:
    return int(amount / CENT)


RULES: dict[str, Rule] = {rule.__name__: rule for rule in (fifo, first_funded, pro_rata)}
DEFAULT_RULE = fifo.__name__
