"""What /livez, /readyz and /metrics answer while parts are up, down or late."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from amqp.exceptions import AccessRefused
from celery import current_app
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import OperationalError
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from kombu import Connection
from redis.exceptions import ConnectionError as RedisAway

from loans import tasks
from loans.models import ReviewItem
from peerloans import __version__, job_runs
from peerloans.monitoring import health, metrics
from peerloans.web import door
from tests.factories import LoanFactory, reserved

TOKEN = "a-token-of-the-tests-alone"


def ready_lines(client: Client) -> dict[str, str]:
    return dict(line.split() for line in client.get("/readyz").content.decode().splitlines())


def figure(text: str, name: str) -> float | None:
    match = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(match[1]) if match else None


def test_a_live_process_answers_whatever_is_down(client: Client) -> None:
    assert client.get("/livez", headers={"Host": "10.0.0.7:8000"}).content == b"alive\n"


def test_all_parts_are_up(beat_ticks: None, client: Client, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    response = client.get("/readyz", headers={"Host": "10.0.0.7:8000"})
    assert response.status_code == 200
    assert set(ready_lines(client).values()) == {"up", __version__}
    assert list(ready_lines(client)) == ["release", "database", "migrations", "redis", "broker", "beat", "workers", "history"]


def fail(error: Exception) -> Callable[[], None]:
    def check() -> None:
        raise error

    return check


@pytest.mark.parametrize(
    ("part", "error", "status"),
    [
        ("database", OperationalError("away"), 503),
        ("migrations", health.PartDown("not applied: loans.0099"), 503),
        ("redis", RedisAway("away"), 200),
        ("broker", ConnectionRefusedError("away"), 200),
        ("beat", health.PartDown("late"), 200),
        ("workers", health.PartDown("waiting"), 200),
    ],
)
def test_a_server_is_not_ready_only_where_a_needed_part_is_down(
    beat_ticks: None, client: Client, monkeypatch: pytest.MonkeyPatch, part: str, error: Exception, status: int
) -> None:
    monkeypatch.setitem(health.PARTS, part, fail(error))
    assert client.get("/readyz").status_code == status
    assert [name for name, state in ready_lines(client).items() if state == "down"] == [part]


def test_a_database_that_is_away_is_reported_as_down(db: None, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as away:
        away.setattr(BaseDatabaseWrapper, "cursor", lambda *_: fail(OperationalError("away"))())
        response = client.get("/readyz")
    assert (response.status_code, response.content.splitlines()[:2]) == (503, [f"release {__version__}".encode(), b"database down"])


def test_a_broker_that_is_away_is_reported_within_seconds(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_app, "connection_for_write", lambda **options: Connection("redis://127.0.0.1:1/0", **options))
    assert health._is_up("broker", health._check_broker) is False


def test_a_broker_that_refuses_our_password_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_app, "connection_for_write", lambda **options: Connection("amqp://127.0.0.1:1//", **options))
    monkeypatch.setattr(Connection, "ensure_connection", lambda *_, **__: fail(AccessRefused("ACCESS_REFUSED"))())
    assert health._is_up("broker", health._check_broker) is False


def test_beat_is_down_when_a_job_is_late_by_minutes(beat_ticks: None) -> None:
    assert job_runs.beat_lag_seconds() == 0
    PeriodicTask.objects.filter(task="loans.tasks.expire").update(last_run_at=timezone.now() - timedelta(minutes=5))
    assert job_runs.beat_lag_seconds() == pytest.approx(240, abs=5)
    assert health._is_up("beat", health._check_beat) is False
    PeriodicTask.objects.filter(task="loans.tasks.expire").update(enabled=False)
    assert health._is_up("beat", health._check_beat)


def test_a_last_run_in_the_future_is_late_and_readyz_names_the_job(beat_ticks: None, client: Client) -> None:
    PeriodicTask.objects.filter(task="loans.tasks.expire").update(last_run_at=timezone.now() + timedelta(days=1))
    response = client.get("/readyz")
    assert (response.status_code, response.content.decode().splitlines()[-4:]) == (
        200,
        ["beat down", "workers up", "history up", "late loans.tasks.expire"],
    )


# --- Metrics ----------------------------------------------------------------------------------------------------------
def test_metrics_need_the_token(db: None, client: Client, settings: Any) -> None:
    assert client.get("/metrics").status_code == 404
    settings.METRICS_TOKEN = TOKEN
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401
    assert client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_metrics_show_what_happened(beat_ticks: None, client: Client) -> None:
    loan = LoanFactory()
    reserved(loan, 2_000)
    ReviewItem.objects.create(kind="drift", loan=loan, detail="It differs.", opened_at=timezone.now())
    job_runs._record_run(tasks.delete_old_records, "SUCCESS")
    job_runs._record_run(tasks.delete_old_records, "FAILURE")
    before = metrics.exposition().decode()
    refused = 'peerloans_requests_total{method="POST",outcome="not_authenticated",status="401",view="api:reservation-create"}'
    client.post(f"/api/v1/loans/{loan.reference}/reservations/", "{}", content_type="application/json")
    text = metrics.exposition().decode()
    assert (figure(text, refused) or 0) - (figure(before, refused) or 0) == 1
    assert figure(text, 'peerloans_up{part="database"}') == 1
    assert figure(text, 'peerloans_reservations{state="reserved"}') == 1
    assert figure(text, 'peerloans_claimed_dollars{state="reserved"}') == 2_000
    assert figure(text, 'peerloans_review_items_open{kind="drift"}') == 1
    assert figure(text, 'peerloans_job_runs_total{state="success",task="loans.tasks.delete_old_records"}') == 1
    assert figure(text, 'peerloans_job_runs_total{state="failure",task="loans.tasks.delete_old_records"}') == 1
    assert figure(text, 'peerloans_job_lag_seconds{task="loans.tasks.delete_old_records"}') == 0
    assert figure(text, 'peerloans_outbox_age_seconds{channel="email"}') == 0
    assert figure(text, "peerloans_beat_late_seconds") == 0
    assert (figure(text, 'peerloans_request_seconds_count{view="api:reservation-create"}') or 0) >= 1


def test_the_figures_of_jobs_stay_while_redis_is_away(beat_ticks: None, settings: Any) -> None:
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}
    job_runs._record_run(tasks.expire, "FAILURE")
    PeriodicTask.objects.filter(task="loans.tasks.expire").update(date_changed=timezone.now() - timedelta(hours=1))
    text = metrics.exposition().decode()
    assert figure(text, 'peerloans_up{part="redis"}') == 0
    assert figure(text, 'peerloans_job_runs_total{state="failure",task="loans.tasks.expire"}') == 1
    assert (figure(text, 'peerloans_job_lag_seconds{task="loans.tasks.expire"}') or 0) > 3_000


def test_each_scheduled_job_has_its_series_before_its_first_run(beat_ticks: None) -> None:
    text = metrics.exposition().decode()
    for task in PeriodicTask.objects.values_list("task", flat=True):
        assert [figure(text, f'peerloans_job_runs_total{{state="{state}",task="{task}"}}') for state in ("success", "failure")] == [0, 0]


def test_runs_are_recorded_when_they_end(beat_ticks: None) -> None:
    tasks.delete_old_records.apply()
    result = job_runs.results()["loans.tasks.delete_old_records"]
    assert (result.successes, result.failures, result.succeeded_at) == (1, 0, result.ended_at)


def test_workers_are_down_when_no_run_of_a_job_ends(beat_ticks: None, client: Client) -> None:
    """A run that failed was taken, so it counts."""
    PeriodicTask.objects.filter(task="loans.tasks.expire").update(date_changed=timezone.now() - timedelta(hours=1))
    lines = client.get("/readyz").content.decode().splitlines()
    assert lines[-3:] == ["workers down", "history up", "waiting loans.tasks.expire"]
    job_runs._record_run(tasks.expire, "FAILURE")
    assert ready_lines(client)["workers"] == "up"


def test_history_is_down_until_staff_have_followed_up_a_restore(beat_ticks: None, client: Client) -> None:
    item = ReviewItem.objects.create(kind="restored", detail="It was restored.", opened_at=timezone.now())
    assert (client.get("/readyz").status_code, ready_lines(client)["history"]) == (200, "down")
    assert figure(metrics.exposition().decode(), 'peerloans_up{part="history"}') == 0
    ReviewItem.objects.filter(pk=item.pk).update(resolved_at=timezone.now())
    assert ready_lines(client)["history"] == "up"


def test_a_job_that_last_succeeded_long_ago_is_late(beat_ticks: None) -> None:
    long_ago = timezone.now() - timedelta(hours=3)
    results = {"loans.tasks.refresh_remaining": job_runs.JobResult(succeeded_at=long_ago)}
    assert job_runs.lags_seconds(results)["loans.tasks.refresh_remaining"] == pytest.approx(2 * 3600, abs=5)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_only_the_plain_path_reaches_a_probe(db: None, client: Client, path: str) -> None:
    assert client.get(path, **{door.RAW_PATH: path}).status_code in {200, 404, 503}
    disguised = client.get(path, **{door.RAW_PATH: f"/%{ord(path[1]):x}{path[2:]}"})
    assert (disguised.status_code, disguised.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
