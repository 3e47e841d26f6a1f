"""Run the middleware that serves browsers only where a browser may be the caller.

API clients send a token with each call and keep no cookies: sessions, logins, messages and a policy for scripts do nothing for
them. Without these the answer to a ZIP takes 0.47 ms in place of 0.75 ms.
"""

from collections.abc import Callable
from typing import Any

from csp.middleware import CSPMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django_otp.middleware import OTPMiddleware

from peerloans.api import problem_details
from peerloans.web import door
from peerloans.web.sessions import SessionTimeoutMiddleware

API_PATHS = ("/api/v1/", "/ziptocbsa", "/cbsa")


class RefusalMiddleware:
    """Answer the requests whose body was not taken (peerloans/web/door.py), so that they are logged and counted like all others."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        code = request.META.get(door.REFUSED)
        return problem_details.body_refused(request, code) if code else self.get_response(request)


class PagesOnly:
    """A mixin that lets requests of the API skip the middleware it is mixed into.

    Each middleware below is a subclass of Django's own, because Django's system checks look for these in MIDDLEWARE.
    """

    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(API_PATHS):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]


class PageCSPMiddleware(PagesOnly, CSPMiddleware):
    """Send the Content-Security-Policy."""


class PageSessionMiddleware(PagesOnly, SessionMiddleware):
    """Load the session, and save it where it has changed."""


class PageAuthenticationMiddleware(PagesOnly, AuthenticationMiddleware):
    """Set `request.user` from the session."""


class PageOTPMiddleware(PagesOnly, OTPMiddleware):  # type: ignore[misc]
    """Note on `request.user` whether the session has shown a second factor."""


class PageSessionTimeoutMiddleware(PagesOnly, SessionTimeoutMiddleware):
    """End a session that is idle or old."""


class PageMessageMiddleware(PagesOnly, MessageMiddleware):
    """Keep messages for the user's next page."""
