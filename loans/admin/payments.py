"""Show transfers and the bank events that were received about them."""

from django.contrib import admin

from loans.admin.action_pages import StaffActionsAdmin
from loans.admin.tables import dollars_column, state_column
from loans.models import BankEvent, Transfer
from peerloans.admin.base import ReadOnlyAdmin


@admin.register(Transfer)
class TransferAdmin(ReadOnlyAdmin, StaffActionsAdmin):
    list_display = [
        "reference",
        "reservation",
        "direction",
        "method",
        dollars_column("amount"),
        dollars_column("moved"),
        state_column("status"),
        "created_at",
        "cleared_at",
        "ended_at",
    ]
    list_select_related = ["reservation__loan"]
    list_filter = ["direction", "status", "method", "created_at"]
    ordering = ["-created_at", "-id"]
    search_fields = ["reference__exact", "reservation__loan__reference__exact", "reservation__investor__name"]
    search_help_text = "A transfer's or a loan's whole reference, or part of an investor's name"


@admin.register(BankEvent)
class BankEventAdmin(ReadOnlyAdmin, StaffActionsAdmin):
    list_display = ["id", "type", "source", "reference", dollars_column("amount"), "occurred_at", "recorded_at", "outcome", "answer"]
    list_select_related = ["transfer"]
    list_filter = ["recorded_at", "source", "type"]
    search_fields = ["id__exact", "reference__exact", "outcome__exact"]
    search_help_text = "The bank's id of the event, a transfer's whole reference, or an outcome such as late_money"
