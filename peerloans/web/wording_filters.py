"""Template filters that write values as people read them. The settings make them known to every template."""

import re
from datetime import datetime
from decimal import Decimal

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from peerloans import wording

register = template.Library()
NOTHING = "–"
# A reference, as PL-0010 or T-A2A6CC29DF81, or a reservation, as PL-0010 #6.
_REFERENCE = re.compile(r"(\b[A-Z]{1,5}(?:-[0-9A-Z_]+)+(?: #\d+)?)")


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
def whole_dollars(amount: Decimal | float) -> str:
    """Write an amount of dollars without cents."""
    return wording.whole_dollars_text(amount)


@register.filter
def dollars(amount: Decimal | float | None) -> str:
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


@register.filter
def unbroken(text: object) -> SafeString:
    """Keep each reference in the text on one line."""
    parts = _REFERENCE.split(str(text))  # what is between references, and by turns the references
    between, references = parts[::2], [*parts[1::2], ""]
    return format_html_join(
        "",
        "{}{}",
        (
            (words, format_html('<span class="unbroken">{}</span>', reference) if reference else "")
            for words, reference in zip(between, references, strict=True)
        ),
    )


def _is_other_year(at: datetime) -> bool:
    return at.astimezone(wording.NEW_YORK).year != timezone.now().astimezone(wording.NEW_YORK).year
