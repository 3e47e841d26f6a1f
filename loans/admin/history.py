"""Show the history of all loans, and the closing values of each day."""

from django.contrib import admin

from loans.admin.tables import dollars_column
from loans.models import ClosingValue, Transition
from peerloans.admin.base import ReadOnlyAdmin


@admin.register(Transition)
class TransitionAdmin(ReadOnlyAdmin):
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
    search_fields = ["loan__reference__exact", "transfer__reference__exact", "event__exact", "actor__exact", "user__username__exact"]
    search_help_text = "A loan's or a transfer's whole reference, an event such as canceled_by_staff, an actor such as bank, or a user"
    ordering = ["-id"]


@admin.register(ClosingValue)
class ClosingValueAdmin(ReadOnlyAdmin):
    list_display = ["loan", "day", *map(dollars_column, ("remaining", "settled", "claimed"))]
    list_select_related = ["loan"]
    list_filter = ["day"]
    search_fields = ["loan__reference__exact"]
    ordering = ["-day", "loan"]
