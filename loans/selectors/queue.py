"""Read a loan's queue: its live reservations in the order of their numbers, and what its settlement rule gives them.

`now` is the instant to read at; None is the present by the database's clock.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import connection
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now

from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.settlement_rules import RULES, Allocation, LoanToSettle
from loans.domain.states import LIVE, LoanStatus, ReservationState
from loans.models import Loan, Reservation
from loans.selectors.offers import LoanOffer

_POSITIONS = """
    WITH live AS (
        SELECT id, loan_id, number FROM loans_reservation
        WHERE state IN ('reserved', 'pending')
            AND (expires_at IS NULL OR expires_at > COALESCE(%(now)s::timestamptz, statement_timestamp()))
            AND loan_id IN (SELECT loan_id FROM loans_reservation WHERE id = ANY(%(reservation_ids)s))
    )
    SELECT own.id, (SELECT count(*) FROM live WHERE live.loan_id = own.loan_id AND live.number <= own.number)
    FROM live AS own WHERE own.id = ANY(%(reservation_ids)s)
"""


@dataclass(frozen=True)
class QueueEntry:
    """A live reservation, and the dollars that it would get if its loan settled now; None where it would wait on.

    `waits_for` is the first reservation before it whose money is not here, where the rule lets a funded one wait for such.
    """

    queue_position: int
    reservation: Reservation
    would_get: Decimal | None
    waits_for: Reservation | None


def reservations_in_queue(loan_ids: list[int]) -> QuerySet[Reservation]:
    """Return the reserved and pending reservations of the loans, in queue order. Lapsed ones are among them until they are swept."""
    return Reservation.objects.filter(loan_id__in=loan_ids, state__in=LIVE).order_by("loan_id", "number")


def queue_position_of(reservation: Reservation, now: datetime | None = None) -> int | None:
    """Return the reservation's position among the live ones of its loan, 1 for the next; None where it is not live."""
    live = reservations_in_queue([reservation.loan_id]).exclude(expires_at__lte=now or Now())
    counted = live.filter(number__lte=reservation.number).aggregate(position=Count("pk"), own=Count("pk", filter=Q(pk=reservation.pk)))
    return counted["position"] if counted["own"] else None


def queue_positions_of(reservation_ids: Collection[UUID], now: datetime | None = None) -> dict[UUID, int]:
    """Return the positions of those of the reservations that are live, from one read."""
    with connection.cursor() as cursor:
        cursor.execute(_POSITIONS, {"reservation_ids": list(reservation_ids), "now": now})
        return dict(cursor.fetchall())


def allocations_due(loan: Loan, queue: Sequence[Reservation], at: datetime) -> list[Allocation]:
    """Return what the loan's settlement rule gives the reservations of its queue at that instant. Writes nothing."""
    closed = loan.closes_at is not None and loan.closes_at <= at
    return RULES[loan.settlement_rule](queue, LoanToSettle(loan.remaining, closed, loan.minimum, loan.lottery_secret))


def loan_queue(offer: LoanOffer) -> list[QueueEntry]:
    """Return the loan's queue at the instant of the offer, next first."""
    reservations = list(reservations_in_queue([offer.loan.pk]).exclude(expires_at__lte=offer.at))
    for reservation in reservations:
        reservation.loan = offer.loan
    amounts: dict[UUID, Decimal] = {}
    if offer.loan.status == LoanStatus.OPEN:
        amounts = {allocation.reservation.pk: allocation.amount for allocation in allocations_due(offer.loan, reservations, offer.at)}
    entries: list[QueueEntry] = []
    first_unfunded: Reservation | None = None
    for position, reservation in enumerate(reservations, start=1):
        waits_for = first_unfunded if reservation.funded_at and offer.loan.settlement_rule == "fifo" else None
        entries.append(QueueEntry(position, reservation, amounts.get(reservation.pk), waits_for))
        if first_unfunded is None and not reservation.funded_at:
            first_unfunded = reservation
    return entries


@dataclass(frozen=True)
class LoanFunding:
    """A loan's offer, and the dollars of its pending and reserved reservations."""

    offer: LoanOffer
    pending: Decimal
    reserved: Decimal


def loan_funding(offer: LoanOffer, queue: Sequence[QueueEntry]) -> LoanFunding:
    """Return the funding of a loan whose queue has been read."""
    dollars: defaultdict[str, Decimal] = defaultdict(lambda: ZERO_DOLLARS)
    for entry in queue:
        dollars[entry.reservation.state] += entry.reservation.amount
    return LoanFunding(offer, dollars[ReservationState.PENDING], dollars[ReservationState.RESERVED])
