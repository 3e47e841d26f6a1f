"""Show the acts that wait for the approval of a second person, and those that were decided."""

from django.contrib import admin

from loans.admin.action_pages import StaffActionsAdmin
from loans.models import ApprovalRequest
from peerloans.admin.base import ReadOnlyAdmin


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(ReadOnlyAdmin, StaffActionsAdmin):
    list_display = ["description", "loan", "reason", "requested_by", "requested_at", "state", "decided_by", "decided_at", "decision_reason"]
    list_select_related = ["loan", "requested_by", "decided_by"]
    list_filter = ["state", "requested_at"]
    search_fields = ["loan__reference__exact", "description"]
