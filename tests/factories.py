"""What do tests start from? Investors, loans and claims in any state, brought there by the real services.

Time stands at NOON unless a test passes another `now`.
"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import factory
from django.contrib.auth.models import User

from loans import banking, investing, lending, overriding, settling
from loans.ledger import Actor
from loans.models import Investor, Loan, Reservation, Transfer
from loans.states import Direction

NOON = datetime(2026, 7, 1, 16, 0, tzinfo=UTC)  # a Wednesday, noon in New York
STAFF = Actor("staff")


class UserFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = User

    username = factory.Sequence("user-{}".format)
    email = factory.LazyAttribute("{0.username}@example.org".format)


class InvestorFactory(factory.django.DjangoModelFactory):
    """An accredited investor who may sign in."""

    class Meta:
        model = Investor

    user = factory.SubFactory(UserFactory)
    name = factory.LazyAttribute("Investor {0.user.username}".format)
    accredited_until = date(2099, 12, 31)


class DraftFactory(factory.django.DjangoModelFactory):
    """A draft of $100,000.00, overbooked by up to 20 %."""

    class Meta:
        model = Loan

    reference = factory.Sequence("LN-{:05}".format)
    title = factory.LazyAttribute("Four flats, {0.reference}".format)
    address = "1 Ocean Drive"
    city = "Manhattan Beach"
    state = "CA"
    zip = "90266"
    annual_rate = Decimal("8.50")
    term_months = 24
    ltv = Decimal("65.00")
    amount = Decimal("100000.00")

    @classmethod
    def _create(cls, model_class: type[Loan], *_: Any, now: datetime = NOON, **fields: Any) -> Loan:
        return lending.create(model_class(**fields), actor=STAFF, now=now)


class LoanFactory(DraftFactory):
    """The same, open from `now` until `closes_at`, three weeks later by default."""

    @classmethod
    def _create(cls, model_class: type[Loan], *args: Any, now: datetime = NOON, closes_at: datetime | None = None, **fields: Any) -> Loan:
        draft = super()._create(model_class, *args, now=now, **fields)
        return lending.open_loan(reference=draft.reference, closes_at=closes_at, actor=STAFF, now=now)


def reserved(loan: Loan, amount: Decimal | int | str = 10_000, *, now: datetime = NOON, investor: Investor | None = None) -> Reservation:
    return investing.reserve(reference=loan.reference, investor=investor or InvestorFactory(), amount=Decimal(amount), now=now)


def pending(loan: Loan, amount: Decimal | int | str = 10_000, *, now: datetime = NOON, investor: Investor | None = None) -> Reservation:
    return start_transfer(reserved(loan, amount, now=now, investor=investor), now=now)


def funded(loan: Loan, amount: Decimal | int | str = 10_000, *, now: datetime = NOON, investor: Investor | None = None) -> Reservation:
    claim = pending(loan, amount, now=now, investor=investor)
    money_comes(claim, now=now)
    return fresh(claim)


def settled(loan: Loan, amount: Decimal | int | str = 10_000, *, now: datetime = NOON, investor: Investor | None = None) -> Reservation:
    """Settled by staff, so whatever stands before it in the queue."""
    claim = funded(loan, amount, now=now, investor=investor)
    return fresh(settling.settle_ahead(reservation_id=claim.pk, actor=STAFF, reason="a test", now=now))


def canceled(loan: Loan, amount: Decimal | int | str = 10_000, *, now: datetime = NOON, investor: Investor | None = None) -> Reservation:
    claim = reserved(loan, amount, now=now, investor=investor)
    return fresh(overriding.cancel_by_staff(reservation_id=claim.pk, actor=STAFF, reason="a test", now=now))


def start_transfer(claim: Reservation, *, method: str = "ach", now: datetime = NOON) -> Reservation:
    actor = Actor("investor", claim.investor.user_id)
    return investing.start_transfer(reservation_id=claim.pk, method=method, actor=actor, investor_id=claim.investor_id, now=now)


def inbound(claim: Reservation) -> Transfer:
    """The transfer that the claim's money was expected by last."""
    return claim.transfers.filter(direction=Direction.INBOUND, payment=1).latest("created_at")


def notice(kind: str, reference: str, amount: Decimal | int | str, *, occurred_at: datetime = NOON, event: str = "") -> banking.Notice:
    return banking.Notice(event or f"evt-{uuid4()}", kind, reference, Decimal(amount), occurred_at)  # type: ignore[arg-type]


def money_comes(
    claim: Reservation, amount: Decimal | int | str | None = None, *, now: datetime = NOON, occurred_at: datetime | None = None
) -> str:
    """The bank says that money cleared; as much as was expected, unless `amount` says otherwise."""
    transfer = inbound(claim)
    return banking.record(
        notice("transfer.cleared", transfer.reference, amount or transfer.amount, occurred_at=occurred_at or now), now=now
    )


def money_fails(
    claim: Reservation, amount: Decimal | int | str | None = None, *, now: datetime = NOON, occurred_at: datetime | None = None
) -> str:
    """The bank says that the transfer failed, or that money which had cleared went back."""
    transfer = inbound(claim)
    return banking.record(notice("transfer.failed", transfer.reference, amount or transfer.amount, occurred_at=occurred_at or now), now=now)


def refund_goes_out(refund: Transfer, amount: Decimal | int | str | None = None, *, now: datetime = NOON) -> str:
    """The bank says that a refund was paid."""
    return banking.record(notice("refund.paid", refund.reference, amount or refund.amount, occurred_at=now), now=now)


def fresh(row: Any) -> Any:
    """The row as the database has it now."""
    return type(row).objects.get(pk=row.pk)


HOURS_24 = timedelta(hours=24)
