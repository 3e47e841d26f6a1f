"""Write instants, dollars and shares as people read them: the same on pages, in messages and in e-mails.

All times are New York's, and say so. A deadline at midnight is written as the minute before, on the day that it ends.
"""

from datetime import datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
TENTH_OF_A_BASIS_POINT = Decimal("0.001")


def instant_text(at: datetime, *, year: bool = False) -> str:
    """Return the instant to the minute: "Dec 4, 5:00 pm ET", with the year "Dec 4, 2026, 5:00 pm ET"."""
    local = at.astimezone(NEW_YORK)
    return f"{_day(local, year)}, {_minute(local)}"


def deadline_text(at: datetime, *, year: bool = False) -> str:
    """Return the last minute before the instant, where that is the end of a day: "11:59 pm ET, Thu Dec 3". Else as `instant_text`."""
    local = at.astimezone(NEW_YORK)
    if local.time() != time():
        return instant_text(at, year=year)
    last_minute = local - timedelta(minutes=1)
    return f"{_minute(last_minute)}, {last_minute:%a} {_day(last_minute, year)}"


def dollars_text(amount: Decimal) -> str:
    """Return the amount with its sign, separators and cents: "$275,000.00"."""
    sign = "-" if amount < 0 else ""
    return f"{sign}${abs(amount):,.2f}"


def whole_dollars_text(amount: Decimal | float) -> str:
    """Return the amount with its sign and separators, rounded to dollars: "$275,000"."""
    sign = "-" if amount < 0 else ""
    return f"{sign}${abs(amount):,.0f}"


def percent_text(percent: Decimal) -> str:
    """Return percents without needless zeros: 8.50 as "8.5 %"."""
    return f"{percent.quantize(TENTH_OF_A_BASIS_POINT).normalize():f} %"


def share_text(share: Decimal) -> str:
    """Return a fraction in percents: 0.2 as "20 %"."""
    return percent_text(100 * share)


def _day(local: datetime, year: bool) -> str:
    return f"{local:%b} {local.day}{f', {local.year}' if year else ''}"


def _minute(local: datetime) -> str:
    return f"{local.hour % 12 or 12}:{local:%M} {'am' if local.hour < 12 else 'pm'} ET"
