"""Show transfers and the bank events that were received about them."""

from django.contrib import admin

from loans.admin.action_pages import StaffActionsAdmin
from loans.admin.investor_filter import investor_filter
from loans.admin.search import SearchAsPrinted
from loans.admin.tables import dollars_column, state_column
from loans.models import BankEvent, Transfer
from peerloans.admin.base import ReadOnlyAdmin
from peerloans.wording import dollars_text


@admin.register(Transfer)
class TransferAdmin(SearchAsPrinted, ReadOnlyAdmin, StaffActionsAdmin):
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
    list_filter = [investor_filter("reservation__investor"), "direction", "status", "method", "created_at"]
    ordering = ["-created_at", "-id"]
    search_fields = ["reference__startswith"]
    search_help_text = "A transfer's or a loan's reference, a reservation such as PL-0010 #6, or an investor's name, user name or e-mail"
    to_loan, to_investor, to_reservation, to_transfer = "reservation__loan", "reservation__investor", "reservation__", ""

    def describe_found(self, transfer: Transfer) -> str:
        return f"{transfer.direction} {dollars_text(transfer.amount)} for {transfer.reservation}, {transfer.status}"


@admin.register(BankEvent)
class BankEventAdmin(SearchAsPrinted, ReadOnlyAdmin, StaffActionsAdmin):
    list_display = ["id", "type", "source", "reference", dollars_column("amount"), "occurred_at", "recorded_at", "outcome", "answer"]
    list_select_related = ["transfer"]
    list_filter = ["recorded_at", "source", "type"]
    search_fields = ["id__exact", "reference__icontains", "outcome__exact"]
    search_help_text = (
        "The bank's id of the event, a transfer's reference, a reservation such as PL-0010 #6, or an outcome such as late_money"
    )
    to_reservation, to_transfer = "transfer__reservation__", "transfer__"
