"""Compute deadlines, and count the banking days that they depend on.

Banking days are those of the Federal Reserve Banks: weekdays except their holidays. The Monday after a holiday on a Sunday is a
holiday too; the Friday before a holiday on a Saturday is a banking day. Days begin and end in New York.

Source: Board of Governors of the Federal Reserve System, K.8, "Holidays Observed by the Federal Reserve System 2026-2030".
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from holidays.financial.federal_reserve import FederalReserve

NEW_YORK = ZoneInfo("America/New_York")
TIME_TO_START_TRANSFER = timedelta(hours=24)
BANKING_DAYS_FOR_MONEY = 5
CLOSE = time(18)


@cache
def _holidays(year: int) -> FederalReserve:
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
class CountedDay:
    """A day before a deadline: its number among the banking days; or None, and why it does not count."""

    day: date
    number: int | None
    why: str


def counted_days(day: date, count: int) -> list[CountedDay]:
    """Return each day after `day` up to its `count`th banking day."""
    last, number, days = banking_days_after(day, count)[-1], 0, []
    while day < last:
        day += timedelta(days=1)
        if is_banking_day(day):
            number += 1
            days.append(CountedDay(day, number, ""))
        else:
            days.append(CountedDay(day, None, "weekend" if day.weekday() >= 5 else _holidays(day.year)[day]))
    return days


def new_york_day(at: datetime) -> date:
    """Return the day that it is in New York at that instant."""
    return at.astimezone(NEW_YORK).date()


def close_of(day: date) -> datetime:
    """Return the instant at which the day closes, 18:00 in New York; closing values are those of this instant."""
    return datetime.combine(day, CLOSE, NEW_YORK)


def closed_banking_days(at: datetime, count: int) -> list[date]:
    """Return the last `count` banking days that had closed by `at`, oldest first."""
    days: list[date] = []
    day = new_york_day(at)
    while len(days) < count:
        if is_banking_day(day) and close_of(day) <= at:
            days.append(day)
        day -= timedelta(days=1)
    return days[::-1]


def transfer_deadline(at: datetime) -> datetime:
    """Return when a reservation made at `at` lapses unless its transfer is started: 24 hours later, also when clocks change."""
    return (at.astimezone(UTC) + TIME_TO_START_TRANSFER).astimezone(at.tzinfo)


def money_deadline(at: datetime) -> datetime:
    """Return when a transfer started at `at` lapses unless its money comes: the end of the fifth banking day after that day."""
    last_day = banking_days_after(new_york_day(at), BANKING_DAYS_FOR_MONEY)[-1]
    midnight = datetime.combine(last_day + timedelta(days=1), time(), NEW_YORK)
    return midnight.astimezone(at.tzinfo)
