"""What holds on one machine holds on PgBouncer, a hot standby, Redis under Sentinel and RabbitMQ. `make test-cluster` runs this.

There are two web servers, two workers and two beats. There should be one beat; with two, every job may run twice.
"""

import json
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
import pytest
import redis
from standardwebhooks.webhooks import Webhook

from tests.cluster.servers import MISSING, Cluster, cluster, wait_for
from tests.production import BANK_SECRET

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")]

INVESTORS = 32
LIMITS = ("lock_timeout", "idle_in_transaction_session_timeout", "statement_timeout")
SEED = f"""
import json
from datetime import date
from decimal import Decimal
from loans.models import User
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from knox.models import AuthToken
from loans.domain.actors import Actor
from loans.models import Investor, Loan
from loans.services.loans import create_loan, open_loan
for number in range({INVESTORS}):
    user = User.objects.create_user(f"investor{{number}}")
    limits = {{"unfunded_limit": 1_000_000_000, "let_go_limit": 32_767}}
    Investor.objects.create(user=user, name=user.username, accredited_until=date(2100, 1, 1), **limits)
for number in range(1, 6):
    draft = Loan(reference=f"LN-{{number}}", title="Twelve flats", address="1 Main St", city="Austin", state="TX", zip="78704",
        amount=300_000, annual_rate="9.50", term_months=18, ltv=65, minimum=1_000, overbooking_rate=0)
    open_loan(reference=create_loan(draft, actor=Actor("staff")).reference, actor=Actor("staff"))
second, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
for job in PeriodicTask.objects.filter(task__in=["loans.tasks.expire", "loans.tasks.settle", "loans.tasks.deliver"]):
    job.crontab, job.interval = None, second
    job.save()
print(json.dumps([AuthToken.objects.create(user)[1] for user in User.objects.order_by("pk")]))
"""
VERDICT = """
import json
from loans.audit.reconciliation import find_breaches
from loans.models import ReviewItem
find_breaches()
print(json.dumps([f"{item.kind}: {item.detail}" for item in ReviewItem.objects.all()]))
"""


class Answer(NamedTuple):
    status: int
    body: Any


