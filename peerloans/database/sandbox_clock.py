"""Move the time of a sandbox forward, for all its processes at once.

Deadlines, jobs and pages read the time in SQL, by PostgreSQL's clock_timestamp(), statement_timestamp() and now(). In debug each
connection looks for functions in the schema `sandbox` before it looks in pg_catalog (`search_path` in peerloans/settings.py). The
functions of the same names that are made there add a span to the time. In production no connection looks there.

What Python's clock sets stays in real time: when tokens and sessions end, signatures, and when beat sends a job.
"""

from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction

_FUNCTIONS = {"clock_timestamp": "VOLATILE", "statement_timestamp": "STABLE", "now": "STABLE"}
_LOCK = 7_330_001  # of those who move the clock
_MICROSECOND = timedelta(microseconds=1)


@transaction.atomic
def move_forward(by: timedelta) -> None:
    """Move the time forward by this span, beyond what it was moved before.

    The span is a constant in the functions, so PostgreSQL can inline them, and plans the kept statements of other connections anew.

    Raises:
        RuntimeError: DEBUG is off.
    """
    if not settings.DEBUG:
        raise RuntimeError("Only a sandbox has a clock that moves: DEBUG is off.")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        cursor.execute("CREATE SCHEMA IF NOT EXISTS sandbox")
        # Both functions have the time at which the statement began, so the difference is exact.
        cursor.execute("SELECT statement_timestamp() - pg_catalog.statement_timestamp()")
        (moved_before,) = cursor.fetchone()
        microseconds = (moved_before + by) // _MICROSECOND
        for name, volatility in _FUNCTIONS.items():
            cursor.execute(
                f"CREATE OR REPLACE FUNCTION sandbox.{name}() RETURNS timestamptz LANGUAGE sql {volatility} PARALLEL SAFE"
                f" RETURN pg_catalog.{name}() + interval '{microseconds} microseconds'"
            )
