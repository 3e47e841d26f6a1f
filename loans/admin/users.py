"""Manage users, their second factors and API tokens, and show the admin's log."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone

# These register pages of their own, which must be there before they can be unregistered below.
from django_otp.plugins.otp_static import admin as static_admin  # noqa: F401
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp import admin as totp_admin  # noqa: F401
from django_otp.plugins.otp_totp.models import TOTPDevice
from knox import admin as knox_admin  # noqa: F401
from knox.models import AuthToken

from loans.admin.search import words_of
from loans.admin.staff_invitations import invitation_page
from loans.models import User
from loans.models.token_generation import generation_of
from loans.selectors.search import user_ids
from peerloans.admin.audit_log import log_admin_action
from peerloans.admin.base import CsvExportAdmin, ReadOnlyAdmin
from peerloans.web import second_factor

# The pages of devices would show the secrets of second factors.
admin.site.unregister([AuthToken, TOTPDevice, StaticDevice])


@admin.register(User)
class UserAdmin(CsvExportAdmin, DjangoUserAdmin):
    """A new password ends the user's tokens (loans/models/token_generation.py), and the user's sessions: Django does that."""

    actions = ["remove_second_factor"]
    change_list_template = "admin/loans/users.html"
    csv_exclude = ("password",)
    list_select_related = ["investor"]
    search_help_text = "The beginning of a user name, an e-mail or a name"

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[User], search_term: str) -> tuple[QuerySet[User], bool]:
        for word in words_of(search_term):
            queryset = queryset.filter(pk__in=user_ids(word))
        return queryset if words_of(search_term) or not search_term else queryset.none(), False

    def searched_rows(self, request: HttpRequest) -> QuerySet[User]:
        """Leave investors to the list of investors, for those who may view it."""
        users = self.get_queryset(request)
        return users.filter(investor=None) if request.user.has_perm("loans.view_investor") else users

    def describe_found(self, user: User) -> str:
        role = "staff" if user.is_staff else "no investor" if not hasattr(user, "investor") else "investor"
        parts = (user.get_full_name(), user.email or "no e-mail", role, "" if user.is_active else "not active")
        return ", ".join(filter(None, parts))

    def get_urls(self) -> list[URLPattern]:
        return [path("invite/", self.admin_site.admin_view(invitation_page), name="loans_user_invite"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, (extra_context or {}) | {"may_invite": request.user.has_perm("loans.invite_user")})

    def has_remove_second_factor_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    @admin.action(description="Remove the second factor", permissions=["remove_second_factor"])
    def remove_second_factor(self, request: HttpRequest, users: QuerySet[User]) -> None:
        for user in users.order_by("pk"):
            second_factor.remove(user)
            log_admin_action(request.user.pk, user, "Removed the second factor.")
        self.message_user(request, "These users now log in with their password alone. Each can set up another phone.", messages.WARNING)


@admin.register(AuthToken)
class AuthTokenAdmin(ReadOnlyAdmin):
    """API tokens, of which only hashes are stored. Deleting a token revokes it: its next call is answered with 401."""

    list_display = ["token_start", "user", "created", "expiry", "is_valid"]
    list_select_related = ["user"]
    list_filter = ["expiry"]
    search_fields = ["token_key__startswith", "user__username__exact"]
    search_help_text = "The first characters of a token, or a user name"
    ordering = ["-created"]
    fields = ["token_start", "user", "created", "expiry", "is_valid"]
    csv_exclude = ("digest",)

    @admin.display(description="token starts with", ordering="token_key")
    def token_start(self, token: AuthToken) -> str:
        return f"{token.token_key[:8]}…"

    @admin.display(description="valid", boolean=True)
    def is_valid(self, token: AuthToken) -> bool:
        user: Any = token.user
        return bool(user.is_active and token.expiry > timezone.now() and generation_of(token.token_key) == user.token_generation)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("knox.delete_authtoken"))


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """What each user did in the admin."""

    list_display = ["action_time", "user", "content_type", "object_repr", "change_message"]
    list_select_related = ["user", "content_type"]
    list_filter = ["action_time"]
    search_fields = ["user__username__exact", "object_id__exact"]
    search_help_text = "A user name, or the id of the changed row"
