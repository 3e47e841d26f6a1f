"""Who is settled, and with how much?

A rule is a pure function from the live claims of a loan, in queue order, to the allocations that are due now. Each loan names
its rule. To add one, write the function and name it in RULES.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

from loans.domain.limits import CENT

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Claim(Generic[Key]):
    """A live claim as a rule sees it. `funded_at` is the instant at which its money was here, None before that."""

    key: Key
    number: int
    amount: Decimal
    funded_at: datetime | None


@dataclass(frozen=True, slots=True)
class Allocation(Generic[Key]):
    """The claim's outcome: `amount` dollars are settled; 0 means that the claim ends with nothing."""

    key: Key
    amount: Decimal


Rule = Callable[[Sequence[Claim[Any]], Decimal, bool], list[Allocation[Any]]]


def fifo(claims: Sequence[Claim[Key]], remaining: Decimal, closed: bool) -> list[Allocation[Key]]:
    """First in, first out: nobody takes what a living earlier claim is entitled to.

    Walks the queue and gives each claim what it asks for until nothing remains. A claim whose money is here settles at
    once if it gets its whole amount, or gets the rest of the loan once every claim before it is decided.
    """
    allocations: list[Allocation[Key]] = []
    all_before_decided = True
    for claim in claims:
        share = min(claim.amount, remaining)
        if share == 0:
            break
        if claim.funded_at and (share == claim.amount or all_before_decided):
            allocations.append(Allocation(claim.key, share))
        else:
            all_before_decided = False
        remaining -= share
    return allocations


def first_funded(claims: Sequence[Claim[Key]], remaining: Decimal, closed: bool) -> list[Allocation[Key]]:
    """The same walk over the claims whose money is here, in the order in which it came; ties by queue order."""
    funded = sorted(((claim.funded_at, claim.number, claim) for claim in claims if claim.funded_at), key=lambda entry: entry[:2])
    return fifo([claim for _, _, claim in funded], remaining, closed)


def pro_rata(claims: Sequence[Claim[Key]], remaining: Decimal, closed: bool) -> list[Allocation[Key]]:
    """Everybody whose money is here gets the same part of what they asked for.

    Waits until the funded claims reach what remains, or until the loan is past its closing and nobody else's money is
    awaited. Cents left over by rounding go to the largest remainders first; ties by queue order.
    """
    funded = [claim for claim in claims if claim.funded_at]
    asked = sum(_cents(claim.amount) for claim in funded)
    if not funded or (asked < _cents(remaining) and not (closed and len(funded) == len(claims))):
        return []
    to_give = min(asked, _cents(remaining))
    shares = {claim.number: divmod(_cents(claim.amount) * to_give, asked) for claim in funded}
    cents_left = to_give - sum(cents for cents, _ in shares.values())
    rounded_up = set(sorted(shares, key=lambda number: (-shares[number][1], number))[:cents_left])
    return [Allocation(claim.key, (shares[claim.number][0] + (claim.number in rounded_up)) * CENT) for claim in funded]


def _cents(amount: Decimal) -> int:
    return int(amount / CENT)


RULES: dict[str, Rule] = {rule.__name__: rule for rule in (fifo, first_funded, pro_rata)}
DEFAULT_RULE = fifo.__name__
