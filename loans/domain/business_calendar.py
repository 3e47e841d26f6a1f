"""Count banking days, and say when a day ends.

Banking days are those of the Federal Reserve Banks: weekdays except their holidays. The Monday after a holiday on a Sunday is a
holiday too; the Friday before a holiday on a Saturday is a banking day. Days begin and end in New York.

Source: Board of Governors of the Federal Reserve System, K.8, "Holidays Observed by the Federal Reserve System 2026-2030".
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from holidays.financial.federal_reserve import FederalReserve

NEW_YORK = ZoneInfo("America/New_York")
CLOSING_TIME = time(18)
"""When a day's closing values are taken, in New York."""
FIRST_YEAR, LAST_YEAR = 2000, 2199  # of every instant that is typed or reported; year 9999 overflows in another time zone


@cache
def _holidays(year: int) -> "FederalReserve":
    # Imported here, since it takes a tenth of a second, and most commands ask for no holiday.
    from holidays.financial.federal_reserve import FederalReserve

    # One complete calendar for each year. A calendar that is extended on demand is seen by other threads while it is incomplete.
    return FederalReserve(years=year, expand=False)  # type: ignore[no-untyped-call]


def is_banking_day(day: date) -> bool:
    """Return whether the Federal Reserve Banks are open on that day."""
    return day.weekday() < 5 and day not in _holidays(day.year)


def banking_days_after(day: date, count: int) -> list[date]:
    """Return the next `count` banking days after `day`, which itself does not count."""
    days: list[date] = []
    while len(days) < count:
        day += timedelta(days=1)
        if is_banking_day(day):
            days.append(day)
    return days


@dataclass(frozen=True)
class DeadlineDay:
    """A day on the way to a deadline: its number among the banking days; or None, and the reason why it is not counted."""

    day: date
    number: int | None
    reason_not_counted: str


def days_until_deadline(day: date, count: int) -> list[DeadlineDay]:
    """Return each day after `day`, up to and including its `count`th banking day."""
    last, number, days = banking_days_after(day, count)[-1], 0, []
    while day < last:
        day += timedelta(days=1)
        if is_banking_day(day):
            number += 1
            days.append(DeadlineDay(day, number, ""))
        else:
            days.append(DeadlineDay(day, None, "weekend" if day.weekday() >= 5 else _holidays(day.year)[day]))
    return days


def new_york_day(at: datetime) -> date:
    """Return the date in New York at that instant."""
    return at.astimezone(NEW_YORK).date()


def end_of_day(at: datetime) -> datetime:
    """Return the midnight in New York that follows."""
    return datetime.combine(new_york_day(at) + timedelta(days=1), time(), NEW_YORK)


def closing_time(day: date) -> datetime:
    """Return the end of the day for closing values: 18:00 in New York. Deadlines count calendar days instead, until midnight."""
    return datetime.combine(day, CLOSING_TIME, NEW_YORK)


def last_ended_banking_days(at: datetime, count: int) -> list[date]:
    """Return the last `count` banking days whose `closing_time` was not after `at`, oldest first."""
    days: list[date] = []
    day = new_york_day(at)
    while len(days) < count:
        if is_banking_day(day) and closing_time(day) <= at:
            days.append(day)
        day -= timedelta(days=1)
    return days[::-1]
