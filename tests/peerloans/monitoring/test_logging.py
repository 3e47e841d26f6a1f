"""The id that links a request with its log lines and tasks, and the secrets that no log line may hold."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app, signals
from celery.app import trace
from celery.worker import strategy
from django.db import DatabaseError, connection
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from loans import tasks
from loans.models import User
from peerloans.job_runs import results
from peerloans.monitoring.logging import JSONFormatter, _clear_request_id, _set_request_id, request_id
from peerloans.scheduler import Entry, Scheduler
from tests.factories import InvestorFactory, LoanFactory


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The log's lines, as production writes them."""
    written: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler = Keep()
    handler.setFormatter(JSONFormatter())
    levels = {logging.getLogger(): logging.INFO, logging.getLogger("peerloans.monitoring.logging"): logging.INFO}
    before = {logger: logger.level for logger in levels}
    logging.getLogger().addHandler(handler)
    for logger, level in levels.items():
        logger.setLevel(level)
    yield written
    logging.getLogger().removeHandler(handler)
    for logger, level in before.items():
        logger.setLevel(level)


def test_the_response_and_the_log_line_carry_the_request_id(db: None, client: Client, lines: list[str]) -> None:
    response = client.get("/api/v1/loans/?status=secret", headers={"X-Request-ID": "from-the-proxy"})
    assert response.headers["X-Request-ID"] == "from-the-proxy"
    (line,) = [json.loads(line) for line in lines if "peerloans.monitoring.logging" in line]
    assert (line["request_id"], line["path"], line["status"]) == ("from-the-proxy", "/api/v1/loans/", response.status_code)
    assert "secret" not in str(line)


def test_a_public_response_has_no_log_line(db: None, client: Client, lines: list[str]) -> None:
    LoanFactory()
    assert client.get("/api/v1/loans/").status_code == 200
    assert client.get("/api/v1/loans/none/").status_code == 404
    statuses = [json.loads(line)["status"] for line in lines if "peerloans.monitoring.logging" in line]
    assert statuses == [404]


@pytest.mark.parametrize("forged", ["short", "two words here", 'quo"te-and-more', "x" * 65])
def test_an_id_that_could_forge_log_lines_is_replaced(client: Client, forged: str) -> None:
    assert client.get("/api/schema/", headers={"X-Request-ID": forged}).headers["X-Request-ID"] not in {forged, ""}


def test_the_tasks_of_a_request_carry_its_id_and_no_others_do() -> None:
    current_app.control.purge()  # other tests send tasks too
    before = request_id.set("the-request")
    try:
        with current_app.connection_for_write() as broker:
            task = current_app.send_task("loans.tasks.delete_old_records", connection=broker)
            queue = broker.SimpleQueue(current_app.conf.task_default_queue)
            message = queue.get(timeout=5)
            message.ack()
            queue.close()
        assert (message.headers["id"], message.headers["request_id"]) == (task.id, "the-request")
    finally:
        request_id.reset(before)
    eager = tasks.delete_old_records
    eager.push_request(id="a-task", request_id="the-request")
    _set_request_id(task_id="a-task", task=eager)
    assert request_id.get() == "the-request"
    _clear_request_id()
    assert request_id.get() == ""
    eager.pop_request()


@pytest.mark.parametrize(
    "text",
    [
        "amqp://peerloans:SECRET@broker:5672// is away",
        "redis://:SECRET@cache:6379/1",
        "Authorization: Bearer SECRET",
        "signed with whsec_SECRET+/=",
        "550 no such mailbox SECRET@example.org",
        "duplicate key\nDETAIL:  Key (username)=(SECRET) already exists.",
    ],
)
def test_secrets_in_messages_and_tracebacks_are_replaced(lines: list[str], text: str) -> None:
    logging.getLogger("anywhere").error("It failed: %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("anywhere").exception("It failed.")
    assert len(lines) == 2
    assert not [line for line in lines if "SECRET" in line]


def test_the_log_of_an_investors_requests_holds_no_names_and_no_secrets(transactional_db: None, lines: list[str]) -> None:
    investor = InvestorFactory(user__username="a-name-to-hide", user__email="hide@example.org")
    investor.user.set_password("a-password-to-hide")
    investor.user.save()
    loan = LoanFactory(now=timezone.now())
    client = Client()

    def post(path: str, **body: str) -> Any:
        return client.post(path, json.dumps(body), content_type="application/json", headers=headers)

    headers: dict[str, str] = {}
    post("/api/v1/auth/token/", username="a-name-to-hide", password="mistyped-and-hidden")
    token = post("/api/v1/auth/token/", username="a-name-to-hide", password="a-password-to-hide").json()["token"]
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "one"}
    assert post(f"/api/v1/loans/{loan.reference}/reservations/", amount="1000.00").status_code == 201
    with pytest.raises(DatabaseError) as error, connection.cursor() as cursor:
        cursor.execute("INSERT INTO loans_user SELECT * FROM loans_user WHERE id = %s", [investor.user_id])
    logging.getLogger("anywhere").error("It failed.", exc_info=error.value)
    log = "\n".join(lines)
    assert f'"user":{User.objects.get().pk}' in log
    for hidden in ("a-name-to-hide", "hide@example.org", "a-password-to-hide", "mistyped-and-hidden", token):
        assert hidden not in log


