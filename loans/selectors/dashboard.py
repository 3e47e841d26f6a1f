"""What do the pages of the back office show? Reads only, each with a fixed number of queries."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from django.core.cache import cache
from django.db.models import Count, DateField, F, Q
from django.db.models import Sum as Dollars
from django.db.models.functions import TruncWeek
from django.utils.safestring import SafeString

from loans.domain import money
from loans.domain.business_calendar import BANKING_DAYS_FOR_MONEY, NEW_YORK, CountedDay, counted_days, money_deadline, new_york_day
from loans.domain.states import LIVE, Event, LoanStatus, State, TransferEvent
from loans.models import ClosingValue, Loan, Reservation, Transition
from loans.selectors.loans import market_loans
from loans.selectors.offers import Offer, loan_offers
from loans.selectors.reservations import allocations_due, live_reservations
from peerloans.web import charts
from peerloans.web.charts import Series

CLOSING_VALUES_DRAWN = 260  # about a year of banking days
DAYS_OF_TOTALS = 90
LAPSED_WEEKS = 8
LAPSED_SECONDS = 600
LAPSED_KEY = "lapsed-shares"
LOANS_SHOWN = 8


# --- A loan -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Queued:
    """A live reservation in its loan's queue. `would_get` are the dollars if settlement ran now, None where it would wait on."""

    position: int
    reservation: Reservation
    left: timedelta | None
    would_get: Decimal | None


def queue(offer: Offer) -> list[Queued]:
    """The live reservations in queue order, with what the loan's own rule would give each at the offer's instant."""
    live = live_reservations([offer.loan.pk]).exclude(expires_at__lte=offer.at).select_related("investor", "loan")
    reservations = list(live)
    open_now = offer.loan.status == LoanStatus.OPEN
    gets: dict[UUID, Decimal] = (
        {allocation.reservation.pk: allocation.amount for allocation in allocations_due(offer.loan, reservations, offer.at)}
        if open_now
        else {}
    )
    return [
        Queued(position, reservation, reservation.expires_at - offer.at if reservation.expires_at else None, gets.get(reservation.pk))
        for position, reservation in enumerate(reservations, start=1)
    ]


def funding(offer: Offer, queued: Sequence[Queued]) -> SafeString:
    sums: defaultdict[str, Decimal] = defaultdict(lambda: money.NOTHING)
    for entry in queued:
        sums[entry.reservation.state] += entry.reservation.amount
    return _funding(offer, sums)


def _funding(offer: Offer, sums: dict[str, Decimal], *, words: bool = True) -> SafeString:
    loan = offer.loan
    pending, reserved = (sums.get(state, money.NOTHING) for state in (State.PENDING, State.RESERVED))
    title = f"Funding of {loan.reference}"
    return charts.funding(
        title, amount=loan.amount, settled=loan.settled, pending=pending, reserved=reserved, limit=offer.limit, words=words
    )


def closing_totals(now: datetime) -> SafeString:
    """What remained of all loans together at the close of each recent banking day, and what was claimed."""
    recent = ClosingValue.objects.filter(day__gt=now.date() - timedelta(days=DAYS_OF_TOTALS)).order_by("day")
    values = list(recent.values_list("day").annotate(Dollars("remaining"), Dollars("claimed")))
    return _closing("Closing values of all loans", "all loans together", values)


def closing_values(loan: Loan) -> SafeString:
    newest = ClosingValue.objects.filter(loan=loan).order_by("-day")[:CLOSING_VALUES_DRAWN]
    return _closing("Closing values", loan.reference, list(newest.values_list("day", "remaining", "claimed"))[::-1])


def _closing(title: str, of: str, values: Sequence[tuple[date, Decimal, Decimal]]) -> SafeString:
    """Days, what remained at their close, and what was claimed."""
    lines = [
        Series("Remaining", "first", [remaining for _, remaining, _ in values]),
        Series("Claimed", "third", [claimed for _, _, claimed in values]),
    ]
    told = f"What remained of {of} at the close of each banking day, and what was claimed."
    return charts.curve(title, told, [day for day, *_ in values], lines=lines, stepped=False)


# --- A reservation ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Deadline:
    """Why a reservation's clock stands as it does: a sentence, and the days that count towards it where days are counted."""

    told: str
    days: Sequence[CountedDay] = ()


def deadline(reservation: Reservation, steps: Sequence[Transition]) -> Deadline:
    """The reservation's deadline explained from its history, given oldest first."""
    if reservation.state not in LIVE:
        return Deadline(f"It is {reservation.state}, so no clock runs.")
    if reservation.expires_at is None:
        return Deadline("Its money is here, which stopped the clock: it waits for its turn.")
    set_by = next((step for step in reversed(steps) if step.deadline == reservation.expires_at and step.transfer_id is None), None)
    if set_by is None:
        return Deadline("History does not tell where this deadline comes from.")
    if set_by.event == Event.EXTENDED:
        return Deadline("Staff set this deadline by hand.")
    if set_by.to_state == State.RESERVED:
        return Deadline("It has 24 hours to start its transfer.")
    if reservation.expires_at != money_deadline(set_by.at):
        return Deadline("This deadline was counted by an earlier calendar of banking days.")
    told = f"Its money may come until the end, in New York, of the fifth banking day after {new_york_day(set_by.at):%A, %B %d, %Y}."
    return Deadline(told, counted_days(new_york_day(set_by.at), BANKING_DAYS_FOR_MONEY))


