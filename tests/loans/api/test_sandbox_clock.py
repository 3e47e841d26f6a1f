"""Where DEBUG is on, a program moves the time and sees what falls due."""

from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.test import Client
from django.urls import include, path
from django.utils.dateparse import parse_datetime
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from pytest_django.fixtures import Settings

from loans.models import Delivery, Loan, Reservation, WebhookEndpoint
from peerloans import urls
from peerloans.database.clock import database_now, real_now
from tests.factories import fresh, funded, pending, reserved
from tests.loans.api.conftest import Caller, problem
from tests.loans.notifications.listener import Listener

urlpatterns = [path("api/sandbox/", include("loans.api.sandbox_urls")), *urls.urlpatterns]
handler404 = urls.handler404
pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]
JOBS = import_module("loans.migrations.0003_schedules").JOBS
CLOCK = "/api/sandbox/clock/"
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _in_sandbox(settings: Settings) -> None:
    settings.DEBUG = True


def move(**body: Any) -> Any:
    return Client().post(CLOCK, body, content_type="application/json")


def ahead(answer: Any) -> timedelta:
    """Return how far the sandbox's time is ahead, in whole minutes."""
    at = parse_datetime(answer.json()["at"])
    assert at
    return timedelta(minutes=round((at - real_now(None)) / timedelta(minutes=1)))


@pytest.mark.usefixtures("clock_put_back")
def test_a_reservation_lapses_after_a_day_and_its_message_is_sent(investor: Caller, loan: Loan, listener: Listener) -> None:
    WebhookEndpoint.objects.create(investor=investor.investor, url=listener.url)
    made = investor.post(f"loans/{loan.reference}/reservations/", {"amount": 1000}).json()
    assert ahead(move(advance="PT23H")) == 23 * HOUR
    assert investor.get(f"reservations/{made['id']}/").json()["state"] == "reserved"
    moved = move(advance="PT2H")
    assert ahead(moved) == 25 * HOUR
    assert moved.json()["jobs"]["loans.tasks.expire"].startswith("1 lapsed reservations were canceled")
    assert investor.get(f"reservations/{made['id']}/").json()["state"] == "canceled", "and the token is still valid"
    assert [body.split('"')[3] for _, body in listener.got] == ["reservation.reserved", "reservation.canceled"]
    assert not Delivery.objects.filter(status="waiting").exclude(endpoint=None).exists()


@pytest.mark.usefixtures("clock_put_back")
def test_a_former_secret_signs_for_a_day(investor: Caller, loan: Loan, listener: Listener) -> None:
    endpoint = WebhookEndpoint.objects.create(investor=investor.investor, url=listener.url)
    move(advance="P9D")
    investor.post(f"webhook-endpoints/{endpoint.pk}/rotate/")
    for span in ("PT1H", "P1D"):
        reserved(loan, 1000, investor=investor.investor, now=database_now(None))
        move(advance=span)
    signatures = [len(headers["webhook-signature"].split()) for headers, body in listener.got if "reservation.reserved" in body]
    assert signatures == [2, 1]


def test_money_is_waited_for_until_the_fifth_banking_day_has_ended(investor: Caller, loan: Loan) -> None:
    reservation = pending(loan, 1000, investor=investor.investor, now=real_now(None))
    deadline = fresh(reservation).expires_at
    assert deadline
    move(at=(deadline - timedelta(minutes=1)).isoformat())
    assert fresh(reservation).state == "pending"
    move(advance="PT2M")
    assert fresh(reservation).state == "canceled"


def test_every_job_of_the_schedule_is_run_and_none_of_celerys_own(investor: Caller, loan: Loan) -> None:
    PeriodicTask.objects.create(name="celery.backend_cleanup", task="celery.backend_cleanup", crontab=CrontabSchedule.objects.first())
    PeriodicTask.objects.filter(task="loans.tasks.reconcile").update(enabled=False)
    funded(loan, 1000, investor=investor.investor, now=real_now(None))
    ran = move(advance="PT5M").json()["jobs"]
    assert ran.keys() == {task for _, task, _, _ in JOBS} - {"loans.tasks.reconcile"}
    assert list(ran)[-1] == "loans.tasks.deliver", "messages say what the others did"
    assert Reservation.objects.get().state == "settled"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["advance", "at"]),
        ({"advance": "P1D", "at": "2030-01-01T00:00:00Z"}, ["advance", "at"]),
        ({"advance": "a day"}, ["advance"]),
        ({"advance": "-P1D"}, ["advance"]),
        ({"advance": "PT0S"}, ["advance"]),
        ({"advance": "P367D"}, ["advance"]),
        ({"advance": "P99999999999D"}, ["advance"]),
        ({"at": "2020-01-01T00:00:00Z"}, ["at"]),
        ({"at": "2030-01-01T00:00:00"}, ["at"]),
        ({"back": "P1D"}, ["back"]),
    ],
)
def test_what_is_no_time_ahead_is_refused(body: dict[str, str], fields: list[str]) -> None:
    refused = move(**body)
    assert problem(refused) == (400, "invalid")
    assert sorted(refused.json()["errors"]) == fields
    assert ahead(Client().get(CLOCK)) == timedelta(0)
