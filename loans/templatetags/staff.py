"""Template filters of the back office: how its pages write values."""

from datetime import timedelta
from decimal import Decimal

from django import template

from loans.selectors.overbooking import percent

register = template.Library()


@register.filter
def in_words(name: str) -> str:
    """Write a name of the code as words: `transfer_started` as "transfer started"."""
    return name.replace("_", " ")


@register.filter
def as_percent(share: Decimal) -> str:
    """Write a fraction as percents: 0.125 as "12.5 %"."""
    return percent(share)


@register.filter
def hundredfold(share: float) -> float:
    """Return the percents of a fraction."""
    return 100 * share


@register.filter
def duration(time_left: timedelta | None) -> str:
    """Write a span of time as days and hours, or as hours and minutes where it is shorter than a day."""
    if time_left is None:
        return "no limit"
    minutes = int(time_left.total_seconds() // 60)
    days, hours = minutes // 1440, minutes % 1440 // 60
    return f"{days} d {hours} h" if days else f"{hours} h {minutes % 60} min"
