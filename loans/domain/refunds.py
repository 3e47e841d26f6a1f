"""Account for the money of one reservation, and decide what of it is refunded.

For every reservation, at every moment: received + lost = settled + refunded + waiting.

`received` is cleared inbound money, less what the bank has taken back. `refunded` is the sum of the refunds that are due, sent or paid.
`lost` is what the bank took back after it had been refunded. Amounts are dollars with two places.

An example: a reservation of $1,000 receives $1,500, so $500 are refunded and $1,000 wait: 1,500 + 0 = 0 + 500 + 1,000. Then $600
settle, all that remained of the loan, and $400 more are refunded: 1,500 + 0 = 600 + 900 + 0.
"""

from decimal import Decimal

from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.states import ReservationState


def waiting_money(*, received: Decimal, lost: Decimal, refunded: Decimal, settled_amount: Decimal) -> Decimal:
    """Return the dollars that were received and are neither settled nor refunded; negative where too much is refunded."""
    return received + lost - refunded - settled_amount


def refund_adjustment(state: str, *, funded: bool, amount: Decimal, waiting: Decimal) -> Decimal:
    """Return by how many dollars the reservation's refunds must change: positive, refund more; negative, void so much.

    `amount` is the reservation's. A funded pending reservation keeps its amount. A pending one that is not funded keeps the money
    that was received, which staff may accept. In every other state a reservation keeps no waiting money.
    """
    if state == ReservationState.PENDING:
        return waiting - amount if funded else min(ZERO_DOLLARS, waiting)
    return waiting