# --- The start page -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Sum:
    """So many pieces, and their dollars."""

    what: str
    pieces: int
    dollars: Decimal


FLOW = (
    ("Reserved", Q(transfer=None, event=Event.RESERVED)),
    ("Transfers started", Q(transfer=None, event=Event.TRANSFER_STARTED)),
    ("Settled", Q(transfer=None, event=Event.SETTLED)),
    ("Canceled", Q(transfer=None, reservation__isnull=False, to_state=State.CANCELED) & ~Q(event=Event.LOST)),
    ("Refunds that became due", Q(transfer__isnull=False, event=TransferEvent.DUE)),
    ("Refunds paid", Q(transfer__isnull=False, event=TransferEvent.PAID)),
)


def flow(now: datetime) -> list[Sum]:
    """What has happened since midnight in New York, by history."""
    midnight = datetime.combine(new_york_day(now), time(), NEW_YORK)
    today = Transition.objects.filter(at__gte=midnight)
    counts = {f"pieces{n}": Count("pk", filter=which) for n, (_, which) in enumerate(FLOW)}
    sums = {f"dollars{n}": Dollars("amount", filter=which) for n, (_, which) in enumerate(FLOW)}
    found = today.aggregate(**counts, **sums)
    return [Sum(what, found[f"pieces{n}"], found[f"dollars{n}"] or money.NOTHING) for n, (what, _) in enumerate(FLOW)]


def lapsed_shares(now: datetime) -> SafeString:
    """Of the reservations that left each phase in a week, how many lapsed; history of two months, read once in ten minutes at most."""
    rows: list[tuple[date, str, int, int]] = cache.get_or_set(LAPSED_KEY, lambda: _lapsed_by_week(now), LAPSED_SECONDS) or []
    weeks = sorted({week for week, *_ in rows})
    shares = {(week, state): Decimal(100 * lapsed) / left for week, state, left, lapsed in rows}
    lines = [
        Series("Reserved, no transfer started", "third", [shares.get((week, State.RESERVED), money.NOTHING) for week in weeks]),
        Series("Pending, no money came", "first", [shares.get((week, State.PENDING), money.NOTHING) for week in weeks]),
    ]
    told = "Of the reservations that left each phase in a week, the share whose time had run out."
    return charts.curve("Share that lapsed", told, weeks, lines=lines, unit="%", stepped=False)


def _lapsed_by_week(now: datetime) -> list[tuple[date, str, int, int]]:
    """The Monday, the phase, how many reservations left it that week, and how many of them by lapsing."""
    left = Transition.objects.filter(at__gt=now - timedelta(weeks=LAPSED_WEEKS), transfer=None, from_state__in=LIVE).exclude(
        to_state=F("from_state")
    )
    weekly = left.order_by().annotate(week=TruncWeek("at", tzinfo=NEW_YORK, output_field=DateField())).values_list("week", "from_state")
    return list(weekly.annotate(left=Count("pk"), lapsed=Count("pk", filter=Q(event=Event.EXPIRED))))


def lapsing(now: datetime) -> list[Sum]:
    """What lapses within the hour and within the day, unless it goes on."""
    ahead = Reservation.objects.filter(expires_at__gt=now)
    spans = (("Within the hour", timedelta(hours=1)), ("Within a day", timedelta(days=1)))
    found = ahead.filter(expires_at__lte=now + spans[-1][1]).aggregate(
        **{f"pieces{n}": Count("pk", filter=Q(expires_at__lte=now + span)) for n, (_, span) in enumerate(spans)},
        **{f"dollars{n}": Dollars("amount", filter=Q(expires_at__lte=now + span)) for n, (_, span) in enumerate(spans)},
    )
    return [Sum(what, found[f"pieces{n}"], found[f"dollars{n}"] or money.NOTHING) for n, (what, _) in enumerate(spans)]


def open_loans(now: datetime) -> list[tuple[Offer, SafeString]]:
    """The open loans that close next, each with its funding drawn."""
    closing_next = market_loans().filter(status=LoanStatus.OPEN).values_list("pk", flat=True)
    offers = loan_offers(list(closing_next[:LOANS_SHOWN]), now)
    sums: defaultdict[int, dict[str, Decimal]] = defaultdict(dict)
    live = Reservation.objects.filter(loan__in=[offer.loan for offer in offers], state__in=LIVE).exclude(expires_at__lte=now)
    for loan_id, state, dollars in live.order_by().values_list("loan_id", "state").annotate(Dollars("amount")):
        sums[loan_id][state] = dollars
    return [(offer, _funding(offer, sums[offer.loan.pk], words=False)) for offer in offers]