@pytest.mark.parametrize("host", ["evil.example", "a b", "x" * 300])
def test_a_wrong_host_name_writes_no_traceback(client: Client, lines: list[str], host: str) -> None:
    assert client.get("/api/v1/auth/token/", headers={"Host": host}).status_code == 400
    assert [json.loads(line)["level"] for line in lines] == ["INFO"]


# --- The lines of jobs ------------------------------------------------------------------------------------------------
def messages(lines: list[str], logger: str) -> list[str]:
    return [line["message"] for line in map(json.loads, lines) if line["logger"] == logger]


def test_a_run_that_had_nothing_to_do_has_no_line_and_is_counted(db: None, lines: list[str]) -> None:
    before = results()
    for task in (tasks.open_announced, tasks.expire, tasks.deliver):
        assert task.apply().successful()
        runs = results()[task.name].successes - (before[task.name].successes if task.name in before else 0)
        assert runs == 1
    assert messages(lines, "celery.app.trace") == []


def test_a_run_that_did_something_or_failed_has_its_line(db: None, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "open_announced_loans", lambda: 10)
    tasks.open_announced.apply()
    monkeypatch.setattr(tasks, "open_announced_loans", lambda: 1 // 0)
    tasks.open_announced.apply(throw=False)
    did, failed = messages(lines, "celery.app.trace")
    assert did.endswith("'10 loans were opened.'")
    assert "ZeroDivisionError" in failed


@pytest.mark.parametrize(
    ("line", "quiet"),
    [
        ("0 loans were opened.", True),
        ("0 idempotency keys and 0 tokens were deleted.", True),
        ("0 messages were sent, 1 failed and are tried again, 0 were given up.", False),
        ("100 values were refreshed, 0 had drifted.", False),
        ("Statement 20 is booked.", False),
        ("Request 7 waits for no worker.", False),
    ],
)
def test_a_line_is_quiet_if_all_that_it_counts_is_0(lines: list[str], line: str, quiet: bool) -> None:
    trace.info(trace.LOG_SUCCESS, {"id": "1", "name": "job", "runtime": 0.1, "return_value": repr(line)})
    assert bool(messages(lines, "celery.app.trace")) is not quiet


def test_at_level_debug_every_line_is_there(lines: list[str]) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    strategy.logger.info(trace.LOG_RECEIVED, {"id": "1", "name": "job"})
    trace.info(trace.LOG_SUCCESS, {"id": "1", "name": "job", "runtime": 0.1, "return_value": "'0 loans were opened.'"})
    logging.getLogger().setLevel(logging.INFO)
    strategy.logger.info(trace.LOG_RECEIVED, {"id": "2", "name": "job"})
    assert [(line["level"], line["message"].split()[1]) for line in map(json.loads, lines)] == [("DEBUG", "job[1]"), ("DEBUG", "job[1]")]


def test_beat_has_no_line_for_each_job_that_it_sends(db: None, lines: list[str]) -> None:
    sent: list[str] = []

    def note(sender: str, **_: Any) -> None:
        sent.append(sender)

    signals.after_task_publish.connect(note)
    scheduler = Scheduler(current_app, lazy=True)
    scheduler.apply_entry(Entry(PeriodicTask.objects.get(task=tasks.open_announced.name), app=current_app))
    signals.after_task_publish.disconnect(note)
    assert sent == [tasks.open_announced.name]
    assert messages(lines, "celery.beat") == []
