"""Reserve parts of many loans in one request."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from loans.domain.errors import Busy
from loans.ledger import locks
from loans.models import Investor, Loan, Reservation
from loans.services.reservations import reserve
from peerloans.errors import Problem


@dataclass(frozen=True)
class Order:
    """What to reserve: `amount` dollars of a loan, or what there is, but not less than `at_least`."""

    reference: str
    amount: Decimal
    at_least: Decimal | None = None


def reserve_many(
    *, investor: Investor, orders: Sequence[Order], all_or_nothing: bool = False, now: datetime | None = None
) -> list[Reservation | Problem]:
    """Decide each order by itself, in the order given, and return its reservation or its refusal in that order.

    All loans are locked first, in the order of their ids, so that two batches cannot be a deadlock over their loans. What an order reserves
    counts for those after it.

    Raises:
        Busy: a lock did not come in time; nothing is reserved.
        Problem: with `all_or_nothing`, the first refusal, with the `index` of its order; nothing is reserved.
    """
    references = {order.reference for order in orders}
    loan_ids = list(Loan.objects.filter(reference__in=references).order_by("id").values_list("id", flat=True))
    outcomes: list[Reservation | Problem] = []
    with locks.short_transaction():
        if loan_ids:
            locks.lock_loans(loan_ids=loan_ids, now=now)
        for index, order in enumerate(orders):
            try:
                outcomes.append(
                    reserve(reference=order.reference, investor=investor, amount=order.amount, at_least=order.at_least, now=now)
                )
            except Busy:
                raise
            except Problem as refusal:
                if all_or_nothing:
                    refusal.data["index"] = index
                    raise
                outcomes.append(refusal)
    return outcomes
