"""What waits for staff, on the first page of the admin?"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django import template
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode
from redis.exceptions import RedisError

from loans.domain.states import Direction, LoanStatus, TransferStatus
from loans.models import Loan, ReviewItem, Transfer
from loans.selectors import dashboard
from peerloans import jobs
from peerloans.database.clock import database_now

register = template.Library()


@dataclass(frozen=True)
class Waiting:
    """Some rows that need a person, and the list that shows them."""

    what: str
    count: int
    address: str


@register.simple_tag(takes_context=True)
def needs_a_person(context: dict[str, Any]) -> list[Waiting]:
    """Open review_items by kind, loans past their closing and refunds due, as far as the reader may see them."""
    request: HttpRequest = context["request"]
    waiting = []
    if request.user.has_perm("loans.view_reviewitem"):
        kinds = ReviewItem.objects.filter(resolved_at=None).order_by("kind").values_list("kind").annotate(Count("pk"))
        names = dict(ReviewItem._meta.get_field("kind").flatchoices)
        waiting += [Waiting(names[kind], count, _list(ReviewItem, resolved_at__isempty=1, kind__exact=kind)) for kind, count in kinds]
    if request.user.has_perm("loans.view_loan"):
        now = database_now(None)
        waiting.append(_counted("Loans past their closing", Loan.objects, status=LoanStatus.OPEN, closes_at__lte=now))
    if request.user.has_perm("loans.view_transfer"):
        waiting.append(_counted("Refunds due", Transfer.objects, direction=Direction.REFUND, status=TransferStatus.DUE))
    return [line for line in waiting if line.count]


@register.simple_tag(takes_context=True)
def today(context: dict[str, Any]) -> dict[str, Any]:
    """What has happened today, what lapses soon and the loans that close next, as far as the reader may see them."""
    request: HttpRequest = context["request"]
    now = database_now(None)
    shown: dict[str, Any] = {}
    if request.user.has_perm("loans.view_reservation"):
        shown |= {"flow": dashboard.flow(now), "lapsing": dashboard.lapsing(now), "lapsed": dashboard.lapsed_shares(now)}
    if request.user.has_perm("loans.view_loan"):
        shown |= {"loans": dashboard.open_loans(now), "closing": dashboard.closing_totals(now)}
    return shown


@register.simple_tag(takes_context=True)
def jobs_run(context: dict[str, Any]) -> list[dict[str, Any]]:
    """Each scheduled job: when it last did its work, how many runs failed, and whether it is late. Nothing without Redis."""
    request: HttpRequest = context["request"]
    if not request.user.has_perm("django_celery_beat.view_periodictask"):
        return []
    try:
        known = jobs.runs()
    except RedisError:
        return []
    scheduled = jobs.SCHEDULED.filter(task__startswith="loans.").order_by("name")
    return [
        {
            "name": job.name,
            "address": reverse("admin:django_celery_beat_periodictask_change", args=[job.pk]),
            "succeeded_at": runs.succeeded_at if runs else None,
            "failed": runs.ended.get("failure", 0) if runs else 0,
            "enabled": job.enabled,
            "late": job.enabled and not job.one_off and jobs.lag(job, runs) > jobs.LATE_SECONDS,
        }
        for job, runs in ((job, known.get(job.task)) for job in scheduled)
    ]


@register.filter
def worded(name: str) -> str:
    """A name of the code as words."""
    return name.replace("_", " ")


@register.filter
def spoken(left: timedelta | None) -> str:
    """A span in days, hours and minutes."""
    if left is None:
        return "no limit"
    minutes = int(left.total_seconds() // 60)
    days, hours = minutes // 1440, minutes % 1440 // 60
    return f"{days} d {hours} h" if days else f"{hours} h {minutes % 60} min"


def _counted(what: str, rows: Any, **which: Any) -> Waiting:
    found: QuerySet[Any] = rows.filter(**which)
    exact = {name if "__" in name else f"{name}__exact": value for name, value in which.items()}
    return Waiting(what, found.count(), _list(found.model, **exact))


def _list(model: Any, **which: Any) -> str:
    return f"{reverse(f'admin:loans_{model._meta.model_name}_changelist')}?{urlencode(which)}"
