"""What do browsers need that programs do not? Sessions, log-ins, messages, a policy for scripts.

A program brings a token with each call and keeps no cookies. Passing these by takes a third of a short answer's time away
(0.75 to 0.47 ms for a ZIP); each is Django's or a library's own beside that.
"""

from typing import Any

from csp.middleware import CSPMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django_otp.middleware import OTPMiddleware

from peerloans.admin import site

PROGRAMS = ("/api/v1/", "/ziptocbsa")


class ForBrowsers:
    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(PROGRAMS):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]


class ScriptPolicy(ForBrowsers, CSPMiddleware):
    pass


class Sessions(ForBrowsers, SessionMiddleware):
    """A database that fails while a session is saved is no session that has ended, which Django takes it for and answers 400."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        try:
            return super().process_response(request, response)
        except SessionInterrupted as interrupted:
            error = interrupted.__context__ and interrupted.__context__.__context__
            if isinstance(error, OperationalError):
                raise error from None
            raise


class LogIns(ForBrowsers, AuthenticationMiddleware):
    pass


class SecondFactors(ForBrowsers, OTPMiddleware):  # type: ignore[misc]
    pass


class SessionsEnd(ForBrowsers, site.SessionsEnd):
    pass


class Messages(ForBrowsers, MessageMiddleware):
    pass
