"""Register investors, and until when each is accredited."""

from django.contrib import admin
from django.http import HttpRequest

from loans.models import Investor
from peerloans.admin.base import NoDeleteAdmin


@admin.register(Investor)
class InvestorAdmin(NoDeleteAdmin):
    list_display = ["name", "user", "accredited_until"]
    list_select_related = ["user"]
    list_filter = ["accredited_until"]
    search_fields = ["name", "user__username__exact", "user__email__exact"]
    ordering = ["-pk"]
    autocomplete_fields = ["user"]

    def get_readonly_fields(self, request: HttpRequest, obj: Investor | None = None) -> list[str]:
        return ["user"] if obj else []
