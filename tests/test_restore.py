"""A dump is restored into a server of its own, as docs/operations.md says, and the system goes on there."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from loans.models import Transition
from loans.notifications import outbox
from loans.notifications.messages import message_id
from peerloans.devserver import embedded
from tests import factories
from tests.factories import InvestorFactory, LoanFactory

ROOT = Path(__file__).resolve().parent.parent
HOLD_SERVERS = """
import sys
from peerloans.devserver import embedded
with embedded.running():
    print(embedded.run_dir(), flush=True)
    sys.stdin.read()
"""
GO_ON = """
import json
from loans.models import Delivery, Investor, ReviewItem, Transition
from loans.notifications import outbox
from loans.notifications.messages import message_id
from loans.services.reservations import reserve
last = Transition.objects.latest("id")
reserve(reference=last.loan.reference, investor=Investor.objects.get(), amount=3000)
outbox.fan_out_all()
announced = [(int(delivery.transition.amount), message_id(delivery.transition)) for delivery in Delivery.objects.order_by("id")]
print(json.dumps({"announced": announced, "before": last.txid, "after": Transition.objects.latest("id").txid}))
"""


@pytest.fixture
def other_server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a machine with new servers."""
    without_servers = {name: value for name, value in os.environ.items() if name not in embedded.PRODUCTION_SETTINGS}
    environment = without_servers | {"DEBUG": "1", "PEERLOANS_VAR": str(tmp_path), "EMAIL_URL": "dummymail://"}
    command = [sys.executable, "-c", HOLD_SERVERS]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        folder = holder.stdout.readline().strip()
        yield environment | {"PGHOST": folder, "PGPORT": "5432", "PGUSER": "postgres", "PGDATABASE": "postgres"}
        holder.communicate()


def postgres(program: str, *words: str, environment: dict[str, str], data: bytes = b"") -> bytes:
    command = embedded._postgres_command(program, *words)
    return subprocess.run(command, env=environment, input=data, capture_output=True, check=True, cwd="/").stdout


def manage(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run([sys.executable, "manage.py", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.django_db(transaction=True)
def test_after_a_dump_was_restored_messages_go_on_and_an_id_that_was_sent_is_not_given_again(other_server: dict[str, str]) -> None:
    with connection.cursor() as cursor:
        for _ in range(5_000):  # so that this server's transaction numbers are higher than those of a new one
            cursor.execute("SELECT pg_current_xact_id()")
    now = timezone.now()
    loan, investor = LoanFactory(now=now), InvestorFactory()
    factories.reserved(loan, 1_000, investor=investor, now=now)
    outbox.fan_out_all()
    factories.reserved(loan, 2_000, investor=investor, now=now)
    address = connection.get_connection_params()
    here = os.environ | {f"PG{name.upper()}": str(address[name]) for name in ("host", "port", "user", "password") if address.get(name)}
    dump = postgres("pg_dump", "--format=custom", str(address["dbname"]), environment=here)
    # Sent after the dump, so it is lost.
    lost = factories.reserved(loan, 4_000, investor=investor, now=now + timedelta(seconds=1))
    lost_id = message_id(Transition.objects.get(reservation=lost))

    postgres("pg_restore", "--exit-on-error", "--no-owner", "--dbname=postgres", environment=other_server, data=dump)
    printed = manage(other_server, "after_restore")
    result = json.loads(manage(other_server, "shell", "--no-imports", "-v", "0", "-c", GO_ON))
    assert f"The newest transition is of {now:%Y-%m-%d %H:%M:%S} UTC." in printed
    assert "2 messages wait to be sent." in printed
    assert "was restored, or a standby took over" in printed
    assert result["after"] < result["before"]
    assert [amount for amount, _ in result["announced"]] == [1_000, 2_000, 3_000]
    assert lost_id not in {each for _, each in result["announced"]}
