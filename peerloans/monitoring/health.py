"""Check whether this server can serve requests, and whether it reaches what it works with."""

import logging
from collections.abc import Callable
from functools import partial

from celery import current_app
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django_redis import get_redis_connection
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from peerloans import job_runs
from peerloans.monitoring import figures

logger = logging.getLogger(__name__)


class PartDown(Exception):
    """A part answers, but is not as it must be. The text says why, for the log."""


def _check_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


class _MigrationCheck:
    """Once all migrations of this code are applied they stay so, and are not looked up again. Later code's do not matter."""

    applied = False

    def __call__(self) -> None:
        if not self.applied:
            executor = MigrationExecutor(connection)
            plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
            if plan:
                raise PartDown(f"not applied: {', '.join(str(migration) for migration, _ in plan)}")
            self.applied = True


def _check_redis() -> None:
    get_redis_connection("default").ping()


def _check_broker() -> None:
    """Declare our queues, as sending a task does. A broker that keeps one of them differently refuses that, and each task."""
    waits = {"read_timeout": 2, "write_timeout": 2}
    with current_app.connection_for_write(connect_timeout=1, transport_options=waits) as broker:
        try:
            broker.ensure_connection(max_retries=1, interval_start=0, timeout=2)
            for queue in current_app.amqp.queues.values():
                queue(broker.default_channel).declare()
        except (*broker.connection_errors, *broker.channel_errors) as error:
            raise PartDown(f"it refuses our user or our queues: {error}") from None


def late_jobs() -> list[str]:
    """Return the tasks that beat should have sent minutes ago."""
    return [task for task, seconds in job_runs.beat_lags_seconds().items() if seconds > job_runs.LATE_SECONDS]


def _check_beat() -> None:
    if late := late_jobs():
        raise PartDown(f"not sent since they were due: {', '.join(late)}")


def _check_workers() -> None:
    if waiting := job_runs.tasks_not_taken():
        raise PartDown(f"no run ended since they were due: {', '.join(waiting)}")


PARTS: dict[str, Callable[[], None]] = {
    "database": _check_database,
    "migrations": _MigrationCheck(),
    "redis": _check_redis,
    "broker": _check_broker,
    "beat": _check_beat,
    "workers": _check_workers,
}
# The site works without the other parts: values shown from Redis are read from the database, and the sweeps do the work of
# every task that was not sent. All servers share those parts, so if a server that lacks one left the balancer, all would.
NEEDED = ("database", "migrations")


def check_parts() -> dict[str, bool]:
    """Return for each part whether it is up."""
    of_apps = {name: partial(_check_app, check) for name, check in figures.checks.items()}
    return {name: _is_up(name, check) for name, check in (PARTS | of_apps).items()}


def _check_app(check: Callable[[], str]) -> None:
    if problem := check():
        raise PartDown(problem)


def _is_up(name: str, check: Callable[[], None]) -> bool:
    try:
        check()
    except (PartDown, Error, RedisError, OperationalError, OSError) as error:
        logger.warning("%s is down: %s", name, error)
        return False
    return True
