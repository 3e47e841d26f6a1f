"""Show waiting lists, those who wait longest first, and remove entries."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Coalesce, Now
from django.http import HttpRequest

from loans.admin.action_pages import StaffActionsAdmin
from loans.admin.investor_filter import investor_filter
from loans.admin.search import of_investor
from loans.admin.tables import RelatedTablesAdmin, Table, dollars_column, history_table, state_column
from loans.models import Transition, WaitingListEntry
from peerloans.admin.base import ReadOnlyAdmin


@admin.register(WaitingListEntry)
class WaitingListEntryAdmin(RelatedTablesAdmin, ReadOnlyAdmin, StaffActionsAdmin):
    list_display = [
        "__str__",
        "investor",
        dollars_column("amount"),
        dollars_column("at_least"),
        state_column("state"),
        "joined_at",
        "waited",
        "reservation",
    ]
    list_select_related = ["loan", "investor", "reservation__loan"]
    list_filter = [investor_filter("investor"), "state", "joined_at"]
    search_fields = ["id__exact", "loan__reference__iexact", *of_investor("investor")]
    search_help_text = "An entry's id, a loan's whole reference, or an investor's name, user name or e-mail"
    ordering = ["-joined_at", "-id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[WaitingListEntry]:
        entries: QuerySet[WaitingListEntry] = super().get_queryset(request)
        return entries.annotate(waited_until=Coalesce("ended_at", Now()))

    @admin.display(description="waited", ordering="joined_at")
    def waited(self, entry: Any) -> timedelta:
        waited: timedelta = entry.waited_until - entry.joined_at
        return timedelta(minutes=waited // timedelta(minutes=1))

    def related_tables(self, obj: WaitingListEntry) -> list[Table]:
        return [history_table(Transition.objects.filter(waiting_entry=obj), obj.loan.reference)]

    def chart_context(self, obj: WaitingListEntry) -> dict[str, Any]:
        return {}
