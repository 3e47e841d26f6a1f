"""Template tags of the back office's start page: what it shows, as far as the reader may see it.

loans/selectors/staff_figures.py reads the figures; templates/admin/index.html puts the parts in order.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django import template
from django.db.models import Count, Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode
from django_celery_beat.models import PeriodicTask

from loans import charts
from loans.domain.states import Direction, LoanStatus, ReservationState, TransferStatus
from loans.models import Delivery, Loan, Reservation, ReviewItem, StatementImport, Transfer
from loans.selectors import staff_figures
from loans.selectors.closing_values import closing_totals
from loans.selectors.daily_figures import daily_figures, weekly_exits
from peerloans import job_runs
from peerloans.database.clock import database_now
from peerloans.monitoring.models import JobResult

register = template.Library()
REVIEW_WITHIN = timedelta(days=2)
DAYS_OF_FLOW = 30


@dataclass(frozen=True)
class WaitingRows:
    """Rows of one kind that wait for staff, and the address of the list that shows them."""

    what: str
    count: int
    address: str


@register.simple_tag(takes_context=True)
def needs_a_person(context: dict[str, Any]) -> list[WaitingRows]:
    """Return the open review items by kind, the loans past their closing and the bank statements to book, where there are any."""
    request: HttpRequest = context["request"]
    waiting = []
    if request.user.has_perm("loans.view_reviewitem"):
        labels = dict(ReviewItem._meta.get_field("kind").flatchoices)
        counts = ReviewItem.objects.filter(resolved_at=None).order_by("kind").values_list("kind").annotate(Count("pk"))
        for kind, count in counts:
            waiting.append(WaitingRows(labels[kind], count, _list_address(ReviewItem, resolved_at__isempty=1, kind__exact=kind)))
    if request.user.has_perm("loans.view_loan"):
        overdue = Loan.objects.filter(status=LoanStatus.OPEN, closes_at__lte=(now := database_now(None)))
        address = _list_address(Loan, status__exact=LoanStatus.OPEN, closes_at__lte=now)
        waiting.append(WaitingRows("Loans past their closing", overdue.count(), address))
    if request.user.has_perm("loans.view_statementimport"):
        checked = StatementImport.objects.filter(state=StatementImport.State.CHECKED)
        address = _list_address(StatementImport, state__exact=StatementImport.State.CHECKED)
        waiting.append(WaitingRows("Bank statements to book", checked.count(), address))
    return [rows for rows in waiting if rows.count]


@dataclass(frozen=True)
class Tile:
    """What waits, with the words for one row and for several, and the address of the list that shows it."""

    label: str
    waiting: staff_figures.Waiting
    noun: str
    address: str
    is_late: bool = False
    since_words: str = "oldest"


@register.simple_tag(takes_context=True)
def tiles(context: dict[str, Any]) -> list[Tile]:
    """Return what a person looks at first: money, deadlines, review items, refunds and messages, with dollars and age."""
    request: HttpRequest = context["request"]
    now = database_now(None)
    shown = []
    if request.user.has_perm("loans.view_reservation"):
        address = _list_address(Reservation, state__exact=ReservationState.PENDING, deadline="none")
        shown.append(Tile("Money waits for its turn", staff_figures.funded_waiting(), "reservation", address))
        address = _list_address(Reservation, deadline="today")
        shown.append(Tile("Lapses tonight", staff_figures.lapsing_tonight(now), "reservation", address, since_words="next"))
    if request.user.has_perm("loans.view_reviewitem"):
        items = staff_figures.review_items_older_than(REVIEW_WITHIN, now)
        address = _list_address(ReviewItem, resolved_at__isempty=1, opened_at__lt=(now - REVIEW_WITHIN).isoformat())
        shown.append(Tile("In review for over two days", items, "item", address, items.count > 0))
    if request.user.has_perm("loans.view_transfer"):
        address = _list_address(Transfer, direction__exact=Direction.REFUND, status__exact=TransferStatus.DUE)
        shown.append(Tile("Refunds to send", staff_figures.refunds_due(), "refund", address))
    if request.user.has_perm("loans.view_delivery"):
        failing = staff_figures.deliveries_failing()
        shown.append(Tile("Messages failing", failing, "message", _list_address(Delivery, failing="yes"), failing.count > 0))
    return shown


@register.simple_tag(takes_context=True)
def today(context: dict[str, Any]) -> dict[str, Any]:
    """Return what happened today, the flow by day, and the open loans that close next."""
    request: HttpRequest = context["request"]
    now = database_now(None)
    parts: dict[str, Any] = {}
    if request.user.has_perm("loans.view_reservation"):
        days = daily_figures(now)
        parts["flow"] = charts.daily_flow_chart(days[-DAYS_OF_FLOW:])
        parts["happened"] = staff_figures.totals_today(now)
        parts["lapsed_shares"] = charts.lapsed_shares_chart(weekly_exits(days))
    if request.user.has_perm("loans.view_loan"):
        parts["loans"] = [(funding.offer, charts.funding_bar(funding, key=False)) for funding in staff_figures.open_loans(now)]
        parts["closing_totals"] = charts.closing_totals_chart(closing_totals(now))
    return parts


@register.simple_tag(takes_context=True)
def jobs_run(context: dict[str, Any]) -> list[dict[str, Any]]:
    """Return for each scheduled job when it last succeeded, how many runs failed, and whether it is late."""
    request: HttpRequest = context["request"]
    if not request.user.has_perm("django_celery_beat.view_periodictask"):
        return []
    results = job_runs.results()
    return [
        _job_row(job, results.get(job.task, job_runs.NEVER_RUN))
        for job in job_runs.SCHEDULED.filter(task__startswith="loans.").order_by("name")
    ]


@register.filter
def late_jobs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the jobs that should have succeeded once more by now."""
    return [row for row in rows if row["late"]]


def _job_row(job: PeriodicTask, result: JobResult) -> dict[str, Any]:
    return {
        "name": job.name,
        "address": reverse("admin:django_celery_beat_periodictask_change", args=[job.pk]),
        "succeeded_at": result.succeeded_at,
        "failed": result.failures,
        "enabled": job.enabled,
        "late": job.enabled and not job.one_off and job_runs.lag_seconds(job, result) > job_runs.LATE_SECONDS,
    }


def _list_address(model: type[Model], **filters: Any) -> str:
    return f"{reverse(f'admin:loans_{model._meta.model_name}_changelist')}?{urlencode(filters)}"
