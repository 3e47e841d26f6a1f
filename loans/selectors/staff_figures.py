"""Read the figures of the back office's start page, each part with a fixed number of queries.

loans/templatetags/start_page.py chooses the parts that a reader may see, and counts what waits for a person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Min, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from loans.domain.business_calendar import NEW_YORK, end_of_day, new_york_day
from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.states import (
    LIVE,
    LOSSES,
    Direction,
    LoanStatus,
    ReservationEvent,
    ReservationState,
    TransferEvent,
    TransferStatus,
)
from loans.models import Delivery, Reservation, ReviewItem, Transfer, Transition
from loans.models.notification import DeliveryStatus
from loans.selectors.loans import market_loans
from loans.selectors.offers import loan_offers
from loans.selectors.queue import LoanFunding

LOANS_SHOWN = 8


@dataclass(frozen=True)
class Total:
    """How many rows, and their dollars."""

    label: str
    count: int
    dollars: Decimal


@dataclass(frozen=True)
class Waiting:
    """What waits for staff or for a deadline: how many rows, their dollars where they have any, and when the oldest began to wait."""

    count: int
    dollars: Decimal | None
    since: datetime | None


def funded_waiting() -> Waiting:
    """Return the reservations whose money is here and whose turn has not come."""
    funded = Reservation.objects.filter(state=ReservationState.PENDING, expires_at=None)
    return _waiting(funded, "funded_at", Sum("amount", default=ZERO_DOLLARS))


def lapsing_tonight(now: datetime) -> Waiting:
    """Return the reservations that lapse until midnight in New York; the next of them lapses at `since`."""
    running = Reservation.objects.filter(expires_at__gt=now, expires_at__lte=end_of_day(now))
    return _waiting(running, "expires_at", Sum("amount", default=ZERO_DOLLARS))


def review_items_older_than(age: timedelta, now: datetime) -> Waiting:
    """Return the review items that have been open for longer, with the dollars of the reports or reservations that they are about."""
    items = ReviewItem.objects.filter(resolved_at=None, opened_at__lt=now - age)
    dollars = Coalesce("bank_event__amount", "reservation__amount")
    return _waiting(items, "opened_at", Sum(dollars, default=ZERO_DOLLARS))


def refunds_due() -> Waiting:
    """Return the refunds that no file has sent to the bank."""
    due = Transfer.objects.filter(direction=Direction.REFUND, status=TransferStatus.DUE)
    return _waiting(due, "created_at", Sum(F("amount") - F("moved"), default=ZERO_DOLLARS))


def deliveries_failing() -> Waiting:
    """Return the messages that wait for another attempt, since one has failed."""
    failing = Delivery.objects.filter(status=DeliveryStatus.WAITING, attempts__gt=0)
    return _waiting(failing, "created_at")


def _waiting(rows: QuerySet[Any], since: str, dollars: Sum | None = None) -> Waiting:
    sums = {"dollars": dollars} if dollars else {}
    values = rows.order_by().aggregate(count=Count("pk"), since=Min(since), **sums)
    return Waiting(values["count"], values.get("dollars"), values["since"])


_HAPPENED = (
    ("Reserved", Q(transfer=None, event=ReservationEvent.RESERVED)),
    ("Transfers started", Q(transfer=None, event=ReservationEvent.TRANSFER_STARTED)),
    ("Settled", Q(transfer=None, event=ReservationEvent.SETTLED)),
    ("Canceled", Q(transfer=None, reservation__isnull=False, to_state=ReservationState.CANCELED) & ~Q(event__in=LOSSES)),
    ("Refunds that became due", Q(transfer__isnull=False, event=TransferEvent.DUE)),
    ("Refunds paid", Q(transfer__isnull=False, event=TransferEvent.PAID)),
)


def totals_today(now: datetime) -> list[Total]:
    """Return what happened since midnight in New York, from history."""
    midnight = datetime.combine(new_york_day(now), time(), NEW_YORK)
    return _totals(Transition.objects.filter(at__gte=midnight), _HAPPENED)


def _totals(rows: QuerySet[Transition], kinds: Sequence[tuple[str, Q]]) -> list[Total]:
    """Count the rows of each kind and add up their amounts, in one query."""
    counts = {f"count{number}": Count("pk", filter=condition) for number, (_, condition) in enumerate(kinds)}
    sums = {f"dollars{number}": Sum("amount", filter=condition, default=ZERO_DOLLARS) for number, (_, condition) in enumerate(kinds)}
    values = rows.aggregate(**counts, **sums)
    return [Total(label, values[f"count{number}"], values[f"dollars{number}"]) for number, (label, _) in enumerate(kinds)]


def open_loans(now: datetime) -> list[LoanFunding]:
    """Return the funding of the open loans that close next."""
    loan_ids = market_loans().filter(status=LoanStatus.OPEN).values_list("pk", flat=True)[:LOANS_SHOWN]
    offers = loan_offers(list(loan_ids), now)
    live = Reservation.objects.filter(loan__in=[offer.loan for offer in offers], state__in=LIVE).exclude(expires_at__lte=now)
    sums = live.order_by().values_list("loan_id", "state").annotate(Sum("amount"))
    dollars = {(loan_id, state): amount for loan_id, state, amount in sums}
    return [
        LoanFunding(
            offer,
            dollars.get((offer.loan.pk, ReservationState.PENDING), ZERO_DOLLARS),
            dollars.get((offer.loan.pk, ReservationState.RESERVED), ZERO_DOLLARS),
        )
        for offer in offers
    ]
