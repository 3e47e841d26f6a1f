"""Read the database's clock, which all servers share."""

from datetime import datetime

from django.db import connection


def database_now(now: datetime | None) -> datetime:
    """Return `now` where it is given, or the present by the database's clock."""
    return now or _read("clock_timestamp()")


def real_now(now: datetime | None) -> datetime:
    """Do the same by the clock that no sandbox moves, for what Python's clock has set: when tokens and sessions end."""
    return now or _read("pg_catalog.clock_timestamp()")


def _read(function: str) -> datetime:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}")
        at: datetime
        (at,) = cursor.fetchone()
    return at
