"""Keep sessions in the database, let a failing database be seen as such, and end sessions that are idle or old.

The settings SESSION_IDLE_MINUTES and SESSION_HOURS say when one ends, of staff and investors alike.
"""

import time
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import SESSION_KEY, logout
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import UpdateError
from django.db import OperationalError
from django.http import HttpRequest, HttpResponseBase


class SessionStore(db.SessionStore):
    def save(self, must_create: bool = False) -> None:
        """Save the session.

        Raises:
            UpdateError: the session was deleted in the meantime; Django answers 400.
            OperationalError: the database failed, which is answered with 503. Django's own store raises UpdateError for this too.
        """
        try:
            super().save(must_create)
        except UpdateError as error:
            database_error = error.__context__
            if isinstance(database_error, OperationalError):
                raise database_error from None
            raise


class SessionTimeoutMiddleware:
    """End a session after SESSION_IDLE_MINUTES without a request, and SESSION_HOURS after its start.

    The session stores when it was last used, at most once a minute.
    """

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
