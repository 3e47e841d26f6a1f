"""Keep sessions in the database, and let a failing database be seen as such."""

from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import UpdateError
from django.db import OperationalError


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
