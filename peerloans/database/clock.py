"""Read the database's clock, which all servers share."""

from datetime import datetime

from django.db import connection


def database_now(now: datetime | None) -> datetime:
    """Return `now` where it is given, or the present by the database's clock."""
    if now is None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            (now,) = cursor.fetchone()
    return now
