"""`make drill`: lose the database under load, restore it to a moment, and report what was lost and how long it took.

Checks what docs/operations.md promises: everything that was acknowledged before the moment is there, `after_restore` names every request
that was acknowledged after it, and when the bank has sent its events again, every invariant holds.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

FOLDER = Path(tempfile.mkdtemp(prefix="peerloans-drill-"))
os.environ["PEERLOANS_VAR"] = str(FOLDER / "var")
os.environ["DJANGO_SETTINGS_MODULE"] = "peerloans.settings"
os.environ["DEBUG"] = "1"  # of this process, which uses the servers' sockets; the system under test runs without
os.environ["EMAIL_URL"] = "dummymail://"
for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "DATABASE_REPLICA_URL"):
    os.environ.pop(name, None)

import django
from django.core.management import call_command
from django.db import connection

from peerloans.devserver import embedded, run
from tests.chaos.processes import ROOT, System

DATA = embedded.POSTGRES_PID.parent
BASE, ARCHIVE = FOLDER / "base", FOLDER / "archive"
PATIENCE_SECONDS = 120


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description="Lose the database under load, and restore it to a moment.")
    parser.add_argument("--seconds", type=float, default=10, help="of load before the backup, up to the moment, and after it (default: 10)")
    parser.add_argument("--port", type=int, default=8127, help="of the site; it uses the five after it, too (default: 8127)")
    options = parser.parse_args()
    say(f"files in {FOLDER}")
    embedded.exit_on_signals(signal.SIGINT, signal.SIGTERM, status=1)
    with embedded.running():
        django.setup()
        call_command("migrate", verbosity=0)
        archive_wal()
        broken = drill(options.port, options.seconds)
    for sentence in broken:
        say(f"BREACH {sentence}")
    if broken:
        return 1
    shutil.rmtree(FOLDER, ignore_errors=True)
    say("every promise was kept")
    return 0


def drill(port: int, seconds: float) -> list[str]:
    """Go through all of it. Returns the promises that were not kept."""
    from tests.chaos import initial_data
    from tests.chaos.load import Load

    draw = random.Random()
    tokens = initial_data.make(draw)
    system = System(port, log_level="INFO")
    try:
        wait_for("The site does not start", lambda: run.answers(port))
        load = Load(port, tokens, draw)
        time.sleep(seconds)
        began = time.monotonic()
        postgres("pg_basebackup", "-D", BASE, "--checkpoint=fast", "-X", "stream")
        say(f"base backup: {megabytes(BASE)} MB in {time.monotonic() - began:.1f} s, while the site served")
        time.sleep(seconds)
        moment, known = now(), set(load.record.reservations)
        time.sleep(seconds)
        load.stop(PATIENCE_SECONDS)
        archive_the_rest()
        lost_at = time.monotonic()
        system.kill_all()
        connection.close()
        restore(moment)
        say(f"restored to {moment}: PostgreSQL answers after {time.monotonic() - lost_at:.1f} s")
        report = after_restore()
        system = System(port + 3)  # the proxies of the first one still hold their ports
        wait_for("The site does not start", lambda: run.answers(port + 3))
        say(f"the site answers after {time.monotonic() - lost_at:.1f} s")
        broken = what_was_lost(load.record, known, report)
    finally:
        system.stop_all()
    return broken + what_does_not_hold(load.record)


# --- Backup and restore ------------------------------------------------------------------------------------------------
def postgres(program: str, *words: str | Path) -> None:
    address = {"PGHOST": str(embedded.run_dir()), "PGUSER": "postgres"}
    subprocess.run(embedded._postgres_command(program, *words), env=os.environ | address, check=True, cwd="/")


def archive_wal() -> None:
    """Let PostgreSQL keep a copy of its WAL, as docs/operations.md says."""
    ARCHIVE.mkdir()
    FOLDER.chmod(0o755)
    with connection.cursor() as cursor:
        for name, value in (("archive_mode", "on"), ("archive_timeout", "60"), ("archive_command", f"cp %p {ARCHIVE}/%f")):
            cursor.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    connection.close()
    embedded._stop(embedded.POSTGRES_PID, signal.SIGINT)
    embedded.start()


def archive_the_rest() -> None:
    """Wait until the WAL of everything that was committed is archived: a machine that is lost at once loses up to a minute more."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_walfile_name(pg_switch_wal())")
        (last,) = cursor.fetchone()
    wait_for("The WAL is not archived", (ARCHIVE / last).exists)


