"""The schedules are those that a migration writes; beat's own scheduler decides when each is due."""

import re
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
import time_machine
from django.apps import apps
from django.core.cache import cache
from django.db.models import Q
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from loans import tasks
from loans.domain.business_calendar import NEW_YORK
from loans.ledger.jobs import SERVE_TASK, SETTLE_TASK
from loans.ledger.unit_of_work import DELIVER_TASK
from loans.models import Reservation
from peerloans.celery import app
from peerloans.scheduler import Scheduler
from tests import factories
from tests.factories import LoanFactory

schedules = import_module("loans.migrations.0003_schedules")

pytestmark = pytest.mark.django_db
OURS = Q(task__startswith="loans.tasks.") | Q(task__startswith="cbsa.tasks.")


def entry(task: str) -> ModelEntry:
    return ModelEntry(PeriodicTask.objects.get(task=f"loans.tasks.{task}"), app=app)


def new_york(*when: int) -> datetime:
    return datetime(*when, tzinfo=NEW_YORK)  # type: ignore[arg-type, misc]


def test_every_schedule_names_an_existing_task_and_expires_its_ticks() -> None:
    app.loader.import_default_modules()
    rows = list(PeriodicTask.objects.filter(OURS))
    assert {row.task for row in rows} == {job[1] for job in schedules.JOBS} <= set(app.tasks)
    assert all(row.enabled and row.expire_seconds for row in rows)
    assert tasks.settle_loan.name == SETTLE_TASK
    assert tasks.serve_waiting_list.name == SERVE_TASK
    assert tasks.deliver.name == DELIVER_TASK


def test_the_task_of_a_killed_worker_is_handed_out_again() -> None:
    jobs = (tasks.expire, tasks.settle, tasks.deliver, tasks.refresh_remaining, tasks.record_closing_values, tasks.reconcile)
    for task in (*jobs, tasks.settle_loan, tasks.resolve_markets, tasks.chain_history, tasks.delete_old_records):
        assert task.acks_late
        assert task.reject_on_worker_lost
        assert task.app.conf.task_time_limit > task.app.conf.task_soft_time_limit > 0


EVERY = [
    ("expire", timedelta(minutes=1)),
    ("settle", timedelta(minutes=5)),
    ("deliver", timedelta(minutes=1)),
    ("notify_watchers", timedelta(minutes=1)),
    ("resolve_markets", timedelta(minutes=5)),
    ("chain_history", timedelta(minutes=5)),
    ("refresh_remaining", timedelta(hours=1)),
]


@pytest.mark.parametrize(("task", "period"), EVERY)
def test_periodic_jobs_are_due_after_their_period(task: str, period: timedelta) -> None:
    job = entry(task)
    with time_machine.travel(job.last_run_at + period - timedelta(seconds=5), tick=False):
        assert not job.is_due().is_due
    with time_machine.travel(job.last_run_at + period, tick=False):
        assert job.is_due().is_due


# The last run, the present, and whether the job is due: New York's clock decides, in winter and in summer.
DUE = [
    ("record_closing_values", new_york(2026, 1, 14, 18, 45), new_york(2026, 1, 15, 17, 59), False),
    ("record_closing_values", new_york(2026, 1, 14, 18, 45), new_york(2026, 1, 15, 18, 0), True),
    ("record_closing_values", new_york(2026, 7, 14, 18, 45), new_york(2026, 7, 15, 17, 59), False),
    ("record_closing_values", new_york(2026, 7, 14, 18, 45), new_york(2026, 7, 15, 18, 0), True),
    ("record_closing_values", datetime(2026, 7, 14, 23, tzinfo=UTC), datetime(2026, 7, 15, 18, 0, tzinfo=UTC), False),
    ("record_closing_values", new_york(2026, 1, 16, 18, 45), new_york(2026, 1, 17, 18, 0), False),  # a Saturday
    ("record_closing_values", new_york(2026, 1, 16, 18, 45), new_york(2026, 1, 19, 18, 0), True),
    ("record_closing_values", new_york(2026, 3, 6, 18, 45), new_york(2026, 3, 9, 17, 59), False),  # over the change of the clocks
    ("record_closing_values", new_york(2026, 3, 6, 18, 45), new_york(2026, 3, 9, 18, 0), True),
    ("reconcile", new_york(2026, 7, 14, 2, 30), new_york(2026, 7, 15, 2, 29), False),
    ("reconcile", new_york(2026, 7, 14, 2, 30), new_york(2026, 7, 15, 2, 30), True),
]


