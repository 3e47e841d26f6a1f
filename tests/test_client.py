"""The Python client that `make client` writes: it is typed, plays the story of docs/api.md, retries with one key, and checks webhooks."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.contrib.auth.hashers import make_password
from standardwebhooks.webhooks import Webhook

from loans.models import Reservation
from loans.notifications.messages import message_body
from tests.factories import InvestorFactory, LoanFactory, UserFactory, reserved

ROOT = Path(__file__).parents[1]
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


def story() -> str:
    (program,) = re.findall(r"```python\n(from peerloans_client.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    return program


def test_the_client_and_the_story_are_typed(client_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "story.py").write_text(story())
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "story.py")]
    environment = os.environ | {"MYPYPATH": str(client_folder)}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.django_db(transaction=True)
def test_the_story_of_the_page(client_folder: Path, live_server) -> None:  # type: ignore[no-untyped-def]
    investor = InvestorFactory(user=UserFactory(username="investor1", password=make_password("demo")))
    LoanFactory(now=None, title="Bungalow on Doctors Lake")
    printed = run(client_folder, story().replace("http://localhost:8000", live_server.url))
    reservation = Reservation.objects.get(investor=investor)
    assert (reservation.state, reservation.amount) == ("pending", 5_000)
    assert printed.splitlines() == [
        f"Write on the payment: {reservation.transfers.get().reference}",
        f"Number in the queue: {reservation.number}",
    ]


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
