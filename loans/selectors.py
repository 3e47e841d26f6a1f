"""What is to be seen of loans and reservations? Reads only.

`now` is the instant asked about; None is the present, by the database's clock.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.models import Case, Count, F, Q, QuerySet, When
from django.db.models.functions import Now

from loans import curves, limits
from loans.errors import NotFound
from loans.models import Loan, Reservation, Transfer, Transition
from loans.states import LIVE, Direction, Event, LoanStatus, State
from peerloans import replica
from peerloans.cursors import Prepared

_LAPSED = """
    SELECT COALESCE(sum(r.amount), 0) FROM loans_reservation r
    WHERE r.loan_id = loan.id AND r.state IN ('reserved', 'pending')
        AND r.expires_at <= COALESCE(%(now)s::timestamptz, statement_timestamp())
"""

_LOAN_COLUMNS = [field.attname for field in Loan._meta.concrete_fields]
_OFFERS = f"""
    SELECT {", ".join(f"loan.{name}" for name in _LOAN_COLUMNS)},
        COALESCE(%(now)s::timestamptz, statement_timestamp()) AS at, ({_LAPSED}) AS lapsed FROM loans_loan loan
"""
_OFFER = Prepared(f"{_OFFERS} WHERE loan.reference = %(reference)s")
_OFFERS_OF = f"{_OFFERS} WHERE loan.id = ANY(%(ids)s)"

# Only accredited investors buy, through the last day of their accreditation in New York.
MAY_BUY = """
    EXISTS (
        SELECT FROM loans_investor JOIN auth_user ON auth_user.id = user_id
        WHERE loans_investor.id = %(investor_id)s AND is_active
            AND accredited_until >= (COALESCE(%(now)s::timestamptz, clock_timestamp()) AT TIME ZONE 'America/New_York')::date
    )
"""
_OFFER_TO = Prepared(
    f"""
    SELECT offer.*, {MAY_BUY}, next.expires_at, next.amount
    FROM ({_OFFER}) AS offer LEFT JOIN LATERAL (
        SELECT expires_at, sum(amount) AS amount FROM loans_reservation
        WHERE loan_id = offer.id AND state IN ('reserved', 'pending') AND expires_at > offer.at
        GROUP BY expires_at ORDER BY expires_at LIMIT 1
    ) AS next ON true
    """
)


def instant(now: datetime | None) -> datetime:
    """The given instant, or the present by the database's clock."""
    if now is None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            (now,) = cursor.fetchone()
    return now


@contextmanager
def one_snapshot() -> Iterator[None]:
    """All reads in here see the database as it was at the first of them. An outer transaction keeps the snapshots it has."""
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


@dataclass(frozen=True)
class Offer:
    """A loan as a buyer sees it at one instant, from one read. `claimed` leaves lapsed claims out, `lapsed` is their sum."""

    loan: Loan
    at: datetime
    claimed: Decimal
    lapsed: Decimal

    @property
    def takes_reservations(self) -> bool:
        return self.loan.status == LoanStatus.OPEN and self.loan.closes_at is not None and self.at < self.loan.closes_at

    @property
    def limit(self) -> Decimal:
        return limits.limit(self.loan.remaining, self.loan.overbooking_rate)

    @property
    def available(self) -> Decimal:
        return self.available_with(self.claimed)

    def available_with(self, claimed: Decimal) -> Decimal:
        """What would be available if `claimed` dollars were live."""
        if not self.takes_reservations:
            return Decimal("0.00")
        return limits.available(self.loan.remaining, self.loan.overbooking_rate, claimed)


@dataclass(frozen=True)
class OfferTo(Offer):
    """The same as one investor finds it. The next claims may lapse at `frees_at`; None where no claim's clock is running."""

    may_buy: bool
    frees_at: datetime | None
    available_then: Decimal


def offer(reference: str, now: datetime | None = None) -> Offer:
    """The loan with what is available of it; NotFound for a reference that no loan has."""
    found, _ = _read_offer(_OFFER, {"reference": reference, "now": now})
    return found


