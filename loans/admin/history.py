"""Show the history of all loans, and the closing values of each day."""

from django.contrib import admin

from loans.admin.search import SearchAsPrinted
from loans.admin.tables import dollars_column
from loans.models import ClosingValue, Transition
from peerloans.admin.base import ReadOnlyAdmin


@admin.register(Transition)
class TransitionAdmin(SearchAsPrinted, ReadOnlyAdmin):
    list_display = [
        "at",
        "loan",
        "reservation",
        "waiting_entry",
        "transfer",
        "event",
        "from_state",
        "to_state",
        dollars_column("amount"),
        "rule",
        "actor",
        "user",
        "approved_by",
        "reason",
    ]
    list_select_related = ["loan", "reservation__loan", "waiting_entry__loan", "transfer", "user", "approved_by"]
    list_filter = ["at"]
    search_fields = ["event__exact", "actor__exact", "user__username__exact"]
    search_help_text = "A loan or a transfer, a reservation such as PL-0010 #6, an event such as canceled_by_staff, an actor or a user"
    to_loan, to_reservation, to_transfer = "loan", "reservation__", "transfer__"
    ordering = ["-id"]
    sortable_by = ()  # Millions of rows in another order take ten seconds.


@admin.register(ClosingValue)
class ClosingValueAdmin(ReadOnlyAdmin):
    list_display = ["loan", "day", *map(dollars_column, ("remaining", "settled", "claimed"))]
    list_select_related = ["loan"]
    list_filter = ["day"]
    search_fields = ["loan__reference__istartswith"]
    ordering = ["-day", "loan"]
