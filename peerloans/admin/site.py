"""Who comes into the admin, and for how long? By password and, where it is set up or asked for, a code from their phone."""

import math
import time
from collections.abc import Callable
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import SESSION_KEY, logout
from django.contrib.auth.forms import UsernameField
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import URLPattern, URLResolver, path
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django_otp import login as verified_by
from knox.models import AuthToken

from peerloans.admin import second_factor
from peerloans.admin.audit_log import keep_trail
from peerloans.api.throttling import LogIns


class LogInForm(AdminAuthenticationForm):
    username = UsernameField(max_length=150)
    code = forms.CharField(
        required=False,
        max_length=20,
        label="Code",
        help_text="From your phone, or a recovery code; empty if you have set up neither.",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code"}),
    )

    def clean(self) -> dict[str, Any]:
        given = super().clean()
        if user := self.get_user():
            user.otp_device = second_factor.check(user, self.cleaned_data.get("code", "").strip())  # type: ignore[attr-defined]
        return given


class StaffSite(admin.AdminSite):
    login_form = LogInForm
    login_template = "admin/log_in.html"

    def has_permission(self, request: HttpRequest) -> bool:
        if not super().has_permission(request):
            return False
        if not hasattr(request, "shown_enough"):  # asked several times for each page
            request.shown_enough = second_factor.is_enough(request.user)  # type: ignore[attr-defined]
        return bool(request.shown_enough)  # type: ignore[attr-defined]

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Whoever must set up a second factor first is led there."""
        if super().has_permission(request) and not (second_factor.is_enough(request.user) or second_factor.is_set_up(request.user)):
            return redirect("admin:second-factor")
        attempts = LogIns()
        if request.method == "POST" and not attempts.allow_request(request):
            seconds = math.ceil(attempts.wait())
            page = render(request, "locked_out.html", {"seconds": seconds}, status=429)
            page["Retry-After"] = str(seconds)
            return page
        return super().login(request, extra_context)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [path("second-factor/", self.second_factor, name="second-factor"), *super().get_urls()]

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        response = super().password_change(request, extra_context)
        if request.method == "POST" and response.status_code == 302:
            end_tokens(request.user.pk)
        return response

    def second_factor(self, request: HttpRequest) -> HttpResponseBase:
        """Staff set up their own, or another phone in place of the one in use."""
        if not super().has_permission(request) or (second_factor.is_set_up(request.user) and not request.user.is_verified()):  # type: ignore[union-attr]
            return redirect(f"{self.name}:login")
        return _set_up(request, self.each_context(request) | {"title": "Second factor"})


@never_cache
@sensitive_post_parameters()
def _set_up(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    context["in_use"] = second_factor.is_set_up(request.user)
    if request.method == "POST" and "code" in request.POST:
        try:
            second_factor.check(request.user, request.POST.get("present", "").strip())
            device, context["recovery_codes"] = second_factor.confirm(request.user, request.POST["code"].strip())
        except ValidationError as refusal:
            context["refusal"] = refusal.message
        else:
            verified_by(request, device)
            keep_trail(request.user.pk, request.user, "Set up a second factor.")
            return render(request, "admin/second_factor.html", context)
    device = second_factor.begun(request.user)
    context |= {"picture": second_factor.picture(device), "key": device.config_url.partition("secret=")[2].partition("&")[0]}
    return render(request, "admin/second_factor.html", context, status=400 if "refusal" in context else 200)


def end_tokens(user_id: Any) -> None:
    """What was got with an old password ends with it."""
    AuthToken.objects.filter(user_id=user_id).delete()


class SessionsEnd:
    """A middleware: a session ends when it was idle for long, and some hours after it began. Its use is noted once a minute."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        session, now = request.session, int(time.time())
        if SESSION_KEY in session:
            began, used = session.get("began", now), session.get("used", now)
            if now - began > settings.SESSION_HOURS * 3600 or now - used > settings.SESSION_IDLE_MINUTES * 60:
                logout(request)
            elif "used" not in session or now - used >= 60:
                session["began"], session["used"] = began, now
        return self.get_response(request)
