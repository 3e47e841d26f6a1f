"""What a test about loans begins with: an open loan, investors, and reservations brought as far as the test needs."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from loans.domain.actors import Actor
from loans.models import Investor, Loan, Reservation, User
from loans.selectors.transfers import current_transfer
from loans.services import loans as loan_services
from loans.services import reservations as reservation_services
from loans.services.loans import create_loan
from loans.services.payments import Notice, record_bank_event
from loans.services.reservations import start_transfer

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
    return create_loan(Loan(**(values | {"reference": f"L-{next(_numbers)}"} | facts)), actor=STAFF, now=at)


def open_loan(at: datetime = MONDAY, **facts: Any) -> Loan:
    return loan_services.open_loan(reference=draft(at, **facts).reference, actor=STAFF, now=at)


def reserve(loan: Loan, amount: int, at: datetime = MONDAY) -> Reservation:
    return reservation_services.reserve(reference=loan.reference, investor=investor(), amount=Decimal(amount), now=at)


def start(reservation: Reservation, at: datetime = MONDAY) -> Reservation:
    return start_transfer(reservation_id=reservation.pk, method="ach", actor=STAFF, now=at)


def tell(reservation: Reservation, kind: str, amount: int | Decimal | None = None, at: datetime = MONDAY) -> str:
    """The bank speaks about the reservation's own transfer, or about a refund of it."""
    refunds = reservation.transfers.filter(direction="refund").order_by("-created_at")
    transfer = refunds[0] if kind == "refund.paid" else current_transfer(reservation)
    assert transfer is not None
    notice = Notice(f"E-{next(_numbers)}", kind, transfer.reference, Decimal(amount or transfer.amount), at - timedelta(minutes=1))  # type: ignore[arg-type]
    return record_bank_event(notice, now=at)


def funded_reservation(loan: Loan, amount: int, at: datetime = MONDAY) -> Reservation:
    reservation = start(reserve(loan, amount, at), at)
    tell(reservation, "transfer.cleared", at=at)
    reservation.refresh_from_db()
    return reservation
