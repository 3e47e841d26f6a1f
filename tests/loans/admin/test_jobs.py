"""Staff edit when a job runs, and not what it runs."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from loans.models import User
from tests.loans.admin.conftest import read_page

pytestmark = pytest.mark.django_db
CRAFTED = {
    "name": "mine",
    "task": "loans.tasks.deliver",
    "regtask": "loans.tasks.deliver",
    "args": "[1]",
    "kwargs": '{"a": 1}',
    "queue": "q",
}


@pytest.fixture
def job() -> PeriodicTask:
    return PeriodicTask.objects.get(task="loans.tasks.expire")


def as_operator(client: Client) -> Client:
    user = User.objects.create_user("olga", is_staff=True)
    user.groups.set(Group.objects.filter(name="Operations"))
    client.force_login(user)
    return client


def as_superuser(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("boss", password="x"))
    return client


def facts(job: PeriodicTask) -> list[Any]:
    return [getattr(job, name) for name in ("name", "task", "args", "kwargs", "queue")]


@pytest.mark.parametrize("signed_in", [as_operator, as_superuser])
def test_only_the_schedule_of_a_job_is_edited(client: Client, job: PeriodicTask, signed_in: Any) -> None:
    page, before = f"/admin/django_celery_beat/periodictask/{job.pk}/change/", facts(job)
    signed_in(client)
    assert "loans.tasks.expire" in read_page(client, page)
    twice = IntervalSchedule.objects.create(every=2, period="minutes")
    assert client.post(page, {"enabled": "on", "interval": twice.pk, **CRAFTED}).status_code == 302
    job.refresh_from_db()
    assert (facts(job), job.interval) == (before, twice)
    assert client.post("/admin/django_celery_beat/periodictask/add/", {"enabled": "on", "interval": twice.pk, **CRAFTED}).status_code == 403


def test_a_job_keeps_exactly_one_schedule(client: Client, job: PeriodicTask) -> None:
    page = f"/admin/django_celery_beat/periodictask/{job.pk}/change/"
    assert "errornote" in as_operator(client).post(page, {"enabled": "on", "interval": ""}).content.decode()
    job.refresh_from_db()
    assert job.interval
