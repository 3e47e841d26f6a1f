"""Template filters that write values as people read them. The settings make them known to every template."""

from datetime import datetime
from decimal import Decimal

from django import template
from django.utils import timezone

from peerloans import wording

register = template.Library()
NOTHING = "–"


@register.filter
def instant(at: datetime | None) -> str:
    """Write an instant, with its year where that is not the present one."""
    return wording.instant_text(at, year=_is_other_year(at)) if at else NOTHING


@register.filter
def deadline(at: datetime | None) -> str:
    """Write a deadline, with its year where that is not the present one."""
    return wording.deadline_text(at, year=_is_other_year(at)) if at else NOTHING


@register.filter
def instant_with_year(at: datetime) -> str:
    """Write an instant so that it reads the same in any year, as an e-mail must."""
    return wording.instant_text(at, year=True)


@register.filter
def deadline_with_year(at: datetime) -> str:
    """Write a deadline so that it reads the same in any year, as an e-mail must."""
    return wording.deadline_text(at, year=True)


@register.filter
def dollars(amount: Decimal | int | None) -> str:
    """Write an amount of dollars."""
    return NOTHING if amount is None else wording.dollars_text(Decimal(amount))


@register.filter
def percent(percents: Decimal | None) -> str:
    """Write percents."""
    return NOTHING if percents is None else wording.percent_text(percents)


@register.filter
def share(fraction: Decimal | None) -> str:
    """Write a fraction in percents."""
    return NOTHING if fraction is None else wording.share_text(fraction)


def _is_other_year(at: datetime) -> bool:
    return at.astimezone(wording.NEW_YORK).year != timezone.now().astimezone(wording.NEW_YORK).year
