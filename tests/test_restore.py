"""A dump is restored into a server of its own, as docs/operations.md says, and the system goes on there."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
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


# --- With PostgreSQL's own tools --------------------------------------------------------------------------------------
def typed(block: str) -> str:
    """Return what an operator types of a console's block: what follows `$`, and the text of here-documents."""
    return "\n".join(match[1] or match[2] for match in re.finditer(r"^\$ (.*<<END\n(?:.*\n)*?END$)|^\$ (.*)$", block, re.MULTILINE))


@pytest.fixture
def own_tools(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Run a script as PostgreSQL's own user, beside a server whose data folder is called `data`."""
    *prefix, program = embedded._postgres_command("pg_ctl")
    programs = Path(program).parent
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # A socket's path must be short.
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "PGHOST": str(folder), "PGUSER": "postgres", "TZ": "UTC"}

    def run(script: str) -> str:
        script = re.sub(r"/backup\b", str(tmp_path / "backup"), script)
        done = subprocess.run(
            [*prefix, "bash", "-e", "-o", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("mkdir /backup && initdb -D data -U postgres -A trust")
    run(f"echo \"listen_addresses = ''\nunix_socket_directories = '{folder}'\" >> data/postgresql.conf && pg_ctl -D data -w -l log start")
    yield run
    run("pg_ctl -D data -m immediate stop")
    shutil.rmtree(folder)


def test_the_commands_with_postgresqls_own_tools_restore_to_a_moment(own_tools: Callable[[str], str]) -> None:
    page = (ROOT / "docs/operations.md").read_text()
    section = page[page.index("### With PostgreSQL's own tools") : page.index("### After a restore")]
    settings = re.findall(r"```ini\n(.*?)```", section, re.DOTALL)[0]
    prepare, back_up, clean_up, restore = map(typed, re.findall(r"```console\n(.*?)```", section, re.DOTALL))
    (day,) = set(re.findall(r"/base-([0-9-]+)", clean_up + restore))
    today = own_tools("date +%F").strip()

    own_tools(f"{prepare}\ncat >> data/postgresql.conf <<END\n{settings}END")
    own_tools(re.sub("^pg_verifybackup .*", "", back_up, flags=re.MULTILINE))  # that of the embedded PostgreSQL crashes
    own_tools("psql -qc 'CREATE TABLE kept AS SELECT 1'")
    moment = own_tools("psql -Atc 'SELECT clock_timestamp()'").strip()
    own_tools("sleep 0.1; psql -qc 'DROP TABLE kept'")

    own_tools(re.sub(r"(?<=recovery_target_time = ').*(?=')", moment, restore.replace(day, today)))
    own_tools("until psql -Atc 'SELECT pg_is_in_recovery()' | grep f; do sleep 0.1; done")
    assert own_tools("psql -Atc 'TABLE kept'") == "1\n"
    # The page shows these lines, with the numbers of another day.
    told = own_tools("cat log")
    shown = [re.sub(r"[0-9].*", "", line) for line in re.findall(r"^LOG: .*", section, re.MULTILINE)]
    assert [line for line in shown if line not in told] == []

    archived = set(own_tools("ls /backup/archive").split())
    own_tools(clean_up.replace(day, today))
    left = set(own_tools("ls /backup/archive").split())
    needed = {name.split(".")[0] for name in archived if name.endswith(".backup")}
    assert needed <= left < archived
