"""Show amounts and states in the columns of a list, and related rows in tables below a page's form."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode

from loans.models import (
    BankEvent,
    Delivery,
    Investor,
    Reservation,
    StandingOrder,
    StandingOrderTransition,
    Transfer,
    Transition,
    WaitingListEntry,
    WebhookEndpoint,
)
from loans.models.notification import DeliveryStatus
from loans.selectors.transfers import newest_transfer_ids
from peerloans.admin.base import DEADLINES
from peerloans.web.wording_filters import deadline, instant, unbroken
from peerloans.wording import dollars_text

TRANSFER_COLUMNS = ("reference", "reservation", "direction", "method", "amount", "status", "created_at", "cleared_at", "ended_at")
ROWS_SHOWN = 50  # in each table of a page; the list of the model has all rows


def dollars_column(name: str) -> Any:
    """Return a column that shows the amount of this name."""

    @admin.display(description=name.replace("_", " "), ordering=None if name == "remaining" else name)
    def column(row: Any) -> str:
        amount = getattr(row, name)
        return "" if amount is None else dollars_text(amount)

    column.__name__ = name
    return column


def state_column(name: str) -> Any:
    """Return a column that shows the state of this name as a colored label."""

    @admin.display(description=name, ordering=name)
    def column(row: Any) -> str:
        state = getattr(row, name)
        return format_html('<span class="status {}">{}</span>', state, state)

    column.__name__ = name
    return column


@dataclass(frozen=True)
class Row:
    url: str
    cells: list[object]


@dataclass(frozen=True)
class Table:
    """Rows related to the row of a page. `more_url` leads to all of them, if not all are shown."""

    title: str
    columns: list[str]
    rows: list[Row]
    more_url: str | None


def list_url(model_name: str, search: str) -> str:
    return filtered_list_url(model_name, {"q": search})


def filtered_list_url(model_name: str, query: dict[str, Any]) -> str:
    return f"{reverse(f'admin:loans_{model_name}_changelist')}?{urlencode(query)}"


def _table(title: str, queryset: QuerySet[Any], columns: Sequence[str], search: str, *, investor_id: int | None = None) -> Table:
    query: dict[str, Any] = {"q": search} if investor_id is None else {"investor": investor_id}
    model_name = str(queryset.model._meta.model_name)
    objects = list(queryset[: ROWS_SHOWN + 1])
    rows = [
        Row(reverse(f"admin:loans_{model_name}_change", args=[each.pk]), [_cell(column, _value(each, column)) for column in columns])
        for each in objects[:ROWS_SHOWN]
    ]
    more_url = filtered_list_url(model_name, query) if len(objects) > ROWS_SHOWN else None
    return Table(title, [_heading(queryset, column) for column in columns], rows, more_url)


def _heading(queryset: QuerySet[Any], column: str) -> str:
    return str(queryset.model._meta.verbose_name) if column == "__str__" else column.replace("_", " ")


def _value(row: Any, column: str) -> object:
    return str(row) if column == "__str__" else getattr(row, column)


def _cell(column: str, value: object) -> object:
    if isinstance(value, datetime):
        return deadline(value) if column in DEADLINES else instant(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return dollars_text(value)
    return value if value is None else unbroken(value)


def waiting_list_table(entries: QuerySet[WaitingListEntry], search: str) -> Table:
    """Return a table of the entries that wait; searching the waiting lists for `search` finds them."""
    columns = ("number", "investor", "amount", "at_least", "joined_at")
    return _table("Waiting list, next first", entries.select_related("investor").order_by("number"), columns, search)


def standing_orders_table(title: str, transitions: QuerySet[StandingOrderTransition], search: str) -> Table:
    """Return a table of these transitions, the newest first; searching the history of standing orders for `search` finds all of them."""
    columns = ("at", "event", "order", "loan", "amount", "obstacle", "place", "actor", "user")
    return _table(title, transitions.select_related("order__investor", "loan", "user").order_by("-id"), columns, search)


def bank_events_table(events: QuerySet[BankEvent], search: str) -> Table:
    """Return a table of the bank's reports, the newest first; searching the list of bank events for `search` finds all of them."""
    columns = ("id", "type", "source", "reference", "amount", "occurred_at", "recorded_at", "outcome", "answer")
    return _table("Reports of the bank, newest first", events.order_by("-recorded_at", "id"), columns, search)