@pytest.mark.parametrize(("task", "last_run", "present", "due"), DUE)
def test_the_daily_jobs_follow_new_yorks_clock(task: str, last_run: datetime, present: datetime, due: bool) -> None:
    job = entry(task)
    job.last_run_at = last_run
    with time_machine.travel(present, tick=False):
        assert job.is_due().is_due is due


def test_beat_sleeps_until_the_job_is_due() -> None:
    job = entry("record_closing_values")
    job.last_run_at = new_york(2026, 7, 14, 18, 45)
    with time_machine.travel(new_york(2026, 7, 15, 16, 0), tick=False):
        assert job.is_due().next == pytest.approx(7200)


@pytest.mark.parametrize("present", [new_york(2026, 1, 15, 17, 56), new_york(2026, 7, 15, 17, 56), new_york(2026, 7, 15, 18, 30)])
def test_beat_has_the_job_loaded_before_its_hour(present: datetime) -> None:
    """Its scheduler leaves out jobs whose hour, by its own reckoning of time zones, is far off."""
    with time_machine.travel(present, tick=False):
        assert "Record closing values" in DatabaseScheduler(app=app, lazy=True).all_as_schedule()


def test_jobs_run_on_after_the_clock_was_set_back() -> None:
    now = datetime.now(UTC)
    PeriodicTask.objects.update(last_run_at=now + timedelta(days=365))
    with time_machine.travel(now, tick=False):
        for job in Scheduler(app=app, lazy=True).all_as_schedule().values():
            assert 0 < job.is_due().next <= 366 * 86_400
        assert PeriodicTask.objects.get(task="loans.tasks.expire").last_run_at == now
    with time_machine.travel(now + timedelta(minutes=1), tick=False):
        assert Scheduler(app=app, lazy=True).all_as_schedule()["Expire lapsed reservations"].is_due().is_due


def test_schedules_that_staff_changed_stay_changed() -> None:
    PeriodicTask.objects.filter(task="loans.tasks.expire").update(name="Sweep", enabled=False)
    schedules.schedule(apps, None)
    row = PeriodicTask.objects.get(task="loans.tasks.expire")
    assert (row.name, row.enabled) == ("Sweep", False)
    assert PeriodicTask.objects.filter(OURS).count() == len(schedules.JOBS)


def test_the_migration_of_the_schedules_can_be_reversed() -> None:
    schedules.unschedule(apps, None)
    assert not PeriodicTask.objects.filter(OURS).exists()
    schedules.schedule(apps, None)
    assert PeriodicTask.objects.filter(OURS).count() == len(schedules.JOBS)


def test_each_task_does_its_job_and_reports_it() -> None:
    cache.delete_pattern("*")
    long_ago = datetime.now(UTC) - timedelta(days=3)
    loan = LoanFactory(now=long_ago)
    lapsed = factories.reserved(LoanFactory(now=long_ago), now=long_ago)
    funded = factories.funded(loan, now=datetime.now(UTC))
    full = LoanFactory(now=long_ago, overbooking_rate=0)
    lapsed_before_list = factories.reserved(full, 100_000, now=long_ago)
    waits = [factories.waiting(full, 1_000, now=long_ago) for _ in range(2)]
    assert tasks.expire() == "2 lapsed reservations were canceled, 2 entries of waiting lists became reservations."
    assert (
        tasks.serve_waiting_list(full.pk) == tasks.serve_waiting_list(0) == tasks.serve_waiting_lists() == "0 entries became reservations."
    )
    assert tasks.settle_loan(loan.pk) == "1 reservations were decided."
    assert tasks.settle_loan(0) == tasks.settle() == "0 reservations were decided."
    assert tasks.notify_watchers() == "0 e-mails to watchers were made."
    # Whether the outbox already reads this transaction's own history depends on the other transactions of the server.
    assert re.fullmatch("[0-9]+ messages were sent, 0 failed and are tried again, 0 were given up.", tasks.deliver())
    assert tasks.refresh_remaining() == "3 values were refreshed, 0 had drifted."
    assert tasks.record_closing_values().endswith("closing values are new.")
    assert tasks.reconcile() == "0 breaches were found."
    states = dict(Reservation.objects.values_list("pk", "state"))
    served = {factories.fresh(entry).reservation_id: "reserved" for entry in waits}
    assert states == {lapsed.pk: "canceled", lapsed_before_list.pk: "canceled", funded.pk: "settled"} | served
