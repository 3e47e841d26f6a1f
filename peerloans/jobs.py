"""Do the jobs run? What came of their runs is counted in Redis; how late one is follows from its schedule."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import signals
from django.core.cache import cache
from django_celery_beat.models import PeriodicTask
from django_redis import get_redis_connection
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

LATE_SECONDS = 180.0  # Beat sends something each minute; later than this, it does not run.


@dataclass(frozen=True)
class Runs:
    """What came of a task's runs, for as long as Redis remembers: how many ended how, and when one last succeeded."""

    ended: dict[str, int]
    succeeded_at: datetime | None


def _count(task: Any, state: str | None, **_: Any) -> None:
    try:
        with get_redis_connection("default").pipeline(transaction=False) as pipeline:
            pipeline.hincrby(_key(), f"{task.name} {state}", 1)
            if state == "SUCCESS":
                pipeline.hset(_key(), f"{task.name} at", datetime.now(UTC).isoformat())
            pipeline.execute()
    except RedisError as error:
        logger.warning("A run of %s was not counted: %s", task.name, error)


signals.task_postrun.connect(_count)


def _key() -> str:
    return str(cache.make_key("jobs"))


def runs() -> dict[str, Runs]:
    """Of each task that has run. Raises RedisError."""
    found: dict[str, Runs] = {}
    for field, value in sorted(get_redis_connection("default").hgetall(_key()).items()):
        name, _, what = field.decode().rpartition(" ")
        known = found.get(name, Runs({}, None))
        if what == "at":
            found[name] = Runs(known.ended, datetime.fromisoformat(value.decode()))
        else:
            found[name] = Runs(known.ended | {what.lower(): int(value)}, known.succeeded_at)
    return found


SCHEDULED = PeriodicTask.objects.select_related("interval", "crontab", "solar", "clocked")


def _scheduled() -> Iterator[PeriodicTask]:
    yield from SCHEDULED.filter(enabled=True, one_off=False).order_by("pk")


def _seconds_late(job: PeriodicTask, last: datetime | None) -> float:
    remaining: timedelta = job.schedule.remaining_estimate(last or job.date_changed)
    return max(0.0, -remaining.total_seconds())


def lag(job: PeriodicTask, runs: Runs | None) -> float:
    """For how many seconds the job should have succeeded again by now."""
    return _seconds_late(job, runs.succeeded_at if runs else None)


def lags(known: dict[str, Runs]) -> dict[str, float]:
    """The lag of each scheduled task."""
    return {job.task: lag(job, known.get(job.task)) for job in _scheduled()}


def beat_seconds_late() -> float:
    """For how long beat has owed what it owes longest; 0 while it ticks."""
    return max((_seconds_late(job, job.last_run_at) for job in _scheduled()), default=0.0)
