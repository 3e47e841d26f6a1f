"""Set the deadlines of a reservation: 24 hours to start a transfer, then five banking days for its money."""

from datetime import UTC, datetime, time, timedelta

from loans.domain.business_calendar import NEW_YORK, banking_days_after, new_york_day

TIME_TO_START_TRANSFER = timedelta(hours=24)
BANKING_DAYS_FOR_MONEY = 5


def start_deadline(at: datetime) -> datetime:
    """Return when a reservation made at `at` lapses unless its transfer is started: 24 hours later, also when clocks change."""
    return (at.astimezone(UTC) + TIME_TO_START_TRANSFER).astimezone(at.tzinfo)


def one_banking_day_later(deadline: datetime) -> datetime:
    """Return the deadline that is one banking day later, at the same time of day in New York. The end of a day stays the end of a day."""
    local = deadline.astimezone(NEW_YORK)
    day = (local - timedelta(microseconds=1)).date()
    (next_day,) = banking_days_after(day, 1)
    return datetime.combine(next_day + (local.date() - day), local.timetz()).astimezone(deadline.tzinfo)


def money_deadline(at: datetime) -> datetime:
    """Return when a transfer started at `at` lapses unless its money is received: the end of the fifth banking day after that day.

    Days begin and end in New York.
    """
    last_day = banking_days_after(new_york_day(at), BANKING_DAYS_FOR_MONEY)[-1]
    return datetime.combine(last_day + timedelta(days=1), time(), NEW_YORK).astimezone(at.tzinfo)
