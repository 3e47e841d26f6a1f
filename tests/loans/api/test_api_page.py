"""The commands in docs/api.md give the answers of the page, and a program written from the page alone works."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpcore
import pytest
from django.core.management import call_command
from django.urls import include, path
from django.utils import timezone

from loans.demo import sandbox_bank
from loans.demo.sandbox_bank import Habits, notices
from loans.models import Loan, User, WebhookEndpoint
from loans.notifications import deliveries
from loans.notifications.messages import TYPES, message_body
from loans.services.bank_events import Notice, record_bank_event
from loans.services.settlement import settle_due
from peerloans import urls
from peerloans.api.renderers import as_json
from peerloans.database.clock import database_now
from tests.factories import InvestorFactory, LoanFactory, reserved
from tests.loans.notifications.listener import Listener

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
TOOLS = "command -v jq openssl && curl --json '' --version"
BANK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


# The site as debug has it, whatever the settings were when another test first read its addresses.
urlpatterns = [path("api/sandbox/", include("loans.api.sandbox_urls")), *urls.urlpatterns]
handler404, handler500 = urls.handler404, urls.handler500


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def jobs() -> None:
    """Do what the worker does within a second."""
    settle_due()
    deliveries.deliver_due()


def bank() -> None:
    """Do what the sandbox bank of `make run` does within a minute, with money that always comes."""
    habits = Habits(timedelta(seconds=20), fail=0, late=0, short=0, seed=1)
    for notice in list(notices(habits, database_now(None))):
        record_bank_event(notice)
    jobs()


# --- The commands -----------------------------------------------------------------------------------------------------
def commands() -> Iterator[tuple[str, str]]:
    """Yield each command of the page with the answer that the page shows."""
    for block in blocks("console"):
        for command, answer in re.findall(r"^\$ (.*\n(?:> .*\n)*)((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            yield command.replace("\n> ", "\n"), answer.strip()


def outline(answer: str) -> str:
    """Return the answer without ids, instants and sums, which differ from one machine to the next."""
    masked = re.sub(r'"(token|id|reference|detail)":( ?)"[^"]*"', r'"\1":\2""', answer)
    masked = re.sub(r"evt-[0-9a-f-]{36}", "", masked)
    masked = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "instant", masked)
    return re.sub(r'"\d+\.\d\d"', '"sum"', masked)


class Shell:
    """A bash that keeps running, so that a command sees what an earlier one has set."""

    def __init__(self, bash: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            [bash], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def answer(self, command: str) -> str:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin
        assert stdout
        stdin.write(f"{command}\necho; echo = the end =\n")
        stdin.flush()
        return "".join(iter(stdout.readline, "= the end =\n")).strip()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    bash = shutil.which("bash")
    if not bash or subprocess.run([bash, "-c", TOOLS], capture_output=True, check=False).returncode:
        pytest.skip("bash, jq, openssl or a curl that knows --json is not here")
    shell = Shell(bash, tmp_path)
    with shell.process as process:
        yield shell
        process.terminate()


@pytest.mark.usefixtures("clock_put_back")
def test_the_commands_give_the_answers_of_the_page(transactional_db: None, live_server: Any, settings: Any, shell: Shell) -> None:
    settings.DEBUG = True
    settings.ROOT_URLCONF = __name__
    call_command("seed_demo", verbosity=0)
    for command, expected in commands():
        if command.startswith("secret="):
            settings.BANK_WEBHOOK_SECRETS = [BANK_SECRET]
        if command.startswith("sleep"):
            bank()
        answer = shell.answer(command.replace("http://localhost:8000", live_server.url))
        assert outline(answer) == outline(expected), command
        if "bank-events" in command:
            jobs()


def test_the_page_has_each_type_of_message_and_the_message_as_it_is_sent(transactional_db: None) -> None:
    (table,) = re.findall(r"^\| `type` \| what it says \|\n\| --- \| --- \|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert sorted(name for row in table.splitlines() for name in re.findall(r"`([a-z_]+\.[a-z_]+)`", row.split(" | ")[0])) == sorted(TYPES)
    (shown,) = re.findall(r'^\{"type":"reservation\.settled".*$', PAGE, re.MULTILINE)
    reservation = reserved(LoanFactory())
    sent = json.loads(as_json(message_body(reservation.transitions.get(), reservation)))
    assert list(json.loads(shown)) == list(sent)
    assert list(json.loads(shown)["data"]) == list(sent["data"])


# --- A program --------------------------------------------------------------------------------------------------------
class Program:
    """A client that knows the site's address and /api/schema/, and calls operations by their ids."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.headers: dict[str, str] = {}
        document = json.loads(httpcore.request("GET", f"{site}/api/schema/", headers={"Accept": "application/json"}).content)
        self.addresses = {
            operation["operationId"]: (method.upper(), path)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }

    def call(self, name: str, body: Any = None, headers: dict[str, str] | None = None, **parameters: str) -> tuple[int, Any, Any]:
        """Return the status, headers and JSON of the answer."""
        method, path = self.addresses[name]
        content = b"" if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} | self.headers | (headers or {})
        answer = httpcore.request(method, self.site + path.format(**parameters), headers=sent, content=content)
        answer_headers = {name.decode().lower(): value.decode() for name, value in answer.headers}
        return answer.status, answer_headers, json.loads(answer.content or b"null")


