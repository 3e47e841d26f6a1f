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
    """What a rule reads of a reservation. `funded_at` is when its whole amount was received, None before that."""

    number: int
    amount: Decimal
    funded_at: datetime | None


@dataclass(frozen=True, slots=True)
class Allocation:
    """Settle `amount` dollars of a reservation of the queue. With 0 dollars the reservation is canceled."""

    reservation: Any  # The same object as in the queue. Its type is Any, since each caller's queue has its own type.
    amount: Decimal


Queue = Sequence[QueuedReservation]
Rule = Callable[[Queue, Decimal, bool], list[Allocation]]
"""Takes the queue, the dollars that remain, and whether the loan's closing has passed. Allocations settle in their order."""


def fifo(queue: Queue, remaining: Decimal, closed: bool) -> list[Allocation]:
    """Settle in queue order (first in, first out). No reservation takes dollars that one before it may still need.

    Walk the queue and set aside for each reservation its amount, or what is left, until nothing is left. A funded reservation
    settles if its whole amount is set aside. It settles with less only if all before it settle too: otherwise one of them may still
    be canceled, and leave more for it. The allocations are in queue order.
    """
    allocations: list[Allocation] = []
    all_before_settle = True
    for reservation in queue:
        share = min(reservation.amount, remaining)
        if share == 0:
            break
        if reservation.funded_at and (share == reservation.amount or all_before_settle):
            allocations.append(Allocation(reservation, share))
        else:
            all_before_settle = False
        remaining -= share
    return allocations


def first_funded(queue: Queue, remaining: Decimal, closed: bool) -> list[Allocation]:
    """Settle as `fifo` does, but only the funded reservations, in the order in which they were funded; ties by queue order."""
    funded = [(reservation.funded_at, reservation.number, reservation) for reservation in queue if reservation.funded_at]
    return fifo([reservation for _, _, reservation in sorted(funded, key=lambda entry: entry[:2])], remaining, closed)


def pro_rata(queue: Queue, remaining: Decimal, closed: bool) -> list[Allocation]:
    """Settle the same fraction of each funded reservation, to the cent, at most all of it.

    Wait until the funded reservations reach what remains; or until the closing has passed and every live reservation is
    funded. The cents that rounding leaves over go to the largest remainders, ties by queue order. The allocations
    are in queue order. One of them has 0 dollars where a share is less than a cent.

    Source of the rounding: the largest remainder method, also named after Hamilton.
    """
    funded = [reservation for reservation in queue if reservation.funded_at]
    wanted = sum(_cents(reservation.amount) for reservation in funded)
    all_are_funded = len(funded) == len(queue)
    if not funded or (wanted < _cents(remaining) and not (closed and all_are_funded)):
        return []
    to_give = min(wanted, _cents(remaining))
    # Both by the reservation's number: its whole cents, and the remainder of the division that gave them.
    cents, remainders = {}, {}
    for reservation in funded:
        cents[reservation.number], remainders[reservation.number] = divmod(_cents(reservation.amount) * to_give, wanted)
    cents_left = to_give - sum(cents.values())
    largest_remainders_first = sorted(remainders, key=lambda number: (-remainders[number], number))
    for number in largest_remainders_first[:cents_left]:
        cents[number] += 1
    return [Allocation(reservation, cents[reservation.number] * CENT) for reservation in funded]


def _cents(amount: Decimal) -> int:
    return int(amount / CENT)


RULES: dict[str, Rule] = {rule.__name__: rule for rule in (fifo, first_funded, pro_rata)}
DEFAULT_RULE = fifo.__name__
