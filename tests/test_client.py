"""The Python client that `make client` writes: it is typed, plays the story of docs/api.md, retries with one key, and checks webhooks."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from standardwebhooks.webhooks import Webhook

from loans.api import examples
from loans.models import NamedToken, Reservation, Transfer, WebhookEndpoint
from loans.notifications.messages import message_body
from loans.services.loan_documents import add_document
from peerloans.database.clock import database_now
from tests.factories import NOON, InvestorFactory, LoanFactory, UserFactory, reserved
from tests.loans.api.test_api_page import bank

ROOT = Path(__file__).parents[1]
SITE_WITH_CLOCK = "tests.loans.api.test_api_page"
SECRETS = ["whsec_b2xkb2xkb2xkb2xkb2xkb2xk", "whsec_bmV3bmV3bmV3bmV3bmV3bmV3"]


@pytest.fixture(scope="session")
def client_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as `make client` writes it."""
    folder = tmp_path_factory.mktemp("client")
    subprocess.run(["make", "client", f"CLIENT={folder / 'made'}"], cwd=ROOT, check=True, capture_output=True)  # noqa: S607
    return folder / "made"


def run(folder: Path, program: str) -> str:
    """Run a program that may import the client, and return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(folder)}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def stories() -> list[str]:
    """The programs of the page that use the client: the first steps, and the bot."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    return [block for block in blocks if "peerloans_client" in block]


def test_the_client_and_the_stories_are_typed(client_folder: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("first_steps.py", "bot.py")]
    for file, program in zip(files, stories(), strict=True):
        file.write_text(program)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), *map(str, files)]
    environment = os.environ | {"MYPYPATH": str(client_folder)}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.django_db(transaction=True)
