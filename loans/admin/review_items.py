"""Show the review items: what needs a person."""

from django.contrib import admin

from loans.admin.action_pages import StaffActionsAdmin
from loans.admin.search import SearchAsPrinted, of_investor
from loans.models import ReviewItem
from peerloans.admin.base import ReadOnlyAdmin


@admin.register(ReviewItem)
class ReviewItemAdmin(SearchAsPrinted, ReadOnlyAdmin, StaffActionsAdmin):
    list_display = ["kind", "loan", "reservation", "detail", "opened_at", "resolved_at", "resolved_by", "note"]
    list_select_related = ["loan", "reservation__loan", "resolved_by"]
    list_filter = [("resolved_at", admin.EmptyFieldListFilter), "kind", "opened_at"]
    search_fields = ["loan__reference__istartswith", "detail", *of_investor("reservation__investor")]
    search_help_text = "A loan's or a transfer's reference, a reservation such as PL-0010 #6, a part of the detail, or an investor"
    to_reservation, to_transfer = "reservation__", "reservation__transfers__"
