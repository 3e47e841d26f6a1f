"""Who may log in, with what? Users with their second factor, and the tokens that programs call with."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django_otp.plugins.otp_static import admin as static_admin  # noqa: F401
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp import admin as totp_admin  # noqa: F401
from django_otp.plugins.otp_totp.models import TOTPDevice
from knox import admin as knox_admin  # noqa: F401
from knox.models import AuthToken

from loans.models import User
from peerloans.admin import second_factor
from peerloans.admin.audit_log import keep_trail
from peerloans.admin.base import ReadOnlyAdmin, TakenOut
from peerloans.admin.site import end_tokens


class AccountAdmin(TakenOut, UserAdmin):
    """A new password ends the user's tokens; sessions end with the old one by themselves."""

    actions = ["remove_second_factor"]
    not_taken_out = ("password",)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002
        response = super().user_change_password(request, id, form_url)
        if request.method == "POST" and response.status_code == 302:
            end_tokens(id)
        return response

    def has_remove_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    @admin.action(description="Remove the second factor", permissions=["remove"])
    def remove_second_factor(self, request: HttpRequest, users: QuerySet[User]) -> None:
        for user in users.order_by("pk"):
            second_factor.remove(user)
            keep_trail(request.user.pk, user, "Removed the second factor.")
        self.message_user(request, "They log in by password alone now, and can set up another phone.", messages.WARNING)


class TokenAdmin(ReadOnlyAdmin):
    """Tokens are kept as hashes. To delete one is to revoke it; its next call answers 401."""

    list_display = ["begins", "user", "created", "expiry"]
    list_select_related = ["user"]
    list_filter = ["expiry"]
    search_fields = ["token_key__startswith", "user__username__exact"]
    search_help_text = "The first characters of a token, or a user name"
    ordering = ["-created"]
    fields = ["begins", "user", "created", "expiry"]
    not_taken_out = ("digest",)

    @admin.display(description="token begins", ordering="token_key")
    def begins(self, token: AuthToken) -> str:
        return f"{token.token_key[:8]}…"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("knox.delete_authtoken"))


class TrailAdmin(ReadOnlyAdmin):
    """Who did what in the admin."""

    list_display = ["action_time", "user", "content_type", "object_repr", "change_message"]
    list_select_related = ["user", "content_type"]
    list_filter = ["action_time"]
    search_fields = ["user__username__exact", "object_id__exact"]
    search_help_text = "A user name, or the id of what it was done to"


def register() -> None:
    """In place of the libraries' own pages; those of second factors show their secrets."""
    for model in (AuthToken, TOTPDevice, StaticDevice):
        admin.site.unregister(model)
    for model, kind in ((User, AccountAdmin), (AuthToken, TokenAdmin), (LogEntry, TrailAdmin)):
        admin.site.register(model, kind)
