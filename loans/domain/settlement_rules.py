"""Divide what remains of a loan among its live reservations.

A rule is a pure function from a loan's live reservations, in queue order, to the allocations that are due now. Each loan
names its rule. To add one, write the function and list it in RULES with its description for investors. What becomes of a loan that has
closed with dollars left is decided by staff (loans/services/loans.py).

loans/services/settlement.py applies the allocations, and funds the loan when nothing remains of it. How much of a reservation's money has
been received is decided in loans/domain/payments.py, what of it is refunded or waits in loans/domain/refunds.py, and
what becomes of late money in loans/services/transfers.py.

docs/settlement.md explains the rules to investors and settles the same eight reservations by each of them.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from loans.domain.dollars import CENT
from loans.domain.loan_limits import LEAST_MINIMUM


class QueuedReservation(Protocol):
    """What a rule reads of a reservation. `funded_at` is when its whole amount was received, None before that."""

    number: int
    amount: Decimal
    funded_at: datetime | None


@dataclass(frozen=True, slots=True)
class LoanToSettle:
    """What a rule reads of a loan. `remaining` and `minimum` are dollars; `closed` says whether the loan's closing has passed.

    `lottery_seed` is the secret that `lottery` draws its order from. Other rules do not read it.
    """

    remaining: Decimal
    closed: bool = False
    minimum: Decimal = LEAST_MINIMUM
    lottery_seed: str = ""


class Allocation(NamedTuple):
    """Settle `amount` dollars of a reservation of the queue. With 0 dollars the reservation is canceled."""

    reservation: Any  # The same object as in the queue. Its type is Any, since each caller's queue has its own type.
    amount: Decimal


Queue = Sequence[QueuedReservation]
Rule = Callable[[Queue, LoanToSettle], list[Allocation]]
"""Takes the queue and the loan. The allocations settle in their order."""


# --- Rules that settle one reservation after the other ----------------------------------------------------------------
def fifo(queue: Queue, loan: LoanToSettle) -> list[Allocation]:
    """Settle in queue order (first in, first out). No reservation takes dollars that one before it may still need.

    Walk the queue and set aside for each reservation its amount, or what is left, until nothing is left. A funded reservation
    settles if its whole amount is set aside. It settles with less only if all before it settle too: otherwise one of them may still
    be canceled, and leave more for it. The allocations are in queue order.
    """
    allocations: list[Allocation] = []
    all_before_settle, remaining = True, loan.remaining
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


def first_funded(queue: Queue, loan: LoanToSettle) -> list[Allocation]:
    """Settle as `fifo` does, but only the funded reservations, in the order in which they were funded; ties by queue order."""
    funded = [(reservation.funded_at, reservation.number, reservation) for reservation in queue if reservation.funded_at]
    return fifo([reservation for _, _, reservation in sorted(funded, key=lambda entry: entry[:2])], loan)


# --- Rules that wait until the money can be shared out ----------------------------------------------------------------
def pro_rata(queue: Queue, loan: LoanToSettle) -> list[Allocation]:
    """Settle the same fraction of each funded reservation, to the cent, at most all of it.

    It waits until the money can be shared out (see `_ready`). The cents that rounding leaves over go to the largest remainders, ties
    by queue order. The allocations are in queue order. One of them has 0 dollars where a share is less than a cent.

    Source of the rounding: the largest remainder method, also named after Hamilton.
    """
    funded = _ready(queue, loan)
    return _allocations(funded, _in_proportion([_cents(reservation.amount) for reservation in funded], _cents(loan.remaining)))


def equal_awards(queue: Queue, loan: LoanToSettle) -> list[Allocation]:
    """Settle the same amount of each funded reservation, at most all of it. What one does not need is shared by the others.

    It waits as `pro_rata` does. The cents that division leaves over go to the first in the queue that are not settled whole.

    Source: the constrained equal awards rule for claims problems, in the laws of Maimonides.
    """
    funded = _ready(queue, loan)
    return _allocations(funded, _equally([_cents(reservation.amount) for reservation in funded], _cents(loan.remaining)))


def base_then_pro_rata(queue: Queue, loan: LoanToSettle) -> list[Allocation]:
    """Settle the loan's minimum of each funded reservation, then of each the same fraction of what it asks beyond the minimum.

    It waits as `pro_rata` does, and rounds as that does. A reservation below the minimum gets all of it. Where the minimum of all is
    more than remains, each gets an equal part of it, as by `equal_awards`.
    """
    funded = _ready(queue, loan)
    amounts = [_cents(reservation.amount) for reservation in funded]
    bases = _equally([min(cents, _cents(loan.minimum)) for cents in amounts], _cents(loan.remaining))
    beyond = _in_proportion([cents - base for cents, base in zip(amounts, bases, strict=True)], _cents(loan.remaining) - sum(bases))
    return _allocations(funded, [base + more for base, more in zip(bases, beyond, strict=True)])


def lottery(queue: Queue, loan: LoanToSettle) -> list[Allocation]:
    """Settle the funded reservations one after the other, in the order of their lottery tickets, until the loan is sold out.

    It waits as `pro_rata` does. The allocations are in the order of the tickets.
    """
    drawn = sorted(_ready(queue, loan), key=lambda reservation: lottery_ticket(loan.lottery_seed, reservation.number))
    return fifo(drawn, loan)


def lottery_ticket(seed: str, number: int) -> str:
    """Return the ticket of the reservation with this number: the SHA-256 of `seed:number`, as 64 hexadecimal digits."""
    return hashlib.sha256(f"{seed}:{number}".encode()).hexdigest()


def lottery_commitment(seed: str) -> str:
    """Return what is published before the lottery runs: the SHA-256 of the seed, as 64 hexadecimal digits."""
    return hashlib.sha256(seed.encode()).hexdigest()


def _ready(queue: Queue, loan: LoanToSettle) -> Queue:
    """Return the funded reservations once their money can be shared out, before that none.

    That is when they reach what remains; or when the closing has passed and every live reservation is funded.
    """
    funded = [reservation for reservation in queue if reservation.funded_at]
    all_are_funded = len(funded) == len(queue)
    reach_remaining = sum([reservation.amount for reservation in funded]) >= loan.remaining
    return funded if reach_remaining or (loan.closed and all_are_funded) else []


def _in_proportion(amounts: Sequence[int], to_give: int) -> list[int]:
    """Return the cents of each in proportion to the cents that it asks for, at most these; rounded by largest remainders."""
    total = sum(amounts)
    if total <= to_give:
        return list(amounts)
    shares = [cents * to_give // total for cents in amounts]
    remainders = [cents * to_give % total for cents in amounts]
    largest_remainders_first = sorted(range(len(amounts)), key=remainders.__getitem__, reverse=True)  # stable: ties stay in order
    for index in largest_remainders_first[: to_give - sum(shares)]:
        shares[index] += 1
    return shares


def _equally(amounts: Sequence[int], to_give: int) -> list[int]:
    """Return the same cents for each, at most what it asks for. The cents that division leaves over go to the first of those cut."""
    shares, to_share = [0] * len(amounts), min(to_give, sum(amounts))
    smallest_first = sorted(range(len(amounts)), key=lambda index: amounts[index])
    for place, index in enumerate(smallest_first):
        equal, left_over = divmod(to_share, len(amounts) - place)
        if amounts[index] > equal:
            cut = sorted(smallest_first[place:])
            for position, cut_index in enumerate(cut):
                shares[cut_index] = equal + (position < left_over)
            break
        shares[index] = amounts[index]
        to_share -= amounts[index]
    return shares


def _allocations(reservations: Queue, shares: Sequence[int]) -> list[Allocation]:
    return [Allocation(reservation, cents * CENT) for reservation, cents in zip(reservations, shares, strict=True)]


def _cents(amount: Decimal) -> int:
    return int(amount * 100)


RULES: dict[str, Rule] = {rule.__name__: rule for rule in (fifo, first_funded, pro_rata, equal_awards, base_then_pro_rata, lottery)}
RULES_IN_WORDS = {
    "fifo": "In queue order: the first to reserve is settled first.",
    "first_funded": "In the order in which the payments arrive.",
    "pro_rata": "Every investor whose payment has arrived gets the same share of what they reserved.",
    "equal_awards": "Every investor whose payment has arrived gets the same amount, but never more than they reserved.",
    "base_then_pro_rata": "Every investor whose payment has arrived gets the minimum, and the same share of what they reserved beyond it.",
    "lottery": "In an order drawn by lot among the investors whose payment has arrived. The draw can be checked.",
}
DEFAULT_RULE = fifo.__name__