def _table_of_investor(title: str, queryset: QuerySet[Any], columns: Sequence[str], investor: Investor) -> Table:
    """Return a table of rows of the investor. The list of the model shows all of them by the filter `investor`."""
    return _table(title, queryset, columns, "", investor_id=investor.pk)


def reservations_of(investor: Investor) -> Table:
    rows = Reservation.objects.filter(investor=investor).select_related("loan").order_by("-created_at", "-id")
    columns = ("__str__", "amount", "state", "cause", "expires_at", "waiting_money", "settled_amount", "refunded", "created_at")
    return _table_of_investor("Reservations, newest first", rows, columns, investor)


def transfers_of(investor: Investor) -> Table:
    rows = Transfer.objects.filter(pk__in=newest_transfer_ids(investor.pk, ROWS_SHOWN + 1)).select_related("reservation__loan")
    return _table_of_investor("Transfers and refunds, newest first", rows.order_by("-created_at", "-id"), TRANSFER_COLUMNS, investor)


def waiting_entries_of(investor: Investor) -> Table:
    rows = WaitingListEntry.objects.filter(investor=investor).select_related("loan").order_by("-joined_at", "-id")
    columns = ("__str__", "amount", "at_least", "state", "joined_at", "ended_at")
    return _table_of_investor("Waiting lists, newest first", rows, columns, investor)


def standing_orders_of(investor: Investor) -> Table:
    rows = StandingOrder.objects.filter(investor=investor).order_by("-created_at", "-id")
    return _table_of_investor("Standing orders", rows, ("created_at", "amount", "at_least", "cap", "state", "place"), investor)


def messages_of(investor: Investor) -> Table:
    messages = Delivery.objects.filter(investor=investor)
    rows = messages.select_related("transition", "watch_notice__watch__loan", "endpoint")
    columns = ("announced", "endpoint", "status", "attempts", "created_at", "ended_at", "last_error")
    count = Counter(dict(messages.order_by().values_list("status").annotate(Count("pk"))))
    title = (
        f"Messages: {count[DeliveryStatus.SENT]:,} sent, {count[DeliveryStatus.WAITING]:,} on the way, "
        f"{count[DeliveryStatus.GIVEN_UP]:,} could not be delivered. Newest first; without an endpoint, e-mails"
    )
    return _table_of_investor(title, rows.order_by("-id"), columns, investor)


def endpoints_of(investor: Investor) -> Table:
    rows = WebhookEndpoint.objects.filter(investor=investor).order_by("pk")
    return _table_of_investor("Webhook endpoints", rows, ("url", "enabled", "created_at"), investor)


def transfers_table(transfers: QuerySet[Transfer], search: str) -> Table:
    """Return a table of these transfers; searching the list of transfers for `search` finds all of them."""
    newest_first = transfers.select_related("reservation__loan").order_by("-created_at", "-id")
    return _table("Transfers, newest first", newest_first, TRANSFER_COLUMNS, search)


def history_table(transitions: QuerySet[Transition], search: str) -> Table:
    """Return a table of these transitions; searching the history for `search` finds all of them."""
    columns = (
        "at",
        "event",
        "reservation",
        "waiting_entry",
        "transfer",
        "from_state",
        "to_state",
        "amount",
        "rule",
        "actor",
        "user",
        "reason",
    )
    newest_first = transitions.select_related("reservation__loan", "waiting_entry__loan", "transfer", "user").order_by("-id")
    return _table("History, newest first", newest_first, columns, search)


class RelatedTablesAdmin(admin.ModelAdmin):
    """A page that shows charts above its form and tables of related rows below it."""

    def related_tables(self, obj: Any) -> list[Table]:
        raise NotImplementedError

    def chart_context(self, obj: Any) -> dict[str, Any]:
        """Return what the template shows besides the form and the tables."""
        raise NotImplementedError

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], add: bool = False, change: bool = False, form_url: str = "", obj: Any = None
    ) -> HttpResponse:
        if obj:
            context |= {"tables": self.related_tables(obj), **self.chart_context(obj)}
        return super().render_change_form(request, context, add, change, form_url, obj)
