"""Let investors log in and out, and let only them into the pages of their account.

Investors and staff are users of one kind, and the log-in has the guards that the admin's has: the lock after wrong passwords, the
limit of attempts, and the second factor where one is set up.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth import logout
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import LoginView, redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render, resolve_url
from django.views.decorators.http import require_http_methods, require_POST

from loans.domain.errors import NotFound
from loans.models import Investor, User
from peerloans.web import second_factor
from peerloans.web.log_in import GuardedLoginForm, too_many_log_ins

READS = ("GET", "HEAD")


class LoginForm(GuardedLoginForm):
    """The log-in of investors alone."""

    error_messages = GuardedLoginForm.error_messages | {
        "invalid_login": "No investor has this user name and password. Capital and small letters differ."
    }

    def confirm_login_allowed(self, user: Any) -> None:
        super().confirm_login_allowed(user)
        if not hasattr(user, "investor"):
            raise self.get_invalid_login_error()


_log_in = LoginView.as_view(authentication_form=LoginForm, template_name="loans/account/log_in.html", next_page="loans:account")


@require_http_methods([*READS, "POST"])
def log_in(request: HttpRequest) -> HttpResponseBase:
    return too_many_log_ins(request) or _log_in(request)


@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("loans:market")


def account_page(*methods: str) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """Make a view answer these methods, and only to an investor who has logged in, who becomes its argument `investor`.

    No cache keeps its answers. Others are redirected to the log-in, and to the page after it.
    """

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def answer(request: HttpRequest, **path: Any) -> HttpResponse:
            response = _answer(view, request, path)
            response.headers["Cache-Control"] = "private, no-store"
            return response

        return require_http_methods(methods)(answer)

    return decorate


def _answer(view: Callable[..., HttpResponse], request: HttpRequest, path: dict[str, Any]) -> HttpResponse:
    investor = investor_or_none(request.user)
    if investor is None:
        page = request.get_full_path() if request.method in READS else resolve_url("loans:account")
        return redirect_to_login(page, resolve_url("loans:log-in"))
    try:
        return view(request, investor=investor, **path)
    except NotFound:
        return render(request, "404.html", status=404)


def investor_or_none(user: User | AnonymousUser) -> Investor | None:
    """Return the user's investor; None where there is none, or a second factor is set up that the session has not shown."""
    if not isinstance(user, User) or not hasattr(user, "investor"):
        return None
    if second_factor.is_set_up(user) and not user.is_verified():  # type: ignore[attr-defined]
        return None
    return user.investor
