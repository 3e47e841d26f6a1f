"""What is to be seen of loans and reservations? Reads only.

`now` is the instant asked about; None is the present, by the database's clock.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now

from loans.domain.errors import NotFound
from loans.domain.settlement_rules import RULES, Allocation
from loans.domain.states import LIVE, Direction, Event, State
from loans.models import Loan, Reservation, Transfer, Transition
from peerloans.database.prepared import Prepared


def reservation_of_investor(investor_id: int, reservation_id: UUID) -> Reservation:
    """The investor's own reservation; NotFound also for somebody else's."""
    found = Reservation.objects.select_related("loan").filter(pk=reservation_id, investor_id=investor_id).first()
    if not found:
        raise NotFound(f"You have no reservation {reservation_id}.")
    return found


def reservation_as_created(reservation_id: UUID) -> Reservation:
    """The reservation as it was when it was new; history keeps that as it was."""
    began = Transition.objects.select_related("loan").get(reservation=reservation_id, event=Event.RESERVED)
    return Reservation(
        id=reservation_id, loan=began.loan, amount=began.amount, state=began.to_state, created_at=began.at, expires_at=began.deadline
    )


def queue_position_of(reservation: Reservation, now: datetime | None = None) -> int | None:
    """1 is next; None for a reservation that is not live."""
    instant = now or Now()
    live = Reservation.objects.filter(loan_id=reservation.loan_id, state__in=LIVE).exclude(expires_at__lte=instant)
    counted = live.filter(number__lte=reservation.number).aggregate(position=Count("pk"), own=Count("pk", filter=Q(pk=reservation.pk)))
    return counted["position"] if counted["own"] else None


class TransferView(NamedTuple):
    """Of a transfer or refund, what is to be seen."""

    pk: UUID
    reservation_id: UUID
    direction: str
    payment: int
    reference: str
    method: str
    status: str
    created_at: datetime


# A hundred values in place of one array would be written into each statement and read out of it again, 1 ms for a page.
_TRANSFERS_OF = Prepared(
    """
    SELECT id, reservation_id, direction, payment, reference, method, status, created_at
    FROM loans_transfer WHERE reservation_id = ANY(%s)
    """
)


def transfers_of(reservation_ids: Collection[UUID], using: str = DEFAULT_DB_ALIAS) -> dict[UUID, list[TransferView]]:
    """The transfers and refunds of each of the reservations."""
    found: dict[UUID, list[TransferView]] = {reservation_id: [] for reservation_id in reservation_ids}
    with connections[using].cursor() as cursor:
        cursor.execute(_TRANSFERS_OF, [list(reservation_ids)])
        for movement in map(TransferView._make, cursor.fetchall()):
            found[movement.reservation_id].append(movement)
    return found


def current_transfer(reservation: Reservation) -> Transfer | None:
    """The inbound transfer that its money is expected by."""
    return current_among(reservation.transfers.all())


Moved = TypeVar("Moved", Transfer, TransferView)


def current_among(transfers: Iterable[Moved]) -> Moved | None:
    """Of a reservation's transfers the one that its money is expected by: the newest, but for money that came again."""
    inbound = [t for t in transfers if t.direction == Direction.INBOUND and t.payment == 1]
    return max(inbound, key=lambda transfer: (transfer.created_at, transfer.pk), default=None)


def last_event(reservation: Reservation) -> str | None:
    """What happened last to the reservation itself, transfers aside."""
    return Transition.objects.filter(reservation=reservation, transfer=None).order_by("-id").values_list("event", flat=True).first()


def last_deadline(reservation: Reservation) -> datetime | None:
    """The last deadline that history has of the reservation."""
    with_deadline = Transition.objects.filter(reservation=reservation, transfer=None, deadline__isnull=False)
    return with_deadline.order_by("-id").values_list("deadline", flat=True).first()


def live_reservations(loan_ids: list[int]) -> QuerySet[Reservation]:
    """The live reservations of loans whose lapsed reservations are swept, in queue order."""
    return Reservation.objects.filter(loan_id__in=loan_ids, state__in=LIVE).order_by("loan_id", "number")


def loans_with_waiting_money() -> list[int]:
    """Loans with funded reservations that wait for their turn, in order of id."""
    waiting = Reservation.objects.filter(state=State.PENDING, expires_at=None)
    return list(waiting.order_by("loan_id").values_list("loan_id", flat=True).distinct())


def loans_with_lapsed_reservations(at: datetime) -> list[int]:
    """Loans with reservations that have lapsed and are not swept, in order of id."""
    lapsed = Reservation.objects.filter(expires_at__lte=at)
    return list(lapsed.order_by("loan_id").values_list("loan_id", flat=True).distinct())


def allocations_due(loan: Loan, queue: Sequence[Reservation], at: datetime) -> list[Allocation]:
    """What the loan's rule says at that instant of its live reservations, given in queue order; nothing is written."""
    closed = loan.closes_at is not None and loan.closes_at <= at
    return RULES[loan.settlement_rule](queue, loan.remaining, closed)
