"""Read what happened to reservations on each day in New York. A day that has ended is read from history once, and then kept in Redis."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.core.cache import cache
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import TruncDate

from loans.domain.business_calendar import NEW_YORK, new_york_day
from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.states import LIVE, ReservationEvent, ReservationState
from loans.models import Transition

WEEKS_SHOWN = 8
KEPT_SECONDS = 70 * 24 * 3600  # longer than a day is shown
COMMIT_DELAY = timedelta(hours=1)  # what was decided before midnight may be committed after it
KEY = "daily-figures:{}"


class DayFigures(NamedTuple):
    """The dollars that were reserved, settled, and canceled before they settled; and how many left each live state, and lapsed."""

    day: date
    reserved: Decimal
    settled: Decimal
    canceled: Decimal
    left_reserved: int
    lapsed_reserved: int
    left_pending: int
    lapsed_pending: int


_CHANGED_STATE = ~Q(to_state=F("from_state"))
_EXPIRED = Q(event=ReservationEvent.EXPIRED)
_DOLLARS = {
    "reserved": Q(event=ReservationEvent.RESERVED),
    "settled": Q(event=ReservationEvent.SETTLED),
    "canceled": Q(from_state__in=LIVE, to_state=ReservationState.CANCELED),
}
_COUNTS = {
    "left_reserved": _CHANGED_STATE & Q(from_state=ReservationState.RESERVED),
    "lapsed_reserved": _EXPIRED & Q(from_state=ReservationState.RESERVED),
    "left_pending": _CHANGED_STATE & Q(from_state=ReservationState.PENDING),
    "lapsed_pending": _EXPIRED & Q(from_state=ReservationState.PENDING),
}
_NOTHING = DayFigures(date.min, ZERO_DOLLARS, ZERO_DOLLARS, ZERO_DOLLARS, 0, 0, 0, 0)


def daily_figures(now: datetime) -> list[DayFigures]:
    """Return the figures of each day of the last eight weeks, which begin on Mondays, up to `now`."""
    today = new_york_day(now)
    days = _days_shown(today)
    kept = {row[0]: DayFigures(*row) for row in cache.get_many([KEY.format(day) for day in days[:-1]]).values()}
    read = _figures_since(next(day for day in days if day not in kept))
    figures = [kept.get(day) or read.get(day) or _NOTHING._replace(day=day) for day in days]
    ended = [each for each in figures if each.day not in kept and each.day < new_york_day(now - COMMIT_DELAY)]
    if ended:
        cache.set_many({KEY.format(each.day): tuple(each) for each in ended}, KEPT_SECONDS)
    return figures


def forget_daily_figures(now: datetime) -> None:
    """Read all days anew the next time, since other history stands in the database than before."""
    cache.delete_many([KEY.format(day) for day in _days_shown(new_york_day(now))])


def _days_shown(today: date) -> list[date]:
    monday = today - timedelta(days=today.weekday(), weeks=WEEKS_SHOWN - 1)
    return [monday + timedelta(days=number) for number in range((today - monday).days + 1)]


def _figures_since(first: date) -> dict[date, DayFigures]:
    of_reservations = Transition.objects.filter(at__gte=datetime.combine(first, time(), NEW_YORK), transfer=None, reservation__isnull=False)
    daily = of_reservations.order_by().annotate(day=TruncDate("at", tzinfo=NEW_YORK)).values_list("day")
    sums = {name: Sum("amount", filter=kind, default=ZERO_DOLLARS) for name, kind in _DOLLARS.items()}
    counts = {name: Count("pk", filter=kind) for name, kind in _COUNTS.items()}
    return {row[0]: DayFigures(*row) for row in daily.annotate(**sums, **counts)}


class WeeklyExits(NamedTuple):
    """How many reservations left a state in the week that begins on this Monday, and how many of them lapsed."""

    monday: date
    state: str
    exits: int
    lapsed: int


def weekly_exits(days: Sequence[DayFigures]) -> list[WeeklyExits]:
    """Return how many reservations left reserved and pending in each week of these days, without weeks in which none did."""
    exits: dict[tuple[date, str], list[int]] = {}
    for day in days:
        monday = day.day - timedelta(days=day.day.weekday())
        of_states = (
            (ReservationState.RESERVED, day.left_reserved, day.lapsed_reserved),
            (ReservationState.PENDING, day.left_pending, day.lapsed_pending),
        )
        for state, left, lapsed in of_states:
            week = exits.setdefault((monday, state), [0, 0])
            week[0] += left
            week[1] += lapsed
    return [WeeklyExits(monday, state, left, lapsed) for (monday, state), (left, lapsed) in exits.items() if left]
