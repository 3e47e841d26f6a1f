"""What do staff do meanwhile? They act on whatever they find, by the services that the admin calls, from a process of their own."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import django
from django.db import InterfaceError, OperationalError, connection

django.setup()

from loans import lending, overriding, settling
from loans.ledger import Actor
from loans.models import Loan, Reservation, Transfer
from peerloans.errors import Problem
from tests.chaos.stage import FEWEST_OPEN, new_loan

STAFF = Actor("staff")
REASON = "what staff do while everything breaks"
PAUSE_SECONDS = 0.2


def act(draw: random.Random) -> None:
    """One action, on a claim, a refund or a loan drawn by lot."""
    if Loan.objects.filter(status="open").count() < FEWEST_OPEN:
        new_loan(f"CH-{uuid4().hex[:8]}", draw)
        return
    action, found = draw.choice(ACTIONS)
    ids = list(found.order_by("pk").values_list("pk", flat=True)[:500])
    if ids:
        action(draw.choice(ids))


def _extend_claim(claim_id: Any) -> None:
    until = datetime.now(UTC) + timedelta(days=8)
    overriding.extend_claim(reservation_id=claim_id, expires_at=until, actor=STAFF, reason=REASON)


def _extend_loan(loan_id: Any) -> None:
    loan = Loan.objects.get(pk=loan_id)
    assert loan.closes_at
    lending.extend(reference=loan.reference, closes_at=loan.closes_at + timedelta(hours=1), actor=STAFF, reason=REASON)


def _mark_paid(transfer_id: Any) -> None:
    overriding.mark_paid(transfer_id=transfer_id, notice_id=uuid4(), occurred_at=datetime.now(UTC), actor=STAFF, reason=REASON)


def _on_claim(step: Callable[..., Any]) -> Callable[[Any], None]:
    return lambda claim_id: step(reservation_id=claim_id, actor=STAFF, reason=REASON)


_LIVE = Reservation.objects.filter(state__in=["reserved", "pending"])
ACTIONS: list[tuple[Callable[[Any], None], Any]] = [
    (_on_claim(overriding.cancel_by_staff), _LIVE),
    (_on_claim(overriding.reinstate), Reservation.objects.filter(state="canceled")),
    (_on_claim(overriding.accept_amount), _LIVE.filter(received__gt=0, funded_at=None)),
    (_on_claim(settling.settle_ahead), _LIVE.exclude(funded_at=None)),
    (_extend_claim, _LIVE),
    (_mark_paid, Transfer.objects.filter(direction="refund", status="due")),
    (_extend_loan, Loan.objects.filter(status="open")),
]


def main() -> None:
    draw = random.Random()
    while True:
        try:
            act(draw)
        except Problem:
            pass  # what the rules refuse
        except (OperationalError, InterfaceError):
            connection.close()
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
