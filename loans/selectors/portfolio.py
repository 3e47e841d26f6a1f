"""Read an investor's portfolio: totals by state, by loan and by market.

A reservation that has lapsed counts as canceled, swept or not. `held` are the dollars that are reserved, pending or settled.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import F, Q, Sum

from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.states import ReservationState, TransferStatus
from loans.models import Reservation, Transfer

HELD = (ReservationState.RESERVED, ReservationState.PENDING, ReservationState.SETTLED)
SHARE = Decimal("0.0001")

_TOTALS = """
    SELECT loan.reference, loan.title, loan.market_cbsa, loan.market_msa, reservation.state, count(*),
        sum(CASE reservation.state WHEN 'settled' THEN reservation.settled_amount ELSE reservation.amount END)
    FROM (
        SELECT loan_id, amount, settled_amount,
            CASE WHEN expires_at <= COALESCE(%(now)s::timestamptz, statement_timestamp()) THEN 'canceled' ELSE state END AS state
        FROM loans_reservation WHERE investor_id = %(investor_id)s
    ) AS reservation JOIN loans_loan AS loan ON loan.id = reservation.loan_id
    GROUP BY loan.id, reservation.state ORDER BY loan.reference
"""


@dataclass(frozen=True)
class InvestorMoney:
    """Dollars of an investor: received and neither settled nor refunded; refunds due; refunds that were sent to the bank."""

    waiting: Decimal
    refunds_due: Decimal
    refunds_sent: Decimal


def investor_money(investor_id: int) -> InvestorMoney:
    """Return what of the investor's money waits, and what goes back."""
    waits = Sum(F("received") - F("lost") - F("refunded") - F("settled_amount"), default=ZERO_DOLLARS)
    refunds = Transfer.objects.filter(reservation__investor=investor_id, status__in=[TransferStatus.DUE, TransferStatus.SENT])
    left = F("amount") - F("moved")
    going_back = refunds.aggregate(
        due=Sum(left, filter=Q(status=TransferStatus.DUE), default=ZERO_DOLLARS),
        sent=Sum(left, filter=Q(status=TransferStatus.SENT), default=ZERO_DOLLARS),
    )
    waiting = Reservation.objects.filter(investor=investor_id).aggregate(dollars=waits)["dollars"]
    return InvestorMoney(waiting, going_back["due"], going_back["sent"])


def portfolio(investor_id: int, now: datetime | None = None, *, using: str = DEFAULT_DB_ALIAS) -> dict[str, Any]:
    """Return the investor's totals in dollars, as the API shows them, from one read of the database `using`.

    The share of a market is a fraction of all dollars held, with four places.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(_TOTALS, {"investor_id": investor_id, "now": now})
        rows = cursor.fetchall()
    states = {state: {"state": state, "count": 0, "amount": ZERO_DOLLARS} for state in ReservationState}
    loans: dict[str, dict[str, Any]] = {}
    markets: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for reference, title, cbsa, msa, state, count, amount in rows:
        states[state]["count"] += count
        states[state]["amount"] += amount
        if state in HELD:
            loan = loans.setdefault(reference, {"loan": reference, "title": title} | dict.fromkeys([*HELD, "held"], ZERO_DOLLARS))
            loan[state] += amount
            loan["held"] += amount
            markets[cbsa, msa] += amount
    held = sum(markets.values(), ZERO_DOLLARS)
    return {
        "held": held,
        "by_state": list(states.values()),
        "by_loan": list(loans.values()),
        "by_market": [
            {"market": {"cbsa": cbsa, "msa": msa} if cbsa else None, "held": amount, "share": (amount / held).quantize(SHARE)}
            for (cbsa, msa), amount in sorted(markets.items(), key=lambda item: (-item[1], item[0]))
        ],
    }
