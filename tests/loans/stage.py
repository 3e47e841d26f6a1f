"""What a test about loans begins with: an open loan, investors, and claims brought as far as the test needs."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from django.contrib.auth.models import User

from loans import banking, investing, lending
from loans.ledger import Actor
from loans.models import Investor, Loan, Reservation
from loans.selectors import own_transfer

STAFF = Actor("staff")
MONDAY = datetime(2026, 3, 2, 15, tzinfo=UTC)  # ten o'clock in New York
_numbers = count(1)


def investor() -> Investor:
    number = next(_numbers)
    user = User.objects.create(username=f"investor{number}")
    return Investor.objects.create(user=user, name=f"Investor {number}", accredited_until=datetime(2099, 1, 1, tzinfo=UTC).date())


def draft(at: datetime = MONDAY, **facts: Any) -> Loan:
    values = {"title": "Six flats", "address": "1 Main St", "city": "Austin", "state": "TX", "zip": "78701"}
    values |= {"annual_rate": Decimal("9.50"), "term_months": 12, "ltv": Decimal("65.00"), "amount": Decimal("10000.00")}
    return lending.create(Loan(**(values | {"reference": f"L-{next(_numbers)}"} | facts)), actor=STAFF, now=at)


def open_loan(at: datetime = MONDAY, **facts: Any) -> Loan:
    return lending.open_loan(reference=draft(at, **facts).reference, actor=STAFF, now=at)


def reserve(loan: Loan, amount: int, at: datetime = MONDAY) -> Reservation:
    return investing.reserve(reference=loan.reference, investor=investor(), amount=Decimal(amount), now=at)


def start(claim: Reservation, at: datetime = MONDAY) -> Reservation:
    return investing.start_transfer(reservation_id=claim.pk, method="ach", actor=STAFF, now=at)


def tell(claim: Reservation, kind: str, amount: int | Decimal | None = None, at: datetime = MONDAY) -> str:
    """The bank speaks about the claim's own transfer, or about a refund of it."""
    refunds = claim.transfers.filter(direction="refund").order_by("-created_at")
    transfer = refunds[0] if kind == "refund.paid" else own_transfer(claim)
    assert transfer is not None
    notice = banking.Notice(f"E-{next(_numbers)}", kind, transfer.reference, Decimal(amount or transfer.amount), at - timedelta(minutes=1))  # type: ignore[arg-type]
    return banking.record(notice, now=at)


def funded_claim(loan: Loan, amount: int, at: datetime = MONDAY) -> Reservation:
    claim = start(reserve(loan, amount, at), at)
    tell(claim, "transfer.cleared", at=at)
    claim.refresh_from_db()
    return claim
