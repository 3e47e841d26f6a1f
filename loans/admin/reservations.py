"""Show reservations, with their deadline explained and their history as a timeline."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from loans.admin.action_pages import StaffActionsAdmin
from loans.admin.investor_filter import investor_filter
from loans.admin.search import SearchAsPrinted
from loans.admin.tables import RelatedTablesAdmin, Table, dollars_column, state_column, transfers_table
from loans.domain.business_calendar import end_of_day
from loans.domain.states import CAUSES
from loans.models import Reservation, Transfer, Transition
from loans.selectors.reservations import explain_deadline
from peerloans.admin.base import ReadOnlyAdmin
from peerloans.database.clock import database_now
from peerloans.wording import dollars_text

TRANSITIONS_SHOWN = 200  # in the timeline, the latest


class CauseFilter(admin.SimpleListFilter):
    """Filter by cause, with choices from the rules. Django's own filter would read them from the table."""

    title = parameter_name = "cause"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(cause), str(cause).replace("_", " ")) for cause in CAUSES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(cause=self.value()) if self.value() else queryset


class DeadlineFilter(admin.SimpleListFilter):
    """Filter by when the deadline is, in New York. One at midnight ends the day before it."""

    title = parameter_name = "deadline"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("today", "Until tonight"),
            ("tomorrow", "Until tomorrow night"),
            ("week", "Within seven days"),
            ("none", "None: the money is here, or it has ended"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now = database_now(None)
        days = {"today": 0, "tomorrow": 1, "week": 6}
        if self.value() == "none":
            return queryset.filter(expires_at=None)
        if self.value() in days:
            return queryset.filter(expires_at__gt=now, expires_at__lte=end_of_day(now + timedelta(days=days[str(self.value())])))
        return queryset


@admin.register(Reservation)
class ReservationAdmin(SearchAsPrinted, RelatedTablesAdmin, ReadOnlyAdmin, StaffActionsAdmin):
    list_display = [
        "__str__",
        "investor",
        dollars_column("amount"),
        dollars_column("settled_amount"),
        state_column("state"),
        "created_at",
        "expires_at",
        "funded_at",
    ]
    list_select_related = ["loan", "investor"]
    list_filter = [investor_filter("investor"), "state", CauseFilter, DeadlineFilter, "created_at"]
    search_fields = ["id__exact"]
    search_help_text = (
        "A reservation such as PL-0010 #6, its id, a loan's or a transfer's reference, or an investor's name, user name or e-mail"
    )
    to_loan, to_investor, to_reservation, to_transfer = "loan", "investor", "", "transfers__"
    ordering = ["-created_at", "-id"]

    def describe_found(self, reservation: Reservation) -> str:
        return f"{reservation.investor}, {dollars_text(reservation.amount)}, {reservation.state}"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Reservation]:
        return super().get_queryset(request).select_related("loan", "investor")

    def related_tables(self, obj: Reservation) -> list[Table]:
        return [transfers_table(Transfer.objects.filter(reservation=obj), obj.loan.reference)]

    def chart_context(self, obj: Reservation) -> dict[str, Any]:
        newest_first = Transition.objects.filter(reservation=obj).select_related("transfer", "user").order_by("-id")
        transitions = list(newest_first[:TRANSITIONS_SHOWN])[::-1]
        return {"transitions": transitions, "deadline": explain_deadline(obj, transitions)}
