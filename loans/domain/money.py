"""Whose is the money that lies here?

At every moment, for every reservation: received + lost = settled + refunded + waiting. `received` is cleared inbound
money, `refunded` the refunds that are due or paid, `lost` refunds paid for money that was taken back afterwards.
"""

from decimal import Decimal

from loans.domain.states import State

NOTHING = Decimal("0.00")


def waiting(*, received: Decimal, lost: Decimal, refunded: Decimal, settled_amount: Decimal) -> Decimal:
    """Money that is here and neither settled nor going back."""
    return received + lost - refunded - settled_amount


def owed(state: str, *, funded: bool, amount: Decimal, waiting: Decimal) -> Decimal:
    """What of the waiting money has to go back; negative where too much has gone back already.

    A funded reservation keeps its amount until its turn comes. Too little money waits beside the running clock, for staff to
    accept it. Every other state keeps nothing that waits.
    """
    if state == State.PENDING:
        return waiting - amount if funded else min(NOTHING, waiting)
    return waiting
