"""Template filters of the back office: how its pages write values."""

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
