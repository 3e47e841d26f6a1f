"""Guard every log-in page, of staff and of investors: the code of a second factor, and a limit of all attempts from one address.

Wrong passwords for one user are counted by django-axes. Its numbers, and those of the limit here, are in peerloans/settings.py.
"""

import math
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, UsernameField
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from peerloans.api.throttling import LogInThrottle
from peerloans.web import second_factor


class GuardedLoginForm(AuthenticationForm):
    """User name, password, and the code of a second factor."""

    username = UsernameField(max_length=150)
    code = forms.CharField(
        required=False,
        max_length=20,
        label="Code",
        help_text="From your phone, or a recovery code. Leave it empty if you have not set up a second factor.",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code"}),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if user := self.get_user():
            user.otp_device = second_factor.check_code(user, self.cleaned_data.get("code", "").strip())  # type: ignore[attr-defined]
        return cleaned


def too_many_log_ins(request: HttpRequest) -> HttpResponse | None:
    """Count an attempt to log in. Return the refusal where there were too many from the caller's address, else None."""
    attempts = LogInThrottle()
    if request.method != "POST" or attempts.allow_request(request):
        return None
    seconds = math.ceil(attempts.wait())
    page = render(request, "locked_out.html", {"seconds": seconds}, status=429)
    page["Retry-After"] = str(seconds)
    return page