class Site:
    """The API of the two web servers, called in turn, as by a load balancer."""

    def __init__(self, servers: Cluster) -> None:
        self.servers = servers
        self.tokens: list[str] = json.loads(servers.shell(SEED))
        self.turn = cycle(["web1", "web2"])

    def ask(self, path: str, body: Any = None, *, by: int | None = None, headers: dict[str, str] | None = None) -> Answer:
        url = f"http://127.0.0.1:{self.servers.ports[next(self.turn)]}/api/v1/{path}"
        sent = {"Content-Type": "application/json", **(headers or {})}
        if by is not None:
            sent["Authorization"] = f"Bearer {self.tokens[by]}"
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, sent), timeout=30) as answer:
                return Answer(answer.status, json.load(answer))
        except urllib.error.HTTPError as refusal:
            return Answer(refusal.code, json.load(refusal))

    def readyz(self) -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.servers.ports['web1']}/readyz", timeout=30) as answer:
            text: str = answer.read().decode()
        return text.splitlines()

    def reserve(self, loan: str, amount: int, *, by: int) -> Answer:
        return self.ask(f"loans/{loan}/reservations/", {"amount": str(amount)}, by=by, headers={"Idempotency-Key": str(uuid4())})

    def reservations(self, *, by: int) -> list[str]:
        return [reservation["id"] for reservation in self.ask("reservations/", by=by).body["results"]]

    def pay(self, reservation: str, amount: str, *, by: int) -> None:
        """Start the transfer, and let the bank report that the money has cleared."""
        reference = self.ask(f"reservations/{reservation}/transfer/", {"method": "wire"}, by=by).body["transfer"]["reference"]
        event = {"id": str(uuid4()), "type": "transfer.cleared", "reference": reference, "amount": amount}
        text = json.dumps(event | {"occurred_at": datetime.now(UTC).isoformat()})
        now = datetime.now(UTC)
        signature = Webhook(BANK_SECRET).sign(event["id"], now, text)
        headers = {"webhook-id": event["id"], "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
        assert self.ask("bank-events/", text.encode(), headers=headers) == (200, {"id": event["id"], "outcome": "funded"})


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture(scope="module")
def site(servers: Cluster) -> Site:
    return Site(servers)


@pytest.fixture
def pause_standby(servers: Cluster) -> Iterator[Callable[[], None]]:
    """Return a function that stops the standby from replaying until the test is over."""
    with servers.postgres("standby") as standby:
        yield lambda: standby.execute("SELECT pg_wal_replay_pause()") and None
        standby.execute("SELECT pg_wal_replay_resume()")


def wait_until_standby_answers(site: Site) -> None:
    wait_for("the standby in use", lambda: standby_answers(site, lambda: site.ask("loans/")))


def standby_answers(site: Site, request: Callable[[], Any]) -> bool:
    """Return whether the standby is read by any of four such requests."""
    query = "SELECT tup_returned FROM pg_stat_database WHERE datname = 'peerloans'"
    with site.servers.postgres("standby") as standby:
        standby.execute("SELECT pg_stat_force_next_flush()")
        before = standby.execute(query).fetchone()
    for _ in range(4):
        request()
    time.sleep(1.2)  # a backend reports its counts once a second
    with site.servers.postgres("standby") as standby:
        return standby.execute(query).fetchone() != before


def delete_marks_of_writes(site: Site) -> None:
    connection = redis.Redis(port=site.servers.ports["redis"])
    assert connection.delete(*connection.keys("*wrote:*"))


@pytest.mark.parametrize(
    ("role", "limits"), [("peerloans", ["3s", "5min", "0"]), ("peerloans_web", ["3s", "5min", "30s"])], ids=["jobs", "requests"]
)
def test_the_roles_have_the_time_limits_of_the_settings(servers: Cluster, role: str, limits: list[str]) -> None:
    for address in servers.databases(role).values():
        with psycopg.connect(address, prepare_threshold=None) as connection:
            values = [connection.execute(f"SHOW {name}").fetchone() for name in LIMITS]
        assert values == [(limit,) for limit in limits]


def test_a_lock_that_is_not_free_is_answered_as_busy(site: Site) -> None:
    reservation = site.reserve("LN-2", 1_000, by=0).body["id"]
    with site.servers.postgres("primary") as other, other.transaction():
        other.execute("SELECT FROM loans_loan WHERE reference = 'LN-2' FOR UPDATE")
        began = time.monotonic()
        answer = site.ask(f"reservations/{reservation}/transfer/", {"method": "wire"}, by=0)
    assert (answer.status, answer.body["code"]) == (409, "busy")
    assert 3 <= time.monotonic() - began < 10


def test_the_figures_show_a_lock_that_another_role_holds(site: Site) -> None:
    figures = "from peerloans.monitoring.metrics import exposition; print(exposition().decode())"
    with site.servers.postgres("primary") as other, other.transaction():
        other.execute("SELECT FROM loans_loan WHERE reference = 'LN-2' FOR UPDATE")
        time.sleep(1)
        lines = site.servers.shell(figures).splitlines()
    ages = [float(line.split()[1]) for line in lines if line.startswith("peerloans_loan_lock_age_seconds ")]
    assert min(ages) >= 1
    assert not [line for line in lines if 'state="unknown"' in line]


def test_a_crowd_gets_exactly_what_the_loan_has(site: Site) -> None:
    with ThreadPoolExecutor(INVESTORS) as crowd:
        answers = list(crowd.map(lambda turn: site.reserve("LN-1", 1_000, by=turn % INVESTORS).status, range(330)))
    assert sorted(set(answers)) == [201, 409]
    assert answers.count(201) == 300


def test_investors_see_what_they_have_just_reserved(site: Site) -> None:
    for number in range(40):
        reservation = site.reserve("LN-2", 1_000, by=number % INVESTORS).body["id"]
        assert reservation in site.reservations(by=number % INVESTORS)


def test_investors_see_it_also_while_the_standby_is_paused(site: Site, pause_standby: Callable[[], None]) -> None:
    wait_until_standby_answers(site)
    pause_standby()
    reservation = site.reserve("LN-2", 1_000, by=0).body["id"]
    assert reservation in site.reservations(by=0)


def test_without_the_mark_in_redis_they_do_not_see_it(site: Site, pause_standby: Callable[[], None]) -> None:
    """The twin of the test above, which shows that the test above can fail."""
    wait_until_standby_answers(site)
    pause_standby()
    reservation = site.reserve("LN-2", 1_000, by=0).body["id"]
    delete_marks_of_writes(site)
    assert reservation not in site.reservations(by=0)


def test_a_standby_that_has_fallen_behind_is_not_read(site: Site, pause_standby: Callable[[], None]) -> None:
    wait_until_standby_answers(site)
    pause_standby()
    reservation = site.reserve("LN-2", 1_000, by=1).body["id"]
    delete_marks_of_writes(site)
    wait_for("the reservation in the list", lambda: reservation in site.reservations(by=1), 10)


def test_lists_are_answered_without_a_standby(site: Site) -> None:
    site.servers.kill("standby")
    try:
        wait_for("lists from the primary", lambda: {site.ask("loans/").status for _ in range(4)} == {200}, 20)
        statuses = {site.ask("loans/").status for _ in range(20)}
        assert statuses == {200}
    finally:
        site.servers.start_postgres("standby")
    wait_until_standby_answers(site)


def test_tasks_are_in_a_quorum_queue_and_outlive_a_worker(site: Site) -> None:
    assert {"jobs-1\tquorum", "deliveries-1\tquorum"} <= {*site.servers.rabbitmqctl("list_queues", "name", "type").splitlines()}
    assert "peerloans-1\ttopic" in site.servers.rabbitmqctl("list_exchanges", "name", "type").splitlines()
    reservations = [(site.reserve("LN-3", 10_000, by=number).body["id"], number) for number in range(20)]
    for index, (reservation, number) in enumerate(reservations):
        site.pay(reservation, "10000.00", by=number)
        if index == len(reservations) // 2:
            site.servers.kill("worker1")
    wait_for(
        "all settled",
        lambda: all(site.ask(f"reservations/{reservation}/", by=number).body["state"] == "settled" for reservation, number in reservations),
    )
    assert site.ask("loans/LN-3/").body["remaining"] == "100000.00"


def test_the_queues_of_an_earlier_release_stand_beside_ours(site: Site) -> None:
    exchanges = site.servers.rabbitmqctl("list_exchanges", "name", "type").splitlines()
    assert {"celery\tdirect", "peerloans-1\ttopic"} <= {*exchanges}
    assert "broker up" in site.readyz()


def test_a_broker_that_keeps_a_queue_differently_is_down(site: Site) -> None:
    """The twin of the test above: the change that once stopped every job, under a name that is in use."""
    change = "from celery import current_app as a; a.amqp.queues['jobs-1'].exchange.type = 'direct'"
    check = "from peerloans.monitoring import health; print(health.check_parts()['broker'])"
    assert site.servers.shell(f"{change}; {check}").splitlines()[-1] == "False"
    assert site.servers.shell(check).splitlines()[-1] == "True"


def ask_again_if_refused(site: Site) -> None:
    """Let the site's callers do what a load balancer does: call the other server where a connection is refused."""

    def ask(path: str, *more: Any, **options: Any) -> Answer:
        for _ in range(600):
            try:
                return Site.ask(site, path, *more, **options)
            except urllib.error.URLError as error:
                if not isinstance(error.reason, ConnectionRefusedError):
                    raise
        raise AssertionError("no server accepts connections")

    site.ask = ask  # type: ignore[method-assign]


def test_a_rolling_restart_loses_no_request_and_no_task(site: Site) -> None:
    """Each process gets SIGTERM in turn. As a load balancer does, a caller whose connection is refused calls the other server."""
    over, answers = threading.Event(), []

    def keep_reserving(number: int) -> None:
        while not over.is_set():
            answers.append(site.reserve("LN-4", 1_000, by=number))

    ask_again_if_refused(site)
    with ThreadPoolExecutor(8) as crowd:
        callers = [crowd.submit(keep_reserving, number) for number in range(8)]
        try:
            reservation = site.reserve("LN-5", 10_000, by=9).body["id"]
            site.pay(reservation, "10000.00", by=9)
            for name in ("web1", "web2"):
                site.servers.kill(name, signal.SIGTERM)
                site.servers.start_web(name)
            for name in ("worker2", "beat1"):
                site.servers.kill(name, signal.SIGTERM)
            site.servers.start_celery("worker2", "worker", "--concurrency", "2")
            site.servers.start_celery("beat1", "beat", "--pidfile=", "--max-interval", "1")
        finally:
            over.set()
    for caller in callers:
        caller.result()
    acknowledged = [answer.body["id"] for answer in answers if answer.status == 201]
    assert {answer.status for answer in answers} <= {201, 409}
    count = "from loans.models import Reservation; print(Reservation.objects.filter(loan__reference='LN-4').count())"
    assert site.servers.shell(count) == str(len(acknowledged)) == str(len(set(acknowledged)))
    wait_for("settled", lambda: site.ask(f"reservations/{reservation}/", by=9).body["state"] == "settled")


def test_redis_fails_over(site: Site) -> None:
    site.servers.kill("redis")
    statuses = {site.ask("loans/").status for _ in range(10)}
    assert statuses == {200}
    set_and_get = "from django_redis import get_redis_connection as r; c = r('default'); c.set('there', 1); print(c.get('there').decode())"
    wait_for("the other one as master", lambda: output_of(site, set_and_get) == "1", 60)


def output_of(site: Site, code: str) -> str:
    """Return what the code prints, or nothing if it fails."""
    try:
        return site.servers.shell(code)
    except AssertionError:
        return ""


def test_at_the_end_every_invariant_holds(site: Site) -> None:
    """Two beats have sent every job twice all the time."""
    assert json.loads(site.servers.shell(VERDICT)) == []
    site.servers.manage("verify_history")
    beats = [(site.servers.folder / f"beat{number}.log").read_text().count("Sending due task") for number in (1, 2)]
    assert min(beats) > 10


def test_the_pooler_keeps_connections_few(site: Site) -> None:
    with site.servers.postgres("primary") as primary:
        rows = primary.execute("SELECT usename, count(*) FROM pg_stat_activity WHERE usename LIKE 'peerloans%' GROUP BY 1").fetchall()
    connections: dict[str, int] = dict(rows)
    assert connections.keys() == {"peerloans", "peerloans_web"}
    assert max(connections.values()) <= 8


def test_the_logs_have_no_traceback(servers: Cluster) -> None:
    logs = {file.name: file.read_text() for file in Path(servers.folder).glob("*.log") if file.name.startswith(("web", "worker"))}
    assert [name for name, text in logs.items() if "Traceback" in text] == []