@pytest.fixture
def is_from_peerloans() -> Callable[..., bool]:
    (code,) = (block for block in blocks("python") if "def is_from_peerloans" in block)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    assert len(code.splitlines()) <= 12
    return names["is_from_peerloans"]


def test_a_program_brings_a_reservation_from_token_to_settled(
    transactional_db: None,
    live_server: Any,
    settings: Any,
    listener: Listener,
    new_user: Callable[..., User],
    new_loan: Callable[..., Loan],
    is_from_peerloans: Callable[..., bool],
) -> None:
    settings.BANK_WEBHOOK_SECRETS = [BANK_SECRET]
    investor = InvestorFactory(user=new_user(username="newcomer"))
    endpoint = WebhookEndpoint.objects.create(investor=investor, url=listener.url)
    new_loan()

    program = Program(live_server.url)
    _, _, token = program.call("token_create", {"username": "newcomer", "password": "demo"})
    program.headers["Authorization"] = f"Bearer {token['token']}"
    _, _, page = program.call("loan_list")
    (loan,) = page["results"]

    key = {"Idempotency-Key": str(uuid4())}
    status, _, reservation = program.call("reservation_create", {"amount": loan["minimum"]}, key, reference=loan["reference"])
    assert (status, reservation["state"]) == (201, "reserved")
    status, headers, again = program.call("reservation_create", {"amount": loan["minimum"]}, key, reference=loan["reference"])
    assert (status, headers["idempotency-replayed"], again) == (201, "true", reservation)
    _, _, mine = program.call("reservation_list")
    assert [row["id"] for row in mine["results"]] == [reservation["id"]]

    key = {"Idempotency-Key": str(uuid4())}
    for _ in range(2):
        _, _, pending = program.call("transfer_create", {"method": "wire"}, key, reservation_id=reservation["id"])
    assert pending["state"] == "pending"
    _, headers, _ = program.call("reservation_detail", reservation_id=reservation["id"])
    condition = {"If-None-Match": headers["etag"]}
    assert program.call("reservation_detail", headers=condition, reservation_id=reservation["id"])[0] == 304

    notice = Notice("evt-1", "transfer.cleared", pending["transfer"]["reference"], Decimal(reservation["amount"]), timezone.now())
    headers, body = sandbox_bank.signed_request(notice, BANK_SECRET)
    for _ in range(2):
        answer = httpcore.request("POST", f"{live_server.url}/api/v1/bank-events/", headers=headers, content=body)
        assert (answer.status, json.loads(answer.content)) == (200, {"id": "evt-1", "outcome": "funded"})
    jobs()
    status, _, settled = program.call("reservation_detail", headers=condition, reservation_id=reservation["id"])
    assert (status, settled["state"], settled["settled_amount"]) == (200, "settled", loan["minimum"])

    types = [json.loads(body)["type"] for _, body in listener.got]
    assert types == [f"reservation.{step}" for step in ("reserved", "transfer_started", "funded", "settled")]
    for headers, text in listener.got:
        assert is_from_peerloans(endpoint.secret, headers, text.encode())
        assert not is_from_peerloans(endpoint.secret, headers, text.encode() + b" ")
        assert not is_from_peerloans(BANK_SECRET, headers, text.encode())
        assert not is_from_peerloans(endpoint.secret, headers | {"webhook-timestamp": "1"}, text.encode())

    assert program.call("token_revoke", {})[0] == 204
    assert program.call("portfolio_detail")[0] == 401
