"""Count the runs of the scheduled jobs in Redis, and tell from their schedules which jobs are late."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import signals
from django.core.cache import cache
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_redis import get_redis_connection
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

LATE_SECONDS = 180.0  # Beat sends a job each minute. One that is overdue for three does not run.
SCHEDULED = PeriodicTask.objects.select_related("interval", "crontab", "solar", "clocked")

_SUCCEEDED_AT = "at"


@dataclass
class JobResult:
    """How many runs of a task ended in each state, as Celery names it in lower case, and when one last succeeded."""

    runs: dict[str, int] = field(default_factory=dict)
    succeeded_at: datetime | None = None


NEVER_RUN = JobResult()


# The hash `jobs` has a field "<task> <state>" with the number of runs, and "<task> at" with the instant of the last success.
def _count_run(task: Any, state: str | None, **_: Any) -> None:
    try:
        with get_redis_connection("default").pipeline(transaction=False) as pipeline:
            pipeline.hincrby(_key(), f"{task.name} {state}", 1)
            if state == "SUCCESS":
                pipeline.hset(_key(), f"{task.name} {_SUCCEEDED_AT}", datetime.now(UTC).isoformat())
            pipeline.execute()
    except RedisError as error:
        logger.warning("A run of %s was not counted: %s", task.name, error)


signals.task_postrun.connect(_count_run)


def _key() -> str:
    return str(cache.make_key("jobs"))


def results() -> dict[str, JobResult]:
    """Return the result of each task that has run since Redis was last emptied, by its name.

    Raises:
        RedisError: Redis cannot be reached.
    """
    by_task: dict[str, JobResult] = {}
    for name, value in sorted(get_redis_connection("default").hgetall(_key()).items()):
        task, _, state = name.decode().rpartition(" ")
        result = by_task.setdefault(task, JobResult())
        if state == _SUCCEEDED_AT:
            result.succeeded_at = datetime.fromisoformat(value.decode())
        else:
            result.runs[state.lower()] = int(value)
    return by_task


def lag_seconds(job: PeriodicTask, result: JobResult) -> float:
    """Return for how long the job should have succeeded once more; 0 while it is on time."""
    return _overdue_seconds(job, result.succeeded_at)


def lags_seconds(results: dict[str, JobResult]) -> dict[str, float]:
    """Return the lag of each enabled task."""
    return {job.task: lag_seconds(job, results.get(job.task, NEVER_RUN)) for job in _enabled()}


def beat_lags_seconds() -> dict[str, float]:
    """Return for how long beat should have sent each enabled task; 0 while it is on time.

    A last run in the future counts as late by as much as it lies ahead: the clock was set back, and beat has not noticed it.
    """
    now = timezone.now()
    lags = {}
    for job in _enabled():
        in_future = job.last_run_at and job.last_run_at > now
        lags[job.task] = (job.last_run_at - now).total_seconds() if in_future else _overdue_seconds(job, job.last_run_at)
    return lags


def beat_lag_seconds() -> float:
    """Return the longest of these lags."""
    return max(beat_lags_seconds().values(), default=0.0)


def _enabled() -> Iterator[PeriodicTask]:
    yield from SCHEDULED.filter(enabled=True, one_off=False).order_by("pk")


def _overdue_seconds(job: PeriodicTask, last: datetime | None) -> float:
    time_left: timedelta = job.schedule.remaining_estimate(last or job.date_changed)
    return max(0.0, -time_left.total_seconds())
