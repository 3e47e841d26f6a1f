"""Show the review items: what needs a person."""

from django.contrib import admin

from loans.admin.action_pages import StaffActionsAdmin
from loans.models import ReviewItem
from peerloans.admin.base import ReadOnlyAdmin


@admin.register(ReviewItem)
class ReviewItemAdmin(ReadOnlyAdmin, StaffActionsAdmin):
    list_display = ["kind", "loan", "reservation", "detail", "opened_at", "resolved_at", "resolved_by", "note"]
    list_select_related = ["loan", "reservation__loan", "resolved_by"]
    list_filter = [("resolved_at", admin.EmptyFieldListFilter), "kind", "opened_at"]
    search_fields = ["loan__reference__exact", "detail"]
