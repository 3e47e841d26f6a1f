"""When does a reservation's time run out, and when does a banking day close?

Banking days are those of the Federal Reserve: weekdays but for its holidays. A holiday on a Sunday is kept on the
Monday after it; a holiday on a Saturday is not kept, the Friday before it is a banking day. Days begin and end in
New York. Source: the Federal Reserve's holiday schedule.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import holidays

NEW_YORK = ZoneInfo("America/New_York")
TIME_TO_START_TRANSFER = timedelta(hours=24)
BANKING_DAYS_FOR_MONEY = 5
CLOSE = time(18)

_HOLIDAYS = holidays.financial_holidays("XFED")


def is_banking_day(day: date) -> bool:
    return day.weekday() < 5 and day not in _HOLIDAYS


def banking_days_after(day: date, count: int) -> list[date]:
    """The next `count` banking days, the given day not among them."""
    days: list[date] = []
    while len(days) < count:
        day += timedelta(days=1)
        if is_banking_day(day):
            days.append(day)
    return days


@dataclass(frozen=True)
class CountedDay:
    """A day on the way to a deadline: its number among the banking days, or why it is none."""

    day: date
    number: int | None
    why: str


def counted_days(day: date, count: int) -> list[CountedDay]:
    """The days after the given one up to its `count`th banking day, each with what it counts as."""
    last, number, days = banking_days_after(day, count)[-1], 0, []
    while day < last:
        day += timedelta(days=1)
        if is_banking_day(day):
            number += 1
            days.append(CountedDay(day, number, ""))
        else:
            days.append(CountedDay(day, None, "weekend" if day.weekday() >= 5 else _HOLIDAYS[day]))
    return days


def new_york_day(at: datetime) -> date:
    return at.astimezone(NEW_YORK).date()


def close_of(day: date) -> datetime:
    """The instant of which the day's closing values are."""
    return datetime.combine(day, CLOSE, NEW_YORK)


def closed_banking_days(at: datetime, count: int) -> list[date]:
    """The last `count` banking days that had closed by `at`, oldest first."""
    days: list[date] = []
    day = new_york_day(at)
    while len(days) < count:
        if is_banking_day(day) and close_of(day) <= at:
            days.append(day)
        day -= timedelta(days=1)
    return days[::-1]


def transfer_deadline(at: datetime) -> datetime:
    """Until when a reservation reserved at `at` may start its transfer: 24 hours, whatever the clocks do meanwhile."""
    return at + TIME_TO_START_TRANSFER


def money_deadline(at: datetime) -> datetime:
    """Until when the money of a transfer started at `at` may come: the end of the fifth banking day after that day."""
    last_day = banking_days_after(new_york_day(at), BANKING_DAYS_FOR_MONEY)[-1]
    midnight = datetime.combine(last_day + timedelta(days=1), time(), NEW_YORK)
    return midnight.astimezone(at.tzinfo)
