"""What is to be seen of loans and reservations? Reads only.

`now` is the instant asked about; None is the present, by the database's clock.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import connection, transaction


def database_now(now: datetime | None) -> datetime:
    """The given instant, or the present by the database's clock."""
    if now is None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            (now,) = cursor.fetchone()
    return now


@contextmanager
def consistent_snapshot() -> Iterator[None]:
    """All reads in here see the database as it was at the first of them. An outer transaction keeps the snapshots it has."""
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
