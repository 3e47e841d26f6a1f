"""Account for the money of a reservation: what has settled, what is refunded, and what waits.

At every moment, for every reservation: received + lost = settled + refunded + waiting. `received` is cleared inbound money,
`refunded` are the refunds that are due or paid, `lost` is what the bank took back after it had been refunded. Amounts are dollars
with two places.
"""

from decimal import Decimal

from loans.domain.states import State

ZERO = Decimal("0.00")


def waiting(*, received: Decimal, lost: Decimal, refunded: Decimal, settled_amount: Decimal) -> Decimal:
    """Return the dollars that are here, have not settled and are not refunded."""
    return received + lost - refunded - settled_amount


def owed(state: str, *, funded: bool, amount: Decimal, waiting: Decimal) -> Decimal:
    """Return how many of the waiting dollars must be refunded; negative where too many are refunded already.

    A funded pending reservation keeps its amount. A pending one that is not funded keeps the money that has come, which staff may
    accept. In every other state a reservation keeps no waiting money.
    """
    if state == State.PENDING:
        return waiting - amount if funded else min(ZERO, waiting)
    return waiting