def offer_to(investor_id: int, reference: str, now: datetime | None = None) -> OfferTo:
    """The same, and whether the investor may buy, and what would be available once more claims have lapsed."""
    found, (may_buy, frees_at, freed) = _read_offer(_OFFER_TO, {"reference": reference, "investor_id": investor_id, "now": now})
    then = found.available_with(found.claimed - freed) if frees_at else found.available
    return OfferTo(found.loan, found.at, found.claimed, found.lapsed, may_buy, frees_at, then)


def _read_offer(statement: Prepared, values: dict[str, Any]) -> tuple[Offer, Sequence[Any]]:
    # A query set, even a raw one, would take longer than the database: a refusal would cost more than an acceptance.
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    if row is None:
        raise NotFound(f"There is no loan {values['reference']}.")
    loan, (at, lapsed, *more) = row[: len(_LOAN_COLUMNS)], row[len(_LOAN_COLUMNS) :]
    return _as_offer(Loan.from_db(connection.alias, _LOAN_COLUMNS, loan), at, lapsed), more


def offers(loan_ids: Sequence[int], now: datetime | None = None) -> list[Offer]:
    """The loans of these ids, in their order, each with what is available of it; all from one read."""
    read = Loan.objects.using(replica.for_anyone()).raw(_OFFERS_OF, {"ids": list(loan_ids), "now": now})
    found = {loan.pk: _as_offer(loan, loan.at, loan.lapsed) for loan in read}  # type: ignore[attr-defined]
    return [found[loan_id] for loan_id in loan_ids if loan_id in found]


def _as_offer(loan: Loan, at: datetime, lapsed: Decimal) -> Offer:
    return Offer(loan, at, loan.claimed - lapsed, lapsed)


PUBLIC = (LoanStatus.OPEN, LoanStatus.FUNDED)


def public_loans() -> QuerySet[Loan]:
    """The loans that anyone may see, to be read as rows, each with what is `remaining` of it."""
    loans = Loan.objects.using(replica.for_anyone()).filter(status__in=PUBLIC)
    return loans.annotate(remaining=F("amount") - F("settled"))  # type: ignore[no-redef]


def market() -> QuerySet[Loan]:
    """The same in the order that a buyer reads them in: those that close next, those whose closing has passed, the funded."""
    takes_reservations = Q(status=LoanStatus.OPEN, closes_at__gt=Now())
    standing = Case(When(takes_reservations, then=0), When(status=LoanStatus.OPEN, then=1), default=2)
    closes_next = Case(When(takes_reservations, then=F("closes_at")))
    return public_loans().order_by(standing, closes_next, "-closes_at", "-pk")


@dataclass(frozen=True)
class Places:
    """Where there are loans that anyone may see: states by their two letters, and names of markets."""

    states: list[str]
    markets: list[str]


def places() -> Places:
    found = set(public_loans().order_by().values_list("state", "market_msa").distinct())
    return Places(sorted({state for state, _ in found}), sorted({msa for _, msa in found if msa}))


def reservation_of(investor_id: int, reservation_id: UUID) -> Reservation:
    """The investor's own reservation; NotFound also for somebody else's."""
    found = Reservation.objects.select_related("loan").filter(pk=reservation_id, investor_id=investor_id).first()
    if not found:
        raise NotFound(f"You have no reservation {reservation_id}.")
    return found


def at_first(reservation_id: UUID) -> Reservation:
    """The claim as it was when it was new; history keeps that as it was."""
    began = Transition.objects.select_related("loan").get(reservation=reservation_id, event=Event.RESERVED)
    return Reservation(
        id=reservation_id, loan=began.loan, amount=began.amount, state=began.to_state, created_at=began.at, expires_at=began.deadline
    )


def queue_position(reservation: Reservation, now: datetime | None = None) -> int | None:
    """1 is next; None for a claim that is not live."""
    instant = now or Now()
    live = Reservation.objects.filter(loan_id=reservation.loan_id, state__in=LIVE).exclude(expires_at__lte=instant)
    counted = live.filter(place__lte=reservation.place).aggregate(position=Count("pk"), own=Count("pk", filter=Q(pk=reservation.pk)))
    return counted["position"] if counted["own"] else None


class Movement(NamedTuple):
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
_MOVEMENTS = Prepared(
    """
    SELECT id, reservation_id, direction, payment, reference, method, status, created_at
    FROM loans_transfer WHERE reservation_id = ANY(%s)
    """
)


