"""What can this server do right now? Serve at all, and reach what it works with."""

import logging
from collections.abc import Callable

from celery import current_app
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django_redis import get_redis_connection
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from peerloans import jobs

logger = logging.getLogger(__name__)


class Down(Exception):
    """Why a part is not as it must be, for the log."""


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


class _Migrations:
    """Once all of this code's migrations are applied they stay so; newer ones, of code that comes, do not matter."""

    applied = False

    def __call__(self) -> None:
        if not self.applied:
            executor = MigrationExecutor(connection)
            waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
            if waiting:
                raise Down(f"not applied: {', '.join(str(migration) for migration, _ in waiting)}")
            self.applied = True


def _redis() -> None:
    get_redis_connection("default").ping()


def _broker() -> None:
    with current_app.connection_for_write(connect_timeout=1) as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=2)


def _beat() -> None:
    late = jobs.beat_lag_seconds()
    if late > jobs.LATE_SECONDS:
        raise Down(f"a job has not been sent for {late:.0f} seconds since it was due")


PARTS: dict[str, Callable[[], None]] = {
    "database": _database,
    "migrations": _Migrations(),
    "redis": _redis,
    "broker": _broker,
    "beat": _beat,
}
# Without the others the site goes on: what Redis shows comes from the database, and the sweeps make up for every task
# that was not sent. All servers share them, so leaving the balancer for one of them would take the whole site down.
NEEDED = ("database", "migrations")


def look() -> dict[str, bool]:
    """Whether each part is up."""
    return {name: _up(name, check) for name, check in PARTS.items()}


def _up(name: str, check: Callable[[], None]) -> bool:
    try:
        check()
    except (Down, Error, RedisError, OperationalError, OSError) as problem:
        logger.warning("%s is down: %s", name, problem)
        return False
    return True