def restore(moment: str) -> None:
    shutil.rmtree(DATA)
    shutil.move(BASE, DATA)
    with (DATA / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"restore_command = 'cp {ARCHIVE}/%f %p'\nrecovery_target_time = '{moment}'\nrecovery_target_action = 'promote'\n")
    (DATA / "recovery.signal").touch()
    embedded.start()

    def is_promoted() -> bool:
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute("SELECT NOT pg_is_in_recovery()")
            return bool(cursor.fetchone()[0])

    wait_for("PostgreSQL does not leave recovery", is_promoted)


# --- What was lost -----------------------------------------------------------------------------------------------------
def after_restore() -> dict[str, Any]:
    log = embedded.VAR.with_name(f"{embedded.VAR.name}.web.log")
    command = [sys.executable, "manage.py", "after_restore", "--json", "--log", str(log)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def what_was_lost(record: Any, known: set[str], report: dict[str, Any]) -> list[str]:
    """Print what was lost, and return where the report or the restore fell short of the promises."""
    from loans.models import Reservation

    there = {str(key) for key in Reservation.objects.values_list("pk", flat=True)}
    lost = record.reservations.keys() - there
    told_reservations = [row for row in report["acknowledged_later"] if row["request"].endswith("/reservations/")]
    dollars = sum(float(record.reservations[key]) for key in lost)
    users = {row["user"] for row in report["acknowledged_later"]} - {None}
    say(f"lost: {len(lost)} of {len(record.reservations)} reservations, of ${dollars:,.2f}")
    say(f"after_restore names {len(report['acknowledged_later'])} requests that were acknowledged later, of {len(users)} users:")
    for row in report["acknowledged_later"][:5]:
        say(f"  {row['at']}  {row['user'] or 'the bank'}  {row['request']}")
    say(f"{report['messages_waiting']} messages wait to be sent, some of them again; {len(report['review_items'])} review item for staff")
    broken = [f"reservation {key} was acknowledged before the moment and is lost" for key in lost & known]
    if len(told_reservations) < len(lost):
        broken.append(f"{len(lost)} reservations are lost, and after_restore names {len(told_reservations)}")
    if not lost:
        broken.append("nothing was lost, so the drill shows nothing")
    if not report["review_items"]:
        broken.append("no review item asks staff to look after the restore")
    return broken


def what_does_not_hold(record: Any) -> list[str]:
    """Let the bank send everything again, and return the invariants that do not hold then."""
    from loans.models import ReviewItem
    from loans.services.bank_events import record_bank_event
    from tests.chaos import verdict

    connection.close()
    for notice in record.events.values():
        record_bank_event(notice)
    unknown = ReviewItem.objects.filter(kind="unknown_reference", resolved_at=None).count()
    say(f"the bank sent its {len(record.events)} events again: {unknown} name transfers that are lost, and are listed for staff")
    verdict.settle_all()
    return [*verdict.undecided(), *verdict.invariants()]


def now() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        at: datetime = cursor.fetchone()[0]
        return at.isoformat()


def wait_for(trouble: str, there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not there():
        if time.monotonic() > deadline:
            raise SystemExit(f"{trouble}; the files are in {FOLDER}.")
        time.sleep(0.2)


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def megabytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) // 2**20


if __name__ == "__main__":
    sys.exit(main())