def movements(reservation_ids: Collection[UUID], using: str = DEFAULT_DB_ALIAS) -> dict[UUID, list[Movement]]:
    """The transfers and refunds of each of the reservations."""
    found: dict[UUID, list[Movement]] = {reservation_id: [] for reservation_id in reservation_ids}
    with connections[using].cursor() as cursor:
        cursor.execute(_MOVEMENTS, [list(reservation_ids)])
        for movement in map(Movement._make, cursor.fetchall()):
            found[movement.reservation_id].append(movement)
    return found


def own_transfer(reservation: Reservation) -> Transfer | None:
    """The inbound transfer that its money is expected by."""
    return own_among(reservation.transfers.all())


Moved = TypeVar("Moved", Transfer, Movement)


def own_among(transfers: Iterable[Moved]) -> Moved | None:
    """Of a reservation's transfers the one that its money is expected by: the newest, but for money that came again."""
    inbound = [t for t in transfers if t.direction == Direction.INBOUND and t.payment == 1]
    return max(inbound, key=lambda transfer: (transfer.created_at, transfer.pk), default=None)


def last_event(reservation: Reservation) -> str | None:
    """What happened last to the claim itself, transfers aside."""
    return Transition.objects.filter(reservation=reservation, transfer=None).order_by("-id").values_list("event", flat=True).first()


def expired_at(reservation: Reservation) -> datetime | None:
    """The last deadline that history has of the claim."""
    with_deadline = Transition.objects.filter(reservation=reservation, transfer=None, deadline__isnull=False)
    return with_deadline.order_by("-id").values_list("deadline", flat=True).first()


def fill_curve(offer: Offer) -> list[curves.Point]:
    """How the loan filled from its opening to the instant of the offer, or to its last change once it is no longer open.

    Empty for a loan that never opened. Reads all of the loan's history.
    """
    loan = offer.loan
    if loan.opens_at is None:
        return []
    history = Transition.objects.filter(loan=loan, transfer=None).exclude(event=Event.LOST).order_by("id")
    changes = history.values_list("at", "reservation_id", "to_state", "amount")
    last = None if loan.status == LoanStatus.OPEN else history.values_list("at", flat=True).last()
    return curves.curve(map(curves.Change._make, changes.iterator()), loan.opens_at, last or offer.at, loan.overbooking_rate)


def live_claims(loan_ids: list[int]) -> QuerySet[Reservation]:
    """The live claims of loans whose lapsed claims are swept, in queue order."""
    return Reservation.objects.filter(loan_id__in=loan_ids, state__in=LIVE).order_by("loan_id", "place")


def loan_ids() -> list[int]:
    return list(Loan.objects.order_by("id").values_list("id", flat=True))


_WITHOUT_CLOSING_VALUE = """
    SELECT id FROM loans_loan AS loan
    WHERE opens_at <= %(close)s
        AND NOT EXISTS (SELECT FROM loans_closingvalue WHERE loan_id = loan.id AND day = %(day)s)
        AND (status <> 'withdrawn' OR NOT EXISTS (
            SELECT FROM loans_transition WHERE loan_id = loan.id AND event = 'withdrawn' AND at <= %(close)s
        ))
    ORDER BY id
"""


def loans_without_closing_value(day: date, close: datetime) -> list[int]:
    """Loans that were open or funded at the close of the day and lack its closing value, in order of id."""
    with connection.cursor() as cursor:
        cursor.execute(_WITHOUT_CLOSING_VALUE, {"day": day, "close": close})
        return [loan_id for (loan_id,) in cursor.fetchall()]


def loans_with_waiting_money() -> list[int]:
    """Loans with funded claims that wait for their turn, in order of id."""
    waiting = Reservation.objects.filter(state=State.PENDING, expires_at=None)
    return list(waiting.order_by("loan_id").values_list("loan_id", flat=True).distinct())


def loans_with_lapsed_claims(at: datetime) -> list[int]:
    """Loans with claims that have lapsed and are not swept, in order of id."""
    lapsed = Reservation.objects.filter(expires_at__lte=at)
    return list(lapsed.order_by("loan_id").values_list("loan_id", flat=True).distinct())
