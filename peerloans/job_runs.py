"""Record how the runs of the jobs end, and tell from their schedules which jobs are late."""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from celery import signals
from django.db import Error, connection
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from peerloans.monitoring.models import JobResult

logger = logging.getLogger(__name__)

LATE_SECONDS = 180.0  # Beat sends a job each minute. One that is overdue for three does not run.
WORKERS_LATE_SECONDS = 600.0  # A run may take five minutes, and the next one may wait for it.
SCHEDULED = PeriodicTask.objects.select_related("interval", "crontab", "solar", "clocked")
NEVER_RUN = JobResult()

_RECORD_RUN = """
    INSERT INTO monitoring_jobresult AS result (task, successes, failures, succeeded_at, ended_at)
    SELECT %(task)s, succeeded::int, (NOT succeeded)::int, CASE WHEN succeeded THEN clock_timestamp() END, clock_timestamp()
    FROM (SELECT %(succeeded)s AS succeeded) AS run
    ON CONFLICT (task) DO UPDATE SET
        successes = result.successes + EXCLUDED.successes,
        failures = result.failures + EXCLUDED.failures,
        succeeded_at = COALESCE(EXCLUDED.succeeded_at, result.succeeded_at),
        ended_at = EXCLUDED.ended_at
"""


def _record_run(task: Any, state: str | None, **_: Any) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(_RECORD_RUN, {"task": task.name, "succeeded": state == "SUCCESS"})
    except Error as error:
        logger.warning("A run of %s was not recorded: %s", task.name, error)


signals.task_postrun.connect(_record_run)


def results() -> dict[str, JobResult]:
    """Return the result of each task that has run, by its name."""
    return {result.task: result for result in JobResult.objects.order_by("task")}


def lag_seconds(job: PeriodicTask, result: JobResult) -> float:
    """Return for how long the job should have succeeded once more; 0 while it is on time."""
    return _overdue_seconds(job, result.succeeded_at)


def lags_seconds(results: dict[str, JobResult]) -> dict[str, float]:
    """Return the lag of each enabled task."""
    return {job.task: lag_seconds(job, results.get(job.task, NEVER_RUN)) for job in _enabled()}


def tasks_not_taken() -> list[str]:
    """Return the scheduled tasks of which no run has ended, in success or failure, for minutes after one was due."""
    ended_at = {task: result.ended_at for task, result in results().items()}
    return [job.task for job in _enabled() if _overdue_seconds(job, ended_at.get(job.task)) > WORKERS_LATE_SECONDS]


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
