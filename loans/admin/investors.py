"""Register investors, until when each is accredited, and show their limits."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from loans.admin.action_pages import StaffActionsAdmin
from loans.models import Investor, User
from loans.selectors.investor_limits import unfunded_dollars

LIMITS = ["unfunded_limit", "unfunded_now", "let_go_limit"]


@admin.register(Investor)
class InvestorAdmin(StaffActionsAdmin):
    """Limits are changed by an action, with a reason."""

    list_display = ["name", "user", "accredited_until"]
    list_select_related = ["user"]
    list_filter = ["accredited_until"]
    search_fields = ["name", "user__username__istartswith", "user__email__istartswith"]
    ordering = ["-pk"]
    autocomplete_fields = ["user"]

    def describe_found(self, investor: Investor) -> str:
        return f"{investor.user.username}, {investor.user.email or 'no e-mail'}"

    def get_fields(self, request: HttpRequest, obj: Investor | None = None) -> Any:
        fields = ["user", "name", "accredited_until"]
        return [*fields, *LIMITS] if obj else fields

    def has_change_permission(self, request: HttpRequest, obj: Investor | None = None) -> bool:
        """Refuse staff a change of their own accreditation."""
        return super().has_change_permission(request, obj) and (obj is None or obj.user_id != request.user.pk)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user":
            kwargs["queryset"] = User.objects.exclude(username=request.user.get_username())  # staff do not make themselves investors
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Investor | None = None) -> list[str]:
        return ["user", *LIMITS] if obj else []

    @admin.display(description="of that, unfunded now")
    def unfunded_now(self, investor: Investor) -> str:
        return f"{unfunded_dollars(investor.pk):,.2f}"