def test_the_first_steps_of_the_page(client_folder: Path, live_server) -> None:  # type: ignore[no-untyped-def]
    investor = InvestorFactory(user=UserFactory(username="investor1", password=make_password("demo")))
    LoanFactory(now=None, title="Bungalow on Doctors Lake")
    printed = run(client_folder, stories()[0].replace("http://localhost:8000", live_server.url))
    reservation = Reservation.objects.get(investor=investor)
    assert (reservation.state, reservation.amount) == ("pending", 5_000)
    assert printed.splitlines() == [
        f"Write on the payment: {reservation.transfers.get().reference}",
        f"Number in the queue: {reservation.number}",
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_beside_the_bank(folder: Path, program: str) -> list[str]:
    """Run a program while the sandbox bank and the worker do their part, and return the lines that it prints."""
    environment = os.environ | {"PYTHONPATH": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            for _ in range(600):
                bank()
                if process.poll() is not None:
                    break
                time.sleep(0.1)
        finally:
            process.kill()
        printed, complaints = process.communicate()
    assert process.returncode == 0, complaints
    return printed.splitlines()


@pytest.mark.usefixtures("clock_put_back")
def test_the_bot_of_the_page(transactional_db: None, client_folder: Path, live_server: Any, settings: Any) -> None:
    settings.DEBUG = settings.WEBHOOKS_ALLOW_PRIVATE_NETWORKS = True
    settings.ROOT_URLCONF = SITE_WITH_CLOCK
    investor = InvestorFactory(user=UserFactory(username="investor1", password=make_password("demo")))
    scarce = LoanFactory(now=None, title="Bungalow on Doctors Lake", overbooking_rate=Decimal(0))
    reserved(scarce, scarce.amount - 3_000, now=database_now(None))
    plenty = LoanFactory(now=None, title="Cabin at the Lake")
    closed = LoanFactory(title="House by the Lake", closes_at=NOON + timedelta(days=1))
    program = stories()[1].replace("http://localhost:8000", live_server.url).replace("8001", str(free_port()))

    killed_after_the_first_payment = program[: program.index("page = take")] + "    break\n"
    run_beside_the_bank(client_folder, killed_after_the_first_payment)
    assert Transfer.objects.filter(reservation__investor=investor).count() == 1
    WebhookEndpoint.objects.update(enabled=False)  # the next run makes one with another secret
    printed = run_beside_the_bank(client_folder, program)
    assert Transfer.objects.filter(reservation__investor=investor).count() == Reservation.objects.filter(investor=investor).count() == 2
    settled = {reservation.loan.reference: reservation for reservation in Reservation.objects.filter(investor=investor)}
    assert {reference: (own.state, own.settled_amount) for reference, own in settled.items()} == {
        scarce.reference: ("settled", 3_000),
        plenty.reference: ("settled", 5_000),
    }
    assert closed.reference not in settled
    outcomes = [line for line in printed if not line.startswith("Webhook: ")]
    assert sorted(outcomes) == sorted([f"{scarce.reference} settled 3000.00", f"{plenty.reference} settled 5000.00"])
    assert {f"Webhook: reservation.{step}" for step in ("transfer_started", "funded")} <= set(printed)
    assert {scope for token in NamedToken.objects.filter(user=investor.user) for scope in token.scopes} == {"read", "reserve"}


@pytest.mark.usefixtures("clock_put_back")
def test_the_clock_of_a_sandbox_moves_once_for_a_repeat(
    transactional_db: None, client_folder: Path, live_server: Any, settings: Any
) -> None:
    settings.DEBUG = True
    settings.ROOT_URLCONF = SITE_WITH_CLOCK
    program = f"""
from datetime import datetime, timedelta
from peerloans_client.connection import Refused, connect
from peerloans_client.sandbox import move_clock, now
me = connect("{live_server.url}", "none")
later = now(me) + timedelta(hours=30)
for _ in range(2):
    print(timedelta() <= move_clock(me, later) - later < timedelta(hours=1))
try:
    move_clock(me, datetime.max.replace(tzinfo=later.tzinfo))
except Refused as refused:
    print(refused.problem.code)
"""
    assert run(client_folder, program).split() == ["True", "True", "invalid"]


@pytest.mark.django_db(transaction=True)
def test_a_refused_order_of_a_batch_is_a_problem(client_folder: Path, live_server: Any) -> None:
    InvestorFactory(user=UserFactory(username="investor1", password=make_password("demo")))
    program = f"""
from peerloans_client.api.reservations import batch_create
from peerloans_client.connection import Refused, log_in, take
from peerloans_client.models import Batch, BatchCreate, Order, Problem
me = log_in("{live_server.url}", "investor1", "demo")
order = Order(loan="PL-9999", amount="1000.00")
(outcome,) = take(Batch, batch_create.sync(client=me, body=BatchCreate(orders=[order]))).results
print(isinstance(outcome.problem, Problem) and outcome.problem.code)
for body in BatchCreate(orders=[order, order], all_or_nothing=True), BatchCreate(orders=[Order(loan="PL-9999", amount="no")]):
    try:
        take(Batch, batch_create.sync(client=me, body=body))
    except Refused as refused:
        print(refused.problem.code, refused.problem.index or 0, "Give dollars" in str(refused))
"""
    assert run(client_folder, program).splitlines() == ["not_found", "not_found 0 False", "invalid 0 True"]


@pytest.mark.django_db(transaction=True)
def test_loans_are_watched_and_documents_fetched(client_folder: Path, live_server: Any) -> None:
    InvestorFactory(user=UserFactory(username="investor1", password=make_password("demo")))
    loan = LoanFactory(now=None)
    add_document(loan_id=loan.pk, title="Appraisal", content=b"%PDF-1.7 a page", user_id=UserFactory().pk)
    program = f"""
from types import NoneType
import httpx
from peerloans_client.api.loans import loan_detail
from peerloans_client.api.watches import stop_watching, watch_list, watch_loan
from peerloans_client.connection import Refused, log_in, take
from peerloans_client.models import LoanDetail, PaginatedWatchList, Watch
me = log_in("{live_server.url}", "investor1", "demo")
for _ in range(2):
    print(take(Watch, watch_loan.sync("{loan.reference}", client=me)).loan)
print([watch.loan for watch in take(PaginatedWatchList, watch_list.sync(client=me)).results])
for _ in range(2):
    print(take(NoneType, stop_watching.sync("{loan.reference}", client=me)))
print(take(PaginatedWatchList, watch_list.sync(client=me)).results)
for call in watch_loan, stop_watching:
    try:
        take(NoneType, call.sync("PL-9999", client=me))
    except Refused as refused:
        print(refused.problem.code)
(document,) = take(LoanDetail, loan_detail.sync("{loan.reference}", client=me)).documents
print(document.title, document.size, httpx.get(document.url).text)
"""
    printed = [loan.reference] * 2 + [
        f"['{loan.reference}']",
        "None",
        "None",
        "[]",
        "not_found",
        "not_found",
        "Appraisal 15 %PDF-1.7 a page",
    ]
    assert run(client_folder, program).splitlines() == printed


def test_values_that_this_version_does_not_know_are_passed_on(client_folder: Path) -> None:
    event = examples.FEED_EVENT | {"type": "reservation.renamed", "new_field": 1}
    program = f"""
from peerloans_client.models import FeedEvent
print(FeedEvent.from_dict({event!r}).type_)
"""
    assert run(client_folder, program).strip() == "reservation.renamed"


@pytest.mark.django_db(transaction=True)
def test_a_refusal_is_an_exception_with_the_problem(client_folder: Path, live_server) -> None:  # type: ignore[no-untyped-def]
    program = f"""
from peerloans_client.connection import Refused, log_in
try:
    log_in("{live_server.url}", "a stranger", "wrong")
except Refused as refused:
    print(refused.problem.code)
"""
    assert run(client_folder, program).strip() == "not_authenticated"


class Busy(BaseHTTPRequestHandler):
    """A server that breaks the first connection, asks to come back at the second request, and then decides."""

    keys: list[str] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.keys.append(self.headers["Idempotency-Key"])
        if len(self.keys) == 1:
            self.connection.close()
            return
        self.send_response(409 if len(self.keys) == 2 else 401)
        self.send_header("Content-Type", "application/problem+json")
        if len(self.keys) == 2:
            self.send_header("Retry-After", "0")
        body = b'{"type":"about:blank","title":"x","status":401,"detail":"x","code":"invalid_credentials"}'
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def busy_server() -> Iterator[str]:
    Busy.keys = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_request_that_was_not_decided_is_sent_again_with_its_key(client_folder: Path, busy_server: str) -> None:
    program = f"""
from peerloans_client.connection import Refused, log_in
try:
    log_in("{busy_server}", "kim", "x")
except Refused as refused:
    print(refused.problem.code)
"""
    assert run(client_folder, program).strip() == "invalid_credentials"
    assert len(Busy.keys) == 3
    assert len(set(Busy.keys)) == 1
    assert Busy.keys[0]


def test_a_request_for_a_secret_is_not_sent_again_after_it_arrived(client_folder: Path, busy_server: str) -> None:
    program = f"""
import httpx
from peerloans_client.api.auth import named_token_create
from peerloans_client.connection import connect
from peerloans_client.models import NamedTokenCreate
try:
    named_token_create.sync(client=connect("{busy_server}", "token"), body=NamedTokenCreate(name="Bot", scopes=["read"]))
except httpx.TransportError:
    print("unknown")
"""
    assert run(client_folder, program).strip() == "unknown"
    assert len(Busy.keys) == 1


def test_the_message_of_a_test_is_read(client_folder: Path) -> None:
    body, at = json.dumps(examples.TEST_MESSAGE), datetime.now(UTC)
    headers = {"Webhook-Id": "msg-1", "Webhook-Timestamp": str(int(at.timestamp()))}
    headers["Webhook-Signature"] = Webhook(SECRETS[0]).sign("msg-1", at, body)
    program = f"""
from peerloans_client.models import TestMessage
from peerloans_client.webhooks import read_webhook
message = read_webhook({body.encode()!r}, {headers!r}, {SECRETS!r})
print(isinstance(message, TestMessage) and message.data.endpoint)
"""
    assert run(client_folder, program).strip() == str(examples.TEST_MESSAGE["data"]["endpoint"])


@pytest.mark.django_db
def test_a_webhook_is_read_only_if_a_secret_of_the_endpoint_signed_it(client_folder: Path) -> None:
    reservation = reserved(LoanFactory())
    message = json.dumps(message_body(reservation.transitions.get(), reservation), default=str)
    at = datetime.now(UTC)
    headers = {"Webhook-Id": "msg-1", "Webhook-Timestamp": str(int(at.timestamp()))}
    headers["Webhook-Signature"] = Webhook(SECRETS[1]).sign("msg-1", at, message)
    program = f"""
from standardwebhooks.webhooks import WebhookVerificationError
from peerloans_client.webhooks import read_webhook
print(read_webhook({message.encode()!r}, {headers!r}, {SECRETS!r}).type_)
for body, secrets in (({message.encode()!r}, {SECRETS[:1]!r}), (b"{{}}", {SECRETS!r})):
    try:
        read_webhook(body, {headers!r}, secrets)
    except WebhookVerificationError:
        print("refused")
"""
    assert run(client_folder, program).split() == ["reservation.reserved", "refused", "refused"]
