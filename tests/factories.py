"""Make what tests start from: investors, loans, and reservations in any state, by the real services.

The time is NOON unless a test passes another `now`.
"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import factory

from loans.domain.actors import Actor
from loans.domain.states import Direction
from loans.models import Investor, Loan, Reservation, StandingOrder, Transfer, User, WaitingListEntry
from loans.services import reservations as reservation_services
from loans.services.bank_events import Notice, record_bank_event
from loans.services.loans import create_loan, open_loan
from loans.services.reservations import reserve
from loans.services.settlement import settle_ahead_of_turn
from loans.services.staff_overrides import cancel_by_staff
from loans.services.standing_orders import create_standing_order
from loans.services.waiting_list import join_waiting_list

NOON = datetime(2026, 7, 1, 16, 0, tzinfo=UTC)  # a Wednesday, noon in New York
HOURS_24 = timedelta(hours=24)
STAFF = Actor("staff")
# Limits of investors who do what hundreds would, in tests that are not about these limits.
UNLIMITED: dict[str, Any] = {"unfunded_limit": Decimal("999999999999.99"), "let_go_limit": 32_767}


class UserFactory(factory.django.DjangoModelFactory):
    """A user who is active."""

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
        return create_loan(model_class(**fields), actor=STAFF, now=now)


class LoanFactory(DraftFactory):
    """The same loan, open from `now` until `closes_at`, by default three weeks later."""

    @classmethod
    def _create(cls, model_class: type[Loan], *args: Any, now: datetime = NOON, closes_at: datetime | None = None, **fields: Any) -> Loan:
        draft = super()._create(model_class, *args, now=now, **fields)
        return open_loan(reference=draft.reference, closes_at=closes_at, actor=STAFF, now=now)


def reserved(loan: Loan, amount: Decimal | int | str = 10_000, *, now: datetime = NOON, investor: Investor | None = None) -> Reservation:
    """Make a reservation."""
    return reserve(reference=loan.reference, investor=investor or InvestorFactory(), amount=Decimal(amount), now=now)


def pending(loan: Loan, amount: Decimal | int | str = 10_000, *, now: datetime = NOON, investor: Investor | None = None) -> Reservation:
    """Make a reservation and start its transfer."""
    return start_transfer(reserved(loan, amount, now=now, investor=investor), now=now)


def funded(loan: Loan, amount: Decimal | int | str = 10_000, *, now: datetime = NOON, investor: Investor | None = None) -> Reservation:
    """Make a reservation whose money was received."""
    reservation = pending(loan, amount, now=now, investor=investor)
    money_comes(reservation, now=now)
    return fresh(reservation)


def settled(loan: Loan, amount: Decimal | int | str = 10_000, *, now: datetime = NOON, investor: Investor | None = None) -> Reservation:
    """Make a reservation and let staff settle it, whatever is before it in the queue."""
    reservation = funded(loan, amount, now=now, investor=investor)
    return fresh(settle_ahead_of_turn(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=now))


def canceled(loan: Loan, amount: Decimal | int | str = 10_000, *, now: datetime = NOON, investor: Investor | None = None) -> Reservation:
    """Make a reservation and let staff cancel it."""
    reservation = reserved(loan, amount, now=now, investor=investor)
    return fresh(cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=now))


def waiting(
    loan: Loan,
    amount: Decimal | int | str = 10_000,
    *,
    at_least: Decimal | int | str | None = None,
    now: datetime = NOON,
    investor: Investor | None = None,
) -> WaitingListEntry:
    """Let an investor join the waiting list."""
    least = None if at_least is None else Decimal(at_least)
    return join_waiting_list(
        reference=loan.reference, investor=investor or InvestorFactory(), amount=Decimal(amount), at_least=least, now=now
    )


def standing_order(
    amount: Decimal | int | str = 10_000,
    *,
    at_least: Decimal | int | str | None = 1_000,
    cap: Decimal | int | str = 1_000_000,
    now: datetime = NOON,
    investor: Investor | None = None,
    **criteria: Any,
) -> StandingOrder:
    """Let an investor keep a standing order."""
    least = None if at_least is None else Decimal(at_least)
    return create_standing_order(
        investor=investor or InvestorFactory(), amount=Decimal(amount), at_least=least, cap=Decimal(cap), now=now, **criteria
    )


def start_transfer(reservation: Reservation, *, method: str = "ach", now: datetime = NOON) -> Reservation:
    """Let the investor start the transfer."""
    actor = Actor("investor", reservation.investor.user_id)
    return reservation_services.start_transfer(
        reservation_id=reservation.pk, method=method, actor=actor, investor_id=reservation.investor_id, now=now
    )


def inbound(reservation: Reservation) -> Transfer:
    """Return the newest transfer that was started for the reservation."""
    return reservation.transfers.filter(direction=Direction.INBOUND).latest("created_at")


def notice(kind: str, reference: str, amount: Decimal | int | str, *, occurred_at: datetime = NOON, event: str = "") -> Notice:
    """Return a notice of the bank, with an id of its own unless `event` names one."""
    return Notice(event or f"evt-{uuid4()}", kind, reference, Decimal(amount), occurred_at)  # type: ignore[arg-type]


def money_comes(
    reservation: Reservation, amount: Decimal | int | str | None = None, *, now: datetime = NOON, occurred_at: datetime | None = None
) -> str:
    """Let the bank report that money cleared: `amount`, or as much as was expected."""
    transfer = inbound(reservation)
    return record_bank_event(
        notice("transfer.cleared", transfer.reference, amount or transfer.amount, occurred_at=occurred_at or now), now=now
    )


def money_fails(
    reservation: Reservation, amount: Decimal | int | str | None = None, *, now: datetime = NOON, occurred_at: datetime | None = None
) -> str:
    """Let the bank report that the transfer failed, or that it was returned after it had cleared."""
    transfer = inbound(reservation)
    return record_bank_event(
        notice("transfer.failed", transfer.reference, amount or transfer.amount, occurred_at=occurred_at or now), now=now
    )


def refund_bounces(refund: Transfer, amount: Decimal | int | str | None = None, *, now: datetime = NOON) -> str:
    """Let the bank report that a refund could not be delivered, or came back."""
    return record_bank_event(notice("refund.failed", refund.reference, amount or refund.amount, occurred_at=now), now=now)


def refund_goes_out(refund: Transfer, amount: Decimal | int | str | None = None, *, now: datetime = NOON) -> str:
    """Let the bank report that a refund was paid."""
    return record_bank_event(notice("refund.paid", refund.reference, amount or refund.amount, occurred_at=now), now=now)


def fresh(row: Any) -> Any:
    """Read the row again."""
    return type(row).objects.get(pk=row.pk)
